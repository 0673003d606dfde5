"""Where do finished batches of predictions lie while the others are still made, and which of them are whole?"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch

from lightning_adapter.evaluation.plain_outputs import Plain
from lightning_adapter.runs.atomic import replacing

_NAME = re.compile(r"loader-(\d+)\.rank-(\d+)\.(\d+)-(\d+)\.pt")


class Record(TypedDict):
    """What was kept of one batch.

    Attributes:
        size: number of samples.
        index: int64 [size], of the samples in the dataset; None where the loader does not tell.
        prediction: what predict_step returned, as plain data; None where it returned None.
        target: of the samples; None where the batch has none.
        key: of the samples, likewise.
        mark: what tells this batch from others, where there is no index.
    """

    size: int
    index: torch.Tensor | None
    prediction: Plain
    target: Plain
    key: Plain
    mark: str | None


@dataclass(frozen=True, order=True)
class Shard:
    """A file with the records of the batches from `start` to before `end` of one loader, as one process saw them."""

    loader: int
    rank: int
    start: int
    end: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"loader-{self.loader}.rank-{self.rank}.{self.start:08d}-{self.end:08d}.pt"

    @classmethod
    def of(cls, name: str) -> Shard | None:
        """The shard that a file's name says; None for another file."""
        found = _NAME.fullmatch(name)
        return None if found is None else cls(*map(int, found.groups()))


def write(folder: pathlib.Path, shard: Shard, records: Sequence[Record]) -> None:
    """Write a shard, whole or not at all."""
    with replacing(folder / shard.name) as aside:
        torch.save(list(records), aside)


def read(folder: pathlib.Path, shard: Shard) -> list[Record]:
    """The records of a shard, their tensors mapped from the file."""
    records: list[Record] = torch.load(folder / shard.name, mmap=True, map_location="cpu", weights_only=True)
    return records


def found(folder: pathlib.Path) -> list[Shard]:
    """All shards in a folder."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(shard for name in names if (shard := Shard.of(name)) is not None)


def row(shards: Sequence[Shard], loader: int, rank: int) -> list[Shard]:
    """Those of one loader and process that follow each other without a gap from the first batch on."""
    chain: list[Shard] = []
    own = [shard for shard in shards if (shard.loader, shard.rank) == (loader, rank)]
    while following := [shard for shard in own if shard.start == (chain[-1].end if chain else 0) < shard.end]:
        chain.append(max(following))
    return chain


def cut(folder: pathlib.Path, loader: int, rank: int, batches: int) -> None:
    """Keep what there is of the first `batches` batches, and delete what lies behind them or beside the row."""
    own = [shard for shard in found(folder) if (shard.loader, shard.rank) == (loader, rank)]
    kept = set()
    for shard in row(own, loader, rank):
        if shard.end <= batches:
            kept.add(shard)
        elif shard.start < batches:
            shorter = Shard(loader, rank, shard.start, batches)
            write(folder, shorter, read(folder, shard)[: batches - shard.start])
            kept.add(shorter)
    for shard in set(own) - kept:
        (folder / shard.name).unlink()


def records(folder: pathlib.Path, shards: Sequence[Shard]) -> Iterator[Record]:
    """The records of several shards; one file at a time is open."""
    for shard in shards:
        yield from read(folder, shard)
