"""In which order do the batches of several loaders come?

Both iterators follow those of Lightning's CombinedLoader; they are here because the position of a pass is asked of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from lightning_adapter.data.collections import Collection, unflatten
from lightning_adapter.data.loaders import Batch, Loader, end_pass
from lightning_adapter.versions.torch_private import next_batch

IndexedBatch: TypeAlias = tuple[Batch, int, int]  # batch, batch_idx, dataloader_idx


class CombinedIterator(Iterator[Batch]):
    """Batches of a collection of loaders, one of each at a time: Lightning's modes for training.

    Args:
        loaders: the flat list of loaders.
        like: the collection that they are from; each batch is a collection like it.
        mode: one of `MODES`.
        under_way: iterators of the loaders that stand in the middle of a pass, and which loaders have ended in it before;
            without them a pass is begun.

    Attributes:
        consumed: which loaders have ended at least once.
    """

    MODES = ("max_size_cycle", "min_size", "max_size")

    def __init__(
        self,
        loaders: Sequence[Loader],
        like: Collection,
        mode: str,
        under_way: tuple[Iterable[Iterator[Batch]], Iterable[bool]] | None = None,
    ) -> None:
        self.loaders = loaders
        # without the loaders, so that at each batch it is a matter of no time what is a loader and what holds some
        self.like = unflatten(like, itertools.repeat(None))
        self.mode = mode
        iterators, consumed = under_way or (map(iter, loaders), [False] * len(loaders))
        self.iterators = list(iterators)
        self.consumed = list(consumed)

    def __next__(self) -> Batch:
        batch: list[Batch] = []
        for index, loader in enumerate(self.loaders):
            try:
                batch.append(next_batch(self.iterators[index]))
            except StopIteration:
                self.consumed[index] = True
                if self.mode == "min_size" or all(self.consumed):
                    raise
                if self.mode == "max_size":
                    batch.append(None)
                else:
                    self.iterators[index] = iter(loader)
                    batch.append(next_batch(self.iterators[index]))
        return unflatten(self.like, iter(batch))

    def stop(self) -> None:
        """No further batch is taken; worker processes end."""
        while self.iterators:
            end_pass(self.iterators.pop())


class SequentialIterator(Iterator[IndexedBatch]):
    """Batches of one loader after the other; a loader is iterated when it is reached, as Lightning's `_Sequential` does.

    Args:
        loaders: the flat list of loaders, at least one.
        limits: the most batches of each of them.
    """

    def __init__(self, loaders: Sequence[Loader], limits: Sequence[float]) -> None:
        self.loaders = loaders
        self.limits = limits
        self.dataloader_idx = 0
        self.batch_idx = 0
        self.iterator: Iterator[Batch] = iter(loaders[0])

    def _next_loader(self) -> None:
        self.dataloader_idx += 1
        self.batch_idx = 0
        if self.dataloader_idx >= len(self.loaders):
            raise StopIteration
        self.iterator = iter(self.loaders[self.dataloader_idx])

    def __next__(self) -> IndexedBatch:
        while self.dataloader_idx < len(self.loaders):
            index = self.batch_idx
            if index < self.limits[self.dataloader_idx]:
                try:
                    batch = next_batch(self.iterator)
                except StopIteration:
                    pass  # the loader is shorter than its limit
                else:
                    self.batch_idx = index + 1
                    return batch, index, self.dataloader_idx
            self._next_loader()
        raise StopIteration

    def stop(self) -> None:
        """No further batch is taken; worker processes end."""
        iterator, self.iterator = self.iterator, iter(())
        end_pass(iterator)
