"""How do reports reach the master in their order, while the training goes on?"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

logger = logging.getLogger("lightning_adapter")

#: Reports that may wait. Where all ranks meet outside of a collective of torch's, which has a timeout, the chief waits until
#: fewer than `ROOM` do; whoever reports without such a meeting waits at `LIMIT`.
ROOM = 5_000
LIMIT = 10_000
#: A master that takes longer than this for each report, in seconds, may be slower than the training. Then words on the trial's
#: state are left out that have waited for longer than this, where a newer one waits behind them; metrics never are.
SLOW_S = 0.05
STALE_S = 1.0


class _Report(NamedTuple):
    number: int
    send: Callable[[], object]
    state: str | None
    since: float


class Outbox:
    """Reports that wait for the master, and the thread that sends them, one after the other."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[_Report] = deque()
        self._posted = 0
        self._delivered = 0
        self._newest: dict[str, tuple[int, object]] = {}
        self._took: deque[float] = deque(maxlen=2)
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._over = threading.Event()
        # whoever trains once more after an error may do so while that error is being handled; it is not this run's
        self._handled = sys.exc_info()[1]

    def post(self, send: Callable[[], object], state: str | None = None, value: object = None) -> int:
        """Have a report sent after those before it.

        Args:
            send: sends it, and returns when the master has answered.
            state: for a word on the trial's state, which of its states. One that is the newest already is not posted, and
                one that has become old is not sent.
            value: that state.

        Returns:
            Its number, for `settle`.

        Raises:
            Exception: that of an earlier report, which could not be delivered.
        """
        with self._changed:
            self._wait_below(LIMIT)
            if state is not None and state in self._newest and self._newest[state][1] == value:
                return self._newest[state][0]
            self._posted += 1
            if state is not None:
                self._newest[state] = self._posted, value
            self._waiting.append(_Report(self._posted, send, state, time.monotonic()))
            if self._thread is None:
                self._thread = threading.Thread(target=self._send, name="reports", daemon=True)
                self._thread.start()
            self._changed.notify_all()
            return self._posted

    def wait_for_room(self) -> None:
        """Wait until there is room for reports; the chief alone has any.

        Raises:
            Exception: that of a report that could not be delivered.
        """
        with self._changed:
            self._wait_below(ROOM)

    def settle(self, number: int | None = None) -> None:
        """Wait until a report, or all that were posted so far, are delivered.

        Raises:
            Exception: that of a report that could not be delivered.
        """
        if threading.current_thread() is self._thread:
            return  # whoever asks on in that thread asks about what is delivered
        if self._is_copy():
            return
        with self._changed:
            until = self._posted if number is None else number
            self._changed.wait_for(lambda: self._delivered >= until or self._failure is not None)
            self._raise_failure()

    def close(self) -> None:
        """Deliver all, and end the thread.

        Raises:
            Exception: that of a report that could not be delivered, where no other error is ending the run.
        """
        if self._is_copy():
            return
        ending = sys.exc_info()[1]
        try:
            self.settle()
        except Exception as error:
            logger.error("%d reports of this run have not reached the master", len(self._waiting))
            if ending is None or ending is self._handled:
                raise
            if error is not ending:
                logger.error("%s: %s", type(error).__name__, error)
        finally:
            with self._changed:
                self._over.set()
                self._changed.notify_all()
            if self._thread is not None:
                self._thread.join(1.0)

    def _is_copy(self) -> bool:
        """Whether user code has forked this process: the thread is the first one's, and so is what waits for it."""
        return os.getpid() != self._process

    def _wait_below(self, limit: int) -> None:
        if len(self._waiting) >= limit and self._failure is None:
            logger.warning("%d reports wait for the master, and training waits for room", len(self._waiting))
            self._changed.wait_for(lambda: len(self._waiting) < limit or self._failure is not None)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _is_superseded(self, report: _Report) -> bool:
        if report.state is None or self._newest[report.state][0] == report.number:
            return False
        # of an outage one report tells, of a slow master the one before it too
        slow = len(self._took) == 2 and min(self._took) > SLOW_S
        return slow and time.monotonic() - report.since > STALE_S

    def _send(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._over.is_set())
                if not self._waiting:
                    return
                report = self._waiting[0]
                superseded = self._is_superseded(report)
            began = time.monotonic()
            try:
                if not superseded:
                    report.send()
            except Exception as error:
                with self._changed:
                    self._failure = error  # raised in the thread that reports next
                    self._changed.notify_all()
                return
            with self._changed:
                self._waiting.popleft()
                self._delivered = report.number
                if not superseded:
                    self._took.append(time.monotonic() - began)
                self._changed.notify_all()
