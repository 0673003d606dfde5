"""Is the function below any number of wrappers found, and does an object that answers to every name end the search?"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from lightning_adapter.versions.wrappers import underlying


def function() -> None:
    """Stands for a hook."""


class Holder:
    method = function


class AnswersToAnything:
    """As stand-ins for loggers do."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: Any) -> Any:
        return self


class Around:
    """A wrapper with a property `__wrapped__`, as those written in C have."""

    def __init__(self, below: Callable[..., Any]) -> None:
        self.below = below

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        return self.below


def wrapped(below: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(below)
    def wrapper() -> None:
        below()

    return wrapper


@pytest.mark.parametrize(
    "value",
    [
        function,
        Holder().method,
        staticmethod(function),
        classmethod(function),
        functools.partial(function),
        mock.Mock(wraps=function),
        wrapped(function),
        Around(function),
        mock.Mock(wraps=functools.partial(wrapped(wrapped(Holder().method)))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_function_below_is_found(value: Any) -> None:
    assert underlying(value) is function


@pytest.mark.parametrize(
    "value", [AnswersToAnything(), len, [].append, mock.call, 3, None], ids=lambda value: type(value).__name__
)
def test_what_wraps_nothing_is_given_back(value: Any) -> None:
    assert underlying(value) is value


def test_mock_that_wraps_nothing_has_nothing_below() -> None:
    assert underlying(mock.Mock()) is None
