"""Which samples of a loader does each process get?"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)

from lightning_adapter.data.loaders import (
    Loader,
    copy_with,
    default_batch_sampler,
    has_iterable_dataset,
    is_shuffled,
    with_sampler,
)
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.hosts import Host


class _SizedIterable(Protocol):
    """A sampler that knows how many indices it gives; one that does not fails when its length is asked for."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


def is_sharded(loader: object) -> bool:
    """True if the loader's sampler, or its batch sampler, picks the indices of one process already."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = (getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    return any(
        isinstance(sampler, DistributedSampler) or (hasattr(sampler, "num_replicas") and hasattr(sampler, "rank"))
        for sampler in samplers
    )


def _global_seed() -> int:
    """The seed that Lightning's `_get_distributed_sampler` takes: that of `seed_everything`."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))


@dataclass(frozen=True)
class Sharder:
    """Gives each process its part of a loader's samples; called with a loader, returns the one of this process.

    Training parts are padded to equal length and shuffled by epoch, exactly as Lightning's DDP does it. Validation parts
    hold each sample once over all processes, and so may be unequal, or empty.

    Args:
        host: the Lightning package, whose wrapper takes the samplers that are neither random nor sequential.
        num_replicas: number of processes.
        rank: this process.
        training: whether the loaders are those of training.
        shuffle: False with `overfit_batches`.
        iterable: shard iterable datasets too, by dealing out their samples in turn.
    """

    host: Host
    num_replicas: int
    rank: int
    training: bool
    shuffle: bool
    iterable: bool

    def __call__(self, loader: Loader) -> Loader:
        """The loader over this process's share of the data."""
        if is_sharded(loader):
            return loader
        if isinstance(loader, DataLoader) and not has_iterable_dataset(loader):
            return self._for_training(loader) if self.training else self._for_validation(loader)
        dataset = getattr(loader, "dataset", loader)
        if self.iterable and has_iterable_dataset(loader):
            sharded = ShardedIterableDataset(dataset, self.training, self.num_replicas, self.rank)
            return copy_with(loader, dataset=sharded)
        self.host.warn(
            f"{type(dataset).__name__} is iterated as it is by each of"
            f" {self.num_replicas} processes, since it has no indices to share out. If it does not shard"
            " itself, every sample is used that many times; shard_iterable=True deals its samples out in turn."
        )
        return loader

    def _for_training(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        # as Lightning's `_get_distributed_sampler` does; 1.x wraps every sampler
        if isinstance(loader.sampler, (RandomSampler, SequentialSampler)) and not self.host.quirks.wraps_every_sampler:
            return with_sampler(
                loader,
                DistributedSampler(loader.dataset, self.num_replicas, self.rank, self.shuffle, _global_seed()),
                self.host,
            )
        wrapper = lightning_private.distributed_sampler_wrapper(self.host)
        return with_sampler(
            loader,
            wrapper(
                loader.sampler,
                num_replicas=self.num_replicas,
                rank=self.rank,
                shuffle=self.shuffle,
                seed=_global_seed(),
            ),
            self.host,
        )

    def _for_validation(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        whole: Any = loader.sampler
        if is_shuffled(loader):
            # all processes have to draw the same permutation, of which each takes its part
            whole = DistributedSampler(loader.dataset, num_replicas=1, rank=0, shuffle=True, seed=_global_seed())
        shard = ShardSampler(whole, self.num_replicas, self.rank)
        if not default_batch_sampler(loader) or not loader.batch_size:
            return with_sampler(loader, shard, self.host)
        batch_sampler = EvenBatchSampler(shard, loader.batch_size, loader.drop_last)
        return copy_with(loader, sampler=shard, batch_sampler=batch_sampler)


class ShardSampler(Sampler[Any]):
    """Every n-th index of another sampler: nothing is repeated, so shards differ by one sample at most.

    Args:
        whole: gives the same indices in all processes.
        num_replicas: number of processes.
        rank: this process.
    """

    def __init__(self, whole: _SizedIterable, num_replicas: int, rank: int) -> None:
        self.whole = whole
        self.num_replicas = num_replicas
        self.rank = rank

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(iter(self.whole), self.rank, None, self.num_replicas)

    def __len__(self) -> int:
        return len(range(self.rank, len(self.whole), self.num_replicas))

    def longest(self) -> int:
        """Length of the longest shard, which is that of rank 0."""
        return len(range(0, len(self.whole), self.num_replicas))

    def set_epoch(self, epoch: int) -> None:
        """For a sampler below that shuffles by epoch."""
        function = getattr(self.whole, "set_epoch", None)
        if callable(function):
            function(epoch)


class EvenBatchSampler(BatchSampler):
    """Batches of a shard, as many as the longest shard has: where one is missing, the last one is split.

    So a validation step in which processes talk to each other finds all of them there, unless a process has fewer samples
    than another one has batches.
    """

    def __init__(self, sampler: ShardSampler, batch_size: int, drop_last: bool) -> None:
        super().__init__(sampler, batch_size, drop_last)
        longest = sampler.longest()
        own = super().__len__()
        wanted = longest // batch_size if drop_last else math.ceil(longest / batch_size)
        self.splits = 0 < own < wanted and batch_size > 1

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


class ShardedIterableDataset(IterableDataset[Any]):
    """An iterable dataset of which each process takes every n-th sample.

    Args:
        dataset: iterated as a whole by each process, and by each of its workers.
        even: leave out the last few samples that are not enough for all processes.
        num_replicas: number of processes.
        rank: this process.
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
        while len(turn := list(itertools.islice(samples, self.num_replicas))) == self.num_replicas:
            yield turn[self.rank]

    def __len__(self) -> int:
        count = len(self.dataset)
        return count // self.num_replicas if self.even else len(range(self.rank, count, self.num_replicas))
