"""Which private name of matplotlib's keeps the pixels of a picture that is drawn, and in which versions was it seen?"""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.text import Text


def without_renderer(figure: Figure) -> None:
    """Let the texts of a figure forget what drew them, which has its pixels (`_renderer`, matplotlib 3.5 to 3.11).

    A text that is drawn again is given another one.
    """
    for text in figure.findobj(Text):
        text._renderer = None  # type: ignore[attr-defined]
