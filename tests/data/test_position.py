"""Does a loader that is resumed within a pass go on exactly as the one that was never interrupted?"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler

from lightning_adapter.data.position import FastForwardSampler, LoaderPosition, ResumableLoader
from lightning_adapter.data.random_state import RandomState


class Numbers(Dataset):
    loaded: list[int]

    def __init__(self) -> None:
        self.loaded = []

    def __getitem__(self, index: int) -> int:
        self.loaded.append(index)
        return index

    def __len__(self) -> int:
        return 12


class Stream(IterableDataset):
    """Draws its offset when the first sample is asked for, and something for each sample, from all generators."""

    def __iter__(self) -> Iterator[float]:
        offset = float(torch.rand(()))
        for _ in range(12):
            yield offset + random.random() + float(np.random.rand())


class EveryGenerator(Sampler):
    """Draws from the generators of torch, numpy and python at each index."""

    def __iter__(self) -> Iterator[int]:
        for _ in range(12):
            yield (int(torch.randint(12, ())) + random.randrange(12) + int(np.random.randint(12))) % 12

    def __len__(self) -> int:
        return 12


class Plain:
    """No DataLoader: draws when it is iterated, and at its first batch."""

    def __iter__(self) -> Iterator[int]:
        start = int(torch.randint(100, ()))
        return (start + int(torch.randint(100, ())) for _ in range(6))


def own() -> torch.Generator:
    return torch.Generator().manual_seed(5)


LOADERS = {
    "shuffled": lambda: DataLoader(Numbers(), 2, shuffle=True),
    "in_order": lambda: DataLoader(Numbers(), 2),
    "unbatched": lambda: DataLoader(Numbers(), None, shuffle=True),
    "sampler_of_all_generators": lambda: DataLoader(Numbers(), 2, sampler=EveryGenerator()),
    "generator": lambda: DataLoader(Numbers(), 2, shuffle=True, generator=own()),
    "generator_of_sampler": lambda: DataLoader(Numbers(), 2, sampler=RandomSampler(range(12), generator=own())),
    "batch_sampler": lambda: DataLoader(Numbers(), batch_sampler=BatchSampler(RandomSampler(range(12)), 2, False)),
    "stream": lambda: DataLoader(Stream(), 2),
    "plain": Plain,
    "workers": lambda: DataLoader(Numbers(), 2, shuffle=True, num_workers=2),
    "workers_generator": lambda: DataLoader(Numbers(), 2, shuffle=True, num_workers=2, generator=own()),
    "persistent": lambda: DataLoader(Numbers(), 2, shuffle=True, num_workers=2, persistent_workers=True),
}


def seed(value: int) -> None:
    torch.manual_seed(value)
    np.random.seed(value)
    random.seed(value)


def as_list(batch: Any) -> Any:
    return batch.tolist() if isinstance(batch, torch.Tensor) else batch


def take(loader: ResumableLoader, count: int) -> None:
    """Train on some batches: each step draws, as dropout does."""
    for _ in range(count):
        next(loader)
        torch.rand(()), random.random(), np.random.rand()


def rest_of_the_run(loader: ResumableLoader) -> list[Any]:
    """The present pass to its end, a further pass, and what all generators draw then."""
    found: list[Any] = []
    for passes in range(2):
        if passes:
            iter(loader)
        while (batch := next(loader, None)) is not None:
            found.append(as_list(batch))
            found.append(float(torch.rand(())))
    found += [float(torch.rand(())), random.random(), float(np.random.rand())]
    return found + [float(torch.rand((), generator=generator)) for generator in loader.generators()]


def saved_and_loaded(position: LoaderPosition) -> LoaderPosition:
    file = io.BytesIO()
    torch.save(position.state_dict(), file)
    file.seek(0)
    return LoaderPosition.of(torch.load(file, weights_only=True))


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("taken", [1, 3])
@pytest.mark.parametrize("name", LOADERS)
def test_resumed_loader_goes_on_as_the_uninterrupted_one(name: str, taken: int, passes: int) -> None:
    seed(1)
    loader = ResumableLoader(LOADERS[name]())
    for _ in range(passes - 1):
        for _ in loader:
            pass
    iter(loader)
    torch.rand(3), random.random(), np.random.rand(3)  # hooks between the loader and its first batch may draw
    take(loader, taken)
    position = saved_and_loaded(loader.position())
    expected = rest_of_the_run(loader)

    seed(99)
    resumed = ResumableLoader(LOADERS[name]())
    resumed.resume(position)
    assert (resumed.passes, resumed.taken) == (passes, taken)
    assert rest_of_the_run(resumed) == expected


@pytest.mark.parametrize("name", ["shuffled", "stream", "workers", "persistent"])
def test_loader_resumed_twice_in_one_pass_goes_on_as_the_uninterrupted_one(name: str) -> None:
    seed(1)
    loader = ResumableLoader(LOADERS[name]())
    iter(loader)
    torch.rand(3)
    take(loader, 1)
    first = saved_and_loaded(loader.position())
    take(loader, 2)
    expected = rest_of_the_run(loader)

    seed(98)
    resumed = ResumableLoader(LOADERS[name]())
    resumed.resume(first)
    take(resumed, 2)
    second = saved_and_loaded(resumed.position())
    seed(99)
    again = ResumableLoader(LOADERS[name]())
    again.resume(second)
    assert rest_of_the_run(again) == expected


def test_resumed_loader_loads_no_sample_that_was_trained() -> None:
    loader = ResumableLoader(LOADERS["shuffled"]())
    iter(loader)
    take(loader, 4)
    data = Numbers()
    resumed = ResumableLoader(DataLoader(data, 2, shuffle=True))
    resumed.resume(loader.position())
    assert data.loaded == []
    take(resumed, 2)
    assert len(data.loaded) == 4


@pytest.mark.parametrize("passes", [1, 2])
def test_persistent_workers_of_a_resumed_loader_are_its_only_ones(passes: int) -> None:
    loader = ResumableLoader(LOADERS["persistent"]())
    for _ in range(passes):
        iter(loader)
        take(loader, 1)
    user = LOADERS["persistent"]()
    resumed = ResumableLoader(user)
    resumed.resume(loader.position())
    take(resumed, 1)
    iterator = user._iterator
    assert iterator is not None
    iter(resumed)
    assert user._iterator is iterator


def test_users_loader_keeps_its_own_samplers() -> None:
    user = LOADERS["shuffled"]()
    before = dict(vars(user))
    loader = ResumableLoader(user)
    iter(loader)
    take(loader, 2)
    loader.resume(loader.position())
    assert dict(vars(user)) == before


def test_saved_position_is_a_list_of_counts_and_states_whose_form_old_checkpoints_have() -> None:
    loader = ResumableLoader(LOADERS["generator"]())
    passes, taken, at_start, at_first, _ = loader.position().state_dict()
    assert (passes, taken, at_start, at_first) == (0, 0, None, None)
    iter(loader)
    take(loader, 1)
    passes, taken, *states = loader.position().state_dict()
    assert (passes, taken) == (1, 1)
    for state in states:
        assert list(state) == ["torch", "numpy", "python", "generators"]
        assert [type(entry) for entry in state["numpy"]] == [str, torch.Tensor, int, int, float]
        assert [type(entry) for entry in state["python"][:2]] == [int, torch.Tensor]
        assert [type(entry) for entry in state["generators"]] == [torch.Tensor]


def test_generator_that_loader_and_sampler_share_is_found_once() -> None:
    shared = own()
    user = DataLoader(Numbers(), 2, sampler=RandomSampler(range(12), generator=shared), generator=shared)
    assert ResumableLoader(user).generators() == [shared]


def test_fast_forward_leaves_out_items_once() -> None:
    sampler = FastForwardSampler(range(5), 2)
    assert len(sampler) == 5
    assert list(sampler) == [2, 3, 4]
    assert list(sampler) == [0, 1, 2, 3, 4]


def test_random_state_restores_what_every_generator_draws() -> None:
    generator = own()
    np.random.randn(), random.gauss(0, 1)  # the second halves of pairs are part of the state

    def draw() -> list[float]:
        return [
            float(torch.rand(())),
            float(np.random.randn()),
            random.gauss(0, 1),
            float(torch.rand((), generator=generator)),
        ]

    state = RandomState.now([generator]).state_dict()
    expected = draw()
    seed(99)
    RandomState.of(state).restore([generator])
    assert draw() == expected
