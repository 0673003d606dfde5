"""Do processes share out samples as torch and Lightning do, and validate on each of them once?"""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from data.parts import Numbers, Stream
from lightning_adapter.data.loaders import set_epoch
from lightning_adapter.data.sharding import EvenBatchSampler, Sharder, ShardSampler, is_sharded
from lightning_adapter.versions import hosts, lightning_private

HOST = hosts.host("pytorch_lightning")


class CountedStream(Stream):
    def __len__(self) -> int:
        return self.count


class OwnBatches(BatchSampler):
    pass


def shards(loader: Any, size: int, training: bool, shuffle: bool = True, iterable: bool = False) -> list[Any]:
    return [Sharder(HOST, size, rank, training, shuffle=shuffle, iterable=iterable)(loader) for rank in range(size)]


def samples(loader: Any) -> list[int]:
    return [index for batch in loader for index in batch.tolist()]


@pytest.mark.skipif(HOST.quirks.wraps_every_sampler, reason="Lightning 1.x wraps every sampler")
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("count", [7, 8])
def test_training_shards_are_those_of_torchs_distributed_sampler(
    monkeypatch: pytest.MonkeyPatch, count: int, shuffle: bool
) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "5")
    loader = DataLoader(Numbers(count), 2, shuffle=True)
    for rank, shard in enumerate(shards(loader, 3, training=True, shuffle=shuffle)):
        theirs = DistributedSampler(Numbers(count), 3, rank, shuffle=shuffle, seed=5)
        for epoch in (0, 1):
            set_epoch([shard], epoch)
            theirs.set_epoch(epoch)
            assert samples(shard) == list(theirs)


def test_training_shards_of_another_sampler_are_those_of_lightnings_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)  # a module's own fixtures may have seeded the process
    wrapper = lightning_private.distributed_sampler_wrapper(HOST)
    sampler = WeightedRandomSampler([1.0] * 9, 9)
    for rank, shard in enumerate(shards(DataLoader(Numbers(9), 2, sampler=sampler), 2, training=True)):
        torch.manual_seed(1)
        ours = samples(shard)
        torch.manual_seed(1)
        # the loader draws a seed for its workers before the sampler is asked
        torch.empty((), dtype=torch.int64).random_()
        assert ours == list(wrapper(sampler, num_replicas=2, rank=rank, seed=0))


@pytest.mark.parametrize(("count", "shuffle"), [(0, False), *product(range(1, 10), [True, False])])
def test_validation_shards_hold_each_sample_once(count: int, shuffle: bool) -> None:
    parts = [samples(shard) for shard in shards(DataLoader(Numbers(count), 2, shuffle=shuffle), 4, training=False)]
    assert sorted(index for part in parts for index in part) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shuffled_validation_shards_change_from_epoch_to_epoch() -> None:
    first, second = shards(DataLoader(Numbers(12), 2, shuffle=True), 2, training=False)
    seen = []
    for epoch in (0, 1):
        set_epoch([first, second], epoch)
        seen.append(samples(first))
        assert not set(seen[-1]) & set(samples(second))
    assert seen[0] != seen[1]


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("batch_size", [2, 3])
@pytest.mark.parametrize("count", range(9, 20))
def test_even_batches_are_as_many_in_all_processes(count: int, batch_size: int, drop_last: bool) -> None:
    made = [EvenBatchSampler(ShardSampler(range(count), 3, rank), batch_size, drop_last=drop_last) for rank in range(3)]
    found = [list(sampler) for sampler in made]
    assert [len(batches) for batches in found] == [len(sampler) for sampler in made] == [len(found[0])] * 3
    assert all(batch for batches in found for batch in batches)
    longest = list(range(0, count, 3))
    assert found[0] == list(BatchSampler(longest, batch_size, drop_last))


def test_even_batches_without_drop_last_hold_each_sample_once() -> None:
    found = [list(EvenBatchSampler(ShardSampler(range(9), 2, rank), 2, drop_last=False)) for rank in (0, 1)]
    assert found == [[[0, 2], [4, 6], [8]], [[1, 3], [5], [7]]]


def test_validation_keeps_the_users_batch_sampler_and_its_class() -> None:
    loader = DataLoader(Numbers(6), batch_sampler=OwnBatches(SequentialSampler(range(6)), 2, False))
    assert [type(shard.batch_sampler) for shard in shards(loader, 2, training=False)] == [OwnBatches, OwnBatches]


@pytest.mark.parametrize(
    ("training", "expected"), [(True, [[0, 3], [1, 4], [2, 5]]), (False, [[0, 3, 6], [1, 4, 7], [2, 5]])]
)
def test_iterable_dataset_is_dealt_out_in_turn(training: bool, expected: list[list[int]]) -> None:
    found = shards(DataLoader(CountedStream(8), 4), 3, training, iterable=True)
    assert [samples(shard) for shard in found] == expected
    assert [len(shard.dataset) for shard in found] == list(map(len, expected))


def test_iterable_dataset_is_left_alone_with_a_warning_unless_asked_for() -> None:
    loader = DataLoader(CountedStream(8), 4)
    with pytest.warns(UserWarning, match="CountedStream is iterated as it is by each of 2 processes"):
        assert Sharder(HOST, 2, 0, training=True, shuffle=True, iterable=False)(loader) is loader


@pytest.mark.parametrize("training", [True, False])
def test_loader_that_is_sharded_already_stays_the_same_object(training: bool) -> None:
    class Own(SequentialSampler):
        num_replicas, rank = 2, 1

    class OwnDistributed(DistributedSampler):
        def __init__(self) -> None:
            pass  # shards in a way of its own

    plain = DataLoader(Numbers(8), 2)
    assert not is_sharded(plain)
    for sampler in (DistributedSampler(Numbers(8), 2, 0), Own(range(8)), OwnDistributed()):
        for loader in (
            DataLoader(Numbers(8), 2, sampler=sampler),
            DataLoader(Numbers(8), batch_sampler=BatchSampler(sampler, 2, False)),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert Sharder(HOST, 2, 0, training, shuffle=True, iterable=False)(loader) is loader
