"""Which batches does a validation have, of which loader, and in all processes?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lightning_adapter.data.collections import Collection, flatten
from lightning_adapter.data.combining import CombinedIterator, IndexedBatch, SequentialIterator
from lightning_adapter.data.fetching import DataFetcher
from lightning_adapter.data.loaders import INFINITE, Loader, length_of
from lightning_adapter.versions import lightning_private, torch_private


class ValidationData:
    """The validation loaders, one after the other.

    Args:
        loaders: a loader or a (nested) collection of loaders, or Lightning's CombinedLoader in sequential mode.
        limits: maps the length of one loader to the number of its batches that are used.
        allgather: gives `max_batches` of all processes for that of this one; None in a single process.

    Attributes:
        mode: how several loaders are combined.
        collection: what the user returned, a CombinedLoader's collection in its place.
        loaders: the loaders in it.
        max_batches: number of batches of each loader in this process.
        longest: the same, of the process that has most of them.
        in_step: True if all processes have the same known number of batches of each loader.
        seen: batches of each loader over all validations: the steps under which their values are logged.
    """

    def __init__(
        self,
        loaders: Collection,
        limits: Callable[[float], float],
        allgather: Callable[[list[float]], list[list[float]]] | None = None,
    ) -> None:
        self.mode, self.collection = lightning_private.uncombined(loaders, "sequential")
        self.loaders: list[Loader] = flatten(self.collection)
        self.max_batches = [min(length, limits(length)) for length in map(length_of, self.loaders)]
        of_all = [self.max_batches] if allgather is None else allgather(self.max_batches)
        self.longest = [max(batches) for batches in zip(*of_all, strict=True)]
        self.in_step = all(batches == of_all[0] for batches in of_all) and INFINITE not in self.longest
        self.seen = [0] * len(self.loaders)
        self._under_way: SequentialIterator | CombinedIterator | None = None

    @property
    def is_sequential(self) -> bool:
        """False for a CombinedLoader of another mode, which yields one batch of each loader at a time."""
        return self.mode == "sequential"

    @property
    def several(self) -> bool:
        """True if steps and hooks are told a `dataloader_idx`."""
        return self.is_sequential and len(self.loaders) > 1

    def fetcher(self, max_batches: list[float], ahead: bool = True) -> DataFetcher[IndexedBatch]:
        """One pass over all loaders, with at most `max_batches` batches of each; `ahead` as in DataFetcher."""

        def iterate() -> Iterator[IndexedBatch]:
            if self.is_sequential:
                self._under_way = batches = SequentialIterator(self.loaders, max_batches)
                return batches
            self._under_way = side_by_side = CombinedIterator(self.loaders, self.collection, self.mode)
            return ((batch, index, 0) for index, batch in enumerate(side_by_side))

        return DataFetcher(iterate, self.length_of_pass(max_batches), ahead)

    def length_of_pass(self, max_batches: list[float]) -> float:
        """Batches of one pass over all loaders, which `fetcher` begins: one after the other, or side by side."""
        if self.is_sequential:
            return sum(max_batches)
        return min(max_batches) if self.mode == "min_size" else max(max_batches)

    def pass_is_over(self) -> None:
        """Forget the pass: its worker processes end, unless the loader keeps them for the next one."""
        self._under_way = None

    def stop(self) -> None:
        """End all worker processes; an error may have cut a pass short."""
        if self._under_way is not None:
            self._under_way.stop()
            self._under_way = None
        for loader in self.loaders:
            torch_private.end_workers_of(loader)
