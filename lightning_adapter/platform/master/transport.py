"""How is each single request of a trial sent until it is answered?"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import requests
from requests import adapters, exceptions
from urllib3.exceptions import NewConnectionError
from urllib3.util import Retry

from lightning_adapter.platform.master.outage import Outage, Repetition, Unanswered
from lightning_adapter.platform.master.receipt import Question, is_refusal, question_of

#: Seconds until a connection is there, and until an answer comes, where the caller does not say: a master that takes a
#: request and never answers it is away too.
TIMEOUT_S = (10.0, 60.0)

#: Answers of a master, or of a server before it, that may be others later: too many requests, and faults of its own, of
#: which two are no faults but limits.
_LATER = frozenset({429, *range(500, 600)} - {501, 505})

_PREEMPTION = "/signals/preemption"
_CHECKPOINTS = "/checkpoints"


class PatientAdapter(adapters.BaseAdapter):  # type: ignore[misc]
    """Sends requests until they are answered, in place of `urllib3`'s retries, which repeat all of them unasked.

    A question of the trial's own thread waits until all is delivered that was reported before, so that the answer is about that
    too; and so does the word that a checkpoint is deleted, which the master has to know by then.

    Args:
        host: sends one request once.
        outage: of the master that it sends to.
        settle: returns when all is delivered.
    """

    def __init__(self, host: adapters.HTTPAdapter, outage: Outage, settle: Callable[[], None]) -> None:
        super().__init__()
        self._host = host
        self._outage = outage
        self._settle = settle
        host.max_retries = Retry(0, read=False)

    def close(self) -> None:
        """Close connections."""
        self._host.close()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send a request until it is answered; the arguments are those of `HTTPAdapter.send`.

        Raises:
            MasterAwayError: it was not for as long as it is to be repeated.
        """
        what, _, _ = request.path_url.partition("?")
        listens = what.endswith(_PREEMPTION)
        if (request.method == "GET" and not listens) or (request.method == "PATCH" and what.endswith(_CHECKPOINTS)):
            self._settle()
        repetition = Repetition(self._outage, f"{request.method} {what}", listens)
        once = partial(self._host.send, timeout=timeout or TIMEOUT_S, verify=verify, cert=cert, proxies=proxies)
        doubt: Question | None = None
        while True:
            try:
                if doubt is not None and _is_stored(doubt, request, once):
                    response = _answered(request, {})
                else:
                    doubt = None
                    response = _answer(request, once, stream)
            except Unanswered as why:
                if why.may_have_arrived and doubt is None:
                    doubt = question_of(request)
                if not repetition.failed(why):
                    # an error would end up in the log: `_PreemptionWatcher.run` tells of each one
                    return _answered(request, {"preempt": False})
            else:
                repetition.answered()
                return response


def _answer(
    request: requests.PreparedRequest, once: Callable[..., requests.Response], stream: bool
) -> requests.Response:
    """One try.

    Raises:
        Unanswered: it has failed, for now.
    """
    with _faults():
        response = once(request, stream=stream)
        if response.status_code in _LATER:
            why = f"{response.status_code} {response.reason} {_words(response)}".rstrip()
            if not is_refusal(response):
                raise Unanswered(why, response, may_have_arrived=response.status_code != 429)
        if not stream:
            response.content  # noqa: B018 - read here, where a connection that breaks can be mended
    return response


def _is_stored(question: Question, report: requests.PreparedRequest, once: Callable[..., requests.Response]) -> bool:
    """Whether the master has a report.

    Raises:
        Unanswered: it does not say, for now.
    """
    asked = requests.Request("GET", question.url, params=question.params).prepare()
    asked.headers.update({name: text for name, text in report.headers.items() if not name.startswith("Content-")})
    with contextlib.closing(_answer(asked, once, stream=True)) as answer, _faults():
        return answer.status_code == 200 and question.is_stored(answer)


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Tell failures of the network, which pass, from those of what is asked."""
    try:
        yield
    except (exceptions.ConnectionError, exceptions.Timeout, exceptions.ChunkedEncodingError) as error:
        reason = getattr(error.args[0] if error.args else None, "reason", None)
        if isinstance(error, exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise
        no_connection = isinstance(error, exceptions.ConnectTimeout) or isinstance(reason, NewConnectionError)
        raise Unanswered(str(reason or error), None, may_have_arrived=not no_connection) from error


def _words(response: requests.Response) -> str:
    """What the master says about a fault, on one line."""
    text = response.text.strip()
    with contextlib.suppress(ValueError, AttributeError):
        told = json.loads(text)
        error = told.get("error")
        text = told.get("message") or (error.get("error") if isinstance(error, dict) else error) or text
    return " ".join(str(text).split())[:200]


def _answered(request: requests.PreparedRequest, content: dict[str, bool]) -> requests.Response:
    """The answer that got lost, to a report that the master has, or one that nobody waits for any more."""
    response = requests.Response()
    response.status_code = 200
    response.reason = "OK"
    response.request = request
    response.url = request.url or ""
    response.raw = io.BytesIO(json.dumps(content).encode())
    return response
