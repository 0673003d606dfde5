"""A master that does not answer is named with the cause, and with where its address comes from."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import requests

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import login


def broken(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def request(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(requests.Session, "request", request)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {},
            "at http://localhost:8080 (it timed out), which is Determined's default, since DET_MASTER is not set. Set",
        ),
        ({"DET_MASTER": "host:1"}, "at http://host:1 (it timed out), which is what DET_MASTER says. Set"),
        ({"DET_MASTER_ADDR": "host:2"}, "at http://host:2 (it timed out), which is what DET_MASTER_ADDR says. Set"),
    ],
)
def test_address_is_told_with_where_it_comes_from(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DET_MASTER", "DET_MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    broken(monkeypatch, requests.exceptions.ReadTimeout("Read timed out. (read timeout=15)"))
    with pytest.raises(ConfigurationError) as raised:
        login.find_master()
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "it closed the connection"),
        (socket.gaierror(-2, "Name or service not known"), "there is no host of that name"),
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens there: connection refused"),
        (OSError(113, "No route to host"), "No route to host"),
    ],
)
def test_reason_is_the_innermost_one(inner: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = requests.exceptions.ConnectionError(f"HTTPConnectionPool(host='x', port=1): Max retries ({inner!r})")
    outer.__cause__ = inner
    monkeypatch.setenv("DET_MASTER", "http://x:1")
    broken(monkeypatch, outer)
    with pytest.raises(ConfigurationError, match="No Determined master answers at") as raised:
        login.find_master()
    assert f"({said})" in str(raised.value)


def test_answer_of_something_else_is_no_broken_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = requests.Response()
    answer.status_code = 404
    monkeypatch.setenv("DET_MASTER", "http://x:1")
    monkeypatch.setattr(requests.Session, "request", lambda *args, **options: answer)
    with pytest.raises(ConfigurationError, match="What answers at http://x:1 is no Determined master, which is what"):
        login.find_master()
