"""How do the shards of all processes become one file in the order of the dataset, in little memory?

A file of torch is written with room for its tensors first (`torch.serialization.skip_data`), and the tensors are then
filled where they lie, through a mapping. Tensors of differing shapes lie one behind the other in one storage.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch

from lightning_adapter.evaluation import shards
from lightning_adapter.evaluation.mapped_pages import MappedPages
from lightning_adapter.evaluation.plain_outputs import Plain, copied, sample
from lightning_adapter.evaluation.prediction_layout import (
    Group,
    Layout,
    PerBatch,
    Samples,
    Seen,
    Shape,
    Stacked,
    places,
)
from lightning_adapter.evaluation.shards import Record, Shard

#: What a joined file holds for each sample, besides `index`.
COLUMNS = ("prediction", "target", "key")

_Rows: TypeAlias = list[int]


class Joined(NamedTuple):
    """What is known of a joined file.

    Attributes:
        samples: rows of the file.
        batches: that have a prediction.
        without_prediction: batches for which predict_step returned None.
        order: "dataset", or "batches" where the loader gives no indices.
        duplicates_dropped: samples that several processes had.
        per_batch: places of values that belong to whole batches.
        lists: places of values that are lists with an element per sample.
    """

    samples: int
    batches: int
    without_prediction: int
    order: str
    duplicates_dropped: int
    per_batch: list[str]
    lists: list[str]


class _Slot(NamedTuple):
    """Where a sample's tensor will lie."""

    dtype: torch.dtype
    shape: Shape


@dataclass
class _Survey:
    """What one walk over all records has shown."""

    seen: dict[str, Seen]
    #: The row in the file of each sample, in the order of the walk; -1 where it is dropped.
    rows: torch.Tensor
    index: torch.Tensor
    joined: Joined


def join(folder: pathlib.Path, chains: Sequence[Sequence[Shard]], path: pathlib.Path) -> Joined:
    """Write the joined file of one loader.

    Args:
        folder: of the shards.
        chains: each process's shards of this loader.
        path: of the file, in a place where it may be half written.
    """
    every = [shard for chain in chains for shard in chain]
    walk: Callable[[], Iterator[Record]] = lambda: shards.records(folder, every)  # noqa: E731
    survey = _survey(walk, several=len(chains) > 1)
    layouts: dict[str, Layout] = {name: seen.layout() for name, seen in survey.seen.items()}
    content = _Content(path, survey, layouts)
    if any(places(layout, kind, name) for name, layout in layouts.items() for kind in (Samples, PerBatch)):
        content.note_samples(walk())
    content.write(walk)
    per_batch = [place for name, layout in layouts.items() for place in places(layout, PerBatch, name)]
    lists = [place for name, layout in layouts.items() for place in places(layout, Samples, name)]
    return survey.joined._replace(per_batch=per_batch, lists=lists)


def _survey(walk: Callable[[], Iterator[Record]], several: bool) -> _Survey:
    seen = {name: Seen() for name in COLUMNS}
    indices: list[torch.Tensor] = []
    size, batches, without, has_index = 0, 0, 0, True
    for record in walk():
        if record["prediction"] is None:
            without += 1
            continue
        batches += 1
        for name in COLUMNS:
            seen[name].see(record[name], record["size"])  # type: ignore[literal-required]
        size += record["size"]
        if record["index"] is None:
            has_index = False
        else:
            indices.append(record["index"].clone())
    index = torch.cat(indices) if has_index and indices else torch.arange(size)
    order = torch.argsort(index, stable=True)
    if several and has_index:
        # padding: of samples that several processes have, the first one's are kept
        in_order = index[order]
        is_first = torch.ones(size, dtype=torch.bool)
        is_first[1:] = in_order[1:] != in_order[:-1]
        order = order[is_first]
    rows = torch.full((size,), -1)
    rows[order] = torch.arange(len(order))
    how = "dataset" if has_index else "batches"
    joined = Joined(len(order), batches, without, how, size - len(order), [], [])
    return _Survey(seen, rows, index[order].clone(), joined)


class _Content:
    """The content of a joined file: tensors with room for all samples, lists of samples, and values per batch."""

    def __init__(self, path: pathlib.Path, survey: _Survey, layouts: dict[str, Layout]) -> None:
        self._path = path
        self._survey = survey
        self._layouts = layouts
        self._lists: dict[str, list[Plain]] = {}
        self._per_batch: list[dict[str, Plain]] = []
        self._room = _Room(path)

    def note_samples(self, records: Iterator[Record]) -> None:
        """Note all that is no stacked tensor; of tensors only the shape."""
        names = [name for name, layout in self._layouts.items() if not isinstance(layout, Stacked)]
        for record, rows in self._with_rows(records):
            per_batch = {}
            for name in names:
                value = record[name]  # type: ignore[literal-required]
                of_batch = self._note(self._layouts[name], name, value, rows)
                if of_batch is not _ABSENT:
                    per_batch[name] = of_batch
            if per_batch:
                kept = [number for number in rows if number >= 0]
                self._per_batch.append({"index": self._survey.index[kept], **per_batch})

    def _note(self, layout: Layout, place: str, value: Plain, rows: _Rows) -> Plain:
        """Note a value's samples; return what of it belongs to the whole batch."""
        if isinstance(layout, Group):
            found = {
                name: of_batch
                for name, part in layout.parts.items()
                if (of_batch := self._note(part, f"{place}[{name!r}]", value[name], rows)) is not _ABSENT
            }
            return found or _ABSENT
        if isinstance(layout, Samples):
            into = self._lists.setdefault(place, [None] * self._survey.joined.samples)
            for number, row in enumerate(rows):
                if row >= 0:
                    into[row] = _slots(sample(value, number, len(rows)))
        if isinstance(layout, PerBatch):
            return copied(value)
        return _ABSENT

    def write(self, walk: Callable[[], Iterator[Record]]) -> None:
        """Write the file."""
        room = self._room
        for place, values in self._lists.items():
            room.measure(values, place)
        with room.open():
            content: dict[str, Plain] = {"index": self._survey.index}
            for name, layout in self._layouts.items():
                made = self._make(layout, name)
                if made is not _ABSENT:
                    content[name] = made
            if self._per_batch:
                content["per_batch"] = self._per_batch
            room.save(content, self._fill_all(walk))

    def _make(self, layout: Layout, place: str) -> Plain:
        if isinstance(layout, Group):
            parts = {
                name: made
                for name, part in layout.parts.items()
                if (made := self._make(part, f"{place}[{name!r}]")) is not _ABSENT
            }
            if layout.is_tuple and len(parts) == len(layout.parts):
                return tuple(parts.values())
            return parts or _ABSENT
        if isinstance(layout, Stacked):
            return self._room.tensor(layout.dtype, (self._survey.joined.samples, *layout.shape))
        if isinstance(layout, Samples):
            return self._room.placed(self._lists.pop(place), place)
        return _ABSENT if isinstance(layout, PerBatch) or "[" not in place else None

    def _fill_all(self, walk: Callable[[], Iterator[Record]]) -> Callable[[Plain], None]:
        def fill(content: Plain) -> None:
            pages = MappedPages([content[name] for name in self._layouts if name in content])
            for record, rows in self._with_rows(walk()):
                for name, layout in self._layouts.items():
                    if name in content:
                        pages.touched(_fill(layout, content[name], record[name], rows))  # type: ignore[literal-required]

        return fill

    def _with_rows(self, records: Iterator[Record]) -> Iterator[tuple[Record, _Rows]]:
        start = 0
        for record in records:
            if record["prediction"] is not None:
                end = start + record["size"]
                yield record, self._survey.rows[start:end].tolist()
                start = end


#: Stands for "there is nothing here", where None is a value.
_ABSENT: Any = object()


def _slots(value: Plain) -> Plain:
    """A sample's value with the places of its tensors in their stead."""
    if isinstance(value, torch.Tensor):
        return _Slot(value.dtype, tuple(value.shape))
    if isinstance(value, dict):
        return {name: _slots(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map(_slots, value))
    return value


def _fill(layout: Layout, into: Plain, value: Plain, rows: _Rows) -> int:
    """Write a batch's tensors to their rows; return how many bytes that were."""
    if isinstance(layout, Group):
        names = range(len(into)) if isinstance(into, tuple) else into
        return sum(_fill(layout.parts[name], into[name], value[name], rows) for name in names)
    if isinstance(layout, Samples):
        kept = [(number, row) for number, row in enumerate(rows) if row >= 0]
        return sum(_fill_sample(into[row], sample(value, number, len(rows))) for number, row in kept)
    if not isinstance(layout, Stacked) or not rows:
        return 0
    tensor = value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=layout.dtype)
    tensor = tensor.reshape((len(rows), *layout.shape))
    first, last = rows[0], rows[-1]
    if first >= 0 and rows == list(range(first, last + 1)):
        into[first : last + 1] = tensor
    else:
        numbers = [number for number, row in enumerate(rows) if row >= 0]
        into[[rows[number] for number in numbers]] = tensor[numbers]
    return tensor.numel() * tensor.element_size()


def _fill_sample(into: Plain, value: Plain) -> int:
    if isinstance(value, torch.Tensor):
        into.copy_(value)
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(_fill_sample(into[name], item) for name, item in value.items())
    if isinstance(value, (tuple, list)):
        return sum(map(_fill_sample, into, value))
    return 0


class _Room:
    """Room on the disk for the tensors of a file that is to be written."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._sparse = path.with_name(f"{path.name}.room")
        self._pools: dict[tuple[str, torch.dtype], int] = {}
        self._open_pools: dict[tuple[str, torch.dtype], tuple[torch.Tensor, int]] = {}
        self._number = 0

    def measure(self, values: Plain, place: str) -> None:
        """Count how many elements the tensors at one place have together."""
        for value in values:
            for slot in _slots_in(value):
                key = (place, slot.dtype)
                self._pools[key] = self._pools.get(key, 0) + math.prod(slot.shape)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Delete the room when the block ends."""
        try:
            yield
        finally:
            for path in self._path.parent.glob(f"{self._sparse.name}-*"):
                path.unlink()

    def tensor(self, dtype: torch.dtype, shape: Shape) -> torch.Tensor:
        """A tensor in a file of its own that takes no room on the disk, nor in memory, before it is written."""
        size = math.prod(shape) * dtype.itemsize
        if not size:
            return torch.empty(shape, dtype=dtype)
        self._number += 1
        file = self._path.with_name(f"{self._sparse.name}-{self._number}")
        with file.open("wb") as stream:
            stream.truncate(size)
        return torch.from_file(os.fspath(file), shared=True, size=size, dtype=torch.uint8).view(dtype).view(shape)

    def placed(self, values: list[Plain], place: str) -> list[Plain]:
        """Sample values with tensors in the places of their slots, which share one storage for each type."""

        def put(value: Plain) -> Plain:
            if isinstance(value, _Slot):
                key = (place, value.dtype)
                pool, start = self._open_pools.get(key) or (self.tensor(value.dtype, (self._pools[key],)), 0)
                end = start + math.prod(value.shape)
                self._open_pools[key] = (pool, end)
                return pool[start:end].view(value.shape)
            if isinstance(value, dict):
                return {name: put(item) for name, item in value.items()}
            if isinstance(value, (tuple, list)):
                return type(value)(map(put, value))
            return value

        for row, value in enumerate(values):
            values[row] = put(value)
        return values

    def save(self, content: Plain, fill: Callable[[Plain], None]) -> None:
        """Write the file, and let `fill` write its tensors where they are."""
        if not CAN_RESERVE:
            fill(content)
            torch.save(content, self._path)
            return
        with torch.serialization.skip_data():
            torch.save(content, self._path)
        opened = map_to_write(self._path)
        _copy_small(opened, content)
        fill(opened)


def _slots_in(value: Plain) -> Iterator[_Slot]:
    if isinstance(value, _Slot):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _slots_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _slots_in(item)


def _copy_small(opened: Plain, content: dict[str, Plain]) -> None:
    """Write what stands in memory: the index, and what belongs to whole batches."""
    opened["index"].copy_(content["index"])
    _fill_sample(opened.get("per_batch", []), content.get("per_batch", []))


#: Whether a file can be written with room for tensors that are filled later: since torch 2.6.
CAN_RESERVE = hasattr(torch.serialization, "skip_data")


def map_to_write(path: pathlib.Path) -> Plain:
    """What is in a file of torch, with tensors that are written to the file where they are written to."""
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        return torch.load(path, mmap=True, map_location="cpu", weights_only=True)
