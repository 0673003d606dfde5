"""Which batches does an epoch of training have, and how is one repeated from its middle?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from lightning_adapter.data.collections import Collection, flatten
from lightning_adapter.data.combining import CombinedIterator, IndexedBatch
from lightning_adapter.data.fetching import DataFetcher, DataLoaderIterator
from lightning_adapter.data.generators import Generator, get_state, set_state
from lightning_adapter.data.loaders import INFINITE, Batch, Loader, length_of
from lightning_adapter.data.position import LoaderPosition, ResumableLoader, StatefulLoader
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import CheckpointError, ConfigurationError
from lightning_adapter.versions import lightning_private


class _LaterAdditions(TypedDict, total=False):
    """What older files do not have.

    Attributes:
        fetched: batches fetched in the pass, which are more than `batches` where a step fetches several itself.
    """

    fetched: int


class TrainingDataState(_LaterAdditions):
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
    generators: list[Any]


_OTHER = (
    "The checkpoint's position in the training data {what}. Use another checkpoint, or start with warm_start_from, which "
    "takes the weights only."
)


def _position_of(saved: Any, in_pass: bool) -> LoaderPosition:
    """A loader's position out of a checkpoint.

    Raises:
        CheckpointError: it is none.
    """
    try:
        position = LoaderPosition.of(saved)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise CheckpointError(_OTHER.format(what=f"is none ({type(error).__name__}: {error})")) from error
    if in_pass and position.at_start is None:
        raise CheckpointError(_OTHER.format(what="is in a pass that has not begun"))
    return position


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
        mode: how several loaders are combined.
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
        self.mode, self.collection = lightning_private.uncombined(loaders, "max_size_cycle")
        if self.mode not in CombinedIterator.MODES:
            raise ConfigurationError(
                f"train_dataloader() returned CombinedLoader(mode={self.mode!r}), which Lightning's fit does not "
                f"support either. The available modes are: {list(CombinedIterator.MODES)}."
            )
        self.loaders: list[Loader] = flatten(self.collection)
        combine = min if self.mode == "min_size" else max
        lengths = [length_of(loader) for loader in self.loaders]
        self.num_batches = combine(min(length, limits(length)) for length in lengths)
        if waits_within_limits and self.num_batches != INFINITE:
            ahead = False
        self._resumable = [ResumableLoader(loader) for loader in self.loaders]
        self._is_single = self.collection is self.loaders[0]
        length = combine(lengths) if limits_outside else self.num_batches
        self.fetcher: DataFetcher[Batch] = DataFetcher(self._iterate, length, ahead, self._remember_position)
        self._before_ahead = _Position([], [])
        self._handed: DataLoaderIterator | None = None

    def limit_to(self, batches: float) -> None:
        """An epoch ends after that many batches: user code sets `trainer.num_training_batches`.

        When a batch is the last one of the loaders is not affected, as in Lightning, whose fetcher does not know of it.
        """
        self.num_batches = batches

    def start(self) -> None:
        """Begin a pass."""
        self._handed = None
        self.fetcher.start()

    def dataloader_iterator(self) -> DataLoaderIterator:
        """The iterator of the present pass, for a step that fetches its batches itself."""
        if self._handed is None:
            self._handed = DataLoaderIterator(self.fetcher, self._next_indexed, max(self.fetcher.batch_idx, 0))
        return self._handed

    def let_go(self) -> None:
        """Other loaders take the place of these, which end with their workers where the user does not hold them either."""
        self._end_pass()
        self.loaders, self._resumable, self.collection = [], [], []

    def stop(self) -> None:
        """End all worker processes."""
        self._end_pass()
        for loader in self._resumable:
            loader.stop()

    def _end_pass(self) -> None:
        self.fetcher.stop()
        self._handed = None
        for loader in self._resumable:
            loader.let_go()

    def _iterate(self) -> Iterator[Batch]:
        if self._is_single:
            return iter(self._resumable[0])
        return CombinedIterator(self._resumable, self.collection, self.mode)

    def _next_indexed(self) -> IndexedBatch:
        return next(self.fetcher), self.fetcher.batch_idx, 0

    # --- position -----------------------------------------------------------------------------------------------------

    def _remember_position(self) -> None:
        self._before_ahead = self._position()

    def _position(self) -> _Position:
        iterator = self.fetcher.iterator
        return _Position(
            [loader.position() for loader in self._resumable],
            list(iterator.consumed) if isinstance(iterator, CombinedIterator) else [],
        )

    def _trained_position(self, batches: int) -> _Position:
        """Where the loaders stood after the last of the `batches` that were trained in the present pass."""
        return self._before_ahead if self.fetcher.fetches_ahead and batches else self._position()

    def _generators(self) -> list[Generator]:
        return [generator for loader in self._resumable for generator in loader.generators()]

    def state_dict(self, batches: int) -> TrainingDataState:
        """Position after `batches` batches of the present pass: what its random draws started from.

        Between two passes `batches` is 0, and what matters is the state of the loaders' own generators, and what loaders
        with a `state_dict()` say themselves.
        """
        position = self._trained_position(batches)
        return {
            "batches": batches,
            "num_batches": None if self.num_batches == INFINITE else int(self.num_batches),
            "sources": [loader.state_dict() for loader in position.loaders],
            "consumed": position.consumed,
            "generators": [get_state(generator) for generator in self._generators()],
            "fetched": self.fetcher.handed_out if batches else 0,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Repeat the draws of the pass that `state` describes, and stand after its last trained batch.

        Raises:
            CheckpointError: the loaders are not those that were trained with.
        """
        positions = [_position_of(saved, bool(state["batches"])) for saved in state["sources"]]
        generators = self._generators()
        if (len(positions), len(state["generators"])) != (len(self._resumable), len(generators)):
            raise CheckpointError(
                f"The checkpoint was written with {len(positions)} training loaders, whose samplers have "
                f"{len(state['generators'])} random generators of their own; now there are {len(self._resumable)} loaders "
                f"with {len(generators)} generators. Return the loaders that were trained with, or start with "
                "warm_start_from, which takes the weights only."
            )
        after = RandomState.now()
        for loader, position in zip(self._resumable, positions, strict=True):
            if state["batches"]:
                loader.resume(position)
            else:
                loader.resume_between_passes(position)
        if state["batches"]:
            if state["consumed"] and len(state["consumed"]) != len(positions):
                raise CheckpointError(_OTHER.format(what="tells of other loaders that have ended than there are"))
            # a batch that is fetched ahead draws as it did then
            fetched = state.get("fetched", state["batches"])
            self._handed = None
            self.fetcher.resume(self._iterator_under_way(state["consumed"]), fetched)
        after.restore()
        try:
            for generator, saved in zip(generators, state["generators"], strict=True):
                set_state(generator, saved)
        except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
            raise CheckpointError(_OTHER.format(what=f"has no state of a generator ({error})")) from error

    def loader_states(self, batches: int) -> list[Any]:
        """What those loaders that have a `state_dict()` say, in turn, as Lightning's CombinedLoader saves it."""
        if not any(isinstance(loader, StatefulLoader) for loader in self.loaders):
            return []
        return [loader.own.state for loader in self._trained_position(batches).loaders if loader.own is not None]

    def load_loader_states(self, states: Sequence[Any]) -> None:
        """What Lightning's CombinedLoader has saved, before a pass begins, as its `_load_state_dicts`.

        Raises:
            CheckpointError: there is another number of such loaders.
        """
        stateful = [loader for loader in self._resumable if isinstance(loader.loader, StatefulLoader)]
        if len(stateful) != len(states):
            raise CheckpointError(
                f"The checkpoint holds the states of {len(states)} training loaders, and {len(stateful)} of those that "
                "train_dataloader() returned have a state_dict() and a load_state_dict(). Return the loaders that were "
                "trained with, or start with warm_start_from, which takes the weights only."
            )
        for loader, state in zip(stateful, states, strict=True):
            loader.load_own(state)

    @property
    def all_stateful(self) -> bool:
        """Whether all loaders say themselves where they stand."""
        return all(isinstance(loader, StatefulLoader) for loader in self.loaders)

    def _iterator_under_way(self, consumed: list[bool]) -> Iterator[Batch]:
        if self._is_single:
            return self._resumable[0]
        return CombinedIterator(self._resumable, self.collection, self.mode, (self._resumable, consumed))
