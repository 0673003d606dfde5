"""How does a picture get to its place, whatever matplotlib is set to, and without replacing one that somebody else has made?"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import re
import warnings
from collections.abc import Collection, Iterator
from typing import Any

import matplotlib
from matplotlib import image
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.atomic import replacing
from lightning_adapter.versions import matplotlib_private

#: A name is text, whatever the user's settings make of a `$`; a line of many points is drawn in parts, as Agg needs it.
_SETTINGS = {"text.usetex": False, "text.parse_math": False, "agg.path.chunksize": 10_000}
#: Stands in the file, so that it is known for ours when it is drawn anew.
_MADE_BY = {"Software": "lightning_adapter"}
_MARK = b"Software\0lightning_adapter"
_HEAD = 300  # bytes of a PNG file, in which the mark stands
_NO_NAME = re.compile(r"[^\w.=+-]+")


@contextlib.contextmanager
def drawing(**more: Any) -> Iterator[None]:
    """Until the block ends matplotlib takes text for text, with some more settings where they are given."""
    settings: dict[Any, Any] = {**_SETTINGS, **more}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # a character that the font lacks is a box in the picture; torchmetrics hands tensors to matplotlib
        warnings.simplefilter("ignore")
        yield


def save(figure: Figure, path: pathlib.Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with drawing(), replacing(path) as aside:
        figure.savefig(aside, format="png", metadata=_MADE_BY)


def forget(figure: Figure) -> None:
    """Let go of the pixels and panels of a figure that is drawn and not needed any more.

    Its parts refer to each other. Python takes such a ring away when a quarter has been added to all objects there are,
    which beside torch's is after about a hundred pictures.
    """
    matplotlib_private.without_renderer(figure)
    FigureCanvasBase(figure)  # in the place of the canvas that has drawn it
    figure.clear()


def save_pixels(pixels: NDArray[Any], path: pathlib.Path) -> None:
    """Write pixels, uint8 [height, width, 3], likewise."""
    with replacing(path) as aside:
        image.imsave(aside, pixels, format="png", metadata=_MADE_BY)


def is_ours(path: pathlib.Path) -> bool:
    """Whether a file is a picture that this module has written."""
    if path.is_symlink() or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return _MARK in file.read(_HEAD)
    except OSError:  # somebody's that we may not read
        return False


def check_replaceable(path: pathlib.Path) -> None:
    """Refuse to replace what this module has not written.

    Raises:
        ConfigurationError: says what is there.
    """
    if (path.exists() or path.is_symlink()) and not is_ours(path):
        raise ConfigurationError(
            f"{path} is there already, and no picture of this package: nothing is written over. Move it away, or name another "
            "file."
        )


def free_name(text: str, taken: Collection[str]) -> str:
    """A name for the picture of what has some name: one that a file can have, and no other one of these has.

    Args:
        text: of a metric, or a tag.
        taken: names of files.
    """
    stem = _NO_NAME.sub("-", text).strip("._-")[:100] or "picture"
    there = {name.lower() for name in taken}  # a file system may not tell cases apart
    names = (f"{stem}{f'-{number}' if number > 1 else ''}.png" for number in itertools.count(1))
    return next(name for name in names if name.lower() not in there)
