"""In which hook of whom was an exception raised? Kept on the exception until whoever knows the position notes both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lightning_adapter.versions.wrappers import underlying

_KEPT = "_lightning_adapter_hook"


class RaisedIn(NamedTuple):
    """A hook that has raised an exception.

    Attributes:
        hook: its name.
        owner: the class of whose instance it is; nothing for a bare function.
        file: in which it is written; nothing where that is not known.
        line: the first one of it there.
    """

    hook: str
    owner: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.hook} of {self.owner}" if self.owner else self.hook


def keep_hook(error: Exception, hook: str, function: Callable[..., Any]) -> None:
    """Keep on an exception in which hook it was raised; the innermost hook has the word.

    Args:
        error: the exception.
        hook: its name.
        function: what was called; the object that it is a method of owns it.
    """
    if _KEPT not in vars(error):
        owner = getattr(function, "__self__", None)
        if type(owner).__module__.startswith("lightning_adapter."):  # what stands around the hook
            owner = None
        code = getattr(underlying(function), "__code__", None)
        file, line = ("", 0) if code is None else (code.co_filename, code.co_firstlineno)
        # plain values: an exception may be pickled, and is to keep nobody alive
        vars(error)[_KEPT] = RaisedIn(hook, "" if owner is None else type(owner).__name__, file, line)


def take_hook(error: BaseException) -> RaisedIn | None:
    """What was kept on an exception, which forgets it; None where it was raised in no hook."""
    kept: RaisedIn | None = vars(error).pop(_KEPT, None)
    return kept
