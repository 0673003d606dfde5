"""Which of the two Lightnings does the code import, and does the trial derive from the same one?

Files are read as Python, and not run.
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

#: Top packages -> the extra of this package that brings them.
_EXTRAS = {"lightning": "lightning", "pytorch_lightning": "pytorch-lightning"}
_PACKAGES = {extra: package for package, extra in _EXTRAS.items()}
#: Of this package: where the classes of either Lightning are imported from.
_FACES = {"lightning": "lightning_adapter.lightning", "pytorch-lightning": "lightning_adapter"}
_OWN = "lightning_adapter"
#: What `lightning_adapter` itself gives of pytorch_lightning; the rest of it is of either.
_CLASSES = ("DETDM", "DETLM")
_LONGEST = 1_000_000


@dataclass(frozen=True)
class Import:
    """A line that imports a Lightning, or this package.

    Attributes:
        path: of the file.
        line: its number.
        extra: which Lightning, as the extra of this package is named; "" for what is of either.
        classes: imported of this package, as they are written; None for an import of Lightning itself.
    """

    path: pathlib.Path
    line: int
    extra: str
    classes: tuple[str, ...] | None = None


def imports_of(files: Iterable[pathlib.Path]) -> list[Import]:
    """Return the lines of Python files that import a Lightning or this package."""
    return [found for path in files for found in _imports(path)]


def extras_of(imports: Iterable[Import], lightning: str) -> tuple[str, ...]:
    """Return each Lightning that a container needs, as the extras of this package are named.

    Args:
        imports: of the project's files.
        lightning: which one the trial derives from; "" where that is not known.
    """
    imports = list(imports)
    found = {each.extra for each in imports} | {lightning}
    found.discard("")
    return tuple(sorted(found)) or (("pytorch-lightning",) if imports else ())


def mixture(imports: Sequence[Import], root: pathlib.Path) -> str | None:
    """Say that the classes of this package are imported for one Lightning, while all else is the other's.

    Args:
        imports: of the files that the trial imports.
        root: what their paths are shown from.
    """
    theirs = [each for each in imports if each.classes is None]
    extras = {each.extra for each in theirs}
    wrong = next((each for each in imports if each.classes and each.extra not in extras | {""}), None)
    if wrong is None or not theirs:
        return None
    other = theirs[0]
    return (
        f"{_place(wrong, root)} imports the classes for {_PACKAGES[wrong.extra]}, and {_place(other, root)} imports "
        f"{_PACKAGES[other.extra]}, whose classes are other ones. Write: from {_FACES[other.extra]} import "
        f"{', '.join(wrong.classes or ())}"
    )


def _place(found: Import, root: pathlib.Path) -> str:
    path = found.path.relative_to(root) if found.path.is_relative_to(root) else found.path
    return f"{path}, line {found.line},"


def _imports(path: pathlib.Path) -> Iterator[Import]:
    if path.stat().st_size > _LONGEST:
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # no Python could import it
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _whole(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from _parts(path, node)


def _whole(path: pathlib.Path, line: int, module: str) -> Iterator[Import]:
    top, _, rest = module.partition(".")
    if top in _EXTRAS:
        yield Import(path, line, _EXTRAS[top])
    elif top == _OWN:
        # `import lightning_adapter`: what is taken of it is most likely a base class
        yield Import(path, line, _EXTRAS.get(rest or "pytorch_lightning", ""), ("DETLM",))


def _parts(path: pathlib.Path, node: ast.ImportFrom) -> Iterator[Import]:
    module = node.module or ""
    top, _, rest = module.partition(".")
    if top in _EXTRAS:
        yield Import(path, node.lineno, _EXTRAS[top])
    elif top == _OWN:
        faces = [alias.name for alias in node.names if not rest and alias.name in _EXTRAS]
        for face in faces:
            yield Import(path, node.lineno, _EXTRAS[face], ("DETLM",))
        written = tuple(
            alias.name + (f" as {alias.asname}" if alias.asname else "")
            for alias in node.names
            if alias.name in (*_CLASSES, "*")
        )
        if not faces:
            # the module of a face imports its Lightning, whatever is taken of it
            package = rest or ("pytorch_lightning" if written else "")
            yield Import(path, node.lineno, _EXTRAS.get(package, ""), written)
