"""Is a loader asked and changed without losing what the user gave it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from data.parts import Numbers, Stream
from lightning_adapter.data.loaders import (
    INFINITE,
    check_batch_size,
    check_loaders,
    default_batch_sampler,
    length_of,
    sequential,
    set_epoch,
    with_index_sampler,
    with_sampler,
)
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import hosts, lightning_private

HOST = hosts.host("pytorch_lightning")


class Unsized:
    def __iter__(self) -> Iterator[int]:
        return iter([1])

    def __len__(self) -> int:
        raise NotImplementedError


class OwnBatches(BatchSampler):
    """Takes what torch's does, and yields batches back to front."""

    def __iter__(self) -> Iterator[list[int]]:
        return (batch[::-1] for batch in super().__iter__())


class Stubborn(BatchSampler):
    """Makes its own sampler."""

    def __init__(self, size: int) -> None:
        super().__init__(SequentialSampler(range(size)), 2, False)


class CountsEpochs(SequentialSampler):
    def __init__(self, source: Any) -> None:
        super().__init__(source)
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def batches(loader: Any) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize(
    ("loader", "length"),
    [
        (DataLoader(Numbers(10), 4), 3),
        (DataLoader(Stream(), 4), INFINITE),
        (Unsized(), INFINITE),
        (iter([1]), INFINITE),
    ],
    ids=["sized", "stream", "not_implemented", "iterator"],
)
def test_length_is_infinite_where_the_loader_does_not_know_it(loader: Any, length: float) -> None:
    assert length_of(loader) == length


def test_other_sampler_keeps_every_argument_of_the_loader() -> None:
    loader = DataLoader(Numbers(10), 4, shuffle=True, drop_last=True, collate_fn=tuple, timeout=0)
    changed = with_sampler(loader, SequentialSampler(range(6)), HOST)
    assert list(changed) == [(0, 1, 2, 3)]
    before, after = dict(vars(loader)), dict(vars(changed))
    for name in ("sampler", "batch_sampler"):
        before.pop(name), after.pop(name)
    assert after == before
    assert isinstance(loader.sampler, RandomSampler)


def test_copy_of_a_loader_whose_workers_are_under_way_has_none_of_them() -> None:
    loader = DataLoader(Numbers(10), 4, num_workers=1, persistent_workers=True)
    next(iter(loader))
    changed = with_sampler(loader, SequentialSampler(range(2)), HOST)
    assert batches(changed) == [[0, 1]]
    assert changed._iterator is not loader._iterator


def test_other_sampler_goes_into_a_batch_sampler_of_the_users_class() -> None:
    loader = DataLoader(Numbers(10), batch_sampler=OwnBatches(SequentialSampler(range(10)), 2, True))
    changed = with_sampler(loader, [5, 6, 7], HOST)
    assert type(changed.batch_sampler) is OwnBatches
    assert batches(changed) == [[6, 5]]


class Buckets(BatchSampler):
    """Has arguments of its own, by position and by name, and computes from them when it is made."""

    def __init__(self, size: int, sampler: Any, *, offset: int = 0, keep: bool = False) -> None:
        self.buckets = [[index + offset, index + 100] for index in sampler][:size]
        self.sampler = sampler
        self.keep = keep

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.buckets)

    def __len__(self) -> int:
        return len(self.buckets)


def test_batch_sampler_of_the_users_class_is_made_anew_of_all_its_arguments() -> None:
    with lightning_private.records_batch_samplers(HOST):
        made = Buckets(2, SequentialSampler(range(10)), offset=3, keep=True)
    changed: Any = with_sampler(DataLoader(range(200), batch_sampler=made), [5, 6, 7], HOST).batch_sampler  # type: ignore[arg-type]
    assert (type(changed), changed.buckets, changed.keep) == (Buckets, [[8, 105], [9, 106]], True)
    assert made.buckets == [[3, 100], [4, 101]]


def test_hook_for_loaders_that_raises_leaves_torchs_classes_as_they_were() -> None:
    names = ("__init__", "__setattr__", "__delattr__")
    before = [[getattr(kind, name) for name in names] for kind in (BatchSampler, Buckets)]
    with pytest.raises(KeyError), lightning_private.records_batch_samplers(HOST):
        raise KeyError
    assert [[getattr(kind, name) for name in names] for kind in (BatchSampler, Buckets)] == before


def test_batch_sampler_whose_arguments_are_not_known_is_refused() -> None:
    loader = DataLoader(range(200), batch_sampler=Buckets(2, SequentialSampler(range(10))))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"batch sampler Buckets .* is made in train_dataloader\(\) or"):
        with_sampler(loader, [1], HOST)


def test_batch_sampler_that_takes_no_sampler_is_refused() -> None:
    loader = DataLoader(Numbers(10), batch_sampler=Stubborn(4))
    with pytest.raises(ConfigurationError, match="batch sampler Stubborn cannot be given another sampler"):
        with_sampler(loader, [1], HOST)


@pytest.mark.parametrize(("options", "expected"), [({"batch_size": 2}, [[3], [1, 2]]), ({"batch_size": None}, [3, 1])])
def test_index_sampler_replaces_the_one_that_is_iterated(options: dict[str, Any], expected: list[Any]) -> None:
    changed = with_index_sampler(DataLoader(Numbers(10), **options), [[3], [1, 2]] if options["batch_size"] else [3, 1])
    assert [batch.tolist() if isinstance(batch, torch.Tensor) else batch for batch in changed] == expected


def test_shuffled_loader_is_made_sequential_and_others_stay_the_same_object() -> None:
    assert batches(sequential(DataLoader(Numbers(5), 4, shuffle=True), HOST)) == [[0, 1, 2, 3], [4]]
    for loader in (DataLoader(Numbers(10)), DataLoader(Stream()), [1, 2]):
        assert sequential(loader, HOST) is loader


def test_only_torchs_own_batch_sampler_is_the_default_one() -> None:
    assert default_batch_sampler(DataLoader(Numbers(10), 2))
    assert not default_batch_sampler(DataLoader(Numbers(10), batch_sampler=OwnBatches(range(10), 2, False)))
    assert not default_batch_sampler(DataLoader(Numbers(10), batch_size=None))


def test_epoch_is_told_once_to_sampler_and_sampler_of_the_batch_sampler() -> None:
    plain, inner = CountsEpochs(range(4)), CountsEpochs(range(4))
    loaders = [
        DataLoader(Numbers(10), 2, sampler=plain),
        DataLoader(Numbers(10), batch_sampler=BatchSampler(inner, 2, False)),
    ]
    set_epoch([*loaders, loaders[0], [1]], 3)
    assert (plain.epochs, inner.epochs) == ([3], [3])


@pytest.mark.parametrize(
    "returned",
    [None, [DataLoader(Numbers(10)), None], "data", 3, [[None]]],
    ids=["none", "none in a list", "text", "number", "none below"],
)
def test_what_is_no_loader_is_a_fault(returned: Any) -> None:
    assert len(check_loaders(returned, "train_dataloader")) == 1


@pytest.mark.parametrize("returned", [[], [[]], {"a": DataLoader(Numbers(10)), "b": [Unsized()], "c": [0, 1]}])
def test_what_can_be_iterated_is_a_loader(returned: Any) -> None:
    assert check_loaders(returned, "train_dataloader") == []


@pytest.mark.parametrize(("wanted", "fits"), [(8, True), (24, True), (4, False), (12, False)])
def test_batch_size_times_processes_has_to_be_the_global_one_with_or_without_accumulation(
    wanted: int, fits: bool
) -> None:
    loader = DataLoader(Numbers(10), 4)
    if fits:
        check_batch_size(loader, wanted, processes=2, accumulate=3)
    else:
        with pytest.raises(ConfigurationError, match=f"global_batch_size is {wanted}.*set global_batch_size: 8"):
            check_batch_size(loader, wanted, processes=2, accumulate=3)
