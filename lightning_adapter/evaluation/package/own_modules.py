"""Which modules are a project's own: neither Python's nor installed?"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

#: What Python's `site` imports at its start, wherever it lies: on Debian below /etc.
_OF_MACHINE = ("sitecustomize", "usercustomize")


def own_modules(first: ModuleType) -> Iterator[ModuleType]:
    """The module itself, and the imported ones that are neither Python's nor installed."""
    of_project = _of_project()
    yield first
    for name, module in list(sys.modules.items()):
        if module is not first and of_project(name, getattr(module, "__file__", None)):
            yield module


def is_own(module: ModuleType) -> bool:
    """Whether a module is the project's."""
    return _of_project()(module.__name__, getattr(module, "__file__", None))


def needed_of_project(names: set[str]) -> set[str]:
    """The modules of a project that some of its modules need, those that functions of theirs import among them.

    Args:
        names: of imported modules.

    Returns:
        Their names, the given ones among them; modules that only exist, and are not imported, are found too.
    """
    of_project = _of_project()
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        file = _file_of(name)
        if name in found or not (name in names or of_project(name, file)):
            continue
        found.add(name)
        # a folder without an `__init__.py` has no file, and what is in it may be the project's
        waiting += [parent for parent in parents(name) if of_project(parent, _file_of(parent))]
        if file is not None and file.endswith(".py"):
            waiting += _imported_by(name, pathlib.Path(file))
    return found


@functools.cache
def _of_project() -> Callable[[str, str | None], bool]:
    paths = sysconfig.get_paths()
    foreign = {os.path.realpath(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed = {name for name, found in importlib.metadata.packages_distributions().items() if not _is_editable(found)}
    others = installed | {__name__.partition(".")[0], *_OF_MACHINE}

    def of_project(name: str, file: str | None) -> bool:
        # torch makes modules whose file is a name alone
        if not file or not os.path.isabs(file) or name.partition(".")[0] in others:
            return False
        place = os.path.realpath(file)
        return not any(place.startswith(folder + os.sep) for folder in foreign)

    return of_project


def _is_editable(distributions: list[str]) -> bool:
    """Whether a package is run from somebody's checkout, by one of its distributions."""
    urls = [importlib.metadata.distribution(name).read_text("direct_url.json") for name in distributions]
    return any(url is not None and json.loads(url).get("dir_info", {}).get("editable") for url in urls)


def _file_of(name: str) -> str | None:
    module = sys.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None)
    spec = spec_of(name)
    return spec.origin if spec is not None and spec.has_location else None


def spec_of(name: str) -> ModuleSpec | None:
    """Where a module lies, none of whose packages is imported for it: a script among them would run."""
    first, *below = name.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):  # of what was put among Python's modules by hand
        return None
    for depth in range(1, len(below) + 1):
        if spec is None or spec.submodule_search_locations is None:
            return None
        whole = ".".join([first, *below[:depth]])
        spec = PathFinder.find_spec(whole, list(spec.submodule_search_locations))
    return spec


def parents(name: str) -> Iterator[str]:
    """The packages that a module lies in."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def asks_where_it_lies(name: str) -> bool:
    """Whether a module of the project uses `__file__`, and so may read what lies beside it."""
    file = _file_of(name)
    tree = None if file is None else _tree(pathlib.Path(file))
    return tree is not None and any(isinstance(node, ast.Name) and node.id == "__file__" for node in ast.walk(tree))


def _tree(file: pathlib.Path) -> ast.AST | None:
    """A source; None where it cannot be read, and so cannot be imported either."""
    try:
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _imported_by(name: str, file: pathlib.Path) -> Iterator[str]:
    """Names of what a file may import, at its top or in a function."""
    tree = _tree(file)
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in () if tree is None else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            if source:
                yield source
                yield from (f"{source}.{alias.name}" for alias in node.names)
