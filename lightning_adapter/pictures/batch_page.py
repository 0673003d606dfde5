"""How is a batch drawn on one page: which of its values beside, below or over which others?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_adapter.pictures import page
from lightning_adapter.pictures.images import Caption, Images, of_classes, pixels_of, with_mask
from lightning_adapter.pictures.kinds import Kind, is_list_of_images, kind_of, kind_of_array
from lightning_adapter.pictures.parts import Array, Batch, Group, Part, array_of, groups, length_of, size_of
from lightning_adapter.pictures.predictions import Prediction, by_sample, like_target, without_channel
from lightning_adapter.pictures.rows import Row, Rows, number, rows_of, with_captions
from lightning_adapter.pictures.series import Series, by_time
from lightning_adapter.pictures.table import Table, facts_of

#: Rows of numbers are read one by one.
_MOST_ROWS = 16
#: In a mask, what is to be of no class.
_NO_CLASS = 255
#: Of which the colours are named.
_MOST_CLASSES = 20


@dataclass(frozen=True)
class Style:
    """How batches are drawn.

    Attributes:
        samples: of each batch, how many are drawn.
        classes: names of the classes in their order; None where they are not known.
        decode: from the ids of a row to its text; None where nobody knows them.
    """

    samples: int = 16
    classes: Sequence[str] | None = None
    decode: Callable[[list[int]], str] | None = None


def draw(batch: Batch, title: str, style: Style, prediction: Prediction | None = None) -> Array:
    """Draw a batch, with what a module predicts where that was asked for.

    Returns:
        Pixels: uint8, [height, width, 3].
    """
    return page.drawn(title, sections(batch, style, prediction))


def sections(batch: Batch, style: Style, prediction: Prediction | None = None) -> list[page.Section]:
    """The parts of a batch's page, from top to bottom; the last one is a table of all values."""
    found = list(groups(batch))
    drawn: list[page.Section] = []
    for group in found:
        drawn += _Drawing(group, style, prediction if len(found) == 1 else None).sections()
    note = [prediction.note] if prediction is not None and prediction.note else []
    if prediction is not None and prediction.value is not None and len(found) > 1:
        note = ["the prediction is not drawn, since the batch is nested"]
    heading = " · ".join(["All values", *note])
    return [*drawn, all_values(batch, prediction, [heading])]


def all_values(batch: Batch, prediction: Prediction | None, title: Sequence[str] = ()) -> Table:
    """The table of a batch's values, and of what a module predicts."""
    parts = [part for group in groups(batch) for part in group.parts]
    if prediction is not None and prediction.value is not None:
        parts.append(Part("prediction", None, prediction.value))
    return Table(title, [facts_of(part) for part in parts])


class _Drawing:
    """One group of values.

    Args:
        group: of a batch.
        style: how it is drawn.
        prediction: of its target; None where there is none.
    """

    def __init__(self, group: Group, style: Style, prediction: Prediction | None) -> None:
        size = size_of(group.parts)
        self._style = style
        self._count = min(size, style.samples)
        # a value of another length has not one item for each sample, and stands in the table alone
        self._kinds = {
            part.name: kind_of(part, self._count) if length_of(part.value) == size else Kind.OTHER
            for part in group.parts
        }
        self._parts = group.parts
        self._target = group.target
        self._target_values = None if group.target is None else self._array(group.target)
        self._guess: Array | None = None  # the prediction, in the form of its target where it fits
        self._fitting: Array | None = None  # the same, only where it does
        if prediction is not None and prediction.value is not None:
            found = by_sample(prediction.value, size)
            values = array_of(found, self._count) if length_of(found) == size else None
            if values is not None and self._target is not None and self._target_values is not None:
                self._fitting = like_target(values, self._target_values, self._kinds[self._target.name])
            self._guess = values if self._fitting is None else self._fitting

    def _array(self, part: Part) -> Array | None:
        return array_of(part.value, self._count)

    def _of_kind(self, *kinds: Kind) -> list[Part]:
        return [part for part in self._parts if self._kinds[part.name] in kinds]

    def sections(self) -> Iterator[page.Section]:
        """What is drawn of the group; its values without a picture stand in the table alone."""
        said = False  # captions stand once, where they are looked for first
        for section in (self._images(), *self._lines()):
            if section is not None:
                said = True
                yield section
        if not said and (masks := self._masks_alone()) is not None:
            said = True
            yield masks
        for part in self._of_kind(Kind.NUMBERS):
            if not self._is_in_caption(part) and not self._is_line(part) and not self._is_constant(part):
                yield self._numbers(part, with_words=not said and part is not self._target)
                said = said or part is not self._target
        if self._fitting is not None and self._rows_are_guessed():
            assert self._target_values is not None
            most = self._rows(self._fitting)
            rows = self._decoded(rows_of(self._fitting[:most], self._target_values[:most]), self._fitting)
            yield Rows(["prediction, with red where it is not the target"], rows)
        texts = [part for part in self._of_kind(Kind.TEXT) if not (said and self._is_in_caption(part))]
        for part in texts:
            said = True
            yield Rows([part.name], [Row([f"{i} |", _text(t)]) for i, t in enumerate(part.value[: self._count])])
        if not said and any(self._captions()):
            names = [Row([str(index)]) for index in range(self._count)]
            yield Rows(["samples"], with_captions(names, self._captions())[:_MOST_ROWS])

    # --- what stands below a picture --------------------------------------------------------------------------------

    def _captions(self) -> list[list[Caption]]:
        """Of each sample, the target, the prediction and other single values."""
        lines: list[list[Caption]] = [[] for _ in range(self._count)]
        target = self._target
        if target is not None and self._is_in_caption(target):
            for index, text in enumerate(self._words(target)):
                lines[index].append(Caption(f"target {text}"))
        for index, caption in enumerate(self._guesses()):
            lines[index].append(caption)
        for part in self._of_kind(Kind.SCALARS, Kind.TEXT):
            if part is not target and len(part.value) >= self._count > 0:
                for index, text in enumerate(self._words(part)):
                    lines[index].append(Caption(f"{part.key if isinstance(part.key, str) else part.name} {text}"))
        return lines

    def _guesses(self) -> list[Caption]:
        if self._guess is None:
            return []
        target, kind = self._target_values, self._target and self._kinds[self._target.name]
        if self._fitting is not None and target is not None and kind in (Kind.SCALARS, Kind.NUMBERS):
            if self._target is not None and not self._is_in_caption(self._target):
                return []
            flat = target.reshape(len(target), -1)
            guess = self._guess.reshape(len(self._guess), -1)
            values = guess.dtype.kind == "f"
            right = [None if values else bool((a == b).all()) for a, b in zip(guess, flat, strict=True)]
            texts = self._texts(self._guess, kind)
            return [Caption(f"pred {text}", ok) for text, ok in zip(texts, right, strict=True)]
        if self._fitting is not None and target is not None and kind is Kind.MASKS:
            pairs = zip(self._guess, target.reshape(self._guess.shape).astype(np.int64), strict=True)
            # those of no class, -1 or 255, are not to be predicted
            share = [(a != b)[(b >= 0) & (b != _NO_CLASS)].mean() if a.size else 0.0 for a, b in pairs]
            return [Caption(f"{part:.1%} of the pixels wrong") for part in share]
        if target is None and len(self._guess) == self._count:
            if self._guess.ndim == 2 and self._guess.shape[1] > 1:
                return [Caption(f"pred {text}") for text in self._texts(self._guess.argmax(1), Kind.SCALARS)]
            if self._guess.size == self._count:
                return [Caption(f"pred {text}") for text in self._texts(self._guess.reshape(-1), Kind.SCALARS)]
        return []

    def _is_in_caption(self, part: Part) -> bool:
        """Whether a target is short enough to stand below a picture: one value, a text, or a few of many classes."""
        kind = self._kinds[part.name]
        if kind in (Kind.SCALARS, Kind.TEXT):
            return True
        values = self._target_values
        if part is not self._target or kind is not Kind.NUMBERS or values is None:
            return False
        return _is_choice(values) or values.shape[1] <= 4

    def _words(self, part: Part) -> list[str]:
        if self._kinds[part.name] is Kind.TEXT:
            return [_text(text) for text in part.value[: self._count]]
        values = self._array(part)
        return [] if values is None else self._texts(values, self._kinds[part.name], named=part is self._target)

    def _texts(self, values: Array, kind: Kind | None, named: bool = True) -> list[str]:
        if kind is Kind.NUMBERS and _is_choice(values) and values.shape[1] > 1:
            return [", ".join(self._class(at) for at in row.nonzero()[0]) or "none" for row in values]
        if values.ndim > 1 and values.shape[1] > 1:
            return [", ".join(number(value) for value in row) for row in values]
        flat = values.reshape(-1)
        return [self._class(value) if named and flat.dtype.kind in "iu" else number(value) for value in flat]

    def _class(self, value: Any) -> str:
        classes = self._style.classes
        known = classes is not None and 0 <= int(value) < len(classes)
        return str(classes[int(value)]) if known and classes is not None else number(value)

    # --- images and masks -------------------------------------------------------------------------------------------

    def _images(self) -> Images | None:
        parts = self._of_kind(Kind.IMAGES)
        if not parts:
            return None
        pictures: list[list[Array]] = [[] for _ in range(self._count)]
        title, said = [], []
        for part in parts:
            samples, words = self._pixels(part)
            for index, picture in enumerate(samples):
                pictures[index].append(picture)
            title.append(part.name)
            said.append(f"{part.name}: {words}" if len(parts) > 1 else words)
        if self._guess is not None and self._guess.ndim == 4 and kind_of_array(self._guess) is Kind.IMAGES:
            scale = self._array(parts[-1]) if not is_list_of_images(parts[-1].value) else None
            shown, _ = pixels_of(list(self._guess), () if scale is None else list(scale))
            for index, picture in enumerate(shown):
                pictures[index].append(picture)
            title.append("prediction")
        seen: set[int] = set()
        for name, masks in self._masks():
            first = [sample[0] for sample in pictures]
            if all(mask.shape == picture.shape[:2] for mask, picture in zip(masks, first, strict=True)):
                for index, mask in enumerate(masks):
                    pictures[index].append(with_mask(first[index], mask))
                title.append(f"{name} over it")
                seen |= set(np.unique(masks).astype(int).tolist())
        return Images([" | ".join(title), *said], pictures, self._captions(), self._legend(seen))

    def _legend(self, seen: set[int]) -> dict[int, str]:
        classes = self._style.classes or ()
        shown = [at for at in sorted(seen) if 0 < at < _NO_CLASS][:_MOST_CLASSES]
        return {at: f"{at} {classes[at]}" if at < len(classes) else str(at) for at in shown}

    def _pixels(self, part: Part) -> tuple[list[Array], str]:
        if is_list_of_images(part.value):
            return pixels_of([found for item in part.value[: self._count] if (found := array_of(item)) is not None])
        values = self._array(part)
        assert values is not None  # it would be of another kind
        return pixels_of(list(values))

    def _masks(self) -> Iterator[tuple[str, Array]]:
        for part in self._of_kind(Kind.MASKS):
            values = self._array(part)
            if values is not None:
                yield part.name, without_channel(values)
        of_mask = self._target is not None and self._kinds[self._target.name] is Kind.MASKS
        if of_mask and self._fitting is not None:
            yield "prediction", self._fitting

    def _masks_alone(self) -> Images | None:
        """Masks without an image that they lie over: pictures of two values are of this kind too."""
        found = list(self._masks())
        if not found:
            return None
        pictures = [[of_classes(masks[index]) for _, masks in found] for index in range(self._count)]
        seen = {int(value) for _, masks in found for value in np.unique(masks)}
        title = [" | ".join(name for name, _ in found)]
        return Images(title, pictures, self._captions(), self._legend(seen))

    # --- series and rows --------------------------------------------------------------------------------------------

    def _lines(self) -> Iterator[Series | None]:
        parts = self._of_kind(Kind.SERIES)
        inputs = [part for part in parts if part is not self._target] or parts
        for at, part in enumerate(inputs):
            values = self._array(part)
            if values is None:
                continue
            first = values.ndim == 3 and values.shape[1] < values.shape[2]
            target, guess, words = None, None, []
            if at == 0 and self._target is not None and part is not self._target and self._is_line(self._target):
                assert self._target_values is not None
                target = by_time(self._target_values, first)
                words = [f"{self._target.name} in green"]
                if self._fitting is not None:
                    guess = by_time(self._fitting, first)
                    words.append("prediction in red")
            elif at == 0 and self._guess is not None and self._guess.shape == values.shape:
                guess, words = by_time(self._guess, first), ["prediction in red"]
            captions: list[list[Caption]] = [[Caption(f"sample {index}")] for index in range(self._count)]
            if at == 0:
                captions = [[*one, *more] for one, more in zip(captions, self._captions(), strict=True)]
            yield Series([", ".join([part.name, *words])], by_time(values, first), target, guess, captions)

    def _is_line(self, part: Part) -> bool:
        """Whether a target continues a series, or goes along with it."""
        if part is not self._target or self._target_values is None:
            return False
        series = [other for other in self._of_kind(Kind.SERIES) if other is not part]
        if not series or self._target_values.dtype.kind != "f":
            return False
        inputs = self._array(series[0])
        kind = self._kinds[part.name]
        return inputs is not None and inputs.ndim == self._target_values.ndim and kind in (Kind.SERIES, Kind.NUMBERS)

    def _is_constant(self, part: Part) -> bool:
        """Whether the table says all of it, as of an attention mask over sequences of one length."""
        values = self._array(part)
        return values is not None and self._count > 1 and bool((values == values.flat[0]).all())

    def _numbers(self, part: Part, with_words: bool) -> Rows:
        values = self._array(part)
        assert values is not None  # it would be of another kind
        rows = rows_of(values[: self._rows(values)])
        if with_words:
            rows = with_captions(rows, self._captions())
        return Rows([part.name], self._decoded(rows, values))

    def _rows(self, values: Array) -> int:
        """How many of them are shown: fewer of long ones, which nobody reads all."""
        return _MOST_ROWS if values.shape[1] <= 20 else _MOST_ROWS // 2

    def _decoded(self, rows: list[Row], values: Array) -> list[Row]:
        """Rows of ids with their text below each."""
        decode = self._style.decode
        if decode is None or values.dtype.kind not in "iu":
            return rows
        texts = [decode([int(value) for value in row if value >= 0]) for row in values[: len(rows)]]
        pairs = zip(rows, texts, strict=True)
        return [line for row, text in pairs for line in (row, Row(["   ", _text(text)], faint=True))]

    def _rows_are_guessed(self) -> bool:
        target = self._target
        return (
            target is not None and self._kinds[target.name] is Kind.NUMBERS and not self._is_in_caption(target)
        ) and not self._is_line(target)


def _is_choice(values: Array) -> bool:
    """Whether rows say for each class whether it is there."""
    return values.ndim == 2 and values.shape[1] > 1 and bool(np.isin(values, (0, 1)).all())


def _text(text: Any) -> str:
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    return " ".join(decoded.split())
