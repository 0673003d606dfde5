"""Where in its pass does a training loader stand, and how does a resumed run get there?

The loader that `train_dataloader()` returned is the one that is iterated, once per epoch, at the moment at which
Lightning iterates it: permutations and worker seeds are drawn where Lightning draws them. What those draws started from
is remembered, so that a resumed run repeats them and goes on after the last trained batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader

from lightning_adapter.data.loaders import (
    Batch,
    Loader,
    has_iterable_dataset,
    index_sampler,
    with_index_sampler,
)
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.versions import torch_private


@dataclass(frozen=True)
class LoaderPosition:
    """Where a loader stood at one moment, and the random states that lead there.

    Attributes:
        passes: how often the loader had been iterated.
        taken: batches taken in the pass under way.
        at_start: random state when the loader was iterated, None before its first pass.
        at_first: random state when the first batch of the pass was taken, None before.
        now: random state at the moment itself.
    """

    passes: int
    taken: int
    at_start: RandomState | None
    at_first: RandomState | None
    now: RandomState

    def state_dict(self) -> list[Any]:
        """The attributes in turn, in types that a restricted loader accepts."""
        states = (self.at_start, self.at_first, self.now)
        return [self.passes, self.taken, *(None if state is None else state.state_dict() for state in states)]

    @classmethod
    def of(cls, state: Sequence[Any]) -> LoaderPosition:
        """What `state_dict` was made from."""
        passes, taken, at_start, at_first, now = state
        return cls(
            passes,
            taken,
            None if at_start is None else RandomState.of(at_start),
            None if at_first is None else RandomState.of(at_first),
            RandomState.of(now),
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

    def generators(self) -> list[torch.Generator]:
        """The generators that loader and samplers draw from instead of the global one."""
        found: dict[int, torch.Generator] = {}
        for holder in (self.loader, getattr(self.loader, "sampler", None), getattr(self.loader, "batch_sampler", None)):
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
        return list(found.values())

    def __iter__(self) -> ResumableLoader:
        self.at_start, self.at_first = RandomState.now(self.generators()), None
        self.passes += 1
        self.taken = 0
        self._iterator = iter(self.loader)
        return self

    def __next__(self) -> Batch:
        # without workers, torch's samplers draw their permutation at the first batch, not when they are iterated
        if self.at_first is None:
            self.at_first = RandomState.now(self.generators())
        batch = next(self._iterator)
        self.taken += 1
        return batch

    def position(self) -> LoaderPosition:
        """Where the loader stands."""
        now = RandomState.now(self.generators())
        return LoaderPosition(self.passes, self.taken, self.at_start, self.at_first, now)

    def resume(self, position: LoaderPosition) -> None:
        """Repeat the draws of a pass, and stand where it stood."""
        assert position.at_start is not None, "there is nothing to repeat before the first pass"
        self.passes, self.taken = position.passes, position.taken
        self.at_start, self.at_first = position.at_start, position.at_first
        first = position.at_first or position.at_start
        if isinstance(self.loader, DataLoader) and not has_iterable_dataset(self.loader):
            sampler = FastForwardSampler(index_sampler(self.loader), position.taken)
            self._iterator = self._iterate(self.loader, sampler, position.at_start)
            first.restore(self.generators())
            sampler.skip()
        else:
            position.at_start.restore(self.generators())
            self._iterator = iter(self.loader)
            first.restore(self.generators())
            for _ in range(position.taken):  # what has no index cannot be left out without being loaded
                next(self._iterator)
        position.now.restore(self.generators())

    def _iterate(self, loader: DataLoader[Any], sampler: FastForwardSampler, at_start: RandomState) -> Iterator[Batch]:
        """Iterate the loader over a sampler that leaves out its first batches."""
        generators = self.generators()
        if not loader.persistent_workers:
            at_start.restore(generators)
            return iter(with_index_sampler(loader, sampler))
        # Workers that persist belong to the loader: they are made in its first pass, with a draw that later ones lack.
        if self.passes == 1:
            at_start.restore(generators)
            changed = with_index_sampler(loader, sampler)
            iterator = iter(changed)
            torch_private.adopt_workers(loader, changed)
            return iterator
        iter(loader)
        torch_private.read_indices_from(loader, sampler)
        at_start.restore(generators)
        return iter(loader)
