"""How do images look in a grid, with targets below them, masks over them, and what a module predicts?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional

from lightning_adapter.pictures.kinds import channels_of
from lightning_adapter.pictures.page import FAINT, MARGIN, PLAIN, RIGHT, WIDTH, WRONG, Area
from lightning_adapter.pictures.parts import Array

_TILE = 128  # pixels of the longer side of an image in a grid; a small one is enlarged by a whole number
_LARGE = 180  # where there are few of them
_GAP = 8
_CAPTION = 13  # a line of text below an image
_LONGEST = 24  # characters of it, for which images stand further apart
_NOT_FINITE = (255, 0, 255)
#: Colours of classes in a mask; that of class 0 is the image itself.
_CLASSES = np.array(
    [
        *(
            (31, 119, 180),
            (255, 127, 14),
            (44, 160, 44),
            (214, 39, 40),
            (148, 103, 189),
            (140, 86, 75),
            (227, 119, 194),
        ),
        *((188, 189, 34), (23, 190, 207), (174, 199, 232), (255, 187, 120), (152, 223, 138), (255, 152, 150)),
    ],
    dtype=np.float32,
)
_OPACITY = 0.55
_LEGEND = 16  # pixels of the line that names them


@dataclass(frozen=True)
class Caption:
    """A line below an image.

    Attributes:
        text: of it.
        right: whether the prediction in it is right; None where that is no question.
    """

    text: str
    right: bool | None = None

    @property
    def colour(self) -> str:
        """Red for wrong ones."""
        return PLAIN if self.right is None else RIGHT if self.right else WRONG


@dataclass(frozen=True)
class Images:
    """Images in a grid: a section of a page.

    Attributes:
        title: lines above it.
        samples: of each sample its pictures, uint8 [height, width, 3], which stand beside each other.
        captions: of each sample the lines below them.
        legend: numbers of the classes in the masks, each with its name.
    """

    title: Sequence[str]
    samples: Sequence[Sequence[Array]]
    captions: Sequence[Sequence[Caption]]
    legend: Mapping[int, str] = field(default_factory=dict)
    _tiles: list[list[Array]] = field(init=False)

    def __post_init__(self) -> None:
        several = max(len(pictures) for pictures in self.samples)
        if several > 1:  # beside each other, and two or three samples in a line
            columns = 3 if several == 2 else 2
            size = ((WIDTH - 2 * MARGIN + _GAP) // columns - _GAP) // several - 2
        else:
            size = _LARGE if len(self.samples) <= 4 else _TILE
        tiles = [[_resized(picture, size) for picture in pictures] for pictures in self.samples]
        object.__setattr__(self, "_tiles", tiles)

    @property
    def _cell(self) -> tuple[int, int]:
        """Width and height of a sample's place."""
        width = max(sum(tile.shape[1] + 2 for tile in tiles) - 2 for tiles in self._tiles)
        longest = max((len(line.text) for lines in self.captions for line in lines), default=0)
        height = max(tile.shape[0] for tiles in self._tiles for tile in tiles)
        lines = max((len(lines) for lines in self.captions), default=0)
        return max(width, min(longest, _LONGEST) * 6), height + lines * _CAPTION + (2 if lines else 0)

    @property
    def _columns(self) -> int:
        return max(1, (WIDTH - 2 * MARGIN + _GAP) // (self._cell[0] + _GAP))

    @property
    def height(self) -> int:
        """Of the grid, in pixels."""
        lines = math.ceil(len(self._tiles) / self._columns)
        return lines * (self._cell[1] + _GAP) + (_LEGEND if self.legend else 0)

    def draw(self, area: Area) -> None:
        """Put the images onto one canvas, which is drawn at once, and the captions below them."""
        if self.legend:
            left = 0.0
            for number, name in self.legend.items():
                area.text(left, 0, f"■ {name}", color=_of_class(number))
                left += 7 * (len(name) + 3)
            area = area.below(_LEGEND)
        width, height = self._cell
        canvas = np.full((int(area.height), area.width, 3), 255, np.uint8)
        for index, tiles in enumerate(self._tiles):
            line, column = divmod(index, self._columns)
            left, top = column * (width + _GAP), line * (height + _GAP)
            for tile in tiles:
                part = canvas[top : top + tile.shape[0], left : left + tile.shape[1]]
                part[...] = tile[: part.shape[0], : part.shape[1]]
                left += tile.shape[1] + 2
        area.picture(0, 0, canvas)
        for index, lines in enumerate(self.captions):
            line, column = divmod(index, self._columns)
            below = line * (height + _GAP) + max(tile.shape[0] for tile in self._tiles[index]) + 1
            for number, caption in enumerate(lines):
                room = max(_LONGEST, width // 6)
                text = caption.text if len(caption.text) <= room else f"{caption.text[: room - 1]}…"
                colour = caption.colour if caption.right is not None or number == 0 else FAINT
                area.text(column * (width + _GAP), below + number * _CAPTION, text, color=colour)


def _resized(picture: Array, size: int) -> Array:
    """Enlarge a small picture by a whole number, so that its pixels are seen; make a large one smaller."""
    height, width = picture.shape[:2]
    longer = max(height, width)
    if longer <= size:
        times = max(1, size // longer)
        return picture.repeat(times, 0).repeat(times, 1)
    scaled = max(1, round(height * size / longer)), max(1, round(width * size / longer))
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
    smaller: Array = functional.interpolate(pixels, scaled, mode="area")[0].permute(1, 2, 0).round().byte().numpy()
    return smaller


def pixels_of(images: Sequence[Array], like: Sequence[Array] = ()) -> tuple[list[Array], str]:
    """Images as a screen shows them, and in words what was done with their values.

    Values of bytes, and those between 0 and 1, are shown as they are; any others are stretched over all of the batch.

    Args:
        images: of each sample [channels, height, width], [height, width, channels] or [height, width].
        like: images on whose scale they are shown, as predictions on that of what is predicted; none for their own.

    Returns:
        Of each sample uint8 [height, width, 3].
    """
    finite = [image[np.isfinite(image)] for image in like or images]
    low = min((float(values.min()) for values in finite if values.size), default=0.0)
    high = max((float(values.max()) for values in finite if values.size), default=1.0)
    if images[0].dtype == np.uint8:
        words, shift, scale = f"bytes from {low:g} to {high:g}", 0.0, 1.0
    elif images[0].dtype.kind == "f" and low >= 0 and 0.25 <= high <= 1:
        words, shift, scale = f"values from {low:.3g} to {high:.3g}, shown as they are", 0.0, 255.0
    else:
        words, shift = f"values from {low:.3g} to {high:.3g}, rescaled to be shown", low
        scale = 255.0 / (high - low) if high > low else 0.0
    if not all(np.isfinite(image).all() for image in images):
        words += "; what is not finite is magenta"
    if images[0].ndim == 3 and min(images[0].shape[0], images[0].shape[-1]) == 4:
        words += "; the first 3 of 4 channels"
    return [_coloured(image, shift, scale) for image in images], words


def _coloured(image: Array, shift: float, scale: float) -> Array:
    if image.ndim == 2:
        image = image[None]
    if channels_of(image.shape) == 0:
        image = np.moveaxis(image, 0, -1)
    image = image[..., :3]
    bad = ~np.isfinite(image).all(-1)
    pixels = (
        ((np.where(np.isfinite(image), image, 0).astype(np.float32) - shift) * scale)
        .clip(0, 255)
        .round()
        .astype(np.uint8)
    )
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()
    pixels[bad] = _NOT_FINITE
    return pixels


def _of_class(number: int) -> str:
    """The colour of a class as matplotlib takes it."""
    red, green, blue = _CLASSES[(number - 1) % len(_CLASSES)].astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def with_mask(picture: Array, mask: Array) -> Array:
    """A picture with the classes of a mask over it, of which 0 is left out; -1 and 255, for none, are white.

    Args:
        picture: uint8 [height, width, 3].
        mask: [height, width].
    """
    classes = mask.astype(np.int64)
    colours = _CLASSES[(classes - 1) % len(_CLASSES)]
    colours[(classes < 0) | (classes == 255)] = 255
    grey = picture.mean(-1, keepdims=True)  # below the mask: colours of both together would be those of other classes
    mixed = grey * (1 - _OPACITY) + colours * _OPACITY
    covered: Array = np.where((classes != 0)[..., None], mixed, picture).round().astype(np.uint8)
    return covered


def of_classes(mask: Array) -> Array:
    """A mask by itself, class 0 black: uint8 [height, width, 3]."""
    classes = mask.astype(np.int64)
    colours = _CLASSES[(classes - 1) % len(_CLASSES)].astype(np.uint8)
    colours[classes == 0] = 0
    colours[(classes < 0) | (classes == 255)] = 255
    return colours
