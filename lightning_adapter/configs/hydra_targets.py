"""Which class or function does a `_target_` name, and do the arguments that stand beside it fit?"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any

from lightning_adapter.errors import guess, shown

#: Keys of Hydra's own beside a target, `_Keys` in its instantiate.
SPECIAL = ("_target_", "_convert_", "_recursive_", "_args_", "_partial_")
#: Arguments that the code which trains gives to what it gets as a partial.
_GIVEN_LATER = {"params", "optimizer"}


class UnknownTarget(Exception):
    """A target cannot be found; the message says why."""


def located(path: object) -> Any:
    """Return what a `_target_` names, as `_locate` of Hydra finds it: an attribute goes before a module of the name.

    Raises:
        UnknownTarget: there is no such thing. What a module of the user's raises while it is imported is raised.
    """
    if not isinstance(path, str) or not all(path.split(".")):
        raise UnknownTarget(f"is {shown(path)}, and a target is written as package.module.Class")
    first, *parts = path.split(".")
    try:
        found: Any = importlib.import_module(first)
    except ModuleNotFoundError as error:
        raise UnknownTarget(f"is {path!r}, and {_not_imported(first, error)}") from error
    name = first
    for part in parts:
        try:
            found = getattr(found, part)
        except AttributeError:
            if not isinstance(found, ModuleType):
                raise UnknownTarget(f"is {path!r}, and {name} has no {part!r}{guess(part, dir(found))}") from None
            try:
                found = importlib.import_module(f"{name}.{part}")
            except ModuleNotFoundError as error:
                if error.name != f"{name}.{part}":
                    raise UnknownTarget(f"is {path!r}, and {_not_imported(f'{name}.{part}', error)}") from error
                raise UnknownTarget(f"is {path!r}, and {name} has no {part!r}{guess(part, dir(found))}") from None
        name = f"{name}.{part}"
    if not callable(found):
        raise UnknownTarget(f"is {path!r}, which is of type {type(found).__name__}; name a class or a function")
    return found


def _not_imported(module: str, error: ModuleNotFoundError) -> str:
    if error.name != module:
        return f"importing {module} fails: it imports {error.name!r}, which is not installed and not on the path"
    below = "; it lies below src/: set PYTHONPATH=src" if Path("src", module).exists() else ""
    return f"there is no module {module!r}, neither installed nor in the current directory or on PYTHONPATH{below}"


def argument_faults(
    place: str, what: str, target: Any, positional: int, names: Collection[str], partial: bool
) -> list[str]:
    """Return what a call with these arguments would refuse, as far as a signature tells, with the places.

    Args:
        place: of the node whose entries are the arguments.
        what: the target, as messages name it.
        target: what is called.
        positional: the number of positional arguments.
        names: of the others.
        partial: whether more arguments come later.
    """
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # some of C's functions have none
        return []
    kinds = {parameter.kind for parameter in parameters}
    in_order = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    filled = {p.name for p in in_order[:positional]}
    faults = []
    if positional > len(in_order) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        faults.append(
            f"{place}: {what} takes at most {len(in_order)} positional arguments, and `_args_` has {positional}"
        )
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        unknown = [name for name in names if name not in named]
        faults += [f"{place}.{name}: {what} has no argument {name!r}{guess(name, named)}" for name in unknown]
    twice = [name for name in names if name in filled & named]
    faults += [f"{place}.{name}: {what} gets {name!r} twice, by `_args_` too" for name in twice]
    if not partial:
        needed = [
            p.name
            for p in parameters
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in filled
        ]
        missing = [name for name in needed if name not in names or name not in named]
        if missing:
            later = "; write `_partial_: true` beside it" if _GIVEN_LATER.issuperset(missing) else ""
            faults.append(f"{place}: {what} needs {', '.join(map(repr, missing))}, which nothing gives{later}")
    return faults
