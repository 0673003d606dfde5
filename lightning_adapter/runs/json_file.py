"""How do facts and numbers stand in a JSON file that any JSON reader takes, NaN among them, and that is whole or absent?"""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from lightning_adapter.runs.atomic import replacing

#: JSON has no such numbers, and other readers than Python's refuse a file with them.
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def write(path: pathlib.Path, value: object) -> None:
    """Replace a file in one move.

    Args:
        path: the file.
        value: dicts, lists, text and numbers; anything else is written as its text.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    with replacing(path) as aside, aside.open("w", encoding="utf-8") as file:
        file.write(text(value) + "\n")
        file.flush()
        os.fsync(file.fileno())  # else a machine that goes down may leave an empty file under the new name


def text(value: object) -> str:
    """What stands in the file."""
    return json.dumps(plain(value), indent=2, allow_nan=False)


def read(path: pathlib.Path) -> Any:
    """Return what a file holds, "NaN", "Infinity" and "-Infinity" as numbers.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON.
    """
    return numbers(read_text(path))


def read_text(path: pathlib.Path) -> Any:
    """Return what a file holds, where "NaN" may be a name; as `read` otherwise."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it has no end of levels") from error


def numbers(value: Any) -> Any:
    """Put numbers in the place of the texts that stand for them."""
    if isinstance(value, dict):
        return {key: numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [numbers(one) for one in value]
    return _NUMBERS.get(value, value) if isinstance(value, str) else value


def plain(value: Any) -> Any:
    """Return a value as `read_text` returns it once it is written."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        return float(value) if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
    return value if value is None or isinstance(value, (str, bool, int)) else str(value)
