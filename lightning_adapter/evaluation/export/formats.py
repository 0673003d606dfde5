"""Which ways are there to each format, the best one first, and how is its file run?"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from lightning_adapter.evaluation.export.example import Example
from lightning_adapter.versions.types import LightningModule

#: Calls an exported model; its outputs are those of the module, or their tensors in the same order.
Runner = Callable[[Example], object]


class Way(NamedTuple):
    """One way to write a file.

    Attributes:
        name: for people.
        any_batch_size: whether the file is to take batches of any size.
        write: writes it.
    """

    name: str
    any_batch_size: bool
    write: Callable[[pathlib.Path], object]


class Format(Protocol):
    """What a model can be exported to.

    Attributes:
        name: as it is typed.
        file: what a file of it is called where nobody has named it.
        others: formats that may take what this one does not.
    """

    name: str
    file: str
    others: str

    def ways(self, module: LightningModule, example: Example) -> Sequence[Way]:
        """Return the ways to write a file, the best one first."""
        ...

    def load(self, path: pathlib.Path) -> Runner:
        """Read a file, as who gets it would."""
        ...

    def usage(self, path: str, example: Example) -> str:
        """Return what to type to run it, in Python."""
        ...
