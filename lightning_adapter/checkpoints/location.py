"""Where does a checkpoint file lie, on this machine or at a URL, and how is it reached?

URLs (`s3://`, `gs://`, `memory://`, `https://`, ...) go through fsspec, as in Lightning's `cloud_io`.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from fsspec.core import url_to_fs

from lightning_adapter.errors import CheckpointError

#: A path on this machine, or a URL.
Location = str | os.PathLike[str]

#: In the directory of a checkpoint.
FILE = "lightning.ckpt"


def is_remote(location: Location) -> bool:
    """Whether this is a URL of another place than this machine's disk."""
    text = str(location)
    return "://" in text and not text.startswith(("file://", "local://"))


def local_path(location: Location) -> pathlib.Path:
    """A location on this machine as a path, `~` expanded, as fsspec does it."""
    text = str(location)
    return pathlib.Path(url_to_fs(text)[1] if "://" in text else os.path.expanduser(text))


def below(location: Location, name: str) -> Location:
    """A file in a directory."""
    return f"{str(location).rstrip('/')}/{name}" if is_remote(location) else local_path(location) / name


def file_of(location: Location) -> Location:
    """The file of a checkpoint that is given as its directory, or as that.

    Raises:
        CheckpointError: the place cannot be reached.
    """
    return below(location, FILE) if is_directory(location) else location


def exists(location: Location) -> bool:
    """Whether there is anything.

    Raises:
        CheckpointError: the place cannot be reached.
    """
    if not is_remote(location):
        return local_path(location).exists()
    with _reached(location) as (filesystem, path):
        return bool(filesystem.exists(path))


def is_directory(location: Location) -> bool:
    """Whether this is a directory; a web page is none.

    Raises:
        CheckpointError: the place cannot be reached.
    """
    if not is_remote(location):
        return local_path(location).is_dir()
    # to list what a page links to, the whole of it is read, which may be a large file
    if str(location).startswith(("http://", "https://")) or str(location).endswith(".ckpt"):
        return False
    with _reached(location) as (filesystem, path):
        return bool(filesystem.isdir(path))


@contextlib.contextmanager
def reading(location: Location) -> Iterator[IO[bytes]]:
    """The file, to be read at any place in it; that of a URL is copied to this machine first.

    Raises:
        CheckpointError: the place cannot be reached.
    """
    if not is_remote(location):
        with local_path(location).open("rb") as stream:
            yield stream
        return
    with tempfile.TemporaryFile() as copy:
        with _reached(location) as (filesystem, path), filesystem.open(path, "rb") as stream:
            shutil.copyfileobj(stream, copy, 1 << 22)
        copy.seek(0)
        yield copy


@contextlib.contextmanager
def writing(location: Location) -> Iterator[IO[bytes]]:
    """Where to write a file to, which is in its place when the block ends well, and not at all otherwise.

    Directories that are missing are made, as `TorchCheckpointIO.save_checkpoint` does.
    """
    if is_remote(location):
        filesystem, path = url_to_fs(str(location))
        filesystem.makedirs(os.path.dirname(path), exist_ok=True)
        with filesystem.transaction, filesystem.open(path, "wb") as stream:
            yield stream
        return
    place = local_path(location)
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_name(f".{place.name}.new")
    try:
        with aside.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, place)
    finally:
        with contextlib.suppress(OSError):  # where it was not written either: that error is the one to be told
            aside.unlink(missing_ok=True)


def remove(location: Location) -> None:
    """Delete a file, if it is there, as `TorchCheckpointIO.remove_checkpoint`."""
    filesystem, path = url_to_fs(str(location))
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


@contextlib.contextmanager
def _reached(location: Location) -> Iterator[tuple[Any, str]]:
    """The filesystem of a URL, and the path in it.

    Raises:
        CheckpointError: there is no such protocol, its package is missing, or the place does not answer.
    """
    try:
        yield url_to_fs(str(location))
    except Exception as error:  # each storage has errors of its own
        raise CheckpointError(
            f"{location} cannot be reached ({type(error).__name__}: {error}). Check the URL, the package that fsspec "
            "needs for it (s3fs for s3://, gcsfs for gs://) and your credentials, or give a local copy of the file."
        ) from error
