"""Which lines of a trial's log say that no restart can help?

Determined starts a failed trial again up to `max_restarts` times. A policy of its own compares each line of the log with a
pattern (a regular expression of Go's) and leaves out the restarts where one matched and the trial failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_adapter import errors
from lightning_adapter.submission import in_container

#: Shown beside the trial in Determined's web interface.
_NAME = "lightning-adapter: no restart can mend this"

#: What people's own code raises where it calls `fit()` itself; the command prints `in_container.ERROR` instead.
_ERRORS = (errors.ConfigurationError, errors.MonitorError, errors.UnsupportedError, errors.CheckpointError)
#: At the beginning of a line: the end of a traceback, or the interpreter's word. A message may quote one elsewhere.
_BEGINNINGS = (
    rf"lightning_adapter\.errors\.({'|'.join(error.__name__ for error in _ERRORS)}): ",
    r"(ModuleNotFoundError|ImportError|SyntaxError|IndentationError): ",
    r"\S*python[0-9.]*: No module named ",
)
#: Determined's launchers put the rank before a line.
PATTERN = rf"{in_container.ERROR} |^(\[rank=[0-9]+\] )?({'|'.join(_BEGINNINGS)})"


def with_policy(policies: Sequence[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    """Return the policies of an experiment and ours; a name must not occur twice."""
    kept = list(policies or [])
    if any(policy.get("name") == _NAME for policy in kept):
        return kept
    return [*kept, {"name": _NAME, "pattern": PATTERN, "action": "cancel_retries"}]
