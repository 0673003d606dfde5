"""How does a picture get to its place, without replacing one that somebody else has made?"""

from __future__ import annotations

import pathlib

from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.atomic import replacing

#: Stands in the file, so that it is known for ours when it is drawn anew.
_MADE_BY = "lightning_adapter runs"
_KEY = "Software"


def save(figure: Figure, path: pathlib.Path) -> None:
    """Write a picture as PNG, whole or not at all."""
    with replacing(path) as aside:
        figure.savefig(aside, format="png", metadata={_KEY: _MADE_BY})


def check_replaceable(path: pathlib.Path) -> None:
    """Refuse to replace what this module has not written.

    Raises:
        ConfigurationError: says what is there.
    """
    if not path.exists() and not path.is_symlink():
        return
    try:
        with Image.open(path) as image:
            if image.info.get(_KEY) == _MADE_BY:
                return
    except (OSError, UnidentifiedImageError, ValueError):
        pass
    raise ConfigurationError(
        f"{path} is there already, and no picture of this command: nothing is written over. Move it away, or name another file."
    )
