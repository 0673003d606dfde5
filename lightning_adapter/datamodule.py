"""How are the user's loaders driven, epoch by epoch, without losing an argument of theirs?

The loader that `train_dataloader()` returned is the one that is iterated, once per epoch, at the moment at which
Lightning iterates it: permutations and worker seeds are drawn where Lightning draws them. What those draws started from
is remembered, so that a resumed run repeats them and goes on after the last trained batch.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from lightning_adapter import compat
from lightning_adapter.errors import ConfigurationError

INFINITE = float("inf")


class DataModuleMixin:
    """What DETDM adds to a LightningDataModule: nothing that Lightning would notice.

    A user who wants `determined.pytorch.DataLoader` returns it from `train_dataloader()` / `val_dataloader()`, or from
    `train_det_dataloader()` / `val_det_dataloader()`, which win where they are defined.
    """


# --- random numbers ---------------------------------------------------------------------------------------------------


def host_random_state() -> dict[str, Any]:
    """State of the CPU generators of torch, numpy and python, in types that a restricted loader accepts."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # type: ignore[misc]
    version, internal, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(internal), gauss_next],
    }


def set_host_random_state(state: Mapping[str, Any]) -> None:
    """Continue the generators from what `host_random_state` returned."""
    torch.set_rng_state(state["torch"])
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


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
        options = {"batch_size": getattr(batch_sampler, "batch_size", 1), "drop_last": getattr(batch_sampler, "drop_last", False)}
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
    if not isinstance(loader, DataLoader) or has_iterable_dataset(loader) or isinstance(loader.sampler, SequentialSampler):
        return loader
    return with_sampler(loader, SequentialSampler(loader.dataset))  # type: ignore[arg-type]


def check_loaders(loaders: Any, name: str, optional: bool) -> list[str]:
    """Faults of what `name` returned: no loader at all, unless that is `optional`, or what cannot be iterated."""
    leaves = flatten(loaders)
    if not leaves and not optional:
        return [f"{name}() returned {loaders!r}, which holds no loader; return a DataLoader or any iterable of batches"]
    faults = []
    for leaf in leaves:
        if leaf is None or isinstance(leaf, (str, bytes)) or not isinstance(leaf, Iterable) and not hasattr(leaf, "__getitem__"):
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


class _Zip:
    """Batches of a collection of loaders, one of each at a time: Lightning's modes for training."""

    MODES = ("max_size_cycle", "min_size", "max_size")

    def __init__(self, loaders: list[Any], like: Any, mode: str) -> None:
        self.loaders = loaders
        self.like = like
        self.mode = mode
        self.iterators = [iter(loader) for loader in loaders]
        self.consumed = [False] * len(loaders)

    def __iter__(self) -> _Zip:
        return self

    def __next__(self) -> Any:
        batch: list[Any] = []
        for index, loader in enumerate(self.loaders):
            try:
                batch.append(next(self.iterators[index]))
            except StopIteration:
                self.consumed[index] = True
                if self.mode == "min_size" or all(self.consumed):
                    raise
                if self.mode == "max_size":
                    batch.append(None)
                else:
                    self.iterators[index] = iter(loader)
                    batch.append(next(self.iterators[index]))
        return unflatten(self.like, iter(batch))


class Fetcher:
    """One pass over the data at a time; knows at each batch whether it is the last.

    Where the length is unknown, one batch is fetched ahead, as in Lightning, unless the user's step fetches itself.

    Attributes:
        done: True if the batch handed out last is the last one.
        fetched: batches taken from the loaders in this pass.
    """

    def __init__(self, iterate: Callable[[], Iterator[Any]], length: float, ahead: bool = True) -> None:
        self.iterate = iterate
        self.length = length
        self.ahead = ahead
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
        if self.length == INFINITE and self.ahead:
            self._fetch_ahead()

    def _fetch_ahead(self) -> None:
        assert self.iterator is not None
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
    """

    def __init__(self, loaders: Any, limits: Callable[[float], float], ahead: bool = True) -> None:
        self.source = loaders
        self.mode = "max_size_cycle"
        collection = loaders
        if type(loaders).__name__ == "CombinedLoader":
            self.mode = getattr(loaders, "mode", None) or vars(loaders).get("_mode", self.mode)
            collection = loaders.iterables if hasattr(loaders, "iterables") else loaders.loaders
            if self.mode not in _Zip.MODES:
                raise ConfigurationError(
                    f"train_dataloader() returned CombinedLoader(mode={self.mode!r}), which Lightning's fit does not "
                    f"support either. The available modes are: {list(_Zip.MODES)}."
                )
        self.collection = collection
        self.loaders = flatten(collection)
        self.limits = limits
        self.fetcher = Fetcher(self._iterate, 0, ahead)
        self.measure()
        self._at_start: dict[str, Any] | None = None
        self._at_first_fetch: dict[str, Any] | None = None
        self._resume_at = 0

    @property
    def is_single(self) -> bool:
        """True if the user returned a loader, not a collection of them."""
        return self.collection is self.loaders[0]

    def measure(self) -> None:
        """Ask the loaders for their lengths."""
        lengths = [min(length_of(loader), self.limits(length_of(loader))) for loader in self.loaders]
        self.num_batches = min(lengths) if self.mode == "min_size" else max(lengths)
        self.fetcher.length = self.num_batches

    def _iterate(self) -> Iterator[Any]:
        if self.is_single:
            return iter(self.loaders[0])
        return iter(_Zip(self.loaders, self.collection, self.mode))

    def _generators(self) -> list[torch.Generator]:
        found: dict[int, torch.Generator] = {}
        for loader in self.loaders:
            sampler = getattr(loader, "sampler", None)
            for holder in (loader, sampler, getattr(loader, "batch_sampler", None)):
                generator = getattr(holder, "generator", None)
                if isinstance(generator, torch.Generator):
                    found[id(generator)] = generator
        return list(found.values())

    def _snapshot(self) -> dict[str, Any]:
        return {**host_random_state(), "generators": [g.get_state() for g in self._generators()]}

    def _restore(self, state: Mapping[str, Any]) -> None:
        set_host_random_state(state)
        for generator, saved in zip(self._generators(), state["generators"], strict=False):
            generator.set_state(saved)

    def start(self) -> None:
        """Begin a pass."""
        self._at_start = self._snapshot()
        self._at_first_fetch = None
        self.fetcher.start()

    def next(self) -> Any:
        """The next batch of this pass.

        Raises:
            StopIteration: the pass is over.
        """
        if self._at_first_fetch is None:
            self._at_first_fetch = self._snapshot()
        return next(self.fetcher)

    def hand_over(self) -> HandedIterator:
        """An iterator for a step that fetches its batches itself."""
        return HandedIterator(lambda: (self.next(), self.fetcher.fetched - 1, 0))

    def stop(self) -> None:
        """End the worker processes."""
        self.fetcher.stop()

    def state_dict(self, batches: int) -> dict[str, Any]:
        """Position after `batches` batches of the present pass: what its random draws started from."""
        return {
            "batches": batches,
            "num_batches": None if self.num_batches == INFINITE else int(self.num_batches),
            "at_start": self._at_start,
            "at_first_fetch": self._at_first_fetch,
            "generators": [g.get_state() for g in self._generators()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Repeat the draws of the pass that `state` describes, and stand after its last trained batch."""
        count = state["batches"]
        if state["at_start"] is not None and count:
            after = host_random_state()
            self._at_start, self._at_first_fetch = state["at_start"], state["at_first_fetch"]
            self._restore(self._at_start)
            continued = self._continue(count)
            if self._at_first_fetch is not None:
                self._restore(self._at_first_fetch)
            if continued is not None:
                continued.skip()
            else:
                assert self.fetcher.iterator is not None
                for _ in range(count):
                    next(self.fetcher.iterator)
            self.fetcher.begin(fetched=count)
            set_host_random_state(after)
        for generator, saved in zip(self._generators(), state["generators"], strict=False):
            generator.set_state(saved)

    def _continue(self, count: int) -> _Continued | None:
        loader = self.loaders[0]
        if self.is_single and isinstance(loader, DataLoader) and not has_iterable_dataset(loader):
            attribute = "sampler" if loader.batch_sampler is None else "batch_sampler"
            continued = _Continued(getattr(loader, attribute), count)
            self.fetcher.iterator = iter(_copy(loader, **{attribute: continued}))
            return continued
        self.fetcher.iterator = self._iterate()
        return None


class ValidationData:
    """The validation loaders, one after the other.

    `seen` counts the batches of each loader over all validations: the steps under which their values are logged.

    Args:
        loaders: a loader or a (nested) collection of loaders, or Lightning's CombinedLoader in sequential mode.
        limits: maps the length of one loader to the number of its batches that are used.
    """

    def __init__(self, loaders: Any, limits: Callable[[float], float]) -> None:
        self.source = loaders
        self.mode = "sequential"
        collection = loaders
        if type(loaders).__name__ == "CombinedLoader":
            self.mode = getattr(loaders, "mode", None) or vars(loaders).get("_mode", self.mode)
            collection = loaders.iterables if hasattr(loaders, "iterables") else loaders.loaders
        self.collection = collection
        self.loaders = flatten(collection)
        self.max_batches = [min(length_of(loader), limits(length_of(loader))) for loader in self.loaders]
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

    def __init__(self, host: compat.Host, rank: int) -> None:
        self.host = host
        self.rank = rank

    def __call__(self, loader: Any) -> Any:
        if isinstance(loader, DataLoader):
            compat.seeds_workers(self.host, loader, self.rank)
        return loader


def default_batch_sampler(loader: Any) -> bool:
    """True if the loader batches with torch's own BatchSampler."""
    return type(getattr(loader, "batch_sampler", None)) is BatchSampler
