"""Does a loader that is resumed within a pass go on exactly as the one that was never interrupted?"""

from __future__ import annotations

import io
import multiprocessing
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler

from lightning_adapter.data.generators import get_state
from lightning_adapter.data.position import FastForwardSampler, LoaderPosition, ResumableLoader
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import CheckpointError


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


class Pairs(DataLoader):
    """Its iterator is a generator, which joins two batches into one: its batches are not those of its sampler."""

    def __iter__(self) -> Iterator[Any]:
        batches = super().__iter__()
        for first in batches:
            yield torch.cat([first, next(batches)])


class OwnIterator(DataLoader):
    """Makes the iterator that it is given an iterator of its own."""

    def __iter__(self) -> Iterator[Any]:
        return map(torch.neg, super().__iter__())


class OrderOfItsOwn(Sampler):
    """Draws from generators that it holds under names of its own, of torch, numpy and python."""

    def __init__(self) -> None:
        self.of_torch = own()
        self.others = {"numpy": np.random.default_rng(5), "python": random.Random(5)}

    def __iter__(self) -> Iterator[int]:
        for index in torch.randperm(12, generator=self.of_torch).tolist():
            yield (index + int(self.others["numpy"].integers(12)) + self.others["python"].randrange(12)) % 12

    def __len__(self) -> int:
        return 12


class Stateful:
    """Says where it stands, and shuffles by a count that only its state holds; draws at its first batch."""

    def __init__(self) -> None:
        self.at = self.count = 0

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(6, generator=torch.Generator().manual_seed(self.count)).tolist()
        while self.at < 6:
            self.at += 1
            yield order[self.at - 1]
        self.at, self.count = 0, self.count + 1

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at, "count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at, self.count = state["at"], state["count"]


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
    "inner_generator": lambda: DataLoader(
        Numbers(), batch_sampler=BatchSampler(RandomSampler(range(12), generator=own()), 2, False)
    ),
    "generators_of_any_name": lambda: DataLoader(Numbers(), batch_sampler=BatchSampler(OrderOfItsOwn(), 2, False)),
    "pairs": lambda: Pairs(Numbers(), 1, shuffle=True),
    "pairs_persistent": lambda: Pairs(Numbers(), 1, shuffle=True, num_workers=2, persistent_workers=True),
    "own_iterator": lambda: OwnIterator(Numbers(), 2, shuffle=True),
    "own_iterator_persistent": lambda: OwnIterator(Numbers(), 2, shuffle=True, num_workers=2, persistent_workers=True),
    "own_iterator_of_stream": lambda: OwnIterator(Stream(), 2),
    "stateful": Stateful,
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
    return found + [get_state(generator) for generator in loader.generators()]


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
    assert repr(rest_of_the_run(resumed)) == repr(expected)


@pytest.mark.parametrize("name", ["shuffled", "stream", "workers", "persistent", "pairs", "stateful"])
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
    assert repr(rest_of_the_run(again)) == repr(expected)


@pytest.mark.parametrize("name", [name for name in LOADERS if "workers" not in name])
@pytest.mark.parametrize("taken", [4, 6])
def test_loader_resumed_between_two_passes_goes_on_as_the_uninterrupted_one(name: str, taken: int) -> None:
    seed(1)
    loader = ResumableLoader(LOADERS[name]())
    iter(loader)
    take(loader, taken)
    position = saved_and_loaded(loader.position())
    iter(loader)
    expected = rest_of_the_run(loader)

    seed(99)
    resumed = ResumableLoader(LOADERS[name]())
    if "persistent" in name:
        iter(resumed)  # a run has iterated its loader when it is resumed, as one that persists had
    resumed.resume_between_passes(position)
    position.now.restore(resumed.generators())
    iter(resumed)
    assert repr(rest_of_the_run(resumed)) == repr(expected)


def test_state_of_a_loader_is_told_to_it_and_saved_as_a_copy() -> None:
    class Live(Stateful):
        def state_dict(self) -> dict[str, int]:
            return vars(self)

    loader = ResumableLoader(Live())
    iter(loader)
    take(loader, 2)
    position = loader.position()
    take(loader, 2)
    assert position.own is not None and position.own.state["at"] == 2


def test_state_that_the_loader_cannot_be_told_is_refused() -> None:
    loader = ResumableLoader(Stateful())
    iter(loader)
    take(loader, 2)
    with pytest.raises(CheckpointError, match=r"the Plain that train_dataloader\(\) returned has no load_state_dict"):
        ResumableLoader(Plain()).resume(loader.position())


def test_stateful_loader_is_repeated_from_a_checkpoint_that_holds_no_state_of_it() -> None:
    loader = ResumableLoader(Stateful())
    iter(loader)
    take(loader, 2)
    old = LoaderPosition.of(loader.position().state_dict()[:5])
    resumed = ResumableLoader(Stateful())
    resumed.resume(old)
    assert next(resumed) == next(loader)


@pytest.mark.parametrize("make", [lambda count: DataLoader(range(count), 2), lambda count: [*range(count // 2)]])
def test_loader_that_ends_before_what_was_trained_is_refused(make: Any) -> None:
    loader = ResumableLoader(make(8))
    iter(loader)
    take(loader, 3)
    with pytest.raises(CheckpointError, match=r"after 3 batches of an epoch.*now ends before that"):
        ResumableLoader(make(4)).resume(loader.position())


# --- worker processes -------------------------------------------------------------------------------------------------


@pytest.fixture
def workers() -> Callable[[], int]:
    """How many worker processes there are beside those that other tests have left to the garbage collector."""
    others = set(multiprocessing.active_children())
    return lambda: len(set(multiprocessing.active_children()) - others)


@pytest.mark.parametrize(("name", "taken"), [("workers", 1), ("persistent", 0), ("persistent", 6), ("pairs", 1)])
def test_stopped_loader_has_no_worker_processes_whoever_holds_its_iterator(
    name: str, taken: int, workers: Callable[[], int]
) -> None:
    user = Pairs(Numbers(), 1, num_workers=2) if name == "pairs" else LOADERS[name]()
    loader = ResumableLoader(user)
    iter(loader)
    take(loader, taken)
    held = loader._iterator
    assert workers() == 2
    loader.stop()
    assert workers() == 0
    assert loader.loader._iterator is None  # type: ignore[attr-defined]
    assert next(loader, "nothing") == "nothing"
    del held


def test_pass_that_is_let_go_leaves_the_workers_that_its_loader_keeps(workers: Callable[[], int]) -> None:
    user = LOADERS["persistent"]()
    loader, other = ResumableLoader(user), ResumableLoader(LOADERS["workers"]())
    for each in (loader, other):
        iter(each)
        take(each, 1)
        each.let_go()
    assert workers() == 2
    again = ResumableLoader(user)
    iter(again)
    assert len([*again]) == 6
    again.stop()
    assert workers() == 0


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
