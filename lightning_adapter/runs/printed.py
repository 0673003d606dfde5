"""How does what user code prints reach a run's file too, and stand above the bars of a terminal?

While a run trains, `sys.stdout` and `sys.stderr` are stand-ins that pass everything on as it is. Whoever keeps one, as a logging
handler that is made meanwhile does, goes on printing with it when the run is over.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Protocol, TextIO

from tqdm import tqdm

from lightning_adapter.runs.screen_text import ScreenText

_STREAMS = ("stdout", "stderr")
#: Frames between a logging handler and what it writes with; rich needs a dozen.
_FRAMES = 25
#: The bars that are drawn on the terminal.
drawn: weakref.WeakSet[Any] = weakref.WeakSet()

_lock = threading.Lock()
#: Replaced as a whole, so that who prints needs no lock.
_files: tuple[_Copy, ...] = ()
_installed: list[tuple[str, _StandIn]] = []


class File(Protocol):
    """A run's file."""

    def is_of_this_thread(self) -> bool:
        """Whether what this thread prints is of the run."""

    def hears(self, log: logging.Logger) -> bool:
        """Whether records of a logger reach the file by themselves."""

    def printed(self, stream: str, line: str) -> None:
        """Write a line that was printed on a stream."""


class _Copy:
    """What one run is told of what is printed."""

    def __init__(self, file: File) -> None:
        self.file = file
        self._screens = {name: ScreenText() for name in _STREAMS}

    def write(self, stream: str, text: str) -> None:
        self._tell(stream, self._screens[stream].write(text))

    def end(self) -> None:
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
        if not _files:
            _install()
        _files = (*_files, mine)
    try:
        yield
    finally:
        with _lock:
            _files = tuple(each for each in _files if each is not mine)
            if not _files:
                _uninstall()
        mine.end()


def real_stderr() -> TextIO:
    """What stderr is beneath the stand-in: bars are no lines, and write there."""
    stream: Any = sys.stderr
    found: TextIO = stream.beneath if isinstance(stream, _StandIn) else stream
    return found


def _install() -> None:
    for name in _STREAMS:
        stream = getattr(sys, name)
        if stream is not None:  # as in a process without a console
            stand_in = _StandIn(stream, name)
            setattr(sys, name, stand_in)
            _installed.append((name, stand_in))


def _uninstall() -> None:
    for name, stand_in in _installed:
        stand_in.end()
        if getattr(sys, name) is stand_in:  # user code may have put another one there, over it
            setattr(sys, name, stand_in.beneath)
    _installed.clear()


class _StandIn:
    """In the place of a stream.

    Args:
        beneath: the stream.
        name: "stdout" or "stderr".
    """

    def __init__(self, beneath: Any, name: str) -> None:
        self.beneath = beneath
        self._name = name
        self._begun = ""  # of a line that is to stand above the bars

    def write(self, text: str) -> int:
        """As `TextIO.write`."""
        if drawn and self.beneath.isatty():
            self._write_above(text)
        else:
            self.beneath.write(self._begun + text)
            self._begun = ""
        for each in _files:
            if each.file.is_of_this_thread() and not _heard(each.file, sys._getframe(1)):
                each.write(self._name, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """As `TextIO.writelines`."""
        for line in lines:
            self.write(line)

    def end(self) -> None:
        """Write what was held back."""
        if self._begun:
            self.beneath.write(self._begun)
            self._begun = ""

    def _write_above(self, text: str) -> None:
        """Whole lines, with the bars out of the way meanwhile; what goes back in its line is itself a bar."""
        if "\r" in text or "\x1b[A" in text or _is_step_of_a_bar(text, sys._getframe(2)):
            self.beneath.write(self._begun + text)
            self._begun = ""
            return
        whole, end, self._begun = (self._begun + text).rpartition("\n")
        if end:
            with tqdm.external_write_mode(file=real_stderr()):
                self.beneath.write(whole + end)
                self.beneath.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.beneath, name)

    def __iter__(self) -> Any:
        return iter(self.beneath)


def _is_step_of_a_bar(text: str, frame: FrameType | None) -> bool:
    """Whether a bar of the user's goes to its line, as `tqdm.moveto` does."""
    return frame is not None and not text.strip("\n") and str(frame.f_globals.get("__name__")).startswith("tqdm.")


def _heard(file: File, frame: FrameType | None) -> bool:
    """Whether it is a logging handler that prints, of a record that the file has by itself."""
    for _ in range(_FRAMES):
        if frame is None:
            return False
        if frame.f_code is logging.Logger.callHandlers.__code__:
            return file.hears(frame.f_locals["self"])
        frame = frame.f_back
    return False
