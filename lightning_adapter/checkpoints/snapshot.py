"""What of a checkpoint is copied, so that its file can be written while training goes on and changes the original?

All of it, once each where it stands in several places: the file is bit for bit the one that would have been written at
once. Plain data is copied as it is, and pickled when it is written. What else a checkpoint may hold is the user's, and may
refer to anything: then all is pickled at once, and kept in that form.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import IO, Any

import torch

from lightning_adapter.checkpoints import patient_pickle
from lightning_adapter.checkpoints.copies import Copies, NotCopied
from lightning_adapter.checkpoints.free_memory import free_memory
from lightning_adapter.versions.torch_private import records_of

#: Bytes that a copy may have without anybody asking whether there is room for it.
_SMALL = 64 << 20
#: Of the memory that is free, what a copy may take at most: training goes on beside it.
_SHARE = 0.5


class Snapshot:
    """The content of a checkpoint at one moment.

    Args:
        save: writes it as `torch.save` does.
    """

    def __init__(self, save: Callable[[IO[bytes]], None]) -> None:
        self._save = save

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Snapshot | None:
        """Copy what a file is to hold; None where the copy would take too much of the memory that is free, or gets none."""
        try:
            return cls(_copied(content) or records_of(content, _Room().take).write)
        except (_NoRoom, MemoryError):
            return None
        except RuntimeError as error:
            if "can't allocate memory" in str(error):  # torch's MemoryError: a limit of addresses, or no overcommitment
                return None
            raise

    def write(self, stream: IO[bytes]) -> None:
        """Write it as `torch.save` does."""
        self._save(stream)


def _copied(content: Mapping[str, Any]) -> Callable[[IO[bytes]], None] | None:
    """What writes a copy; None where something in the content has to be pickled at once."""
    try:
        copy = Copies(_Room().take).of(content)
    except NotCopied:
        return None
    return functools.partial(torch.save, copy, pickle_module=patient_pickle)


class _NoRoom(Exception):
    """A copy would be too large."""


class _Room:
    """What a copy may still take."""

    def __init__(self) -> None:
        self._taken = 0
        self._most: float | None = None

    def take(self, size: int) -> None:
        """So many bytes are about to be copied.

        Raises:
            _NoRoom: they would be too many.
        """
        self._taken += size
        if self._taken <= _SMALL:
            return
        if self._most is None:
            # what was copied before now is taken already
            self._most = self._taken - size + _SHARE * free_memory()
        if self._taken > self._most:
            raise _NoRoom
