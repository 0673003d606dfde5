"""Which batch comes next, and is it the last one?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from lightning_adapter.data.combining import IndexedBatch
from lightning_adapter.data.loaders import INFINITE

Item = TypeVar("Item")


class DataFetcher(Iterator[Item], Generic[Item]):
    """One pass over the data at a time; knows at each batch whether it is the last.

    Where the length is unknown, one batch is fetched ahead, as Lightning's `_PrefetchDataFetcher` does, unless the user's
    step fetches itself.

    Args:
        iterate: iterates the loaders.
        length: number of batches.
        ahead: whether a batch may be fetched ahead.
        before_ahead: called before a batch is fetched ahead: the position to resume from is the one before it.

    Attributes:
        done: True if the batch handed out last is the last one.
        fetched: batches taken from the loaders in this pass.
        iterator: the pass under way, None where there is none.
        fetches_ahead: whether a batch more is fetched than was handed out.
    """

    def __init__(
        self,
        iterate: Callable[[], Iterator[Item]],
        length: float,
        ahead: bool = True,
        before_ahead: Callable[[], None] = lambda: None,
    ) -> None:
        self.done = False
        self.fetched = 0
        self.iterator: Iterator[Item] | None = None
        self.fetches_ahead = ahead and length == INFINITE
        self._iterate = iterate
        self._length = length
        self._before_ahead = before_ahead
        self._ahead: list[Item] = []

    def start(self) -> None:
        """Iterate the loaders anew."""
        self.resume(self._iterate())

    def resume(self, iterator: Iterator[Item], fetched: int = 0) -> None:
        """Take batches from an iterator, of which `fetched` are gone already."""
        self.iterator = iterator
        self.begin(fetched)

    def begin(self, fetched: int = 0) -> None:
        """Take batches from the present iterator, of which `fetched` are gone already."""
        self.fetched = fetched
        self.done = self._length <= fetched
        self._ahead = []
        if self.fetches_ahead:
            self._fetch_ahead()

    def _fetch_ahead(self) -> None:
        assert self.iterator is not None
        self._before_ahead()
        try:
            self._ahead.append(next(self.iterator))
            self.fetched += 1
        except StopIteration:
            self.done = True

    def __next__(self) -> Item:
        if self._ahead:
            batch = self._ahead.pop()
            self._fetch_ahead()
            return batch
        if self.done or self.iterator is None:
            raise StopIteration
        try:
            batch = next(self.iterator)
        except StopIteration:
            self.done = True
            raise
        self.fetched += 1
        self.done = self.fetched >= self._length
        return batch

    def agree_on_end(self, done: bool) -> None:
        """All processes have told each other whether the batch handed out last is the last one of any of them."""
        self.done = done

    def stop(self) -> None:
        """Let go of the iterator; its worker processes end."""
        self.iterator = None
        self._ahead = []


class DataLoaderIterator(Iterator[IndexedBatch]):
    """What a step that takes `dataloader_iter` pulls its batches from, as from Lightning's `_DataFetcherWrapper`.

    Args:
        fetch: gives the next (batch, batch_idx, dataloader_idx).

    Attributes:
        last: what it pulled last, which is what the hooks around the step are told.
    """

    def __init__(self, fetch: Callable[[], IndexedBatch]) -> None:
        self.last: IndexedBatch = (None, 0, 0)
        self._fetch = fetch

    def __next__(self) -> IndexedBatch:
        self.last = self._fetch()
        return self.last
