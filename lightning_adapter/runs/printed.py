"""How does what user code prints reach a run's file too, and stand above the bars of a terminal?

While a run trains, the `write` of the streams that are stdout and stderr copies what it writes. The streams themselves stay what
they are, so that whoever has kept one, as a logging handler does, is copied as well, and goes on printing with it when the run is
over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Protocol, TextIO, cast

from tqdm import tqdm

from lightning_adapter.runs.console import is_terminal
from lightning_adapter.runs.screen_text import LONGEST_LINE, ScreenText
from lightning_adapter.versions import tqdm_private

_STREAMS = ("stdout", "stderr")
#: Frames between a logging handler and what it writes with; rich needs a dozen.
_FRAMES = 25

_lock = threading.Lock()
#: Replaced as a whole, so that who prints needs no lock.
_files: tuple[_Copy, ...] = ()
_streams: list[_Stream] = []
#: Which stream a thread is writing to: what that writes to others, as a tee does, is copied already.
_writing = threading.local()


class File(Protocol):
    """A run's file."""

    def is_of_this_thread(self) -> bool:
        """Whether what this thread prints is of the run."""

    def has(self, record: logging.LogRecord, log: logging.Logger) -> bool:
        """Whether a record that a logger is giving to its handlers is in the file, or will be."""

    def printed(self, stream: str, line: str) -> None:
        """Write a line that was printed on a stream."""


class _Copy:
    """What one run is told of what is printed."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.begin()

    def begin(self) -> None:
        """Nothing is held back, and no thread is writing."""
        self._screens = {name: ScreenText() for name in _STREAMS}
        self._lock = threading.RLock()

    def write(self, stream: str, text: str) -> None:
        with self._lock:
            self._tell(stream, self._screens[stream].write(text))

    def end(self) -> None:
        with self._lock:
            for stream, screen in self._screens.items():
                self._tell(stream, screen.rest())

    def _tell(self, stream: str, lines: Iterable[str]) -> None:
        for line in lines:
            if line:
                self.file.printed(stream, line)


@contextlib.contextmanager
def copied(file: File) -> Iterator[None]:
    """Copy whole lines that this thread prints to a file, until the block ends."""
    global _files
    mine = _Copy(file)
    with _lock:
        _listen()
        _files = (*_files, mine)
    try:
        yield
    finally:
        with _lock:
            _files = tuple(each for each in _files if each is not mine)
            if not _files:
                while _streams:
                    _streams.pop().end()
        mine.end()


def real_stderr() -> TextIO:
    """Stderr without what listens to it: bars are no lines, and write there."""
    for each in _streams:
        if each.stream is sys.stderr:
            return cast(TextIO, each.beneath)
    return sys.stderr


def _listen() -> None:
    """Also to a stream that has come in the place of another one since the last run began."""
    for name in _STREAMS:
        stream = getattr(sys, name)
        # a process without a console has none; one without attributes, or a class, cannot be listened to
        can_be = isinstance(getattr(stream, "__dict__", None), dict) and hasattr(stream, "write")
        if can_be and all(each.stream is not stream for each in _streams):
            _streams.append(_Stream(stream, name))


def _forget_others() -> None:
    """In a process that was forked, as a loader's: what is held back is written by the one before.

    So does it hold locks, of threads that are not here.
    """
    global _lock
    _lock = threading.Lock()
    for stream in _streams:
        stream.forget()
    for copy in _files:
        copy.begin()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_others)


class _Stream:
    """One that is listened to.

    Args:
        stream: it.
        name: "stdout" or "stderr".

    Attributes:
        stream: see above.
        beneath: what writes on it unheard.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self.stream = stream
        self.beneath = _Beneath(stream)
        self._name = name
        self._begun = ""  # of a line that is to stand above the bars
        self._process = os.getpid()
        self._mine = {"write": self.write, "flush": self.flush}
        # what somebody else had put there before
        self._before = {name: vars(stream)[name] for name in self._mine if name in vars(stream)}
        vars(stream).update(self._mine)

    def end(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError, ValueError):  # it was closed, or the terminal has gone: nobody reads the rest
            self._give_out()
        own = vars(self.stream)
        for name, mine in self._mine.items():
            if own.get(name) == mine:  # otherwise somebody listens in the same way, and passes on to us
                del own[name]
                own.update({name: self._before[name]} if name in self._before else {})

    def forget(self) -> None:
        """Hold nothing back."""
        self._begun = ""

    def write(self, text: str) -> int:
        """As `TextIO.write`; one of the user's own need not say how much it has written."""
        if getattr(_writing, "stream", None) is not None:
            self.beneath.write(text)
            return len(text)
        _writing.stream = self
        try:
            if (self._is_forked or tqdm_private.has_bars()) and is_terminal(self.beneath):
                self._write_above(text)
            else:
                self._give_out()
                self.beneath.write(text)
            for each in _files:
                if each.file.is_of_this_thread() and not _is_record_of(each.file, sys._getframe(1)):
                    each.write(self._name, text)
        finally:
            _writing.stream = None
        return len(text)

    def flush(self) -> None:
        """As `TextIO.flush`: whoever asks for something, or counts with dots, wants it to be seen now."""
        if getattr(_writing, "stream", None) is None:
            self._give_out()
        self.beneath.flush()

    @property
    def _is_forked(self) -> bool:
        """Whether this is a loader's process, which does not know what its parent draws."""
        return self._process != os.getpid()

    def _give_out(self) -> None:
        """Write what is held back."""
        begun, self._begun = self._begun, ""
        if begun:
            self.beneath.write(begun)

    def _write_above(self, text: str) -> None:
        """Whole lines, with the bars out of the way meanwhile; what goes back in its line is itself a bar."""
        if "\r" in text or "\x1b[A" in text or _is_step_of_a_bar(text, sys._getframe(2)):
            self._give_out()
            self.beneath.write(text)
            return
        whole, end, self._begun = (self._begun + text).rpartition("\n")
        if end and self._is_forked:
            self.beneath.write(f"\r\x1b[K{whole}{end}")  # over a bar of the parent's, who draws it again
            self.beneath.flush()
        elif end:
            with tqdm.external_write_mode(file=real_stderr()):
                self.beneath.write(whole + end)
                self.beneath.flush()
        if len(self._begun) > LONGEST_LINE:
            self._give_out()


class _Beneath:
    """Writes as the stream did before it was listened to; equal to it, since tqdm looks which bars share a screen."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.write = stream.write
        self.flush = getattr(stream, "flush", _nothing)  # `print` does not ask for it

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._stream

    def __hash__(self) -> int:
        return hash(self._stream)


def _nothing() -> None:
    """In the place of a method that a stream of the user's own does without."""


def _is_step_of_a_bar(text: str, frame: FrameType | None) -> bool:
    """Whether a bar of the user's goes to its line, as `tqdm.moveto` does."""
    return frame is not None and not text.strip("\n") and str(frame.f_globals.get("__name__")).startswith("tqdm.")


def _is_record_of(file: File, frame: FrameType | None) -> bool:
    """Whether it is a logging handler that prints, of a record that the file has by itself, from `Logger.callHandlers`."""
    for _ in range(_FRAMES):
        if frame is None:
            return False
        if frame.f_code.co_name == "callHandlers":
            found = frame.f_locals
            log, record = found.get("self"), found.get("record")
            if isinstance(log, logging.Logger) and isinstance(record, logging.LogRecord):
                return file.has(record, log)
        frame = frame.f_back
    return False
