"""What does the code of a trial say: which hyperparameters it reads by name, and how long it trains?"""

from __future__ import annotations

import ast
import inspect
import textwrap

_READS = ("get_hparam", "get_hparams")
#: Arguments of the adapter that say how long to train, as the Trainer's.
_LENGTHS = ("max_epochs", "max_steps", "max_time", "fast_dev_run")


def names_read(trial_class: type) -> dict[str, int]:
    """Return the names that are written in `get_hparam("name")` or `get_hparams()["name"]`, each with its line in the file.

    Those that other code reads, or that are not written as text, are not among them.
    """
    found: dict[str, int] = {}
    for node, line in _nodes(trial_class):
        name = _name(node)
        if name is not None:
            found.setdefault(name, line)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def length_given(trial_class: type) -> str | None:
    """Return the argument by which a constructor says how long to train, as it is written; None where none is seen.

    What stands in a dict that is unpacked there is not seen.
    """
    for cls in trial_class.__mro__:
        if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
            return None  # the adapter's own constructor, which is what is given it
        for node, line in _nodes(cls):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "__init__":
                said = [each for each in node.keywords if each.arg in _LENGTHS and not _is_nothing(each.value)]
                if said:
                    return (
                        f"{said[0].arg}={ast.unparse(said[0].value)} in line {line} of {cls.__module__}.{cls.__name__}"
                    )
    return None


def _nodes(cls: type) -> list[tuple[ast.AST, int]]:
    """The code of a class, with lines of its file; nothing where there is no file, as of a class that was typed at a prompt."""
    try:
        lines, first = inspect.getsourcelines(cls)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError, TypeError):
        return []
    return [(node, first - 1 + getattr(node, "lineno", 1)) for node in ast.walk(tree)]


def _is_nothing(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value in (None, False)


def reads_batch_size(trial_class: type) -> bool:
    """Tell whether the code asks for its share of `global_batch_size`."""
    try:
        return "batch_size(" in inspect.getsource(trial_class)
    except (OSError, TypeError):
        return False


def _name(node: ast.AST) -> str | None:
    """The text in `context.get_hparam("x")`, or in `context.get_hparams()["x"]`."""
    if isinstance(node, ast.Call) and _called(node) == "get_hparam" and node.args:
        return _text(node.args[0])
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call) and _called(node.value) == "get_hparams":
        return _text(node.slice)
    return None


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) and node.func.attr in _READS else ""


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
