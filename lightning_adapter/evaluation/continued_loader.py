"""How does a loader begin where an earlier process has stopped, without reading again what is finished?

It gives FINISHED in the place of each finished batch, so that all numbers (of batches, of indices) are those of a whole run;
the loop takes no notice of it. A loader over a dataset with indices then goes on with the rest of its sampler. One without
has to read what lies before, and each batch that it reads is compared with what was seen of it the first time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import torch

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.batch_columns import mark_of
from lightning_adapter.evaluation.plain_outputs import Value

#: In the place of a batch that was predicted before.
FINISHED = object()

#: A DataLoader, or anything that gives batches.
Loader: TypeAlias = Any


def order_of(loader: Loader, batches: int) -> tuple[Iterator[list[int]], list[list[int]]]:
    """Draw the indices of the first batches from a loader's sampler, without reading any.

    Returns:
        The sampler's iterator, to go on with, and the indices of each batch.
    """
    # DataLoader.__iter__ draws the seed of its workers before it asks its sampler
    torch.empty((), dtype=torch.int64).random_(generator=getattr(loader, "generator", None))
    iterator = iter(loader.batch_sampler)
    drawn = []
    for _ in range(batches):
        batch = next(iterator, None)
        if batch is None:
            break
        drawn.append(list(batch))
    return iterator, drawn


class _Rest:
    """The rest of a batch sampler that has been begun."""

    def __init__(self, iterator: Iterator[list[int]], length: int | None) -> None:
        self._iterator = iterator
        self._length = length

    def __iter__(self) -> Iterator[list[int]]:
        return self._iterator

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("The batch sampler has no length.")
        return self._length


class Continued:
    """A loader that gives FINISHED for its first batches.

    What else is asked of it, it asks the loader.

    Args:
        loader: the user's, as Lightning has prepared it.
        rest: gives what follows.
        finished: how many batches are finished.
    """

    def __init__(self, loader: Loader, rest: Callable[[], Iterable[Value]], finished: int) -> None:
        vars(self).update(_loader=loader, _rest=rest, _finished=finished)

    def __iter__(self) -> Iterator[Value]:
        for _ in range(self._finished):
            yield FINISHED
        yield from self._rest()

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_loader"], name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._loader, name, value)  # Lightning gives workers their seeds here


def finished_loader(loader: Loader, batches: int) -> Continued:
    """A loader that has nothing left to give."""
    return Continued(loader, lambda: (), batches)


def continued_by_indices(loader: Loader, iterator: Iterator[list[int]], finished: int) -> Continued:
    """A DataLoader that goes on with a sampler that has been begun.

    Args:
        loader: with a batch sampler.
        iterator: of its batch sampler.
        finished: how many batches were drawn from it.
    """
    try:
        length = max(0, len(loader) - finished)
    except TypeError:
        length = None
    rest = copy.copy(loader)
    # a DataLoader lets nobody replace its sampler; this one has the same, which is only further on
    object.__setattr__(rest, "batch_sampler", _Rest(iterator, length))
    return Continued(loader, lambda: rest, finished)


class Marked(Continued):
    """A loader without indices, which notes of each batch what tells it from others.

    Args:
        loader: the user's.
        noted: of finished batches.
        note: is told the number of each other batch, and its mark.
        refuse: makes the error where a finished batch is another one now.
    """

    def __init__(
        self,
        loader: Loader,
        noted: Sequence[str | None],
        note: Callable[[int, str], None],
        refuse: Callable[[int], ConfigurationError],
    ) -> None:
        super().__init__(loader, lambda: (), len(noted))
        vars(self).update(_noted=noted, _note=note, _refuse=refuse)

    def __iter__(self) -> Iterator[Value]:
        number = -1
        for number, batch in enumerate(self._loader):
            mark = mark_of(batch)
            if number >= len(self._noted):
                self._note(number, mark)
                yield batch
            elif mark != self._noted[number]:
                raise self._refuse(number)
            else:
                yield FINISHED
        if number + 1 < len(self._noted):
            raise self._refuse(number + 1)
