"""Where does a person look while a run trains: at a terminal, at a notebook, at a file that what is printed goes to?"""

from __future__ import annotations

import enum
import logging
import os
import stat
import sys
from typing import Any


class Place(enum.Enum):
    """Where what is printed on stderr can be read."""

    TERMINAL = enum.auto()
    NOTEBOOK = enum.auto()
    LINES = enum.auto()
    """A file, a pipe, the log of a cluster's task, a terminal that cannot go back in its line."""


#: `extra=` of a log record that a person sees wherever the run's log is shown at all, also beside a bar.
ALWAYS = {"console": "always"}
#: `extra=` of one that goes to the run's file alone.
FILE_ONLY = {"console": "never"}


def place() -> Place:
    """Where this process prints to."""
    if _in_notebook():
        return Place.NOTEBOOK
    # what it prints is shown beneath a cell, which knows no way back to the line above
    if _started_by_kernel():
        return Place.LINES
    if is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb":
        return Place.TERMINAL
    return Place.LINES


def is_terminal(stream: Any) -> bool:
    """Whether a stream writes to a terminal; one that is closed does not, nor one of the user's own that cannot say it."""
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False


def _in_notebook() -> bool:
    """Whether this is a kernel, whose output knows HTML; whoever runs one has imported IPython."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    kernel = getattr(shell, "kernel", None)
    # a process that the kernel has forked sends none of its messages
    return kernel is not None and os.getpid() == getattr(getattr(kernel, "session", None), "pid", os.getpid())


def _started_by_kernel() -> bool:
    """Whether a cell has started this process, as `!command` does, at a terminal that only its kernel reads.

    The environment is what `ZMQInteractiveShell.init_environment` leaves to it.
    """
    return os.environ.get("TERM") == "xterm-color" and os.environ.get("GIT_PAGER") == "cat"


class Console(logging.Handler):
    """Shows on stderr what runs say, unless a handler of the user's own shows it on a console.

    At a terminal and in a notebook, where bars show how far a run is, that is warnings and what is marked to be seen always.
    Lines have the time where stderr is a file, as under `nohup`; whoever else collects them, as a cluster does, adds its own.

    Args:
        is_quiet: whether it is so elsewhere too.

    Attributes:
        shows_all: whether it shows each line.
    """

    def __init__(self, is_quiet: bool = False) -> None:
        super().__init__()
        self.shows_all = place() is Place.LINES and not is_quiet
        if _is_file(sys.stderr):
            self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`."""
        wanted = getattr(record, "console", None)
        is_seen = wanted == "always" or record.levelno >= (logging.INFO if self.shows_all else logging.WARNING)
        # a run within a run, or beside one, has a console too
        if not is_seen or wanted == "never" or hasattr(record, "shown_by") or _is_shown(record):
            return
        record.shown_by = id(self)  # records are sent to other processes, and kept
        try:
            # what stderr is at the moment: while a table is drawn, what goes above it
            sys.stderr.write(f"{self.format(record)}\n")
            sys.stderr.flush()
        except Exception:
            if not getattr(sys.stderr, "closed", False):  # otherwise nobody can be told, and the run goes on
                self.handleError(record)


def _is_file(stream: Any) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):  # a notebook's, a test's, or none
        return False


def _is_shown(record: logging.LogRecord) -> bool:
    """Whether another handler on the way of a record prints it on a console."""
    heard = logging.getLogger(record.name)
    if record.levelno < heard.getEffectiveLevel():
        # it comes from a run's own logger, straight to here
        return False
    log: logging.Logger | None = heard
    while log is not None:
        if any(prints(handler) and record.levelno >= handler.level for handler in log.handlers):
            return True
        log = log.parent if log.propagate else None
    return False


def prints(handler: logging.Handler) -> bool:
    """Whether a handler of the user's own writes on a console."""
    if isinstance(handler, Console):
        return False
    writes: Any = getattr(handler, "python_handler", handler)  # absl's passes on
    stream = getattr(writes, "stream", None) or getattr(getattr(writes, "console", None), "file", None)  # rich's
    if stream is None:
        return False
    shown = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return any(stream is each for each in shown) or _number(stream) in {1, 2, *map(_number, shown)} - {None}


def _number(stream: Any) -> int | None:
    """Of the file that a stream writes; that of a notebook has one of its own, that of a test none."""
    try:
        found: int = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return found
