"""What is a user told who monitors a name that nobody logs?"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from traceback import walk_tb
from typing import Any

from lightning_adapter.errors import MonitorError
from lightning_adapter.versions.hosts import Host


def advice(monitor: str, logged: Iterable[str]) -> str:
    """What to write in place of a name that is not there, with a guess at the meant one."""
    names = list(logged)
    if not names:
        return f"Nothing is logged yet. Write self.log({monitor!r}, value) in a step that runs before it is looked for."
    # a name is logged under a longer one by step and epoch, and by loader
    longer = [name for name in names if name.startswith((f"{monitor}_", f"{monitor}/"))]
    near = longer or difflib.get_close_matches(monitor, names, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Write self.log({monitor!r}, value) in the module, or monitor one of those that are logged."


def explained(host: Host, owner: Any, error: Exception, logged: Callable[[], Iterable[str]]) -> Exception | None:
    """The error of one of Lightning's callbacks that misses its metric, with what to write, and of a type of ours too.

    Args:
        host: the Lightning package.
        owner: whose hook it is that has raised it.
        error: as it was raised.
        logged: the names that callbacks can monitor, asked for where this is about one.

    Returns:
        An exception of the same type, or None where the error is about something else.
    """
    if not isinstance(owner, host.pl.Callback) or not isinstance(getattr(owner, "monitor", None), str):
        return None
    raised_in = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    if not raised_in[-1].startswith(f"{host.package}.callbacks."):
        return None
    # last: values are computed for it, which costs, and may fail after an error of another kind
    monitor, names = owner.monitor, list(logged())
    if monitor in names:
        return None
    message = f"{error}\n{advice(monitor, names)}"
    if isinstance(error, host.load("utilities.exceptions").MisconfigurationException):
        return host.misconfiguration(message)
    return MonitorError(message) if type(error) is RuntimeError else None
