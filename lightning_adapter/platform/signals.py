"""What happens when a local run is told to stop by SIGTERM or SIGINT?

The first one asks: training ends at the next optimizer step, with a checkpoint and a word on how to go on. A handler
that the user had set is called too. The second signal ends the process at once. A process of several that is stuck
waiting for the others, and so cannot answer, is ended after a grace period.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

logger = logging.getLogger("lightning_adapter")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | None

#: Seconds that a process of several has to come to its next step.
GRACE_S = 12.0


def exit_status(number: signal.Signals) -> int:
    """The exit status that says which signal ended the process."""
    return 128 + number.value


class Interruption:
    """A request to stop.

    Attributes:
        signal: the signal that came, None as long as none did.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._process = os.getpid()
        self._before: dict[signal.Signals, _Handler] = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.signal = signal.Signals(number)
        if os.getpid() != self._process:
            # a loader's forked worker, at which Ctrl-C is aimed too: it is ended by the loader
            return
        logger.warning(
            "%s: training ends after the next optimizer step, with a checkpoint; another signal ends it at once",
            self.signal.name,
        )
        theirs = self._before[self.signal]
        # Python's own answer to SIGINT is an exception, wherever the program stands; the run ends in order instead
        if callable(theirs) and theirs is not signal.default_int_handler:
            theirs(number, frame)

    @contextmanager
    def listening(self, several: bool) -> Iterator[None]:
        """Answer signals in this block; outside of the main thread, where Python hears none, do nothing.

        A handler that the user had set before is called as well, as `_SignalConnector` does.

        Args:
            several: whether this is one of several processes, which may be stuck waiting for each other.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            signal.signal(number, self._ask)
        try:
            if several:
                with _Watchdog():
                    yield
            else:
                yield
        finally:
            for number, handler in self._before.items():
                if handler is not None:  # not one of Python's, which cannot set it again
                    signal.signal(number, handler)


@contextmanager
def answers_kept() -> Iterator[None]:
    """Let whoever answers SIGUSR1 now do so again when the block ends.

    Each context of Determined's prints the stack at this signal, and then calls who answered it before:
    `_install_stacktrace_on_sigusr1`. A process of many runs would print it once for each.
    """
    number = getattr(signal, "SIGUSR1", None)  # not on Windows
    if number is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(number)
    try:
        yield
    finally:
        if before is not None:  # not one of Python's, which cannot set it again
            signal.signal(number, before)


class _Watchdog:
    """Ends the process if it does not get out of its block within the grace period after a signal.

    Python runs signal handlers between two of its own instructions, which a process that waits inside a collective does
    not reach. The operating system's handler writes to a socket at once, and a thread of its own reads it.
    """

    def __enter__(self) -> _Watchdog:
        self._hear, self._tell = socket.socketpair()
        self._tell.setblocking(False)
        self._before = signal.set_wakeup_fd(self._tell.fileno(), warn_on_full_buffer=False)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._wait, name="signal-watchdog", daemon=True)
        self._thread.start()
        return self

    def _wait(self) -> None:
        while not self._over.is_set():
            heard = self._hear.recv(1)
            if not heard or self._over.is_set():
                return
            if heard[0] in _SIGNALS and not self._over.wait(GRACE_S):
                os.write(2, b"lightning_adapter: this process did not come to its next step, and ends now\n")
                os._exit(128 + heard[0])

    def __exit__(self, *error: object) -> None:
        self._over.set()
        signal.set_wakeup_fd(self._before)
        self._tell.close()
        self._thread.join()
        self._hear.close()
