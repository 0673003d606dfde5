"""How is a user warned, and which line of theirs does a warning show?

The line is the user's own: the innermost one outside of this package and its hosts. Where there is none, since the command
was typed, a warning names no line at all; one of ours would lead nowhere.
"""

from __future__ import annotations

import sys
import warnings
from types import FrameType
from typing import Any

#: In the place of a file's name, where no line is the user's.
NOWHERE = "lightning_adapter"

#: Packages whose lines are not the user's. Those of the standard library stand between theirs and ours.
_NOT_THE_USERS = (
    *("lightning_adapter", "pytorch_lightning", "lightning", "lightning_fabric", "lightning_utilities", "determined"),
    *("torch", "torchmetrics", "contextlib", "functools", "importlib", "dataclasses", "threading"),
)
#: Models that Lightning ships to be trained and subclassed, BoringModel for one; they are written as a user's are.
DEMO_PACKAGES = ("lightning.pytorch.demos", "pytorch_lightning.demos")
#: Above it nothing is the user's: the console script, or the interpreter's own way to run a module.
_COMMAND = "lightning_adapter.cli"

_told: dict[Any, int] = {}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, and name the user's line; of several processes the chief alone does, as under Lightning."""
    # takes as long as all else that `--help` imports
    from lightning_utilities.core.rank_zero import rank_zero_only

    if getattr(rank_zero_only, "rank", None):
        return
    frame = _users_frame()
    if frame is None:
        warnings.warn_explicit(message, category, NOWHERE, 1, registry=_told)
        return
    names = frame.f_globals
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=names.get("__name__"),
        registry=names.setdefault("__warningregistry__", {}),
    )


def _users_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name == _COMMAND:
            return None
        if name.partition(".")[0] not in _NOT_THE_USERS or name.startswith(DEMO_PACKAGES):
            return frame
        frame = frame.f_back
    return None
