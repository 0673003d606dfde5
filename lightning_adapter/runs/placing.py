"""How does a file that was asked for get its place: whole or not at all, and never over another one unasked?"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from lightning_adapter.errors import ConfigurationError, LightningAdapterError
from lightning_adapter.runs.atomic import make_unique, sync_directory


def check_place(file: pathlib.Path, called: str, instead: str, overwrite: bool = False) -> None:
    """Refuse a place that is taken or cannot be written to, before there is anything to be put there.

    Args:
        file: is to be written.
        called: the same as it was given, for people.
        instead: what to do where there is something, for people.
        overwrite: whether a file that is there may go.

    Raises:
        ConfigurationError: says what is there.
    """
    if file.is_dir():
        raise ConfigurationError(f"{called} is a directory. Name a file in it.")
    if os.path.lexists(file) and not overwrite:
        raise ConfigurationError(f"{called} is there already, and nothing is written over. {instead}")
    folder = next(parent for parent in file.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise ConfigurationError(f"{called} cannot be written: {folder} is no directory. Name another file.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{called} cannot be written: you may not write to {folder}. Name another file.")


@contextlib.contextmanager
def aside(file: pathlib.Path) -> Iterator[pathlib.Path]:
    """Give an empty directory beside a file's place, which is gone when the block ends, and so are folders made for it.

    Raises:
        ConfigurationError: nothing can be written there.
    """
    absent = [parent for parent in file.absolute().parents if not os.path.lexists(parent)]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        folder = make_unique(file.parent, f".{file.name}.new")
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror or error}. Name another file.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in absent:
            with contextlib.suppress(OSError):  # there is something in it, what was made for one
                parent.rmdir()


def place(made: pathlib.Path, file: pathlib.Path, instead: str, overwrite: bool = False) -> list[pathlib.Path]:
    """Move a file to its place, after what lies beside it and belongs to it.

    Args:
        made: in a directory of its own.
        file: of the same name.
        instead: as of `check_place`.
        overwrite: likewise.

    Returns:
        The file, and what lies beside it.

    Raises:
        ConfigurationError: meanwhile there is something of that name.
        LightningAdapterError: the disk does not take it.
    """
    parts = sorted(made.parent.iterdir(), key=lambda part: part.name == made.name)
    try:
        for part in parts:
            there = file.parent / part.name
            check_place(there, str(there), instead, overwrite)
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
        for part in parts:
            os.replace(part, file.parent / part.name)
        sync_directory(file.parent)
    except OSError as error:
        raise LightningAdapterError(f"{file} cannot be written: {error.strerror or error}.") from error
    return [file.parent / part.name for part in reversed(parts)]
