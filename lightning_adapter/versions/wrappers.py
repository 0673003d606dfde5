"""Which function stands below what wraps it, as tracers and autologging tools wrap hooks, and which code stands in it?"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from types import CodeType, MethodType
from typing import Any
from unittest.mock import Mock


def underlying(value: Any) -> Any:
    """The function below `functools.wraps`, `Mock(wraps=...)`, `functools.partial` and a method, however many there are.

    As `is_overridden` of lightning_utilities, which decides for Lightning whether a hook is the user's: a wrapper of
    Lightning's own method is none. `_mock_wraps` (Python 3.10 to 3.13) is None for a Mock that wraps nothing.

    Whether there is a `__wrapped__` is not asked of the object, which may answer to any name: a stand-in for a logger does.
    """
    while True:
        if isinstance(value, Mock):
            value = value._mock_wraps
        elif isinstance(value, functools.partial):
            value = value.func
        elif isinstance(value, (MethodType, classmethod, staticmethod)):
            value = value.__func__
        elif inspect.getattr_static(value, "__wrapped__", None) is not None:
            value = value.__wrapped__
        else:
            return value


def code_within(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and that of functions, classes and comprehensions in it, however deep."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_within(constant)
