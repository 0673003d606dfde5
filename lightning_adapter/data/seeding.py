"""With which seeds do workers start and samples load?"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from lightning_adapter.data.loaders import Loader, has_iterable_dataset, index_sampler, with_index_sampler
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.hosts import Host


@dataclass(frozen=True)
class WorkerSeeds:
    """Seeds the workers of a loader where `seed_everything(workers=True)` was called.

    Args:
        host: the Lightning package, whose function sets the `worker_init_fn`.
        rank: this process.
    """

    host: Host
    rank: int

    def __call__(self, loader: Loader) -> Loader:
        """The same loader; its workers will be seeded."""
        if isinstance(loader, DataLoader):
            lightning_private.seeds_workers(self.host, loader, self.rank)
        return loader


class SeededSamples(Dataset[Any]):
    """A dataset each of whose samples is loaded under a random state of its own, which the sampler gives.

    In the main process the state of before comes back afterwards.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

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


class SeededSampler:
    """A sampler whose every index comes with a seed: a function of one draw per pass, and of the place in the pass.

    Args:
        sampler: gives indices, or lists of them where it is a batch sampler.
    """

    def __init__(self, sampler: Iterable[Any]) -> None:
        self._sampler = sampler

    def __len__(self) -> int:
        return len(self._sampler)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        if name == "_sampler":  # as in `SeededSamples`
            raise AttributeError(name)
        return getattr(self._sampler, name)

    def __iter__(self) -> Iterator[Any]:
        first = int(torch.empty((), dtype=torch.int64).random_().item())
        # steps of 2**64 over the golden ratio keep the seeds of neighbours far apart
        seeds = ((first + place * 0x9E3779B97F4A7C15) % 2**63 for place in itertools.count())
        for item in self._sampler:
            yield [(index, next(seeds)) for index in item] if isinstance(item, (list, tuple)) else (item, next(seeds))


def seed_each_sample(loader: Loader) -> Loader:
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
    return with_index_sampler(loader, SeededSampler(index_sampler(loader)), dataset=SeededSamples(loader.dataset))
