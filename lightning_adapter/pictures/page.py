"""How is a picture put together of sections, and written to a file that is not somebody else's?"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lightning_adapter.pictures.parts import Array
from lightning_adapter.runs import picture_file

#: Pixels.
WIDTH = 1000
MARGIN = 14
_LINE = 17
_GAP = 10
_MOST = 30_000  # in height; Agg draws nothing that is larger than 2**16

RIGHT, WRONG, PLAIN, FAINT = "#177245", "#c0181f", "#222222", "#777777"


class Section(Protocol):
    """A part of a page, as wide as it.

    Attributes:
        title: lines above it.
        height: of what is below them, in pixels.
    """

    @property
    def title(self) -> Sequence[str]:
        """Lines above it."""

    @property
    def height(self) -> int:
        """Of what is below them, in pixels."""

    def draw(self, area: Area) -> None:
        """Draw it."""


class Area:
    """A rectangle of a figure, in pixels from its upper left corner.

    Args:
        figure: where it is.
        top: of it, from the figure's top.
        height: of it.
    """

    width = WIDTH - 2 * MARGIN

    def __init__(self, figure: Figure, top: float, height: float) -> None:
        self._figure = figure
        self._full = figure.get_figheight() * figure.dpi
        self._top = top
        self.height = height

    def _box(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        bottom = self._full - self._top - top - height
        return (MARGIN + left) / WIDTH, bottom / self._full, width / WIDTH, height / self._full

    def below(self, height: float) -> Area:
        """The rest of it, below a line of this height."""
        return Area(self._figure, self._top + height, self.height - height)

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Axes in it."""
        return self._figure.add_axes(self._box(left, top, width, height))

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write a text whose first line begins here."""
        x, y, _, _ = self._box(left, top, 0, 0)
        self._figure.text(x, y, text, **{"va": "top", "ha": "left", "fontsize": 8, "color": PLAIN, **style})

    def picture(self, left: float, top: float, pixels: Array) -> None:
        """Show pixels as they are, one for each of the figure's."""
        height, width = pixels.shape[:2]
        shown = self.axes(left, top, width, height)
        shown.imshow(pixels, interpolation="none", aspect="auto")
        shown.set_axis_off()


def drawn(title: str, sections: Sequence[Section]) -> Array:
    """Draw a page.

    Returns:
        Its pixels: uint8, [height, width, 3].
    """
    with picture_file.drawing(**{"text.hinting": "none"}):
        heights = [len(section.title) * _LINE + section.height + _GAP for section in sections]
        full = min(2 * MARGIN + _LINE + _GAP + sum(heights), _MOST)
        figure = Figure(figsize=(WIDTH / 100, full / 100), dpi=100, facecolor="white")
        canvas = FigureCanvasAgg(figure)  # and not pyplot, whose backend and open figures are the user's
        Area(figure, MARGIN, _LINE).text(0, 0, title, fontsize=10, fontweight="bold")
        top: float = MARGIN + _LINE + _GAP
        for section, height in zip(sections, heights, strict=True):
            for number, line in enumerate(section.title):
                faint = {"fontsize": 8, "color": FAINT} if number else {"fontsize": 9, "color": PLAIN}
                Area(figure, top + number * _LINE, _LINE).text(0, 0, line, **faint)
            section.draw(Area(figure, top + len(section.title) * _LINE, section.height))
            top += height
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels: Array = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
    picture_file.forget(figure)
    return pixels


def write(pixels: Array, path: pathlib.Path) -> pathlib.Path:
    """Write a picture over an earlier one of these; beside any other file of that name.

    Returns:
        Where it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place, number = path, 1
    while os.path.lexists(place) and not picture_file.is_ours(place):
        number += 1
        place = path.with_name(f"{path.stem}-{number}{path.suffix}")
    picture_file.save_pixels(pixels, place)
    return place
