"""Where in its pass does a training loader stand, and how does a resumed run get there?

The loader that `train_dataloader()` returned is the one that is iterated, once per epoch, at the moment at which
Lightning iterates it: permutations and worker seeds are drawn where Lightning draws them. What those draws started from
is remembered, so that a resumed run repeats them and goes on after the last trained batch. A loader with a `state_dict()`
says itself where it stands, and is told so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, runtime_checkable

from torch.utils.data import DataLoader

from lightning_adapter.data.generators import Generator, generators_of
from lightning_adapter.data.loaders import (
    Batch,
    Loader,
    end_pass,
    has_iterable_dataset,
    index_sampler,
    with_index_sampler,
)
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import CheckpointError
from lightning_adapter.versions import torch_private


@runtime_checkable
class StatefulLoader(Protocol):
    """Says itself where it stands, and goes on from there when it is iterated: torchdata's StatefulDataLoader, others."""

    def state_dict(self) -> Any:
        """Where it stands."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Stand there when iterated next."""


@dataclass(frozen=True)
class LoaderState:
    """What a loader says of itself.

    Attributes:
        state: what its `state_dict()` returned.
        ended: whether the pass under way, or the last one, was taken to its end.
    """

    state: Any
    ended: bool


@dataclass(frozen=True)
class LoaderPosition:
    """Where a loader stood at one moment, and the random states that lead there.

    Attributes:
        passes: how often the loader had been iterated.
        taken: batches taken in the pass under way.
        at_start: random state when the loader was iterated, None before its first pass.
        at_first: random state when the first batch of the pass was taken, None before.
        now: random state at the moment itself.
        own: what the loader says itself; None for loaders without a `state_dict()`.
    """

    passes: int
    taken: int
    at_start: RandomState | None
    at_first: RandomState | None
    now: RandomState
    own: LoaderState | None = None

    def state_dict(self) -> list[Any]:
        """The attributes in turn, in types that a restricted loader accepts."""
        states = (self.at_start, self.at_first, self.now)
        found = [self.passes, self.taken, *(None if state is None else state.state_dict() for state in states)]
        return found if self.own is None else [*found, self.own.state, self.own.ended]

    @classmethod
    def of(cls, state: Sequence[Any]) -> LoaderPosition:
        """What `state_dict` was made from."""
        passes, taken, at_start, at_first, now, *own = state
        return cls(
            passes,
            taken,
            None if at_start is None else RandomState.of(at_start),
            None if at_first is None else RandomState.of(at_first),
            RandomState.of(now),
            LoaderState(*own) if own else None,
        )


class FastForwardSampler:
    """A sampler, or batch sampler, that leaves out once what was trained before an interruption.

    The indices are drawn and dropped: nothing is loaded. With worker processes they are drawn as soon as the loader is
    iterated; without, when `skip()` is called, under the random state that the first run had at its first fetch.

    Args:
        sampler: what the loader had been iterated over.
        count: how many of its items are still to be left out.
    """

    def __init__(self, sampler: Iterable[Any], count: int) -> None:
        self.sampler = sampler
        self.count = count
        self._iterator: Iterator[Any] = iter(())

    def __iter__(self) -> FastForwardSampler:
        self._iterator = iter(self.sampler)
        return self

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def skip(self) -> None:
        """Draw and drop what is still to be left out."""
        while self.count:
            next(self._iterator)
            self.count -= 1

    def __next__(self) -> Any:
        self.skip()
        return next(self._iterator)


# in the place of the iterator of a pass that has ended
_ENDED: Iterator[Batch] = iter(())


def _takes_indices_alone(loader: Loader) -> TypeGuard[DataLoader[Any]]:
    """Whether a batch can be left out by leaving out its indices."""
    return (
        isinstance(loader, DataLoader)
        and not has_iterable_dataset(loader)
        and torch_private.takes_indices_alone(loader)
    )


class ResumableLoader(Iterator[Batch]):
    """One training loader, pass after pass: remembers what the random draws of its present pass started from.

    Iterated, it begins a pass of the loader and is that pass's iterator.

    Args:
        loader: the user's loader.

    Attributes:
        passes: how often the loader was iterated.
        taken: batches taken in the present pass.
        at_start: random state when the loader was iterated.
        at_first: random state when the first batch was taken, None before.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.passes = 0
        self.taken = 0
        self.at_start: RandomState | None = None
        self.at_first: RandomState | None = None
        self._iterator: Iterator[Batch] = iter(())
        # looked for once a pass: a stream of unknown length is asked for its position at each batch
        self._generators: list[Generator] = []
        self._stateful = loader if isinstance(loader, StatefulLoader) else None

    def generators(self) -> list[Generator]:
        """The generators that loader and samplers draw from instead of the global one."""
        return generators_of(self.loader)

    @property
    def ended(self) -> bool:
        """Whether the present pass has no further batch, as far as it was asked for one."""
        return self._iterator is _ENDED

    def __iter__(self) -> ResumableLoader:
        self._generators = self.generators()
        self.at_start, self.at_first = RandomState.now(self._generators), None
        self.passes += 1
        self.taken = 0
        self._iterator = iter(self.loader)
        return self

    def __next__(self) -> Batch:
        # without workers, torch's samplers draw their permutation at the first batch, not when they are iterated
        if self.at_first is None:
            self.at_first = RandomState.now(self._generators)
        try:
            batch = torch_private.next_batch(self._iterator)
        except StopIteration:
            self._iterator = _ENDED
            raise
        self.taken += 1
        return batch

    # --- position -----------------------------------------------------------------------------------------------------

    def position(self) -> LoaderPosition:
        """Where the loader stands."""
        now = RandomState.now(self._generators)
        own = None
        # before its first pass torchdata's loader would begin one to answer
        if self.passes and self._stateful is not None:
            # a state may be a view of the loader, which goes on
            own = LoaderState(copy.deepcopy(self._stateful.state_dict()), self.ended)
        return LoaderPosition(self.passes, self.taken, self.at_start, self.at_first, now, own)

    def resume(self, position: LoaderPosition) -> None:
        """Repeat the draws of a pass, and stand where it stood.

        Raises:
            CheckpointError: the loader has fewer batches than were trained.
        """
        assert position.at_start is not None, "there is nothing to repeat before the first pass"
        self._generators = self.generators()
        self.passes, self.taken = position.passes, position.taken
        self.at_start, self.at_first = position.at_start, position.at_first
        first, loader, own = position.at_first or position.at_start, self.loader, position.own
        if own is not None:
            position.at_start.restore(self._generators)
            self.load_own(own.state)
            # one that was taken to its end is not begun again
            self._iterator = _ENDED if own.ended else iter(loader)
        elif _takes_indices_alone(loader):
            sampler = FastForwardSampler(index_sampler(loader), position.taken)
            self._iterator = self._iterate(loader, sampler, position.at_start)
            first.restore(self._generators)
            self._skip(sampler.skip)
        else:
            self._iterator = self._iterate_again(position.at_start)
            first.restore(self._generators)
            self._skip(self._take_again)
        position.now.restore(self._generators)

    def resume_between_passes(self, position: LoaderPosition) -> None:
        """Where the last pass was over, the next one begins as it would have begun then."""
        if position.passes:
            self._make_kept_workers()
        if position.own is None:
            return
        self.passes = position.passes
        self.load_own(position.own.state)
        # A limit may have cut the pass short, or nobody asked for a batch after the last one: to torchdata's loader it is
        # under way, and the next iterator would go on with it.
        if position.own.ended:
            self._iterator = _ENDED
        elif isinstance(self.loader, DataLoader):
            self._iterator = iter(self.loader)

    def load_own(self, state: Any) -> None:
        """Let the loader stand where it said that it stood.

        Raises:
            CheckpointError: the loader has no such state, as the one that was saved had.
        """
        if self._stateful is None:
            raise CheckpointError(
                f"The checkpoint holds the state of a training loader, and the {type(self.loader).__name__} that "
                "train_dataloader() returned has no load_state_dict(). Return a loader of the kind that was trained with, "
                "or start with warm_start_from, which takes the weights only."
            )
        self._stateful.load_state_dict(copy.deepcopy(state))

    def _iterate_again(self, at_start: RandomState) -> Iterator[Batch]:
        """Iterate a loader whose batches have no indices, as at the start of the pass."""
        if self.passes > 1:
            self._make_kept_workers()
        at_start.restore(self._generators)
        return iter(self.loader)

    def _make_kept_workers(self) -> None:
        """Workers that persist were made in an earlier pass, with a draw that later ones lack, as in `_iterate`."""
        if torch_private.lacks_kept_workers(self.loader):
            next(iter(self.loader), None)

    def _take_again(self) -> None:
        for _ in range(self.taken):  # what has no index cannot be left out without being loaded
            next(self._iterator)

    def _skip(self, trained: Callable[[], None]) -> None:
        try:
            trained()
        except StopIteration:
            raise CheckpointError(
                f"The checkpoint was written after {self.taken} batches of an epoch, and the training loader "
                f"({type(self.loader).__name__}) now ends before that. Give the same data, or start with warm_start_from, "
                "which takes the weights only."
            ) from None

    def _iterate(self, loader: DataLoader[Any], sampler: FastForwardSampler, at_start: RandomState) -> Iterator[Batch]:
        """Iterate the loader over a sampler that leaves out its first batches."""
        if not loader.persistent_workers:
            at_start.restore(self._generators)
            return iter(with_index_sampler(loader, sampler))
        # Workers that persist belong to the loader: they are made in its first pass, with a draw that later ones lack.
        if self.passes == 1:
            at_start.restore(self._generators)
            changed = with_index_sampler(loader, sampler)
            iterator = iter(changed)
            torch_private.adopt_workers(loader, changed)
            return iterator
        iter(loader)
        torch_private.read_indices_from(loader, sampler)
        at_start.restore(self._generators)
        return iter(loader)

    # --- the end ------------------------------------------------------------------------------------------------------

    def let_go(self) -> None:
        """No further batch is taken from the pass under way; its worker processes end, unless the loader keeps them."""
        iterator, self._iterator = self._iterator, iter(())
        if not torch_private.keeps(self.loader, iterator):
            end_pass(iterator)

    def stop(self) -> None:
        """No further pass begins: all worker processes end."""
        self.let_go()
        torch_private.end_workers_of(self.loader)
