"""Which values does a display show of all that is logged, and how?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from lightning_adapter.runs.metrics_table import plain

#: Values in a line; more of them cannot be read while a run goes on.
_MOST = 8


def shown_of(values: Mapping[str, object]) -> dict[str, object]:
    """The first of the values, but the number of the logger's version, which older Lightnings put on each bar."""
    wanted = ((name, value) for name, value in values.items() if name != "v_num")
    return dict(itertools.islice(wanted, _MOST))


def named(name: str, value: object, is_best: bool = False) -> str:
    """`val_loss 0.0474 (best)`."""
    return f"{plain(name)} {number(value, is_best)}"


def number(value: object, is_best: bool = False) -> str:
    """`0.0474 (best)`."""
    digits = f"{value:.4g}" if isinstance(value, float) else plain(str(value))
    return f"{digits}{' (best)' if is_best else ''}"
