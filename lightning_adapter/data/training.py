"""Which batches does an epoch of training have, and how is one repeated from its middle?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

import torch

from lightning_adapter.data.collections import Collection, flatten
from lightning_adapter.data.combining import CombinedIterator, IndexedBatch
from lightning_adapter.data.fetching import DataFetcher, DataLoaderIterator
from lightning_adapter.data.loaders import INFINITE, Batch, Loader, length_of
from lightning_adapter.data.position import LoaderPosition, ResumableLoader
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import lightning_private


class TrainingDataState(TypedDict):
    """A position in the training data as a checkpoint holds it.

    Attributes:
        batches: batches trained in the pass under way, 0 between two passes.
        num_batches: batches of an epoch, None where that is unknown.
        sources: the positions of the loaders.
        consumed: which of several loaders have ended in this pass; empty with a single one.
        generators: the states of the loaders' own generators.
    """

    batches: int
    num_batches: int | None
    sources: list[list[Any]]
    consumed: list[bool]
    generators: list[torch.Tensor]


@dataclass(frozen=True)
class _Position:
    """Where all loaders stood at one moment; random states become tensors only when they are saved."""

    loaders: list[LoaderPosition]
    consumed: list[bool]


class TrainingData:
    """The training loaders: their limits, one pass after another, and how to repeat a pass from its middle.

    Args:
        loaders: a loader or a (nested) collection of loaders, or Lightning's CombinedLoader.
        limits: maps the length of one loader to the number of its batches that are used.
        ahead: whether a batch may be fetched ahead where the length is unknown.
        limits_outside: whether a batch is the last one only where the loaders end, not where their limit is reached.
        waits_within_limits: whether a limit makes the length known, so that no batch is fetched ahead.

    Attributes:
        collection: what the user returned, a CombinedLoader's collection in its place.
        loaders: the loaders in it.
        num_batches: batches of an epoch, infinite where that is unknown.
        fetcher: hands out the batches.

    Raises:
        ConfigurationError: a CombinedLoader of a mode that does not train.
    """

    def __init__(
        self,
        loaders: Collection,
        limits: Callable[[float], float],
        ahead: bool = True,
        limits_outside: bool = False,
        waits_within_limits: bool = False,
    ) -> None:
        self._mode, self.collection = lightning_private.uncombined(loaders, "max_size_cycle")
        if self._mode not in CombinedIterator.MODES:
            raise ConfigurationError(
                f"train_dataloader() returned CombinedLoader(mode={self._mode!r}), which Lightning's fit does not "
                f"support either. The available modes are: {list(CombinedIterator.MODES)}."
            )
        self.loaders: list[Loader] = flatten(self.collection)
        combine = min if self._mode == "min_size" else max
        lengths = [length_of(loader) for loader in self.loaders]
        self.num_batches = combine(min(length, limits(length)) for length in lengths)
        if waits_within_limits and self.num_batches != INFINITE:
            ahead = False
        self._resumable = [ResumableLoader(loader) for loader in self.loaders]
        self._is_single = self.collection is self.loaders[0]
        length = combine(lengths) if limits_outside else self.num_batches
        self.fetcher: DataFetcher[Batch] = DataFetcher(self._iterate, length, ahead, self._remember_position)
        self._before_ahead = _Position([], [])
        self._handed: tuple[Iterator[Batch] | None, DataLoaderIterator] | None = None

    def limit_to(self, batches: float) -> None:
        """An epoch ends after that many batches: user code sets `trainer.num_training_batches`.

        When a batch is the last one of the loaders is not affected, as in Lightning, whose fetcher does not know of it.
        """
        self.num_batches = batches

    def start(self) -> None:
        """Begin a pass."""
        self.fetcher.start()

    def dataloader_iterator(self) -> DataLoaderIterator:
        """The iterator of the present pass, for a step that fetches its batches itself."""
        if self._handed is None or self._handed[0] is not self.fetcher.iterator:
            self._handed = (self.fetcher.iterator, DataLoaderIterator(self._next_indexed))
        return self._handed[1]

    def stop(self) -> None:
        """End the worker processes."""
        self.fetcher.stop()

    def _iterate(self) -> Iterator[Batch]:
        if self._is_single:
            return iter(self._resumable[0])
        return CombinedIterator(self._resumable, self.collection, self._mode)

    def _next_indexed(self) -> IndexedBatch:
        return next(self.fetcher), self.fetcher.fetched - 1, 0

    # --- position -----------------------------------------------------------------------------------------------------

    def _remember_position(self) -> None:
        self._before_ahead = self._position()

    def _position(self) -> _Position:
        iterator = self.fetcher.iterator
        return _Position(
            [loader.position() for loader in self._resumable],
            list(iterator.consumed) if isinstance(iterator, CombinedIterator) else [],
        )

    def _generators(self) -> list[torch.Generator]:
        return [generator for loader in self._resumable for generator in loader.generators()]

    def state_dict(self, batches: int) -> TrainingDataState:
        """Position after `batches` batches of the present pass: what its random draws started from.

        Between two passes `batches` is 0, and what matters is the state of the loaders' own generators.
        """
        position = self._before_ahead if self.fetcher.fetches_ahead and batches else self._position()
        return {
            "batches": batches,
            "num_batches": None if self.num_batches == INFINITE else int(self.num_batches),
            "sources": [loader.state_dict() for loader in position.loaders],
            "consumed": position.consumed,
            "generators": [generator.get_state() for generator in self._generators()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Repeat the draws of the pass that `state` describes, and stand after its last trained batch."""
        if state["batches"]:
            after = RandomState.now()
            for loader, saved in zip(self._resumable, state["sources"], strict=True):
                loader.resume(LoaderPosition.of(saved))
            # a batch that is fetched ahead draws as it did then
            self.fetcher.resume(self._iterator_under_way(state["consumed"]), state["batches"])
            after.restore()
        for generator, saved in zip(self._generators(), state["generators"], strict=True):
            generator.set_state(saved)

    def _iterator_under_way(self, consumed: list[bool]) -> Iterator[Batch]:
        if self._is_single:
            return self._resumable[0]
        return CombinedIterator(self._resumable, self.collection, self._mode, (self._resumable, consumed))
