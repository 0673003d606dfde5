"""How much of the disk do directories take, and how much of it comes free without them?"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_BLOCK = 512  # the unit of st_blocks, on every file system


class _Names(NamedTuple):
    """What is known of a file that has several names.

    Attributes:
        octets: on the disk.
        all: names that it has.
        seen: how many of them were found.
    """

    octets: int
    all: int
    seen: int


def freed_without(directories: Iterable[pathlib.Path]) -> int:
    """Bytes that come free where directories are deleted; what has a further name elsewhere stays on the disk."""
    total, linked = 0, dict[tuple[int, int], _Names]()
    for directory in directories:
        for found in _walk(directory):
            octets = _octets(found)
            if found.st_nlink > 1:
                key = (found.st_dev, found.st_ino)
                known = linked.get(key, _Names(octets, found.st_nlink, 0))
                linked[key] = known._replace(seen=known.seen + 1)
            else:
                total += octets
    return total + sum(names.octets for names in linked.values() if names.seen >= names.all)


def taken_by(path: pathlib.Path) -> int:
    """Bytes of a file, or of all files below a directory; a link takes nothing, nor what is gone meanwhile."""
    if path.is_symlink():
        return 0
    if path.is_dir():
        return sum(found.st_size for found in _walk(path))
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _octets(found: os.stat_result) -> int:
    return int(getattr(found, "st_blocks", -(-found.st_size // _BLOCK))) * _BLOCK


def _walk(directory: pathlib.Path) -> Iterator[os.stat_result]:
    """The files below a directory; what goes meanwhile, or cannot be read, is left out."""
    waiting = [os.fspath(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        yield entry.stat(follow_symlinks=False)
        except OSError:
            continue
