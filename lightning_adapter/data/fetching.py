"""Which batch comes next, and is it the last one?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

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
        fetched: batches taken from the loaders in this epoch.
        fetched_before: how many of these an earlier run took, whose pass is not the present one.
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
        self.fetched_before = 0
        self.iterator: Iterator[Item] | None = None
        self.fetches_ahead = ahead and length == INFINITE
        self._iterate = iterate
        self._length = length
        self._before_ahead = before_ahead
        self._ahead: list[Item] = []

    @property
    def length(self) -> int | None:
        """Number of batches, None where it is unknown."""
        return None if self._length == INFINITE else int(self._length)

    @property
    def handed_out(self) -> int:
        """Batches handed out in this epoch."""
        return self.fetched - len(self._ahead)

    @property
    def batch_idx(self) -> int:
        """Index in its pass of the batch that was fetched last."""
        return self.fetched - self.fetched_before - 1

    def start(self) -> None:
        """Iterate the loaders anew."""
        self.resume(self._iterate())

    def resume(self, iterator: Iterator[Item], fetched: int = 0) -> None:
        """Take batches from an iterator, of which `fetched` are gone already."""
        self.iterator = iterator
        self.fetched, self.fetched_before = fetched, 0
        self.done = self._length <= fetched
        self._ahead = []
        if self.fetches_ahead:
            self._fetch_ahead()

    def count_on(self, fetched: int) -> None:
        """An earlier run has trained on `fetched` batches of the epoch, which count; the pass goes on as it is."""
        self.fetched_before += fetched
        self.fetched += fetched
        self.done = self.done or self._length <= self.fetched

    def _fetch_ahead(self) -> None:
        assert self.iterator is not None
        self._before_ahead()
        try:
            self._ahead.append(next(self.iterator))
            self.fetched += 1
        except StopIteration:
            self.done = True

    def fetch(self) -> Item:
        """The next batch; called as a method, since a loop pays for `next()` at each batch.

        Raises:
            StopIteration: there is none.
        """
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

    __next__ = fetch

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
        fetcher: says how far its pass is.
        fetch: gives the next (batch, batch_idx, dataloader_idx).
        batch_idx: index of the batch that was pulled last, by a run that was interrupted, 0 where there was none.

    Attributes:
        last: what it pulled last, which is what the hooks around the step are told.
    """

    def __init__(self, fetcher: DataFetcher[Any], fetch: Callable[[], IndexedBatch], batch_idx: int = 0) -> None:
        self._fetcher = fetcher
        self.last: IndexedBatch = (None, batch_idx, 0)
        self._fetch = fetch

    def __next__(self) -> IndexedBatch:
        self.last = self._fetch()
        return self.last

    @property
    def done(self) -> bool:
        """Whether there is no further batch, as far as that is known."""
        return self._fetcher.done

    @property
    def fetched(self) -> int:
        """Batches pulled in this epoch."""
        return self._fetcher.fetched

    @property
    def length(self) -> int | None:
        """Number of batches of an epoch, None where it is unknown."""
        return self._fetcher.length


#: By which a traceback tells that a batch was being fetched.
FETCHES = frozenset(each.__code__ for each in (DataFetcher.start, DataFetcher.fetch, DataFetcher._fetch_ahead))
