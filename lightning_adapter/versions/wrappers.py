"""Which function stands below what wraps it, as tracers and autologging tools wrap hooks?"""

from __future__ import annotations

import functools
from typing import Any
from unittest.mock import Mock


def underlying(value: Any) -> Any:
    """The function below `functools.wraps`, `Mock(wraps=...)`, `functools.partial` and a method, however many there are.

    As `is_overridden` of lightning_utilities, which decides for Lightning whether a hook is the user's: a wrapper of
    Lightning's own method is none. `_mock_wraps` (Python 3.10 to 3.13) is None for a Mock that wraps nothing.
    """
    while True:
        if isinstance(value, Mock):
            value = value._mock_wraps
        elif isinstance(value, functools.partial):
            value = value.func
        elif isinstance(value, (classmethod, staticmethod)) or hasattr(value, "__self__"):
            below = getattr(value, "__func__", None)
            if below is None:  # a method written in C
                return value
            value = below
        elif hasattr(value, "__wrapped__"):
            value = value.__wrapped__
        else:
            return value
