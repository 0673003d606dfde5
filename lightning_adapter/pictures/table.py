"""Which shapes, types and ranges have the values of a batch, as a table?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tabulate
import torch

from lightning_adapter.errors import shown
from lightning_adapter.pictures.page import FAINT, PLAIN, WRONG, Area
from lightning_adapter.pictures.parts import Part

_ROW = 13
_EMPTY = "empty"
_WIDEST = 44  # characters of a value that is shown as it is


class Facts(NamedTuple):
    """What the table says of a value."""

    name: str
    type: str
    shape: str
    low: str = ""
    high: str = ""
    mean: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Table:
    """Facts of all values: a section of a page.

    Attributes:
        title: lines above it.
        facts: a row for each value.
    """

    title: Sequence[str]
    facts: Sequence[Facts]

    @property
    def lines(self) -> list[str]:
        """As text."""
        headers = ["value", "type", "shape", "min", "max", "mean", ""]
        columns = len(headers) if any(facts.remark for facts in self.facts) else len(headers) - 1
        rows = [facts[:columns] for facts in self.facts]
        text: str = tabulate.tabulate(rows, headers=headers[:columns], disable_numparse=True)
        return text.splitlines()

    @property
    def height(self) -> int:
        """Of the table, in pixels."""
        return len(self.lines) * _ROW

    def draw(self, area: Area) -> None:
        """Draw it as it looks on a terminal."""
        for number, line in enumerate(self.lines):
            odd = number > 1 and self.facts[number - 2].remark not in ("", _EMPTY)
            colour = WRONG if odd else PLAIN if number > 1 else FAINT
            area.text(0, number * _ROW, line, family="monospace", color=colour)


def facts_of(part: Part) -> Facts:
    """Look at all of a value; one on a device is waited for."""
    value = part.value
    if isinstance(value, torch.Tensor):
        where = "" if value.device.type == "cpu" else f" on {value.device}"
        kind = f"{str(value.dtype).removeprefix('torch.')}{where}"
        if value.layout != torch.strided or value.is_quantized or getattr(value, "is_nested", False):
            return Facts(part.name, f"{kind}, {str(value.layout).removeprefix('torch.')}", "")
        numbers = (value.detach().abs() if value.is_complex() else value.detach()).to(_widest(value.device))
        return Facts(part.name, kind, _shape(value.shape), *_range(numbers, value.is_floating_point()))
    if isinstance(value, np.ndarray):
        known = value.dtype.kind in "fiub"
        found = _range(torch.from_numpy(value.astype(np.float64)), value.dtype.kind == "f") if known else ()
        return Facts(part.name, f"numpy {value.dtype}", _shape(value.shape), *found)
    if isinstance(value, (list, tuple)) and value:
        kinds = sorted({type(item).__name__ for item in value})
        shapes = [_shape(item.shape) for item in value if hasattr(item, "shape")]
        inner = f": {', '.join(shapes[:3])}{', …' if len(shapes) > 3 else ''}" if shapes else ""
        return Facts(
            part.name, f"{type(value).__name__} of {', '.join(kinds)[:40]}", f"[{len(value)}]{inner}"[:_WIDEST]
        )
    text = shown(value)
    return Facts(part.name, type(value).__name__, text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…")


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _range(numbers: torch.Tensor, floating: bool) -> tuple[str, ...]:
    """The smallest and the largest value and the mean of those that are finite, and how many are not."""
    if numbers.numel() == 0:
        return "", "", "", _EMPTY
    finite = numbers[torch.isfinite(numbers)]
    remark = ""
    if finite.numel() < numbers.numel():
        nans = int(torch.isnan(numbers).sum())
        others = numbers.numel() - finite.numel() - nans
        remark = ", ".join(f"{count} {name}" for count, name in ((nans, "NaN"), (others, "infinite")) if count)
    if finite.numel() == 0:
        return "", "", "", remark
    low, high, mean = torch.stack([finite.min(), finite.max(), finite.mean()]).tolist()  # one wait for a device
    return *(f"{end:.4g}" if floating else str(int(end)) for end in (low, high)), f"{mean:.4g}", remark
