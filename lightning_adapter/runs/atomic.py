"""How does a file, a directory or a link appear on the disk whole, or not at all?"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Iterator

from lightning_adapter import notices


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Give a name to write to; it replaces `path` when the block ends well, so that `path` is never half written."""
    aside = path.with_name(f".{path.name}.new")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        with contextlib.suppress(OSError):  # where it was not written either: that error is the one to be told
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def appearing(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """Give a directory to fill; it gets its name in one move when the block ends well, and is deleted otherwise.

    Raises:
        FileExistsError: meanwhile there is something of that name.
    """
    aside = make_unique(directory.parent, f".{directory.name}.new")
    try:
        yield aside
        if os.path.lexists(directory):  # an empty directory would be replaced
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(directory))
        aside.rename(directory)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_directory(directory.parent)


def make_unique(parent: pathlib.Path, name: str) -> pathlib.Path:
    """Make the empty directory `parent/name`, or `parent/name-2` and so on where that one is taken."""
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def point_to(link: pathlib.Path, target: str) -> None:
    """Make or replace a relative link in one move; a run goes on without it where the file system has no links."""
    try:
        replace_link(link, target)
    except OSError as error:
        notices.warn(f"the link {link} to the newest run could not be made: {error}")


def replace_link(link: pathlib.Path, target: str) -> None:
    """Make or replace a relative link in one move.

    Raises:
        OSError: the file system has no links, or what has this name was not made here; it is left alone.
    """
    check_link(link, target)
    aside = link.with_name(f".{link.name}-{pathlib.PurePath(target).name}")
    try:
        aside.unlink(missing_ok=True)  # of a process that was killed
        aside.symlink_to(target, target_is_directory=True)
        os.replace(aside, link)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def check_link(link: pathlib.Path, target: str) -> None:
    """Refuse a name that is another's: no link, or one that leads elsewhere than to a neighbour of the target.

    Raises:
        OSError: it is.
    """
    if os.path.lexists(link) and (
        not link.is_symlink() or os.path.dirname(os.readlink(link)) != os.path.dirname(target)
    ):
        raise FileExistsError(errno.EEXIST, "something of this name is there, and left as it is", str(link))


def link_or_copy(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Let a file have a second name, which costs no room; copy it where that cannot be, on another disk for one."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
        with open(target, "rb") as file:
            os.fsync(file.fileno())


def sync_directory(path: pathlib.Path) -> None:
    """Have the names in a directory on the disk before what comes next, where its file system can do so."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)
