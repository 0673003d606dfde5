"""How does an exported file get its place: whole or not at all, and never over another one unasked?"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from lightning_adapter.errors import ConfigurationError, LightningAdapterError
from lightning_adapter.runs.atomic import make_unique, sync_directory


def check_absent(out: pathlib.Path, overwrite: bool) -> None:
    """Refuse a place that is taken.

    Raises:
        ConfigurationError: it is; says what to type.
    """
    if out.is_dir():
        raise ConfigurationError(f"{out} is a directory; name a file: --out {out / 'model.onnx'}.")
    if os.path.lexists(out) and not overwrite:
        raise ConfigurationError(
            f"{out} is there already, and nothing is written over. Name another file with --out, or type --overwrite."
        )


@contextlib.contextmanager
def aside(out: pathlib.Path) -> Iterator[pathlib.Path]:
    """Give an empty directory beside a file's place, which is gone when the block ends.

    Raises:
        ConfigurationError: nothing can be written there.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = make_unique(out.parent, f".{out.name}.new")
    except OSError as error:
        raise ConfigurationError(
            f"{out} cannot be written: {error.strerror or error}. Name another file with --out."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place(made: pathlib.Path, out: pathlib.Path, overwrite: bool) -> list[pathlib.Path]:
    """Move a file to its place, after what lies beside it and belongs to it.

    Args:
        made: in a directory of its own.
        out: of the same name.
        overwrite: whether what is there may go.

    Returns:
        The file, and what lies beside it.

    Raises:
        ConfigurationError: meanwhile there is something of that name.
        LightningAdapterError: the disk does not take it.
    """
    parts = sorted(made.parent.iterdir(), key=lambda file: file.name == made.name)
    try:
        for part in parts:
            check_absent(out.parent / part.name, overwrite)
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
        for part in parts:
            os.replace(part, out.parent / part.name)
        sync_directory(out.parent)
    except OSError as error:
        raise LightningAdapterError(f"{out} cannot be written: {error.strerror or error}.") from error
    return [out.parent / part.name for part in reversed(parts)]
