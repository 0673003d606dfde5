"""What does a master answer to whatever command somebody types?  A loopback one, which others extend.

`fake_master.py` stands in for the master that a trial's container talks to. What the one of this file is made into stands
in for the master that commands talk to: `fake_experiments.py` for a submission, `fake_checkpoints.py` for who fetches.
Answers have the fields of a real 0.38.1.
"""

from __future__ import annotations

import abc
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, TypeVar

from determined.common.api import authentication

from fake_master import USER

MOMENT = "2026-11-25T21:26:40.589561Z"
TOKEN = "a-token"

#: Status and body: JSON, a list of it as a stream, or bytes. Without a status the connection is closed instead.
Answer = tuple[int, Any]
_Master = TypeVar("_Master", bound="CommandsMaster")


def refusal(status: int, code: int, reason: str, words: str) -> Answer:
    return status, {"error": {"code": code, "reason": reason, "error": words}}


class CommandsMaster(abc.ABC):
    """A master with one user, who is let in.

    Attributes:
        url: of the master.
        password: of the user "determined".
        wrong_login: what a wrong password is answered with; Determined's client is prepared for 401 and for 403.
    """

    wrong_login = refusal(401, 16, "Unauthenticated", "invalid credentials")

    def __init__(self) -> None:
        self.password = ""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.master = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self: _Master) -> _Master:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, method: str, path: str, query: dict[str, list[str]], sent: Any, token: str) -> Answer:
        """Answer one request; `sent` is None where it has no body."""
        if path == "/info":
            return 200, {"version": "0.38.1", "clusterId": "c", "masterId": "m", "clusterName": ""}
        if path == "/api/v1/auth/login":
            right = authentication.salt_and_hash(self.password)
            if (sent["username"], sent["password"]) == (USER["username"], right):
                return 200, {"token": TOKEN, "user": USER}
            return self.wrong_login
        if token != f"Bearer {TOKEN}":
            return refusal(401, 16, "Unauthenticated", "invalid credentials")
        if path == "/api/v1/me":
            return 200, {"user": USER}
        found = self.known(method, path, query, sent)
        return found or refusal(404, 5, "NotFound", f"{path} not found")

    @abc.abstractmethod
    def known(self, method: str, path: str, query: dict[str, list[str]], sent: Any) -> Answer | None:
        """Answer the user; None where there is no such thing."""


class _Server(ThreadingHTTPServer):
    master: CommandsMaster


class _Handler(BaseHTTPRequestHandler):
    """Read one request, answer it, close the connection (HTTP/1.0: no thread waits on an idle client)."""

    timeout = 10
    server: _Server

    def _handle(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = self.server.master.answer(
            self.command,
            url.path,
            urllib.parse.parse_qs(url.query),
            json.loads(raw) if raw else None,
            self.headers.get("Authorization", ""),
        )
        if not status:
            return
        if isinstance(body, bytes):
            content = body
        elif isinstance(body, list):
            content = b"".join(json.dumps(each).encode() + b"\n" for each in body)
        else:
            content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/gzip" if isinstance(body, bytes) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
