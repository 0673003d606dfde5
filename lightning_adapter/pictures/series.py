"""How do series look as lines, with what follows them, and what a module predicts of that?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_adapter.pictures.images import Caption
from lightning_adapter.pictures.page import RIGHT, WRONG, Area
from lightning_adapter.pictures.parts import Array

_COLUMNS = 2
_HEIGHT = 150  # pixels of a panel with its caption and the labels of its axis
_CAPTION = 16
_LEFT, _BELOW = 46, 20  # for labels
_GAP = 16


@dataclass(frozen=True)
class Series:
    """Lines in panels, one for each sample: a section of a page.

    Attributes:
        title: lines above it.
        values: [samples, time, lines].
        target: what follows `values`, or stands beside them where it is as long; None where the target is no series.
        prediction: of the target, in its shape.
        captions: of each sample.
    """

    title: Sequence[str]
    values: Array
    target: Array | None
    prediction: Array | None
    captions: Sequence[Sequence[Caption]]

    @property
    def height(self) -> int:
        """Of the panels, in pixels."""
        return math.ceil(len(self.values) / _COLUMNS) * _HEIGHT

    def draw(self, area: Area) -> None:
        """Draw a panel for each sample."""
        width = area.width // _COLUMNS
        for index, values in enumerate(self.values):
            line, column = divmod(index, _COLUMNS)
            left, top = column * width, line * _HEIGHT
            x = left + _LEFT
            for caption in self.captions[index]:
                area.text(x, top, caption.text, color=caption.colour)
                x += 7 * len(caption.text) + 10
            height = _HEIGHT - _CAPTION - _BELOW
            axes = area.axes(left + _LEFT, top + _CAPTION, width - _LEFT - _GAP, height)
            self._panel(axes, index, values)

    def _panel(self, axes: Any, index: int, values: Array) -> None:
        axes.plot(values, linewidth=1, alpha=0.9)
        times = np.arange(len(values))
        for series, style in ((self.target, {"color": RIGHT}), (self.prediction, {"color": WRONG, "linestyle": "--"})):
            if series is None:
                continue
            after = len(times) if len(series[index]) != len(times) else 0
            axes.plot(np.arange(len(series[index])) + after, series[index], linewidth=1.2, **style)
        axes.margins(x=0)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=7, length=2, pad=2)
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))
        axes.yaxis.offsetText.set_fontsize(6)


def by_time(values: Array, channels_first: bool) -> Array:
    """Series as [samples, time, lines]."""
    if values.ndim == 2:
        return values[..., None]
    return values.transpose(0, 2, 1) if channels_first else values
