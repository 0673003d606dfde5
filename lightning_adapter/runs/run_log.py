"""How does what is logged reach a run's train.log, or the log of a cluster's task, without changing a user's logging?"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import ClassVar

_LOGGED = ("lightning_adapter", "determined")
#: Guards what runs in several threads, as those of a study with `n_jobs`, have in common.
_lock = threading.Lock()
#: For how many a logger is at INFO, by its name.
_told: Counter[str] = Counter()


@contextlib.contextmanager
def attach_log(path: pathlib.Path, head: str = "") -> Iterator[pathlib.Path]:
    """Copy what this package and Determined log to a file, until the block ends.

    Both log at INFO meanwhile where nobody has configured logging; a user's own levels are left alone. A file that the
    root logger writes, as Hydra has it do, hears them anyway.

    Args:
        path: the file; what is in it stays.
        head: what comes first, whatever the levels are.
    """
    handler = _RunLogHandler(path)
    handler.begin(head)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    try:
        with attached(handler, () if _is_written_by_root(path) else _LOGGED, told_all=not logging.getLogger().handlers):
            yield path
    finally:
        handler.end()


def _is_written_by_root(path: pathlib.Path) -> bool:
    files = [each.baseFilename for each in logging.getLogger().handlers if isinstance(each, logging.FileHandler)]
    return os.path.abspath(path) in files


@contextlib.contextmanager
def shown_in_task_log() -> Iterator[None]:
    """Let what this package logs be seen on a cluster, where nothing else tells a person of a trial's course.

    A level that somebody has given the package's own logger is left alone. That of the root logger says nothing of what
    is wanted here: it is WARNING by default, also where a library has given it a handler.
    """
    log = logging.getLogger(_LOGGED[0])
    handler = logging.NullHandler() if log.hasHandlers() else logging.StreamHandler()
    with attached(handler, (log.name,), told_all=True):
        yield


@contextlib.contextmanager
def attached(handler: logging.Handler, names: Sequence[str], told_all: bool) -> Iterator[None]:
    """Let a handler hear some loggers until the block ends, at INFO where they have no level and `told_all` is set."""
    loggers = [logging.getLogger(name) for name in names]
    with _lock:
        raised = [log for log in loggers if told_all and (log.level == logging.NOTSET or _told[log.name])]
        for log in raised:
            _told[log.name] += 1
            log.setLevel(logging.INFO)
        for log in loggers:
            log.addHandler(handler)
    try:
        yield
    finally:
        with _lock:
            for log in loggers:
                log.removeHandler(handler)
            for log in raised:
                _told[log.name] -= 1
                if not _told[log.name]:
                    log.setLevel(logging.NOTSET)


class _RunLogHandler(logging.FileHandler):
    """Writes a file, and keeps warnings on stderr where only runs listen. What the thread of another run logs is not for it.

    `logging` prints warnings by itself only while a logger has no handler at all, as `Logger.callHandlers` does with
    `lastResort`; attaching a file would silence them.

    Attributes:
        open: all that write now; replaced as a whole, so that who logs needs no lock, not in a forked process either.
    """

    open: ClassVar[tuple[_RunLogHandler, ...]] = ()

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self._failed: BaseException | None = None
        self._thread = threading.get_ident()
        with _lock:
            _RunLogHandler.open = (*_RunLogHandler.open, self)

    def _hears(self, record: logging.LogRecord) -> bool:
        """Whether a record is of this run, whose helper threads log too, and not of another one."""
        return record.thread == self._thread or all(record.thread != each._thread for each in self.open)

    def begin(self, head: str) -> None:
        """Write what is no message."""
        if head and self.stream is not None:
            try:
                self.stream.write(f"\n{head}\n\n" if self.stream.tell() else f"{head}\n\n")
                self.flush()
            except OSError:
                self.handleError(logging.makeLogRecord({}))

    def emit(self, record: logging.LogRecord) -> None:
        heard_by = [each for each in self.open if each._hears(record)]
        if self not in heard_by:
            return
        super().emit(record)
        if (
            logging.lastResort is not None
            and record.levelno >= logging.lastResort.level
            and self is heard_by[-1]
            and self._is_alone(record.name)
        ):
            logging.lastResort.handle(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the log lacks lines, in place of a traceback for each: a full disk is the run's to report."""
        error = sys.exc_info()[1]
        if self._failed is None:
            self._failed = error
            sys.stderr.write(f"lightning_adapter: {self.baseFilename} lacks lines: {type(error).__name__}: {error}\n")

    def end(self) -> None:
        """Close the file; lines that the disk has no room for hide no error of the run."""
        with _lock:
            _RunLogHandler.open = tuple(each for each in self.open if each is not self)
        try:
            self.close()
        except OSError:
            self.handleError(logging.makeLogRecord({}))

    def _is_alone(self, name: str) -> bool:
        log: logging.Logger | None = logging.getLogger(name)
        while log is not None:
            if not all(isinstance(handler, _RunLogHandler) for handler in log.handlers):
                return False
            log = log.parent if log.propagate else None
        return True
