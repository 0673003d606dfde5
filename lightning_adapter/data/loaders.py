"""How are the user's loaders driven, epoch by epoch, without losing an argument of theirs?

The loader that `train_dataloader()` returned is the one that is iterated, once per epoch, at the moment at which
Lightning iterates it: permutations and worker seeds are drawn where Lightning draws them. What those draws started from
is remembered, so that a resumed run repeats them and goes on after the last trained batch.
"""

from __future__ import annotations

import copy
import itertools
import math
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    get_worker_info,
)

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import hosts, lightning_private, torch_private

INFINITE = float("inf")


# --- random numbers ---------------------------------------------------------------------------------------------------


class RandomState:
    """State of the CPU generators of torch, numpy and python at one moment, and of some generators of the user's.

    Taking it copies a few kilobytes; it is turned into types that a restricted loader accepts when it is saved.
    """

    def __init__(self, raw: tuple[Any, Any, Any], generators: list[torch.Tensor]) -> None:
        self._raw = raw
        self._generators = generators

    @classmethod
    def now(cls, generators: Iterable[torch.Generator] = ()) -> RandomState:
        """The present state."""
        raw = (torch.get_rng_state(), np.random.get_state(), random.getstate())
        return cls(raw, [generator.get_state() for generator in generators])

    def restore(self, generators: Iterable[torch.Generator] = ()) -> None:
        """Continue the generators from here."""
        in_torch, in_numpy, in_python = self._raw
        torch.set_rng_state(in_torch)
        np.random.set_state(in_numpy)
        random.setstate(in_python)
        for generator, state in zip(generators, self._generators, strict=False):
            generator.set_state(state)

    def state_dict(self) -> dict[str, Any]:
        """The state in types that a restricted loader accepts."""
        in_torch, (name, keys, position, has_gauss, gauss), (version, internal, gauss_next) = self._raw
        return {
            "torch": in_torch,
            "numpy": [name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
            "python": [version, torch.tensor(internal), gauss_next],
            "generators": self._generators,
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> RandomState:
        """What `state_dict` was made from."""
        name, keys, position, has_gauss, gauss = state["numpy"]
        version, internal, gauss_next = state["python"]
        in_numpy = (name, keys.numpy().astype(np.uint32), position, has_gauss, gauss)
        return cls((state["torch"], in_numpy, (version, tuple(internal.tolist()), gauss_next)), state["generators"])


# --- loaders ----------------------------------------------------------------------------------------------------------


def flatten(loaders: Any) -> list[Any]:
    """The loaders in a (nested) list, tuple or dict of them, in Lightning's order."""
    if isinstance(loaders, Mapping):
        return [leaf for value in loaders.values() for leaf in flatten(value)]
    if isinstance(loaders, (list, tuple)):
        return [leaf for value in loaders for leaf in flatten(value)]
    return [loaders]


def unflatten(like: Any, leaves: Iterator[Any]) -> Any:
    """A collection like `like` with its leaves replaced, one by one."""
    if isinstance(like, Mapping):
        return type(like)({key: unflatten(value, leaves) for key, value in like.items()})  # type: ignore[call-arg]
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        return type(like)(*(unflatten(value, leaves) for value in like))
    if isinstance(like, (list, tuple)):
        return type(like)(unflatten(value, leaves) for value in like)
    return next(leaves)


def length_of(loader: Any) -> float:
    """Number of batches, infinite where the loader does not know it."""
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return INFINITE


def has_iterable_dataset(loader: Any) -> bool:
    """True for loaders over an IterableDataset, whose items have no index."""
    return isinstance(getattr(loader, "dataset", None), IterableDataset)


def is_shuffled(loader: Any) -> bool:
    """True if torch chose a RandomSampler because of `shuffle=True`."""
    return isinstance(getattr(loader, "sampler", None), RandomSampler)


def with_sampler(loader: DataLoader[Any], sampler: Iterable[Any]) -> DataLoader[Any]:
    """The same loader, every argument kept, reading other indices.

    Raises:
        ConfigurationError: the loader's own batch sampler class cannot be built anew over another sampler.
    """
    batch_sampler = loader.batch_sampler
    if batch_sampler is not None:
        kind = type(batch_sampler)
        options = {
            "batch_size": getattr(batch_sampler, "batch_size", 1),
            "drop_last": getattr(batch_sampler, "drop_last", False),
        }
        try:
            batch_sampler = kind(sampler, **options)  # type: ignore[call-arg, arg-type]
        except TypeError as error:
            raise ConfigurationError(
                f"The batch sampler {kind.__qualname__} cannot be given another sampler: {error}. It has to accept "
                "(sampler, batch_size, drop_last) as torch's BatchSampler does, or shard itself with "
                "use_distributed_sampler=False."
            ) from error
    return _copy(loader, sampler=sampler, batch_sampler=batch_sampler)


def _copy(loader: DataLoader[Any], **attributes: Any) -> DataLoader[Any]:
    # torch forbids assigning a sampler after construction, lest an iterator under way miss it; this copy has none yet
    clone = copy.copy(loader)
    vars(clone).update(attributes, _iterator=None)
    return clone


def sequential(loader: Any) -> Any:
    """The loader without shuffling: `overfit_batches` asks for it."""
    if (
        not isinstance(loader, DataLoader)
        or has_iterable_dataset(loader)
        or isinstance(loader.sampler, SequentialSampler)
    ):
        return loader
    return with_sampler(loader, SequentialSampler(loader.dataset))  # type: ignore[arg-type]


# --- shards -----------------------------------------------------------------------------------------------------------


def is_sharded(loader: Any) -> bool:
    """True if the loader's sampler, or its batch sampler, picks the indices of one process already."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = (getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    return any(
        isinstance(sampler, DistributedSampler) or (hasattr(sampler, "num_replicas") and hasattr(sampler, "rank"))
        for sampler in samplers
    )


def _seeded(loader: DataLoader[Any], shuffle: bool, num_replicas: int, rank: int) -> DistributedSampler[Any]:
    """Torch's DistributedSampler with Lightning's seed: it shuffles by epoch, the same on all ranks."""
    seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
    return DistributedSampler(loader.dataset, num_replicas, rank, shuffle, seed)


class Shards:
    """Gives each process its part of a loader's samples; called with a loader, returns the one of this process.

    Training parts are padded to equal length and shuffled by epoch, exactly as Lightning's DDP does it. Validation parts
    hold each sample once over all processes, and so may be unequal, or empty.

    Args:
        host: the Lightning package, whose wrapper takes the samplers that are neither random nor sequential.
        size: number of processes.
        rank: this process.
        training: whether the loaders are those of training.
        shuffle: False with `overfit_batches`.
        iterable: shard iterable datasets too, by dealing out their samples in turn.
    """

    def __init__(self, host: hosts.Host, size: int, rank: int, training: bool, shuffle: bool, iterable: bool) -> None:
        self.host = host
        self.replicas = {"num_replicas": size, "rank": rank}
        self.training = training
        self.shuffle = shuffle
        self.iterable = iterable

    def __call__(self, loader: Any) -> Any:
        """The loader over this process's share of the data."""
        if is_sharded(loader):
            return loader
        if not isinstance(loader, DataLoader) or has_iterable_dataset(loader):
            if self.iterable and has_iterable_dataset(loader):
                return _copy(loader, dataset=DealtOut(loader.dataset, even=self.training, **self.replicas))
            self.host.warn(
                f"{type(getattr(loader, 'dataset', loader)).__name__} is iterated as it is by each of"
                f" {self.replicas['num_replicas']} processes, since it has no indices to share out. If it does not shard"
                " itself, every sample is used that many times; shard_iterable=True deals its samples out in turn."
            )
            return loader
        return self._for_training(loader) if self.training else self._for_validation(loader)

    def _for_training(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        plain = isinstance(loader.sampler, (RandomSampler, SequentialSampler))
        if plain and not self.host.legacy:  # Lightning 1.x wraps every sampler
            return with_sampler(loader, _seeded(loader, self.shuffle, **self.replicas))
        sampler = lightning_private.distributed_sampler_wrapper(self.host)(
            loader.sampler, shuffle=self.shuffle, seed=int(os.environ.get("PL_GLOBAL_SEED", "0")), **self.replicas
        )
        return with_sampler(loader, sampler)

    def _for_validation(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        whole: Any = loader.sampler
        if is_shuffled(loader):
            whole = _seeded(loader, True, num_replicas=1, rank=0)
        part = Part(whole, **self.replicas)
        if not default_batch_sampler(loader) or not loader.batch_size:
            return with_sampler(loader, part)
        return _copy(loader, sampler=part, batch_sampler=EvenBatches(part, loader.batch_size, loader.drop_last))


class Part(Sampler[Any]):
    """Every n-th index of another sampler: nothing is repeated, so parts differ by one sample at most."""

    def __init__(self, whole: Any, num_replicas: int, rank: int) -> None:
        self.whole = whole
        self.num_replicas = num_replicas
        self.rank = rank

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self.whole), self.rank, None, self.num_replicas)

    def __len__(self) -> int:
        return len(range(self.rank, len(self.whole), self.num_replicas))

    def longest(self) -> int:
        """Length of the longest part, which is that of rank 0."""
        return len(range(0, len(self.whole), self.num_replicas))

    def set_epoch(self, epoch: int) -> None:
        """For a sampler below that shuffles by epoch."""
        function = getattr(self.whole, "set_epoch", None)
        if callable(function):
            function(epoch)


class EvenBatches(BatchSampler):
    """Batches of a part, as many as the longest part has: where one is missing, the last one is split.

    So a validation step in which processes talk to each other finds all of them there, unless a process has fewer samples
    than another one has batches.
    """

    def __init__(self, sampler: Part, batch_size: int, drop_last: bool) -> None:
        super().__init__(sampler, batch_size, drop_last)
        longest, full = sampler.longest(), batch_size
        own = super().__len__()
        wanted = longest // full if drop_last else math.ceil(longest / full)
        self.splits = 0 < own < wanted and full > 1

    def __iter__(self) -> Iterator[list[int]]:
        if not self.splits:
            yield from super().__iter__()
            return
        held: list[int] | None = None
        for batch in super().__iter__():
            if held is not None:
                yield held
            held = batch
        if held is not None:
            yield held[:-1]
            yield held[-1:]

    def __len__(self) -> int:
        return super().__len__() + int(self.splits)


class DealtOut(IterableDataset[Any]):
    """An iterable dataset of which each process takes every n-th sample.

    Args:
        dataset: iterated as a whole by each process, and by each of its workers.
        even: leave out the last few samples that are not enough for all processes.
    """

    def __init__(self, dataset: Any, even: bool, num_replicas: int, rank: int) -> None:
        self.dataset = dataset
        self.even = even
        self.num_replicas = num_replicas
        self.rank = rank

    def __iter__(self) -> Iterator[Any]:
        if not self.even:
            yield from itertools.islice(iter(self.dataset), self.rank, None, self.num_replicas)
            return
        samples = iter(self.dataset)
        while len(hand := list(itertools.islice(samples, self.num_replicas))) == self.num_replicas:
            yield hand[self.rank]

    def __len__(self) -> int:
        count = len(self.dataset)
        return count // self.num_replicas if self.even else len(range(self.rank, count, self.num_replicas))


def check_batch_size(loaders: Any, global_batch_size: int, processes: int, accumulate: int) -> None:
    """Compare the batch size of a single training loader with the hyperparameter `global_batch_size`.

    Raises:
        ConfigurationError: the processes together train on another number of samples.
    """
    size = getattr(loaders, "batch_size", None)
    if not isinstance(loaders, DataLoader) or not isinstance(size, int):
        return
    if global_batch_size in (size * processes, size * processes * accumulate):
        return
    raise ConfigurationError(
        f"The hyperparameter global_batch_size is {global_batch_size}, and train_dataloader() has batch_size={size} in each of "
        f"{processes} process(es), which is {size * processes} samples per step. Give the loader "
        f"batch_size=context.get_per_slot_batch_size(), which is {global_batch_size // processes} here, or set global_batch_size: "
        f"{size * processes}."
    )


def check_loaders(loaders: Any, name: str, optional: bool) -> list[str]:
    """Faults of what `name` returned: no loader at all, unless that is `optional`, or what cannot be iterated."""
    leaves = flatten(loaders)
    if not leaves and not optional:
        return [f"{name}() returned {loaders!r}, which holds no loader; return a DataLoader or any iterable of batches"]
    faults = []
    for leaf in leaves:
        if (
            leaf is None
            or isinstance(leaf, (str, bytes))
            or (not isinstance(leaf, Iterable) and not hasattr(leaf, "__getitem__"))
        ):
            faults.append(
                f"{name}() returned {leaf!r}, which is no loader; return a DataLoader, a collection of them, or any "
                "iterable of batches"
            )
    return faults


def set_epoch(loaders: Sequence[Any], epoch: int) -> None:
    """Call `set_epoch` on the samplers that have it (DistributedSampler and the like), as Lightning does."""
    seen: set[int] = set()
    for loader in loaders:
        sampler = getattr(loader, "sampler", None)
        batch_sampler = getattr(loader, "batch_sampler", None)
        for candidate in (sampler, batch_sampler, getattr(batch_sampler, "sampler", None)):
            if candidate is not None and id(candidate) not in seen:
                seen.add(id(candidate))
                function = getattr(candidate, "set_epoch", None)
                if callable(function):
                    function(epoch)


# --- fetching ---------------------------------------------------------------------------------------------------------


class _Continued:
    """A sampler's iterator that leaves out what was trained before an interruption.

    The indices are drawn and dropped: nothing is loaded. With worker processes they are drawn as soon as the loader is
    iterated; without, when `skip()` is called, under the random state that the first run had at its first fetch.
    """

    def __init__(self, sampler: Iterable[Any], count: int) -> None:
        self.sampler = sampler
        self.count = count
        self._iterator: Iterator[Any] | None = None

    def __iter__(self) -> _Continued:
        self._iterator = iter(self.sampler)
        return self

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def skip(self) -> None:
        """Draw and drop what is still to be left out."""
        assert self._iterator is not None
        while self.count:
            next(self._iterator)
            self.count -= 1

    def __next__(self) -> Any:
        self.skip()
        assert self._iterator is not None
        return next(self._iterator)


class _Source:
    """One training loader, pass after pass: remembers what the random draws of its present pass started from.

    Attributes:
        passes: how often the loader was iterated.
        taken: batches taken in the present pass.
        at_start: random state when the loader was iterated.
        at_first: random state when the first batch was taken, None before.
    """

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.passes = 0
        self.taken = 0
        self.at_start: RandomState | None = None
        self.at_first: RandomState | None = None
        self.iterator: Iterator[Any] | None = None

    def generators(self) -> list[torch.Generator]:
        """The generators that loader and samplers draw from instead of the global one."""
        found: dict[int, torch.Generator] = {}
        for holder in (self.loader, getattr(self.loader, "sampler", None), getattr(self.loader, "batch_sampler", None)):
            generator = getattr(holder, "generator", None)
            if isinstance(generator, torch.Generator):
                found[id(generator)] = generator
        return list(found.values())

    def __iter__(self) -> _Source:
        self.at_start, self.at_first = RandomState.now(self.generators()), None
        self.passes += 1
        self.taken = 0
        self.iterator = iter(self.loader)
        return self

    def __next__(self) -> Any:
        if self.at_first is None:
            self.at_first = RandomState.now(self.generators())
        batch = next(self.iterator)  # type: ignore[arg-type]
        self.taken += 1
        return batch

    def position(self) -> tuple[Any, ...]:
        """Where the loader stands."""
        return self.passes, self.taken, self.at_start, self.at_first, RandomState.now(self.generators())

    def resume(
        self, passes: int, taken: int, at_start: RandomState, at_first: RandomState | None, now: RandomState
    ) -> None:
        """Repeat the draws of a pass, and stand where it stood after `taken` batches."""
        generators = self.generators()
        self.passes, self.taken, self.at_start, self.at_first = passes, taken, at_start, at_first
        loader = self.loader
        first = at_first or at_start
        if isinstance(loader, DataLoader) and not has_iterable_dataset(loader):
            name = "sampler" if loader.batch_sampler is None else "batch_sampler"
            continued = _Continued(getattr(loader, name), taken)
            self.iterator = self._iterate(loader, name, continued, at_start)
            first.restore(generators)
            continued.skip()
        else:
            at_start.restore(generators)
            self.iterator = iter(loader)
            first.restore(generators)
            for _ in range(taken):
                next(self.iterator)
        now.restore(generators)

    def _iterate(self, loader: DataLoader[Any], name: str, sampler: _Continued, at_start: RandomState) -> Iterator[Any]:
        """Iterate the loader over a sampler that leaves out its first batches."""
        generators = self.generators()
        if not loader.persistent_workers:
            at_start.restore(generators)
            return iter(_copy(loader, **{name: sampler}))
        # Workers that persist belong to the loader: they are made in its first pass, with a draw that later ones lack.
        if self.passes == 1:
            at_start.restore(generators)
            changed = _copy(loader, **{name: sampler})
            iterator = iter(changed)
            torch_private.adopt_workers(loader, changed)
            return iterator
        iter(loader)
        torch_private.read_indices_from(loader, sampler)
        at_start.restore(generators)
        return iter(loader)


class _Zip:
    """Batches of a collection of loaders, one of each at a time: Lightning's modes for training."""

    MODES = ("max_size_cycle", "min_size", "max_size")

    def __init__(self, sources: Sequence[Any], like: Any, mode: str) -> None:
        self.sources = sources
        self.like = like
        self.mode = mode
        self.iterators = [iter(source) for source in sources]
        self.consumed = [False] * len(sources)

    def __iter__(self) -> _Zip:
        return self

    def __next__(self) -> Any:
        batch: list[Any] = []
        for index, source in enumerate(self.sources):
            try:
                batch.append(next(self.iterators[index]))
            except StopIteration:
                self.consumed[index] = True
                if self.mode == "min_size" or all(self.consumed):
                    raise
                if self.mode == "max_size":
                    batch.append(None)
                else:
                    self.iterators[index] = iter(source)
                    batch.append(next(self.iterators[index]))
        return unflatten(self.like, iter(batch))


class _Resumed(_Zip):
    """A `_Zip` whose sources stand in the middle of a pass already."""

    def __init__(self, sources: Sequence[Any], like: Any, mode: str, consumed: list[bool]) -> None:
        self.sources = sources
        self.like = like
        self.mode = mode
        self.iterators = list(sources)
        self.consumed = consumed


class Fetcher:
    """One pass over the data at a time; knows at each batch whether it is the last.

    Where the length is unknown, one batch is fetched ahead, as in Lightning, unless the user's step fetches itself.

    Args:
        iterate: iterates the loaders.
        length: number of batches.
        ahead: whether a batch may be fetched ahead.
        before_ahead: called before a batch is fetched ahead: the position to resume from is the one before it.

    Attributes:
        done: True if the batch handed out last is the last one.
        fetched: batches taken from the loaders in this pass.
    """

    def __init__(
        self,
        iterate: Callable[[], Iterator[Any]],
        length: float,
        ahead: bool = True,
        before_ahead: Callable[[], None] = lambda: None,
    ) -> None:
        self.iterate = iterate
        self.length = length
        self.ahead = ahead
        self.before_ahead = before_ahead
        self.iterator: Iterator[Any] | None = None
        self.done = False
        self.fetched = 0
        self._ahead: list[Any] = []

    def start(self) -> None:
        """Iterate the loaders anew."""
        self.iterator = self.iterate()
        self.begin()

    def begin(self, fetched: int = 0) -> None:
        """Take batches from the present iterator, of which `fetched` are gone already."""
        self.fetched = fetched
        self.done = self.length <= fetched
        self._ahead = []
        if self.fetches_ahead:
            self._fetch_ahead()

    @property
    def fetches_ahead(self) -> bool:
        """Whether a batch more is fetched than was handed out."""
        return self.length == INFINITE and self.ahead

    def _fetch_ahead(self) -> None:
        assert self.iterator is not None
        self.before_ahead()
        try:
            self._ahead.append(next(self.iterator))
            self.fetched += 1
        except StopIteration:
            self.done = not self._ahead

    def __next__(self) -> Any:
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
        self.done = self.fetched >= self.length
        return batch

    def stop(self) -> None:
        """Let go of the iterator; its worker processes end."""
        self.iterator = None
        self._ahead = []


class HandedIterator:
    """What a step that takes `dataloader_iter` pulls its batches from: (batch, batch_idx, dataloader_idx) at a time.

    Attributes:
        last: what it pulled last, which is what the hooks around the step are told.
    """

    def __init__(self, fetch: Callable[[], tuple[Any, int, int]]) -> None:
        self.fetch = fetch
        self.last: tuple[Any, int, int] = (None, 0, 0)

    def __iter__(self) -> HandedIterator:
        return self

    def __next__(self) -> tuple[Any, int, int]:
        self.last = self.fetch()
        return self.last


class TrainingData:
    """The training loaders: their limits, one pass after another, and how to repeat a pass from its middle.

    Args:
        loaders: a loader or a (nested) collection of loaders, or Lightning's CombinedLoader.
        limits: maps the length of one loader to the number of its batches that are used.
        ahead: whether a batch may be fetched ahead where the length is unknown.
        limits_outside: whether a batch is the last one only where the loaders end, not where their limit is reached.
        waits_within_limits: whether a limit makes the length known, so that no batch is fetched ahead.
    """

    def __init__(
        self,
        loaders: Any,
        limits: Callable[[float], float],
        ahead: bool = True,
        limits_outside: bool = False,
        waits_within_limits: bool = False,
    ) -> None:
        self.mode, collection = lightning_private.uncombined(loaders, "max_size_cycle")
        if self.mode not in _Zip.MODES:
            raise ConfigurationError(
                f"train_dataloader() returned CombinedLoader(mode={self.mode!r}), which Lightning's fit does not "
                f"support either. The available modes are: {list(_Zip.MODES)}."
            )
        self.collection = collection
        self.loaders = flatten(collection)
        self.limits = limits
        self.limits_outside = limits_outside
        self.waits_within_limits = waits_within_limits
        self.sources = [_Source(loader) for loader in self.loaders]
        self.fetcher = Fetcher(self._iterate, 0, ahead, self._mark)
        self.measure()
        self._before_ahead: dict[str, Any] = {}

    @property
    def is_single(self) -> bool:
        """True if the user returned a loader, not a collection of them."""
        return self.collection is self.loaders[0]

    def measure(self) -> None:
        """Ask the loaders for their lengths."""
        combine = min if self.mode == "min_size" else max
        lengths = [length_of(loader) for loader in self.loaders]
        self.num_batches = combine(min(length, self.limits(length)) for length in lengths)
        self.fetcher.length = combine(lengths) if self.limits_outside else self.num_batches
        if self.waits_within_limits and self.num_batches != INFINITE:
            self.fetcher.ahead = False

    def _iterate(self) -> Iterator[Any]:
        return iter(self.sources[0]) if self.is_single else _Zip(self.sources, self.collection, self.mode)

    def start(self) -> None:
        """Begin a pass."""
        self.fetcher.start()

    def hand_over(self) -> HandedIterator:
        """An iterator for a step that fetches its batches itself."""
        return HandedIterator(lambda: (next(self.fetcher), self.fetcher.fetched - 1, 0))

    def stop(self) -> None:
        """End the worker processes."""
        self.fetcher.stop()

    def _mark(self) -> None:
        self._before_ahead = self._position()

    def _position(self) -> dict[str, Any]:
        zipped = self.fetcher.iterator
        return {
            "sources": [source.position() for source in self.sources],
            "consumed": list(zipped.consumed) if isinstance(zipped, _Zip) else [],
        }

    def state_dict(self, batches: int) -> dict[str, Any]:
        """Position after `batches` batches of the present pass: what its random draws started from.

        Between two passes `batches` is 0, and what matters is the state of the loaders' own generators.
        """
        position = self._before_ahead if self.fetcher.fetches_ahead and batches else self._position()
        sources = [
            [*source[:2], *(None if state is None else state.state_dict() for state in source[2:])]
            for source in position["sources"]
        ]
        return {
            "batches": batches,
            "num_batches": None if self.num_batches == INFINITE else int(self.num_batches),
            "sources": sources,
            "consumed": position["consumed"],
            "generators": [g.get_state() for source in self.sources for g in source.generators()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Repeat the draws of the pass that `state` describes, and stand after its last trained batch."""
        batches = state["batches"]
        if batches:
            after = RandomState.now()
            for source, (passes, taken, at_start, at_first, now) in zip(self.sources, state["sources"], strict=True):
                first = None if at_first is None else RandomState.of(at_first)
                source.resume(passes, taken, RandomState.of(at_start), first, RandomState.of(now))
            self.fetcher.iterator = (
                self.sources[0]
                if self.is_single
                else _Resumed(self.sources, self.collection, self.mode, state["consumed"])
            )
            self.fetcher.begin(fetched=batches)  # a batch that is fetched ahead draws as it did then
            after.restore()
        generators = [generator for source in self.sources for generator in source.generators()]
        for generator, saved in zip(generators, state["generators"], strict=True):
            generator.set_state(saved)


class ValidationData:
    """The validation loaders, one after the other.

    `seen` counts the batches of each loader over all validations: the steps under which their values are logged.

    Args:
        loaders: a loader or a (nested) collection of loaders, or Lightning's CombinedLoader in sequential mode.
        limits: maps the length of one loader to the number of its batches that are used.
    """

    def __init__(self, loaders: Any, limits: Callable[[float], float]) -> None:
        self.mode, collection = lightning_private.uncombined(loaders, "sequential")
        self.collection = collection
        self.loaders = flatten(collection)
        self.max_batches = [min(length_of(loader), limits(length_of(loader))) for loader in self.loaders]
        self.longest = self.max_batches  # over all processes, once they have told each other
        self.seen = [0] * len(self.loaders)

    @property
    def is_sequential(self) -> bool:
        """False for a CombinedLoader of another mode, which yields one batch of each loader at a time."""
        return self.mode == "sequential"

    @property
    def several(self) -> bool:
        """True if steps and hooks are told a `dataloader_idx`."""
        return self.is_sequential and len(self.loaders) > 1

    def fetcher(self, max_batches: list[float], ahead: bool = True) -> Fetcher:
        """One pass over all loaders; yields (batch, batch_idx, dataloader_idx)."""
        if not self.is_sequential:
            length = min(max_batches) if self.mode == "min_size" else max(max_batches)
            return Fetcher(lambda: self._numbered(_Zip(self.loaders, self.collection, self.mode)), length, ahead)
        return Fetcher(lambda: _Sequence(self.loaders, max_batches), sum(max_batches), ahead)

    @staticmethod
    def _numbered(batches: Iterator[Any]) -> Iterator[tuple[Any, int, int]]:
        for index, batch in enumerate(batches):
            yield batch, index, 0


class _Sequence:
    """Batches of one loader after the other, at most `limits[i]` of loader i; the next one is iterated when reached."""

    def __init__(self, loaders: list[Any], limits: list[float]) -> None:
        self.loaders = loaders
        self.limits = limits
        self.dataloader_idx = 0
        self.batch_idx = 0
        self.iterator: Iterator[Any] = iter(loaders[0])

    def __iter__(self) -> _Sequence:
        return self

    def _advance(self) -> None:
        self.dataloader_idx += 1
        self.batch_idx = 0
        if self.dataloader_idx >= len(self.loaders):
            raise StopIteration
        self.iterator = iter(self.loaders[self.dataloader_idx])

    def __next__(self) -> tuple[Any, int, int]:
        while True:
            if self.dataloader_idx >= len(self.loaders):
                raise StopIteration
            if self.limits[self.dataloader_idx] <= self.batch_idx:
                self._advance()
                continue
            try:
                batch = next(self.iterator)
            except StopIteration:
                self._advance()
                continue
            self.batch_idx += 1
            return batch, self.batch_idx - 1, self.dataloader_idx


class WorkerSeeds:
    """Seeds the workers of a loader where `seed_everything(workers=True)` was called."""

    def __init__(self, host: hosts.Host, rank: int) -> None:
        self.host = host
        self.rank = rank

    def __call__(self, loader: Any) -> Any:
        """The same loader; its workers will be seeded."""
        if isinstance(loader, DataLoader):
            lightning_private.seeds_workers(self.host, loader, self.rank)
        return loader


def default_batch_sampler(loader: Any) -> bool:
    """True if the loader batches with torch's own BatchSampler."""
    return type(getattr(loader, "batch_sampler", None)) is BatchSampler


class SeededSamples(Dataset[Any]):
    """A dataset each of whose samples is loaded under a random state of its own, which the sampler gives.

    In the main process the state of before comes back afterwards.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getattr__(self, name: str) -> Any:
        if name == "_dataset":  # not there yet while a worker process unpickles this object
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def __getitem__(self, indexed: tuple[Any, int]) -> Any:
        index, seed = indexed
        before = RandomState.now() if get_worker_info() is None else None
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            return self._dataset[index]
        finally:
            if before is not None:
                before.restore()


class _Seeding:
    """A sampler whose every index comes with a seed: a function of one draw per pass, and of the place in the pass."""

    def __init__(self, sampler: Iterable[Any]) -> None:
        self._sampler = sampler

    def __len__(self) -> int:
        return len(self._sampler)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        if name == "_sampler":
            raise AttributeError(name)
        return getattr(self._sampler, name)

    def __iter__(self) -> Iterator[Any]:
        first = int(torch.empty((), dtype=torch.int64).random_().item())
        seeds = ((first + place * 0x9E3779B97F4A7C15) % 2**63 for place in itertools.count())
        for item in self._sampler:
            yield [(index, next(seeds)) for index in item] if isinstance(item, (list, tuple)) else (item, next(seeds))


def seed_each_sample(loader: Any) -> Any:
    """The same loader, its samples loaded under seeds of their own: `worker_seeds=True`.

    Raises:
        ConfigurationError: the loader's samples have no index, so that no seed can go with it.
    """
    if not isinstance(loader, DataLoader) or has_iterable_dataset(loader):
        kind = type(getattr(loader, "dataset", loader)).__name__
        raise ConfigurationError(
            f"worker_seeds=True was given, but the training data ({kind}) is read in sequence: a seed goes with the index "
            "of a sample. Use a DataLoader over a map-style dataset, or leave worker_seeds out."
        )
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    return _copy(loader, dataset=SeededSamples(loader.dataset), **{name: _Seeding(getattr(loader, name))})
