"""How do token ids, numbers and text look as rows, with those marked in colour that a module predicts wrongly?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_adapter.pictures.images import Caption
from lightning_adapter.pictures.page import FAINT, PLAIN, WRONG, Area
from lightning_adapter.pictures.parts import Array

_ROW = 13
_SIZE = 8
#: Pixels of a character of matplotlib's own monospaced font, at this size and 100 dots per inch, without hinting.
_CHARACTER = 0.60205 * _SIZE * 100 / 72
_CHARACTERS = 144


@dataclass(frozen=True)
class Row:
    """A line of a section.

    Attributes:
        words: in their order.
        wrong: places of those that are drawn in red.
        faint: whether it is drawn in grey, as what explains the line above it.
    """

    words: Sequence[str]
    wrong: frozenset[int] = frozenset()
    faint: bool = False


@dataclass(frozen=True)
class Rows:
    """Lines of words: a section of a page.

    Attributes:
        title: lines above it.
        rows: each drawn as far as there is room.
    """

    title: Sequence[str]
    rows: Sequence[Row]

    @property
    def height(self) -> int:
        """Of the rows, in pixels."""
        return len(self.rows) * _ROW

    def draw(self, area: Area) -> None:
        """Draw the rows."""
        for number, row in enumerate(self.rows):
            right, wrong = _split(row)
            style = {"family": "monospace", "fontsize": _SIZE}
            area.text(0, number * _ROW, right, color=FAINT if row.faint else PLAIN, **style)
            for at, word in wrong:
                area.text(at * _CHARACTER, number * _ROW, word, color=WRONG, **style)


def _split(row: Row) -> tuple[str, list[tuple[int, str]]]:
    """The line with blanks in the places of wrong words, and these with the places at which they begin."""
    text, wrong = "", []
    for number, word in enumerate(row.words):
        room = _CHARACTERS - len(text)
        if len(word) > room:  # a text is cut where the line ends, a number is not
            text += f"{word[: room - 1]}…" if " " in word.strip() else "…"
            break
        if number in row.wrong:
            wrong.append((len(text), word))
            word = " " * len(word)
        text += f"{word} "
    return text, wrong


def rows_of(values: Array, other: Array | None = None) -> list[Row]:
    """Rows of numbers, aligned.

    Args:
        values: [samples, length].
        other: the same, from which they differ where they are wrong.
    """
    words = [[number(value) for value in row] for row in values]
    wide = max((len(word) for row in words for word in row), default=0)
    wrong = [
        frozenset() if other is None else frozenset((row != other[i]).nonzero()[0]) for i, row in enumerate(values)
    ]
    index = len(str(len(words) - 1))
    return [
        Row([f"{i:>{index}} |", *(word.rjust(wide) for word in row)], frozenset(int(at) + 1 for at in wrong[i]))
        for i, row in enumerate(words)
    ]


def with_captions(rows: Sequence[Row], captions: Sequence[Sequence[Caption]]) -> list[Row]:
    """The rows with what is said of each sample behind them."""
    found = []
    for row, lines in zip(rows, captions, strict=False):
        words = [*row.words, "|", *(caption.text for caption in lines)] if lines else list(row.words)
        start = len(row.words) + 1
        marked = {start + at for at, caption in enumerate(lines) if caption.right is False}
        found.append(Row(words, row.wrong | marked))
    return found


def number(value: object) -> str:
    """A number as a row shows it."""
    if isinstance(value, (bool, int)):
        return str(int(value))
    item = value.item() if hasattr(value, "item") else value
    return f"{item:.4g}" if isinstance(item, float) else str(int(item)) if isinstance(item, (bool, int)) else str(item)
