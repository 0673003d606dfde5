"""Is the package built as its design says: rooms, arrows, owners of state, sizes, types, reasons?

Everything is read from the source with `ast` and `tokenize`; nothing is imported. Each question is a function from the
package's files to what is wrong, so that the last tests of this file can show that it finds what it is there for.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lightning_adapter"

#: From the top of the house to the bottom: a file imports from its own room and from the rows below its own, never from
#: a row above, nor from a neighbour in its row. A file that stands in no folder has its room here under its own name.
ROWS: tuple[dict[str, tuple[str, ...]], ...] = (
    {"cli": ("cli", "__main__")},
    {"faces": ("__init__", "adapter", "configured_trial", "lightning", "pytorch_lightning")},
    {"configs": ("configs",)},
    {"evaluation": ("evaluation",), "tuning": ("tuning",)},
    {"fetching": ("fetching",), "submission": ("submission",)},
    {"platform": ("platform",)},
    {"loop": ("loop",)},
    {"trainer": ("trainer",), "pictures": ("pictures",)},
    {"data": ("data",), "checkpoints": ("checkpoints",), "runs": ("runs",)},
    {"what everybody asks": ("module", "datamodule", "monkey_patch", "support", "arguments", "argument_values")},
    {"versions": ("versions",)},
    {"errors": ("errors",), "notices": ("notices",)},
)

#: Files that rooms below may import as well, since they import nothing themselves: what everybody reads, and one owner
#: writes.
READ_FROM_BELOW = {"loop.progress"}
#: Writes to another object's attribute, in 1,000 lines. State has one owner, which changes it by methods; where that
#: holds, what is left are the few attributes that Lightning and Determined want to have set (1.5 in Composer's core).
FOREIGN_WRITES_PER_1000_LINES = 5.0
#: A class that does not fit into six screens has more than one task.
LINES_OF_A_CLASS = 300
#: Percent of the annotations of parameters and returns. User code's batches and outputs can be anything, and have
#: aliases that say so; a bare `Any` says only that nobody looked.
BARE_ANY_PERCENT = 8.0
#: Attributes that somewhere are set to True or False. Each is a second copy of something that could be derived, and has
#: to be set back in the right places. (The settings of a library's object are among them: of a YAML's writer, of a lexer.)
FLAGS = 37
#: In 100 lines of code in the loop. The order of an epoch is Lightning's, and the reason for it is not in the code.
COMMENTS_PER_100_LINES_OF_THE_LOOP = 5.0

#: Names with an underscore that are documented for everybody: of named tuples, of `os` and of `sys`.
PUBLIC_UNDERSCORED = {"_asdict", "_fields", "_field_defaults", "_make", "_replace", "_exit", "_getframe"}
#: A function of Lightning's, or a method of one of its classes, as docstrings name it.
HOST_FUNCTION = re.compile(r"`(_[a-z]\w+|_?[A-Z]\w+\.\w+)`")
#: How comments begin that give no reason: words for tools, and lines that divide a file.
NO_REASONS = ("noqa", "type:", "fmt:", "pragma", "--", "==")


class Fault(NamedTuple):
    """Something that is not as it should be, and where."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Source:
    """One file of the package."""

    file: str  # as messages name it, from the package's parent
    module: str  # dotted, from the package; a folder's own file has the folder's name, the package's own "__init__"
    is_folder: bool
    text: str = field(repr=False)
    tree: ast.Module = field(repr=False)

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


class Import(NamedTuple):
    """One arrow between two files of the package."""

    source: Source
    line: int
    target: str  # a module as `Source.module` names it
    on_demand: bool  # inside of a function


Package = list[Source]
Check = Callable[[Package], list[Fault]]


def read(root: Path) -> Package:
    """All files of the package whose folder is `root`."""
    package = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        is_folder = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_folder else parts) or "__init__"
        text = path.read_text(encoding="utf-8")
        file = str(path.relative_to(root.parent))
        package.append(Source(file, module, is_folder, text, ast.parse(text, filename=file)))
    return package


def walk_in_functions(node: ast.AST, function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes below `node`, each with whether a function is around it."""
    for child in ast.iter_child_nodes(node):
        yield child, function
        is_function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from walk_in_functions(child, function or is_function)


def walk_in_classes(
    node: ast.AST, classes: tuple[ast.ClassDef, ...] = ()
) -> Iterator[tuple[ast.AST, tuple[ast.ClassDef, ...]]]:
    """All nodes below `node`, each with the classes around it."""
    for child in ast.iter_child_nodes(node):
        yield child, classes
        yield from walk_in_classes(child, (*classes, child) if isinstance(child, ast.ClassDef) else classes)


# --- rooms and arrows ---


def imports(package: Package, name: str = "lightning_adapter") -> list[Import]:
    """Imports of the package's own files: at a module's top, under TYPE_CHECKING, in functions, by `import_module`."""
    modules = {source.module for source in package}

    def target(dotted: str) -> str | None:
        """The file that `package.a.b.c` comes from."""
        first, _, rest = dotted.partition(".")
        if first != name:
            return None
        while rest and rest not in modules:
            rest = rest.rpartition(".")[0]
        return rest or "__init__"

    found = []
    for source in package:
        for node, in_function in walk_in_functions(source.tree):
            if isinstance(node, ast.Import):
                dotted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    folder = [] if source.module == "__init__" else source.module.split(".")
                    up = node.level - 1 if source.is_folder else node.level
                    base = ".".join([name, *folder[: len(folder) - up], *([base] if base else [])])
                dotted = [f"{base}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module") and node.args:
                argument = node.args[0]
                dotted = [argument.value] if isinstance(argument, ast.Constant) and type(argument.value) is str else []
            else:
                continue
            targets = {target(one) for one in dotted} - {None, source.module}
            found += [Import(source, node.lineno, str(one), in_function) for one in sorted(map(str, targets))]
    return found


def wrong_arrows(package: Package) -> list[Fault]:
    """Imports that point up, or to a neighbour."""
    row_of = {top: row for row, rooms in enumerate(ROWS) for tops in rooms.values() for top in tops}
    room_of = {top: room for rooms in ROWS for room, tops in rooms.items() for top in tops}
    faults = [
        Fault(source.file, 1, f"{source.top!r} stands in no room: give it a place in ROWS")
        for source in package
        if source.top not in row_of
    ]
    for source, line, target, _ in imports(package):
        top = target.partition(".")[0]
        if source.module in READ_FROM_BELOW and target != "errors":
            faults.append(Fault(source.file, line, f"imports {target}, while rooms below import this file"))
        if source.top not in row_of or top not in row_of or room_of[source.top] == room_of[top]:
            continue
        if target in READ_FROM_BELOW:
            continue
        if row_of[top] <= row_of[source.top]:
            where = "above" if row_of[top] < row_of[source.top] else "beside"
            faults.append(Fault(source.file, line, f"imports {target}, which is {where} {room_of[source.top]!r}"))
    return faults


def cycles(package: Package) -> list[Fault]:
    """Groups of files of which each imports, over others, all the rest.

    An import on demand counts too, except in the commands and the package's own `__getattr__`, where it keeps `--help`
    quick: elsewhere it would only hide the cycle.
    """
    arrows: dict[str, set[str]] = {source.module: set() for source in package}
    lines: dict[tuple[str, str], int] = {}
    for source, line, target, on_demand in imports(package):
        if not (on_demand and source.top in ("cli", "__init__")):
            arrows[source.module].add(target)
            lines.setdefault((source.module, target), line)

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = arrows.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        return seen

    reach = {source.module: reachable(source.module) for source in package}
    faults = []
    for source in package:
        if source.module not in reach[source.module]:
            continue
        cycle = sorted(other for other in reach[source.module] if source.module in reach.get(other, set()))
        for target in sorted(arrows[source.module] & set(cycle)):
            line = lines[source.module, target]
            faults.append(Fault(source.file, line, f"imports {target}, in the cycle {', '.join(cycle)}"))
    return faults


# --- owners of state ---


def is_own(node: ast.expr) -> bool:
    """True for `self` and `cls`."""
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def is_own_or_its_class(node: ast.expr) -> bool:
    return is_own(node) or ast.unparse(node) in ("super()", "type(self)", "self.__class__")


def is_private(name: str) -> bool:
    """One underscore before, and none behind as in the names of an Enum."""
    return name[:1] == "_" and name[:2] != "__" and name[-1:] != "_" and name not in PUBLIC_UNDERSCORED


def names_of_class(cls: ast.ClassDef) -> set[str]:
    """Names that the class defines: in its body, and on `self` and `cls` in its methods."""
    names = {node.name for node in cls.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    for statement in cls.body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names |= {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    for node in ast.walk(cls):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            names.add(node.attr)
    return names


def private_names(source: Source) -> dict[str, set[str]]:
    """From each class of the file to the names that it and its bases in this file define."""
    classes = {node.name: node for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)}

    def own_and_inherited(name: str, seen: frozenset[str] = frozenset()) -> set[str]:
        bases = {base.id for base in classes[name].bases if isinstance(base, ast.Name)} & classes.keys()
        inherited = [own_and_inherited(base, seen | {name}) for base in bases - seen - {name}]
        return names_of_class(classes[name]).union(*inherited)

    return {name: own_and_inherited(name) for name in classes}


def private_accesses(node: ast.AST) -> Iterator[tuple[ast.expr | None, str]]:
    """The private names that `node` asks of another object, each with that object; None for a module's import."""
    if isinstance(node, ast.Attribute):
        yield node.value, node.attr
    elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
        for name in [*(node.module or "").split("."), *(alias.name for alias in node.names)]:
            yield None, name
    elif isinstance(node, ast.Import):
        for name in [part for alias in node.names for part in alias.name.split(".")]:
            yield None, name
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("getattr", "hasattr", "setattr", "delattr")
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
    ):
        yield node.args[0], str(node.args[1].value)


def foreign_private_names(package: Package) -> list[Fault]:
    """Private names of other classes, of other files and, outside of versions/, of the hosts."""
    faults = []
    for source in package:
        if source.top == "versions":
            continue
        names = private_names(source)
        everywhere = set().union(*names.values())
        for node, classes in walk_in_classes(source.tree):
            allowed = set().union(*(names[cls.name] for cls in classes)) if classes else everywhere
            for owner, name in private_accesses(node):
                if not is_private(name) or (owner is not None and (is_own_or_its_class(owner) or name in allowed)):
                    continue
                text = f"imports {name}" if owner is None else f"{ast.unparse(owner)}.{name}"
                faults.append(Fault(source.file, getattr(node, "lineno", 0), text))
    return sorted(faults)


def dictionary_of(node: ast.expr) -> ast.expr | None:
    """The `x` of `vars(x)` and of `x.__dict__`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "vars" and node.args:
        return node.args[0]
    return node.value if isinstance(node, ast.Attribute) and node.attr == "__dict__" else None


def written_object(node: ast.AST) -> ast.expr | None:
    """The object of which `node` sets or deletes an attribute."""
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del)):
        return node.value
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
        return dictionary_of(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
        return node.args[0]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in ("__setattr__", "__delattr__"):  # of object with the instance, or of the instance
            return node.args[0] if len(node.args) == (3 if "set" in node.func.attr else 2) else node.func.value
        if node.func.attr in ("update", "setdefault", "pop", "popitem", "clear"):
            return dictionary_of(node.func.value)
    return None


def foreign_writes(package: Package) -> list[Fault]:
    """Every place where an attribute of another object is set or deleted."""
    faults = []
    for source in package:
        for node in ast.walk(source.tree):
            owner = written_object(node)
            if owner is not None and not is_own(owner) and ast.unparse(owner) != "super()":
                faults.append(Fault(source.file, getattr(node, "lineno", 0), ast.unparse(node)))
    return sorted(faults)


def foreign_writes_per_1000_lines(package: Package) -> float:
    return 1000 * len(foreign_writes(package)) / max(1, sum(len(source.text.splitlines()) for source in package))


def too_many_foreign_writes(package: Package) -> list[Fault]:
    return foreign_writes(package) if foreign_writes_per_1000_lines(package) > FOREIGN_WRITES_PER_1000_LINES else []


def flags(package: Package) -> list[Fault]:
    """Attributes that are set to a constant True or False, by whomever: each name once, with the first place."""
    found: dict[str, Fault] = {}
    for source in package:
        for node in ast.walk(source.tree):
            if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(node.value, ast.Constant):
                continue
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Attribute) and isinstance(node.value.value, bool):
                    found.setdefault(target.attr, Fault(source.file, node.lineno, ast.unparse(node)))
    return sorted(found.values())


def too_many_flags(package: Package) -> list[Fault]:
    return flags(package) if len(flags(package)) > FLAGS else []


# --- sizes, types, reasons ---


def classes_by_size(package: Package) -> list[tuple[int, Fault]]:
    """Lines of each class, the largest first."""
    found = []
    for source in package:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                lines = (node.end_lineno or first) - first + 1
                found.append((lines, Fault(source.file, node.lineno, f"class {node.name} has {lines} lines")))
    return sorted(found, reverse=True)


def large_classes(package: Package) -> list[Fault]:
    return [fault for lines, fault in classes_by_size(package) if lines > LINES_OF_A_CLASS]


def annotated(package: Package) -> Iterator[tuple[Fault, bool]]:
    """Annotations of parameters and returns, each with whether it is a bare `Any`; `self` and `cls` have none."""
    for source in package:
        for node in ast.walk(source.tree):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            every = node.args
            named = [*every.posonlyargs, *every.args, every.vararg, *every.kwonlyargs, every.kwarg]
            parameters = [
                (one.arg, one.annotation) for one in named if one is not None and one.arg not in ("self", "cls")
            ]
            for name, annotation in [*parameters, ("return", node.returns)]:
                if annotation is not None:
                    text = ast.unparse(annotation).strip("'\"")
                    fault = Fault(source.file, annotation.lineno, f"{node.name}: {name}: {text}")
                    yield fault, text in ("Any", "typing.Any")


def bare_any_percent(package: Package) -> float:
    bare = [is_any for _, is_any in annotated(package)]
    return 100 * sum(bare) / max(1, len(bare))


def too_much_any(package: Package) -> list[Fault]:
    if bare_any_percent(package) <= BARE_ANY_PERCENT:
        return []
    return [fault for fault, is_any in annotated(package) if is_any]


def without_a_question(package: Package) -> list[Fault]:
    """Files whose docstring does not begin with the question that the file answers, in one line."""
    faults = []
    for source in package:
        first = (ast.get_docstring(source.tree) or "").partition("\n")[0]
        question, mark, _ = first.partition("?")
        if not mark or ". " in question.replace("e.g. ", ""):
            faults.append(Fault(source.file, 1, f"begins with {first!r}" if first else "has no docstring"))
    return faults


def comments_and_code(source: Source) -> tuple[int, int]:
    """Lines that give a reason, and lines of code.

    A reason is a comment, or a line of a docstring that names the host's function whose order is followed; other lines of
    docstrings are neither.
    """
    documented: set[int] = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            documented |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    no_code = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = source.text.splitlines()
    comments = {line for line in documented if HOST_FUNCTION.search(lines[line - 1])}
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and not token.string.lstrip("#: ").startswith(NO_REASONS):
            comments.add(token.start[0])
        elif token.type not in no_code:
            code |= set(range(token.start[0], token.end[0] + 1)) - documented
    return len(comments), len(code)


def comments_per_100_lines(package: Package) -> float:
    counted = [comments_and_code(source) for source in package]
    return 100 * sum(comments for comments, _ in counted) / max(1, sum(code for _, code in counted))


def loop_without_reasons(package: Package) -> list[Fault]:
    loop = [source for source in package if source.top == "loop" and comments_and_code(source)[1]]
    if comments_per_100_lines(loop) >= COMMENTS_PER_100_LINES_OF_THE_LOOP:
        return []
    poorest = sorted(loop, key=lambda source: comments_per_100_lines([source]))
    return [
        Fault(source.file, 1, "{} lines with a comment, {} of code".format(*comments_and_code(source)))
        for source in poorest
    ]


# --- the package ---


@pytest.fixture(scope="module")
def package() -> Package:
    return read(PACKAGE)


def assert_none(faults: list[Fault], advice: str) -> None:
    if faults:
        pytest.fail("\n".join([f"{len(faults)} found. {advice}", *map(str, faults)]), pytrace=False)


def test_every_room_of_the_table_is_there(package: Package) -> None:
    tops = {top for rooms in ROWS for names in rooms.values() for top in names}
    assert tops == {source.top for source in package}, "ROWS and the folder name other rooms: bring them together"


def test_imports_point_down_only(package: Package) -> None:
    faults = wrong_arrows(package)
    assert_none(faults, "Move the code to the room that needs it, or hand the object down as an argument:")


def test_no_file_imports_itself_over_others(package: Package) -> None:
    faults = cycles(package)
    assert_none(faults, "Take what both sides need into a file below them, or merge the two:")


def test_private_names_are_read_by_their_owner_alone(package: Package) -> None:
    faults = foreign_private_names(package)
    assert_none(faults, "Ask the owner by a public method; a host's private name belongs into versions/:")


def test_attributes_are_set_by_their_owner(package: Package) -> None:
    faults = too_many_foreign_writes(package)
    figure = f"{foreign_writes_per_1000_lines(package):.1f} in 1,000 lines, at most {FOREIGN_WRITES_PER_1000_LINES:g}."
    assert_none(faults, f"{figure} Give it to the constructor, or let the owner have a method for it:")


def test_classes_are_small(package: Package) -> None:
    faults = large_classes(package)
    assert_none(faults, f"At most {LINES_OF_A_CLASS}: move a group of methods to a class of its own:")


def test_annotations_say_what_is_meant(package: Package) -> None:
    faults = too_much_any(package)
    figure = f"{bare_any_percent(package):.1f}% of the annotations are a bare Any, at most {BARE_ANY_PERCENT:g}%."
    assert_none(faults, f"{figure} Name the type, a Protocol, or an alias that says what it is:")


def test_few_attributes_are_flags(package: Package) -> None:
    faults = too_many_flags(package)
    assert_none(faults, f"At most {FLAGS}: derive it from the state that it repeats:")


def test_files_begin_with_their_question(package: Package) -> None:
    faults = without_a_question(package)
    assert_none(faults, "Begin the docstring with the question that the file answers, in its first line:")


def test_loop_gives_its_reasons(package: Package) -> None:
    faults = loop_without_reasons(package)
    assert_none(
        faults,
        f"{COMMENTS_PER_100_LINES_OF_THE_LOOP:g} comments in 100 lines of code are wanted; say why, and who asks:",
    )


# --- the checks themselves ---

GOOD = {
    "__init__.py": '''
        """What is it?"""
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from lightning_adapter.errors import Error
        def __getattr__(name: str) -> object:
            from lightning_adapter.adapter import Adapter
            return Adapter
    ''',
    "adapter.py": '''
        """Who asks? Everybody."""
        from lightning_adapter import __version__
        from lightning_adapter.loop import epoch
        class Adapter: ...
    ''',
    "cli/__init__.py": '"""What is typed?"""\ndef main() -> int:\n    from lightning_adapter.cli import fit\n',
    "cli/fit.py": '"""What is fitted?"""\nfrom lightning_adapter.adapter import Adapter\nfrom lightning_adapter.cli import main\n',
    "loop/__init__.py": '"""How is it trained?"""\nfrom . import step\n',
    "loop/epoch.py": '''
        """What is an epoch?

        Not. A. Question.
        """
        import os
        from lightning_adapter.errors import Error
        from lightning_adapter.loop import step
        from . import step as again
        from .step import Step
        class Part:
            _step = 4
        class Epoch(Part, Step):
            number: int = 0
            _limit = 3
            def __init__(self, batch: int, *args: int, **kwargs: "int | None") -> None:
                # as Lightning does
                self._batch, self.batch = batch, batch
                self.table = {}
                self.table["row"] = False
                setattr(self, "name", 1)
                vars(self)["other"] = 2
            def __eq__(self, other: object) -> bool:  # numbers alone
                return other._batch == self._batch and type(self)._limit == other._limit and other._step == super()._step
            @classmethod
            def made(cls, names: dict[str, int]) -> "Epoch":
                names.update(a=1)
                return cls(1)._copy()
            def _copy(self) -> "Epoch":
                return self
        def describe(epoch: Epoch) -> str:  # of the same file
            return str(epoch._batch)
    ''',
    "loop/step.py": '"""What is a step?"""\nclass Step:  # the base\n    pass\n',
    "versions/private.py": '"""Which private names?"""\ndef core(context: "Context") -> int:\n    return context._core\n',
    "errors.py": '"""What can go wrong?"""\nclass Error(Exception): ...\n' + "# no reason of the loop's\n" * 20,
}


def package_of(files: dict[str, str], folder: Path) -> Package:
    """The files of the good package, with `files` added or in their places."""
    for name, text in {**GOOD, **files}.items():
        path = folder / "lightning_adapter" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(inspect.cleandoc(text) + "\n", encoding="utf-8")
    return read(folder / "lightning_adapter")


QUESTION = '"""What is bad here?"""\n'
#: For each check the bad files: which, what stands in it after its question, the fault's line and a part of its text.
BAD: dict[Check, list[tuple[str, str, int, str]]] = {
    wrong_arrows: [
        ("loop/bad.py", "import lightning_adapter.adapter", 2, "imports adapter, which is above 'loop'"),
        ("loop/bad.py", "from lightning_adapter import adapter", 2, "imports adapter, which is above 'loop'"),
        ("loop/bad.py", "from lightning_adapter import fit", 2, "imports __init__, which is above 'loop'"),
        ("loop/bad.py", "from .. import adapter", 2, "imports adapter, which is above 'loop'"),
        ("loop/bad.py", "from ..adapter import A", 2, "imports adapter, which is above 'loop'"),
        ("loop/__init__.py", "from ..adapter import A", 2, "imports adapter, which is above 'loop'"),
        ("loop/bad.py", "if TYPE_CHECKING:\n    from ..adapter import A", 3, "imports adapter, which is above 'loop'"),
        ("loop/bad.py", "def f():\n    from ..adapter import A", 3, "imports adapter, which is above 'loop'"),
        ("loop/bad.py", "import_module('lightning_adapter.adapter')", 2, "imports adapter, which is above 'loop'"),
        ("data/bad.py", "from ..runs import bad", 2, "imports runs.bad, which is beside 'data'"),
        ("errors.py", "from .versions import private", 2, "imports versions.private, which is above 'errors'"),
        ("cellar/bad.py", "", 1, "'cellar' stands in no room"),
    ],
    cycles: [
        ("loop/step.py", "from . import epoch", 2, "imports loop.epoch, in the cycle loop.epoch, loop.step"),
        ("loop/step.py", "if TYPE_CHECKING:\n    from .epoch import E", 3, "in the cycle loop.epoch, loop.step"),
        ("loop/step.py", "def f():\n    from .epoch import E", 3, "in the cycle loop.epoch, loop.step"),
        ("errors.py", "import os\nfrom .adapter import A", 3, "in the cycle __init__, adapter, errors, loop.epoch"),
    ],
    foreign_private_names: [
        ("loop/bad.py", "def f(run):\n    return run._state", 3, "run._state"),
        ("loop/bad.py", "class A:\n    _x = 1\nclass B:\n    def f(self, a):\n        a._x", 6, "a._x"),
        ("loop/bad.py", "class A:\n    def f(self):\n        self.run._state", 4, "self.run._state"),
        ("loop/bad.py", "getattr(run, '_state', None)", 2, "run._state"),
        ("loop/bad.py", "run._state = 1", 2, "run._state"),
        ("loop/bad.py", "from .epoch import _copy", 2, "imports _copy"),
        ("loop/bad.py", "import torch._utils", 2, "imports _utils"),
    ],
    too_many_foreign_writes: [
        ("loop/bad.py", "run.state = 1", 2, "run.state"),
        ("loop/bad.py", "run.count += 1", 2, "run.count"),
        ("loop/bad.py", "run.count: int = 1", 2, "run.count"),
        ("loop/bad.py", "a, (b, run.count) = f()", 2, "run.count"),
        ("loop/bad.py", "class A:\n    def f(self):\n        self.run.count = 1", 4, "self.run.count"),
        ("loop/bad.py", "del run.state", 2, "run.state"),
        ("loop/bad.py", "setattr(run, name, 1)", 2, "setattr(run, name, 1)"),
        ("loop/bad.py", "object.__setattr__(run, name, 1)", 2, "object.__setattr__(run, name, 1)"),
        ("loop/bad.py", "run.__setattr__(name, 1)", 2, "run.__setattr__(name, 1)"),
        ("loop/bad.py", "vars(run)['state'] = 1", 2, "vars(run)['state']"),
        ("loop/bad.py", "vars(run).update(state=1)", 2, "vars(run).update(state=1)"),
        ("loop/bad.py", "run.__dict__.update(state=1)", 2, "run.__dict__.update(state=1)"),
    ],
    large_classes: [
        ("loop/bad.py", "class A:" + "\n    x = 1" * LINES_OF_A_CLASS, 2, f"class A has {LINES_OF_A_CLASS + 1} lines"),
    ],
    too_much_any: [
        ("loop/bad.py", "def f(a: Any, b: Any): ...", 2, "f: a: Any"),
        ("loop/bad.py", "def f(*a: Any, **b: Any): ...", 2, "f: a: Any"),
        ("loop/bad.py", "def f(*a: Any, **b: Any): ...", 2, "f: b: Any"),
        ("loop/bad.py", "def f(*, a: 'Any') -> Any: ...", 2, "f: a: Any"),
        ("loop/bad.py", "def f(a: Any) -> typing.Any: ...", 2, "f: return: typing.Any"),
    ],
    too_many_flags: [
        ("loop/bad.py", "\n".join(f"self.x{n} = True" for n in range(FLAGS + 1)), 2, "self.x0 = True"),
        ("loop/bad.py", "\n".join(f"a.x{n}: bool = False" for n in range(FLAGS + 1)), 2, "a.x0: bool = False"),
    ],
    loop_without_reasons: [
        ("loop/bad.py", "x = 1\n" * 60 + "# noqa: F401\n# --- y ---", 1, "0 lines with a comment, 60 of code"),
    ],
}


@pytest.mark.parametrize(
    ("check", "file", "text", "line", "message"), [(check, *bad) for check, every in BAD.items() for bad in every]
)
def test_check_finds_the_fault(check: Check, file: str, text: str, line: int, message: str, tmp_path: Path) -> None:
    faults = check(package_of({"runs/bad.py": QUESTION, file: QUESTION + text}, tmp_path))
    found = [fault.line for fault in faults if fault.file == f"lightning_adapter/{file}" and message in fault.what]
    assert found[:1] == [line], faults


@pytest.mark.parametrize("docstring", ["", '"""The step."""', '"""The step. What is it?"""', '"""What is\na step?"""'])
def test_file_without_a_question_is_found(docstring: str, tmp_path: Path) -> None:
    faults = without_a_question(package_of({"loop/step.py": docstring}, tmp_path))
    assert [fault.file for fault in faults] == ["lightning_adapter/loop/step.py"]


@pytest.mark.parametrize("check", [*BAD, without_a_question])
def test_check_lets_good_code_pass(check: Check, tmp_path: Path) -> None:
    faults = check(package_of({}, tmp_path))
    assert_none(faults, "Nothing is wrong with these:")
