"""What of a checkpoint is copied, so that its file can be written while training goes on and changes the original?

All of it, in the form that `torch.save` gives it: what is pickled, and one copy of each storage, which tensors share as
before. The file is bit for bit the one that would have been written at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from lightning_adapter.checkpoints.free_memory import free_memory
from lightning_adapter.versions.torch_private import Records, records_of

#: Bytes that a copy may have without anybody asking whether there is room for it.
_SMALL = 64 << 20
#: Of the memory that is free, what a copy may take at most: training goes on beside it.
_SHARE = 0.5


class Snapshot:
    """The content of a checkpoint at one moment.

    Args:
        records: of its file.
    """

    def __init__(self, records: Records) -> None:
        self._records = records

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Snapshot | None:
        """Copy what a file is to hold; None where the copy would take too much of the memory that is free."""
        room = _Room()
        try:
            return cls(records_of(content, room.take))
        except _NoRoom:
            return None

    def write(self, stream: IO[bytes]) -> None:
        """Write it as `torch.save` does."""
        self._records.write(stream)


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
