"""What is a value of a batch: images, masks, series, numbers, one value for each sample, text, or something else?"""

from __future__ import annotations

import enum

import numpy as np

from lightning_adapter.pictures.parts import Array, Part, array_of

#: Channels that a picture on a screen can have: grey, colours, colours and a fourth one.
CHANNELS = (1, 3, 4)
#: A row of fewer numbers is read better than it is seen as a line.
_SHORTEST_SERIES = 16
#: More lines than these in one panel cannot be told apart.
_MOST_LINES = 16
_SMALLEST_IMAGE = 5  # pixels
_MOST_CLASSES = 256  # of a mask


class Kind(enum.Enum):
    """How a value is drawn."""

    IMAGES = "images"
    MASKS = "masks"
    SERIES = "series"
    NUMBERS = "numbers"
    SCALARS = "scalars"
    TEXT = "text"
    OTHER = "other"


def kind_of(part: Part, samples: int = 16) -> Kind:
    """How a value is drawn, by its shape and type alone, except that few whole numbers make a mask."""
    value = part.value
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, (str, bytes)) for item in value):
        return Kind.TEXT
    if is_list_of_images(value):
        return Kind.IMAGES
    array = array_of(value, samples)
    return Kind.OTHER if array is None else kind_of_array(array)


def is_list_of_images(value: object) -> bool:
    """Whether these are pictures of unequal sizes, one for each sample."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    shapes = [np.shape(item) for item in value if hasattr(item, "shape")]
    return len(shapes) == len(value) and all(len(shape) == 3 and channels_of(shape) is not None for shape in shapes)


def kind_of_array(array: Array) -> Kind:
    """The kind of numbers whose first dimension is that of the samples."""
    shape = array.shape
    if array.size == 0 or array.ndim == 0 or array.ndim > 4:
        return Kind.OTHER
    if array.ndim == 1 or (array.ndim == 2 and shape[1] == 1):
        return Kind.SCALARS
    if array.ndim == 2:
        return Kind.SERIES if array.dtype.kind == "f" and shape[1] >= _SHORTEST_SERIES else Kind.NUMBERS
    if array.ndim == 4:
        at = channels_of(shape[1:])
        if at is None:
            return Kind.OTHER
        return Kind.MASKS if shape[1 + at] == 1 and is_of_classes(array) else Kind.IMAGES
    low, high = sorted(shape[1:])
    if low <= _MOST_LINES and high >= 2 * low:
        return Kind.SERIES if array.dtype.kind == "f" else Kind.OTHER
    if low < _SMALLEST_IMAGE:
        return Kind.OTHER
    return Kind.MASKS if is_of_classes(array) else Kind.IMAGES


def channels_of(shape: tuple[int, ...]) -> int | None:
    """Where the channels of a picture are, the first dimension or the last one; None where this is no picture."""
    if shape[0] in CHANNELS and min(shape[1:]) > 1:
        return 0
    return 2 if shape[-1] in CHANNELS and min(shape[:-1]) > 1 else None


def is_of_classes(array: Array) -> bool:
    """Whether these are numbers of classes, of which 255 often stands for none; pictures of bytes have more."""
    if array.dtype.kind == "b":
        return True
    if array.dtype.kind == "f":
        return bool(np.isin(array, (0, 1)).all()) and bool(np.ptp(array))
    low, high = array.min(), array.max()
    if array.dtype == np.uint8:
        return len(np.unique(array)) <= 32 and low < 32
    return bool(-1 <= low <= high < _MOST_CLASSES)
