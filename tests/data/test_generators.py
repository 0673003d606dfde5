"""Are all random generators of a loader and its samplers found, and do they go on from a state that was saved?"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler

from lightning_adapter.data.generators import Generator, generators_of, get_state, set_state
from lightning_adapter.data.position import FastForwardSampler
from lightning_adapter.data.seeding import SeededSampler
from lightning_adapter.versions import hosts, lightning_private

HOST = hosts.host("pytorch_lightning")


class Holder(Sampler):
    """A sampler that holds whatever it is given, under a name of its own."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __iter__(self) -> Iterator[int]:
        return iter(range(4))

    def __len__(self) -> int:
        return 4


class PlainHolder:
    """The same, without torch's base class."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __iter__(self) -> Iterator[int]:
        return iter(range(4))


class Drawing(Dataset):
    def __init__(self) -> None:
        self.generator = torch.Generator()

    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return 4


class DrawingStream(Drawing, IterableDataset):  # type: ignore[misc]
    def __iter__(self) -> Iterator[int]:
        return iter(range(4))


def wrapped_for_ranks(sampler: Any) -> Any:
    return lightning_private.distributed_sampler_wrapper(HOST)(sampler, num_replicas=2, rank=0)


PLACES = {
    "loader": lambda it: DataLoader(range(4), generator=it),  # type: ignore[arg-type]
    "sampler": lambda it: DataLoader(range(4), sampler=RandomSampler(range(4), generator=it)),  # type: ignore[arg-type]
    "other_name": lambda it: DataLoader(range(4), sampler=Holder(it)),  # type: ignore[arg-type]
    "list": lambda it: DataLoader(range(4), sampler=Holder([1, it])),  # type: ignore[arg-type]
    "dict": lambda it: DataLoader(range(4), sampler=Holder({"a": it})),  # type: ignore[arg-type]
    "in_batch_sampler": lambda it: DataLoader(range(4), batch_sampler=BatchSampler(Holder(it), 2, False)),  # type: ignore[arg-type]
    "plain_sampler": lambda it: DataLoader(range(4), sampler=PlainHolder(it)),  # type: ignore[arg-type]
    "several_samplers": lambda it: DataLoader(range(4), sampler=Holder([Holder(None), Holder(it)])),  # type: ignore[arg-type]
    "loader_within": lambda it: PlainHolder(DataLoader(range(4), generator=it)),  # type: ignore[arg-type]
    "seeded": lambda it: DataLoader(range(4), sampler=SeededSampler(Holder(it))),  # type: ignore[arg-type]
    "fast_forward": lambda it: DataLoader(range(4), sampler=FastForwardSampler(Holder(it), 1)),  # type: ignore[arg-type]
    "share_of_a_rank": lambda it: DataLoader(range(4), sampler=wrapped_for_ranks(Holder(it))),  # type: ignore[arg-type]
}

KINDS = {
    "torch": lambda: torch.Generator().manual_seed(3),
    "pcg64": lambda: np.random.default_rng(3),
    "mt19937": lambda: np.random.Generator(np.random.MT19937(3)),
    "philox": lambda: np.random.Generator(np.random.Philox(3)),
    "random_state": lambda: np.random.RandomState(3),
    "python": lambda: random.Random(3),
}


def draw(generator: Generator) -> list[float]:
    if isinstance(generator, torch.Generator):
        return torch.rand(3, generator=generator).tolist()
    if isinstance(generator, random.Random):
        return [generator.gauss(0, 1) for _ in range(3)]
    return [float(generator.standard_normal()) for _ in range(3)]


@pytest.mark.parametrize("place", PLACES)
def test_generator_is_found_wherever_it_is_held(place: str) -> None:
    generator = torch.Generator()
    assert [found is generator for found in generators_of(PLACES[place](generator))] == [True]


@pytest.mark.parametrize("kind", KINDS)
def test_generator_of_every_kind_is_found_and_goes_on_from_a_saved_state(kind: str) -> None:
    generator = KINDS[kind]()
    assert generators_of(DataLoader(range(4), sampler=Holder(generator))) == [generator]  # type: ignore[arg-type]
    draw(generator)
    file = io.BytesIO()
    torch.save(get_state(generator), file)
    expected = draw(generator)
    file.seek(0)
    other = KINDS[kind]()
    set_state(other, torch.load(file, weights_only=True))
    assert draw(other) == expected


def test_generators_come_in_one_order_each_of_them_once() -> None:
    first, second, third = (torch.Generator() for _ in range(3))
    batches = BatchSampler(Holder([third, second]), 2, False)
    loader = DataLoader(range(4), batch_sampler=batches, generator=first)  # type: ignore[arg-type]
    assert generators_of(loader) == [first, third, second]


@pytest.mark.parametrize("dataset", [Drawing, DrawingStream])
def test_generators_of_datasets_are_their_own_affair(dataset: Any) -> None:
    assert generators_of(DataLoader(dataset())) == []


def test_sampler_that_holds_itself_or_very_many_things_is_looked_through_once() -> None:
    sampler = Holder(None)
    sampler.held = [sampler, list(range(1_000_000)), random.SystemRandom()]
    assert generators_of(DataLoader(range(4), sampler=sampler)) == []  # type: ignore[arg-type]


def test_loader_without_attributes_has_no_generators() -> None:
    assert generators_of([1, 2]) == generators_of(range(3)) == []
