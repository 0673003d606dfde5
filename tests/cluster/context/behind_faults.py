"""Run a command whose master is away, or answers with errors, as told: `behind_faults.py FAULTS_AS_JSON COMMAND...`.

Stands between a trial and its master on the container's loopback, so it needs no rights on the cluster. Each fault is a
mapping; the first that fits a request is used:

method, path    of the requests that are meant: the method, and a regular expression that is searched for in the path
status          what is answered
skip, times     how many of them pass before, and how many are answered so (1)
seconds         instead of `times`: for how long from the first one on, whatever their number
delivered       the master has got the request all the same: its answer alone is lost
refuse          instead of `status`: from the first one on nothing listens for so many seconds, as when a master is killed

Each fault that was made is told in the task's log, as `fault: METHOD PATH what`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

CLUSTER_INFO = "/run/determined/info/cluster.json"
WORDS = b'{"error": {"code": 13, "reason": "Fault", "error": "the master is not well"}}'
HOP_BY_HOP = {"connection", "content-length", "content-encoding", "host", "transfer-encoding"}


class Faults:
    def __init__(self, faults: list[dict[str, Any]]) -> None:
        self._faults = [{"times": 1, "skip": 0, **fault} for fault in faults]
        self._lock = threading.Lock()

    def next(self, method: str, path: str) -> dict[str, Any] | None:
        with self._lock:
            for fault in self._faults:
                if fault.get("method", method) == method and re.search(fault["path"], path) and self._is_due(fault):
                    return fault
        return None

    @staticmethod
    def _is_due(fault: dict[str, Any]) -> bool:
        if fault["skip"]:
            fault["skip"] -= 1
            return False
        if "seconds" in fault:
            return time.monotonic() < fault.setdefault("until", time.monotonic() + fault["seconds"])
        fault["times"] -= 1
        return fault["times"] >= 0


class Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, master: str, faults: Faults) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.master, self.faults = master, faults
        self.connections: set[socket.socket] = set()
        certificate = os.environ.get("DET_MASTER_CERT_FILE")
        self.verify = False if certificate == "noverify" else certificate or True

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a connection that has ended
            super().handle_error(request, client_address)


class Proxy:
    """Listens, and stops listening for a while."""

    def __init__(self, master: str, faults: Faults) -> None:
        self._arguments = (master, faults)
        self._server = self._listen(0)
        self.port = self._server.server_port

    def go_away(self, seconds: float) -> None:
        threading.Thread(target=self._away, args=(seconds,), daemon=True).start()

    def _away(self, seconds: float) -> None:
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has ended by itself
        time.sleep(seconds)
        self._server = self._listen(self.port)
        print("fault: the master is back", flush=True)

    def _listen(self, port: int) -> Server:
        server = Server(port, *self._arguments)
        server.proxy = self
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *arguments: Any) -> None:
        """The task's log is for what the trial says."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        fault = self.server.faults.next(self.command, self.path)
        if fault is not None:
            what = f"away for {fault['refuse']} s" if "refuse" in fault else str(fault["status"])
            print(f"fault: {self.command} {self.path} {what}{' delivered' * ('delivered' in fault)}", flush=True)
        if fault is not None and "refuse" in fault:
            self.server.proxy.go_away(fault["refuse"])
            self.close_connection = True
            return
        if fault is not None and "delivered" not in fault:
            self._answer(fault["status"], {}, WORDS)
            return
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        answer = requests.request(
            self.command,
            self.server.master + self.path,
            data=body,
            headers=headers,
            timeout=600,
            verify=self.server.verify,
            allow_redirects=False,
        )
        if fault is not None:
            self._answer(fault["status"], {}, WORDS)
        else:
            self._answer(answer.status_code, dict(answer.headers), answer.content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> int:
    with open(CLUSTER_INFO) as file:
        info = json.load(file)
    proxy = Proxy(info["master_url"].rstrip("/"), Faults(json.loads(sys.argv[1])))
    info["master_url"] = f"http://127.0.0.1:{proxy.port}"
    with open(CLUSTER_INFO, "w") as file:
        json.dump(info, file)
    child = subprocess.Popen(sys.argv[2:], env={**os.environ, "DET_MASTER": info["master_url"]})
    signal.signal(signal.SIGTERM, lambda number, frame: child.send_signal(number))
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    raise SystemExit(main())
