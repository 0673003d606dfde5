"""Where does a person look while a run trains: at a terminal, at a notebook, at a file that what is printed goes to?"""

from __future__ import annotations

import enum
import os
import sys


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
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return Place.TERMINAL
    return Place.LINES


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
