"""What of a run's log does somebody see who has typed a command?"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator


class _Stderr:
    """What stderr is at the moment: while a table is drawn, what goes above it."""

    def write(self, text: str) -> None:
        """Called by `logging.StreamHandler`."""
        sys.stderr.write(text)

    def flush(self) -> None:
        """Called by `logging.StreamHandler`."""
        sys.stderr.flush()


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Show what the package logs on stderr, in plain lines, unless the user's own code says how logs are shown.

    On a terminal the progress bar shows the course of a run, so that warnings are enough.
    """
    from lightning_adapter.runs.run_log import attached

    log = logging.getLogger("lightning_adapter")
    if logging.getLogger().handlers or log.handlers:
        yield
        return
    handler = logging.StreamHandler(_Stderr())
    handler.setLevel(logging.WARNING if sys.stdout.isatty() else logging.INFO)
    with attached(handler, (log.name,), (log.name,), told_all=True):
        yield
