"""How does all that a run says reach its train.log, without changing a user's logging, and no other run's?

Three ways lead there: the run's own logger; records of other loggers that the thread of the run logs; and what is printed, which
`printed` brings. Of a run within a run, and of runs in several threads, each hears its own alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import sys
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Any, ClassVar

from lightning_adapter.runs import printed
from lightning_adapter.runs.console import FILE_ONLY, Console, prints

PACKAGE = "lightning_adapter"
_LOGGED = (PACKAGE, "determined")
#: Guards what runs in several threads, as those of a study with `n_jobs`, have in common.
_lock = threading.Lock()
#: For how many a logger is at INFO, by its name.
_told: Counter[str] = Counter()
#: Threads that work for a run, and the one that it runs in.
_works_for: dict[int, int] = {}


class RunLogger(logging.Logger):
    """The logger of one run: it writes to the run's file, and passes on to whoever listens to the package's.

    It is in no registry, so that it goes with its run. A level that somebody has given it, or the package's logger, is
    followed; others, as the root logger's WARNING that nobody has chosen, are for those who listen further up.

    Args:
        file: of the run; None where it has none.
    """

    def __init__(self, file: RunFile | None = None) -> None:
        super().__init__(PACKAGE)
        self.parent = logging.getLogger(PACKAGE)
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        """What a process of a loader gets is no run's."""
        return logging.getLogger, (PACKAGE,)

    def __deepcopy__(self, memo: object) -> RunLogger:
        return self

    def isEnabledFor(self, level: int) -> bool:
        """Asked anew each time: `Logger` would keep the answer, and forgets it only for those in its registry."""
        package = logging.getLogger(PACKAGE)
        return self.manager.disable < level and level >= (self.level or package.level or logging.INFO)

    def callHandlers(self, record: logging.LogRecord) -> None:
        """To the file, to handlers of this very logger, and on."""
        if self._file is not None:
            self._file.of_run(record)
        for handler in self.handlers:
            if record.levelno >= handler.level:
                handler.handle(record)
                if prints(handler):
                    record.shown_by = id(handler)
        package = self.parent
        if not self.propagate or package is None or getattr(record, "console", None) == "never":
            return
        record.of_run = id(self)  # who writes a run's file has it already
        if record.levelno >= package.getEffectiveLevel():
            package.callHandlers(record)
            return
        # who listens to the root logger does not want to hear it; a person who looks at the run does
        for handler in package.handlers:
            if isinstance(handler, Console) and record.levelno >= handler.level:
                handler.handle(record)


@contextlib.contextmanager
def attach_log(path: pathlib.Path, head: str = "") -> Iterator[RunLogger]:
    """Write what a run says to a file, until the block ends.

    Package and Determined log at INFO meanwhile where nobody has configured logging; a user's own levels are left alone.

    Args:
        path: the file; what is in it stays.
        head: what comes first, whatever the levels are.

    Yields:
        The run's own logger.
    """
    root = logging.getLogger()
    file = RunFile(path)
    file.begin(head)
    # who configures logging later finds the root logger as it was: `basicConfig` does nothing where there is a handler
    names = {*_LOGGED, *_with_own_handlers(), *([""] if root.handlers else [])}
    try:
        with attached(file, names, _LOGGED, told_all=not root.handlers), printed.copied(file):
            yield RunLogger(file)
    finally:
        file.end()


@contextlib.contextmanager
def working_for(thread: int) -> Iterator[None]:
    """Let the run of another thread hear what this one says, until the block ends.

    Args:
        thread: that the run is in, by `threading.get_ident`.
    """
    mine = threading.get_ident()
    _works_for[mine] = thread
    try:
        yield
    finally:
        del _works_for[mine]


def _with_own_handlers() -> Iterator[str]:
    """Loggers that somebody has given handlers, or cut off from those further up, as Lightning does with its own."""
    yield "py.warnings"  # of `captureWarnings`, which keeps warnings to itself where nobody listens
    for name, log in list(logging.root.manager.loggerDict.items()):
        if isinstance(log, logging.Logger) and (log.handlers or not log.propagate):
            yield name


@contextlib.contextmanager
def shown_on_console(is_quiet: bool = False) -> Iterator[None]:
    """Let a person see what runs say, until the block ends: by their own logging where that shows it, else on stderr.

    A level that somebody has given the package's own logger is left alone. That of the root logger says nothing of what
    is wanted in a file or in a task's log: it is WARNING by default, also where a library has given it a handler.

    Args:
        is_quiet: whether only warnings are shown, and what is to be seen always.
    """
    log = logging.getLogger(PACKAGE)
    console = Console(is_quiet)
    with attached(console, (log.name,), (log.name,), told_all=console.shows_all or not logging.getLogger().handlers):
        yield


@contextlib.contextmanager
def attached(
    handler: logging.Handler, names: Collection[str], raised_names: Collection[str], told_all: bool
) -> Iterator[None]:
    """Let a handler hear some loggers until the block ends.

    Args:
        handler: hears them.
        names: of the loggers.
        raised_names: of those that are at INFO meanwhile where they have no level of their own.
        told_all: whether any are.
    """
    loggers = [logging.getLogger(name) for name in names]
    with _lock:
        raised = [
            log
            for log in map(logging.getLogger, raised_names)
            if told_all and (log.level == logging.NOTSET or _told[log.name])
        ]
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


class RunFile(logging.FileHandler):
    """Writes a run's file, and keeps warnings on stderr where only runs listen.

    `logging` prints warnings by itself only while a logger has no handler at all, as `Logger.callHandlers` does with
    `lastResort`; attaching a file would silence them.

    Args:
        path: the file.

    Attributes:
        open: all that are written now; replaced as a whole, so that who logs needs no lock, not in a forked process either.
    """

    open: ClassVar[tuple[RunFile, ...]] = ()

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S"))
        self._failed: BaseException | None = None
        self._thread = threading.get_ident()
        # Hydra has the root logger write a file of the job's name into the job's directory
        files = [each.baseFilename for each in logging.getLogger().handlers if isinstance(each, logging.FileHandler)]
        self._is_roots = os.path.abspath(path) in files
        with _lock:
            if not self.open and logging.lastResort is not None:
                logging.lastResort = _LastResort(logging.lastResort)
            RunFile.open = (*self.open, self)

    # --- what is of this run ------------------------------------------------------------------------------------------

    def is_of_this_thread(self) -> bool:
        """Whether what this thread says is of this run: it runs in it, or in the only other one that has any."""
        thread, found = threading.get_ident(), self.open
        thread = _works_for.get(thread, thread)
        threads = {each._thread for each in found}
        mine = thread if thread in threads else next(iter(threads)) if len(threads) == 1 else None
        return next((each for each in reversed(found) if each._thread == mine), None) is self

    def has(self, record: logging.LogRecord, log: logging.Logger) -> bool:
        """Whether a record that a logger is giving to its handlers is in the file, or will be."""
        if getattr(record, "in_file", None) == id(self):
            return True
        each: logging.Logger | None = log
        while each is not None:
            if self in each.handlers or (self._is_roots and each.parent is None):
                return True
            each = each.parent if each.propagate else None
        return False

    # --- what is written ----------------------------------------------------------------------------------------------

    def begin(self, head: str) -> None:
        """Write what is no message."""
        if head and self.stream is not None:
            self._write(f"\n{head}\n\n" if self.stream.tell() else f"{head}\n\n")

    def of_run(self, record: logging.LogRecord) -> None:
        """A record of the run's own logger, or one that no other logger has."""
        record.in_file = id(self)
        if not self._is_roots or getattr(record, "console", None) == "never":
            self.acquire()
            try:
                super().emit(record)
            finally:
                self.release()

    def hear(self, record: logging.LogRecord) -> None:
        """A record of any logger, which may come here by several ways."""
        has_it = self._is_roots or hasattr(record, "of_run") or getattr(record, "in_file", None) == id(self)
        if not has_it and self.is_of_this_thread():
            record.in_file = id(self)
            super().emit(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`, for each logger on the record's way that this file is attached to."""
        self.hear(record)
        last = logging.lastResort
        is_due = last is not None and record.levelno >= last.level and not hasattr(record, "printed_by")
        if last is not None and is_due and _is_alone(record.name):
            record.printed_by = id(last)
            last.handle(record)

    def printed(self, stream: str, line: str) -> None:
        """Write a line that was printed on a stream."""
        self.of_run(logging.makeLogRecord({"name": stream, "msg": line, "levelname": "PRINT", **FILE_ONLY}))

    def _write(self, text: str) -> None:
        self.acquire()
        try:
            if self.stream is not None:
                self.stream.write(text)
                self.flush()
        except OSError:
            self.handleError(logging.makeLogRecord({}))
        finally:
            self.release()

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that the log lacks lines, in place of a traceback for each: a full disk is the run's to report."""
        error = sys.exc_info()[1]
        if self._failed is None:
            self._failed = error
            # beneath what copies to this very file; where stderr takes nothing either, nobody can be told
            with contextlib.suppress(AttributeError, OSError, ValueError):
                printed.real_stderr().write(
                    f"lightning_adapter: {self.baseFilename} lacks lines: {type(error).__name__}: {error}\n"
                )

    def end(self) -> None:
        """Close the file; lines that the disk has no room for hide no error of the run."""
        with _lock:
            RunFile.open = tuple(each for each in self.open if each is not self)
            if not self.open and isinstance(logging.lastResort, _LastResort):
                logging.lastResort = logging.lastResort.beneath
        try:
            self.close()
        except OSError:
            self.handleError(logging.makeLogRecord({}))


class _LastResort(logging.Handler):
    """Lets a run hear the records that no handler does, which `Logger.callHandlers` gives to `lastResort`.

    Args:
        beneath: what prints them.
    """

    def __init__(self, beneath: logging.Handler) -> None:
        super().__init__(beneath.level)
        self.beneath = beneath

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`."""
        for each in RunFile.open:
            each.hear(record)
        self.beneath.handle(record)


def _is_alone(name: str) -> bool:
    """Whether nobody but runs hears a logger."""
    log: logging.Logger | None = logging.getLogger(name)
    while log is not None:
        if not all(isinstance(handler, RunFile) for handler in log.handlers):
            return False
        log = log.parent if log.propagate else None
    return True
