"""How is a single value said and typed: a number, a length of time, a speed?"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

NOTHING = "-"
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_TYPED = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)?\s*")
_SECONDS = {"": 1, **dict(_UNITS), "m": 60}


def duration(seconds: float) -> str:
    """`3 h`, `12 min`: whole units, of which the largest that fits twice, so that nothing is off by half."""
    rest = max(0, int(seconds))
    for name, size in _UNITS:
        if rest >= 2 * size or size == 1:
            return f"{rest // size} {name}"
    raise AssertionError


def per_second(speed: float) -> str:
    """`0.31 it/s`, `48.2 it/s`, `2412 it/s`."""
    return f"{speed:.3g} it/s" if speed < 999.5 else f"{speed:.0f} it/s"


def in_clock(seconds: float) -> str:
    """`48s`, `3m20s`, `2h05m`, `3d04h`."""
    whole = round(seconds)
    for large, small, size in (("d", "h", 86400), ("h", "m", 3600), ("m", "s", 60)):
        if whole >= size:
            unit = {"h": 3600, "m": 60, "s": 1}[small]
            return f"{whole // size}{large}{whole % size // unit:02d}{small}"
    return f"{whole}s"


def seconds(text: str) -> float:
    """Read a length of time: `90`, `90 s`, `30m`, `30 min`, `2h`, `1h30m`, `3d`.

    Raises:
        ValueError: it is none.
    """
    parts = list(_TYPED.finditer(text.strip()))
    whole = "".join(part[0] for part in parts) == text.strip()
    # a number without a unit stands alone: in `1h30` it could be anything
    if not parts or not whole or (len(parts) > 1 and any(part[2] is None for part in parts)):
        raise ValueError(f"{text!r} is no length of time: write 90 s, 30 min, 2 h, 1h30m or 3 d")
    return sum(float(part[1]) * _SECONDS[part[2] or ""] for part in parts)


def value(found: object) -> str:
    """A value in one line, numbers in their shortest form."""
    if found is None:
        return NOTHING
    if isinstance(found, float):
        return short(found)
    if isinstance(found, (list, tuple, Mapping)):
        return json.dumps(found, default=str)
    return str(found)


def short(number: float) -> str:
    """A number with as many digits as it needs, and not more than six."""
    if math.isfinite(number) and number == int(number) and abs(number) < 1e6:
        return str(int(number))
    return f"{number:.6g}"


def out_of(number: int, total: float) -> str:
    """`3/5`, or the number alone where nobody knows the end."""
    return str(number) if total == math.inf or total < number else f"{number}/{int(total)}"


def counted(number: int, one: str, several: str | None = None) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def position(epoch: int | str, batches: int) -> str:
    """`epoch 2, 266 batches`: people count epochs from 1."""
    return f"epoch {epoch}, {counted(batches, 'batch', 'batches')}"


def values(found: Sequence[object]) -> list[str]:
    """Values of one name, so that different ones look different."""
    texts = [value(one) for one in found]
    exact = [repr(one) if isinstance(one, float) else text for one, text in zip(found, texts, strict=True)]
    numbers = {one for one in found if isinstance(one, float)}
    return exact if len({value(one) for one in numbers}) < len(numbers) else texts


def cut(text: str, room: int) -> str:
    """A text that fits: its beginning, where it is too long."""
    return text if len(text) <= room else f"{text[: max(0, room - 1)]}…"
