"""How long is a master asked again that does not answer, and what is a person told meanwhile?"""

from __future__ import annotations

import logging
import random
import threading
import time

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from lightning_adapter.errors import MasterAwayError

logger = logging.getLogger("lightning_adapter")

#: Where a user says how many seconds a master is waited for, if not to `fit()`, and how many it is otherwise.
TIMEOUT_VARIABLE = "LIGHTNING_ADAPTER_MASTER_TIMEOUT"
DEFAULT_TIMEOUT_S = 600.0
#: Backoff doubles from one try to the next, from half a second up to this; the second try comes at once.
BACKOFF_FACTOR = 0.5
BACKOFF_MAX_S = 10.0

#: Python's own generator, and torch's, belong to the run: nobody may draw from them at the moment of an outage.
_JITTER = random.Random()


class Unanswered(Exception):
    """One try of a request has brought no answer.

    Args:
        why: what came instead.
        response: the answer of a server that could not do it, as a status or by Retry-After.
        may_have_arrived: whether the master may have done what it was asked, and the answer got lost.
    """

    def __init__(self, why: str, response: requests.Response | None, may_have_arrived: bool) -> None:
        super().__init__(why)
        self.response = response
        self.may_have_arrived = may_have_arrived


class Outage:
    """The times at which the master does not answer; requests of several threads may be waiting in one.

    Args:
        master: its address.
        timeout_s: seconds for which one request is repeated.
    """

    def __init__(self, master: str, timeout_s: float) -> None:
        self.master = master
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        self._waiting = 0
        self._began = 0.0
        self._over = threading.Event()

    def begins(self, what: str, why: Unanswered, began: float) -> None:
        """A request has to be repeated; one warning for all of them."""
        with self._lock:
            self._waiting += 1
            if self._waiting > 1:
                return
            self._began = began
        logger.warning(
            "the master does not answer (%s: %s). Training goes on until it has to wait for an answer; requests are repeated "
            "for up to %g s",
            what, why, self.timeout_s,
        )  # fmt: skip

    def ends(self, answered: bool) -> None:
        """A request that was repeated is answered, or given up."""
        with self._lock:
            self._waiting -= 1
            if self._waiting or not answered:
                return
            began = self._began
        logger.info("the master answers again, after %.1f s", time.monotonic() - began)

    def close(self) -> None:
        """The run has ended: nobody listens for signals any more."""
        self._over.set()

    def listening(self, seconds: float) -> bool:
        """Wait; whether somebody still listens for signals then."""
        return not self._over.wait(seconds)


class Repetition:
    """The tries of one request.

    Args:
        outage: of its master.
        what: the request, as a person reads it.
        listens: whether it listens for signals. Nothing is lost while that is in vain, so that it goes on until the run
            ends, and nobody is told.
    """

    def __init__(self, outage: Outage, what: str, listens: bool) -> None:
        self._outage = outage
        self._what = what
        self._listens = listens
        self._began = time.monotonic()
        self._retry = Retry(total=None, backoff_factor=BACKOFF_FACTOR, allowed_methods=None)
        self._failures = 0

    def failed(self, why: Unanswered) -> bool:
        """A try has brought no answer: wait until it is time for the next one.

        Returns:
            Whether there is to be one; where the run has ended, nobody wants to hear of signals any more.

        Raises:
            MasterAwayError: the master was waited for long enough.
        """
        self._failures += 1
        if self._failures == 1 and not self._listens:
            self._outage.begins(self._what, why, self._began)
        left = self._began + self._outage.timeout_s - time.monotonic()
        pause = self._pause(why)
        if self._listens:
            return self._outage.listening(pause)
        if left <= 0:
            self._outage.ends(answered=False)
            raise MasterAwayError(
                f"The master at {self._outage.master} has not answered for {time.monotonic() - self._began:.0f} s "
                f"({self._what}: {why}), and is waited for {self._outage.timeout_s:g} s. Look whether it runs and can be "
                "reached from here. To wait longer, write fit(master_timeout=SECONDS), or set "
                f"{TIMEOUT_VARIABLE}=SECONDS in environment.environment_variables of the experiment YAML."
            ) from why
        time.sleep(min(pause, left))
        return True

    def answered(self) -> None:
        """The last try has brought an answer."""
        if self._failures and not self._listens:
            self._outage.ends(answered=True)

    def _pause(self, why: Unanswered) -> float:
        asked = _retry_after(self._retry, why.response)
        self._retry = self._retry.increment("", "", error=why)
        if asked:  # 0, or a time that has passed, asks for no pause, and is no leave to ask without one
            return asked
        return min(self._retry.get_backoff_time(), BACKOFF_MAX_S) * _JITTER.uniform(0.5, 1.0)


def _retry_after(retry: Retry, response: requests.Response | None) -> float | None:
    """The seconds that a server asks for."""
    text = None if response is None else response.headers.get("Retry-After")
    try:
        return None if text is None else retry.parse_retry_after(text)
    except InvalidHeader:
        return None
