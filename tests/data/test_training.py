"""How many batches has an epoch, and does one that is resumed in its middle go on as the uninterrupted one?"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from data.parts import Numbers, whole
from lightning_adapter.data.collections import flatten
from lightning_adapter.data.loaders import INFINITE
from lightning_adapter.data.training import TrainingData
from lightning_adapter.errors import CheckpointError, ConfigurationError
from lightning_adapter.versions import hosts, lightning_private


class RandomStream(IterableDataset):
    """Draws what it yields, when it is asked for."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        for _ in range(12):
            yield torch.rand(()) + random.random() + float(np.random.rand())


def at_most(limit: int) -> Callable[[float], float]:
    return lambda length: min(length, limit)


def combined(loaders: Any, mode: str) -> Any:
    return lightning_private.combined_loader(hosts.host("pytorch_lightning"), loaders, mode)


def two(first: int = 10, second: int = 4) -> dict[str, Any]:
    return {"a": DataLoader(Numbers(first), 2, shuffle=True), "b": [DataLoader(Numbers(second), 2, shuffle=True)]}


MAKES = {
    "one": lambda: DataLoader(Numbers(12), 2, shuffle=True),
    "stream": lambda: DataLoader(RandomStream(), 2),
    "collection": two,
    "collection_with_stream": lambda: [DataLoader(RandomStream(), 2), DataLoader(Numbers(4), 2, shuffle=True)],
    "list_of_one": lambda: [DataLoader(Numbers(12), 2, shuffle=True)],
}


def test_epoch_has_the_batches_of_the_longest_loader_within_their_limits() -> None:
    assert TrainingData(DataLoader(Numbers(12), 2), whole).num_batches == 6
    assert TrainingData(two(), whole).num_batches == 5
    assert TrainingData(two(), at_most(3)).num_batches == 3
    assert TrainingData(DataLoader(RandomStream(), 2), whole).num_batches == INFINITE
    assert TrainingData(MAKES["collection_with_stream"](), whole).num_batches == INFINITE


@pytest.mark.parametrize(("mode", "batches"), [("min_size", 2), ("max_size_cycle", 5)])
def test_mode_of_a_combined_loader_decides_on_the_batches_of_an_epoch(mode: str, batches: int) -> None:
    data = TrainingData(combined(two(), mode), whole)
    data.start()
    assert (data.num_batches, len(list(data.fetcher))) == (batches, batches)


def test_sequential_combined_loader_is_refused() -> None:
    loaders = combined([[1]], "min_size")
    vars(loaders)["_mode" if "_mode" in vars(loaders) else "mode"] = "sequential"
    with pytest.raises(ConfigurationError, match="mode='sequential'"):
        TrainingData(loaders, whole)


def test_batch_has_the_form_of_the_collection_and_of_no_other() -> None:
    for make, form in ((MAKES["one"], torch.Tensor), (MAKES["list_of_one"], list), (two, dict)):
        data = TrainingData(make(), whole)
        data.start()
        assert type(next(data.fetcher)) is form


def test_limited_stream_fetches_ahead_unless_the_limit_makes_its_length_known() -> None:
    def fetched_at_start(**options: bool) -> int:
        data = TrainingData(DataLoader(RandomStream(), 2), at_most(3), **options)
        data.start()
        return data.fetcher.fetched

    assert fetched_at_start() == 0
    assert fetched_at_start(limits_outside=True) == 1
    assert fetched_at_start(limits_outside=True, waits_within_limits=True) == 0
    assert fetched_at_start(limits_outside=True, ahead=False) == 0


def test_batch_at_the_limit_is_the_last_one_unless_limits_stand_outside() -> None:
    for limits_outside in (False, True):
        data = TrainingData(DataLoader(Numbers(12), 2), at_most(2), limits_outside=limits_outside)
        data.start()
        next(data.fetcher), next(data.fetcher)
        assert data.fetcher.done is not limits_outside


def test_limit_set_later_changes_the_epoch_and_not_the_end_of_the_data() -> None:
    data = TrainingData(DataLoader(Numbers(12), 2), whole)
    data.start()
    data.limit_to(2)
    next(data.fetcher), next(data.fetcher)
    assert (data.num_batches, data.fetcher.done) == (2, False)


def test_step_that_fetches_itself_is_told_the_index_of_its_batch() -> None:
    data = TrainingData(DataLoader(Numbers(4), 2), whole)
    data.start()
    iterator = data.dataloader_iterator()
    assert [(batch.tolist(), *indices) for batch, *indices in iterator] == [([0, 1], 0, 0), ([2, 3], 1, 0)]


def seed(value: int) -> None:
    torch.manual_seed(value)
    np.random.seed(value)
    random.seed(value)


def trained(data: TrainingData, count: float) -> list[Any]:
    """Batches as numbers, with a draw after each, as a step that draws (dropout) does."""
    found: list[Any] = []
    while len(found) < 2 * count:
        try:
            batch = next(data.fetcher)
        except StopIteration:
            break
        found.append([leaf.tolist() for leaf in flatten(batch)])
        found.append(float(torch.rand(())))
    return found


def to_the_end(data: TrainingData) -> list[Any]:
    found = trained(data, INFINITE)
    data.start()
    return [*found, *trained(data, INFINITE), random.random(), float(np.random.rand())]


def through_a_file(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("taken", [1, 3, 4])
@pytest.mark.parametrize("name", MAKES)
def test_epoch_resumed_in_its_middle_goes_on_as_the_uninterrupted_one(name: str, taken: int) -> None:
    seed(1)
    data = TrainingData(MAKES[name](), whole)
    data.start()
    trained(data, INFINITE)
    data.start()
    torch.rand(3)
    trained(data, taken)
    state = through_a_file(data.state_dict(taken))
    after = (torch.get_rng_state(), np.random.get_state(), random.getstate())
    expected = to_the_end(data)

    seed(99)
    resumed = TrainingData(MAKES[name](), whole)
    torch.set_rng_state(after[0])
    np.random.set_state(after[1])
    random.setstate(after[2])
    resumed.load_state_dict(state)
    assert torch.equal(torch.get_rng_state(), after[0])  # the run's own generators are where they were
    assert to_the_end(resumed) == expected


def test_resumed_collection_remembers_which_loaders_have_ended() -> None:
    data = TrainingData(two(4, 10), whole)
    data.start()
    trained(data, 3)
    state = through_a_file(data.state_dict(3))
    assert state["consumed"] == [True, False]
    resumed = TrainingData(two(4, 10), whole)
    resumed.load_state_dict(state)
    assert (resumed.fetcher.fetched, resumed.fetcher.done) == (3, False)
    assert resumed.state_dict(3)["consumed"] == [True, False]
    assert len(trained(resumed, INFINITE)) == 2 * 2
    assert state["consumed"] == [True, False]


def test_between_two_epochs_only_the_loaders_own_generators_are_restored() -> None:
    def make() -> Any:
        return DataLoader(Numbers(12), 2, shuffle=True, generator=torch.Generator().manual_seed(5))

    data = TrainingData(make(), whole)
    data.start()
    trained(data, INFINITE)
    state = through_a_file(data.state_dict(0))
    data.start()
    expected = [batch.tolist() for batch in data.fetcher]
    resumed = TrainingData(make(), whole)
    before = torch.get_rng_state()
    resumed.load_state_dict(state)
    assert torch.equal(torch.get_rng_state(), before)
    resumed.start()
    assert [batch.tolist() for batch in resumed.fetcher] == expected


def test_saved_state_has_the_keys_that_old_checkpoints_have() -> None:
    data = TrainingData(DataLoader(Numbers(12), 2), whole)
    data.start()
    trained(data, 2)
    state = data.state_dict(2)
    assert list(state) == ["batches", "num_batches", "sources", "consumed", "generators", "fetched"]
    assert (state["batches"], state["num_batches"], state["consumed"], state["generators"]) == (2, 6, [], [])
    assert [type(entry) for entry in state["sources"][0]] == [int, int, dict, dict, dict]
    assert TrainingData(DataLoader(RandomStream(), 2), whole).state_dict(0)["num_batches"] is None


def test_state_without_the_number_of_fetched_batches_has_as_many_as_were_trained() -> None:
    data = TrainingData(DataLoader(Numbers(12), 2), whole)
    data.start()
    trained(data, 2)
    state: Any = data.state_dict(2)
    del state["fetched"]
    resumed = TrainingData(DataLoader(Numbers(12), 2), whole)
    resumed.load_state_dict(state)
    assert (resumed.fetcher.fetched, len(trained(resumed, INFINITE))) == (2, 2 * 4)


def test_step_that_took_several_batches_goes_on_after_the_last_of_them() -> None:
    data = TrainingData(DataLoader(Numbers(12), 1), whole)
    data.start()
    iterator = data.dataloader_iterator()
    steps = [[int(next(iterator)[0]) for _ in range(3)] for _ in range(2)]
    assert steps == [[0, 1, 2], [3, 4, 5]]
    resumed = TrainingData(DataLoader(Numbers(12), 1), whole)
    resumed.load_state_dict(through_a_file(data.state_dict(2)))
    again = resumed.dataloader_iterator()
    assert again.last[1:] == iterator.last[1:]
    assert [(int(batch), *indices) for batch, *indices in again] == [(index, index, 0) for index in range(6, 12)]


def test_iterator_of_a_step_is_another_one_in_each_pass() -> None:
    data = TrainingData(DataLoader(Numbers(12), 1), whole)
    data.start()
    next(data.dataloader_iterator())
    data.start()
    assert data.dataloader_iterator().last == (None, 0, 0)


@pytest.mark.parametrize("make", [lambda: [DataLoader(Numbers(12), 2)] * 2,
                                  lambda: DataLoader(Numbers(12), 2, generator=torch.Generator())])  # fmt: skip
def test_state_of_other_loaders_or_generators_is_refused(make: Any) -> None:
    data = TrainingData(DataLoader(Numbers(12), 2), whole)
    data.start()
    trained(data, 2)
    with pytest.raises(
        CheckpointError, match=r"written with 1 training loaders, whose samplers have 0 random generators"
    ):
        TrainingData(make(), whole).load_state_dict(data.state_dict(2))


class Told:
    """Says where it stands."""

    def __init__(self, length: int | None = 5) -> None:
        self.at = 0
        if length is not None:
            self.length = length

    def __len__(self) -> int:
        return self.length if hasattr(self, "length") else NotImplemented

    def __iter__(self) -> Iterator[int]:
        while self.at < 5:
            self.at += 1
            yield self.at
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.at = state["at"]


@pytest.mark.parametrize("length", [5, None])
def test_state_of_a_loader_is_that_after_the_last_trained_batch(length: int | None) -> None:
    data = TrainingData([Told(length), DataLoader(Numbers(12), 2)], whole)
    data.start()
    assert next(data.fetcher)[0] == 1
    assert next(data.fetcher)[0] == 2
    assert data.loader_states(2) == [{"at": 2}]
    resumed = TrainingData([Told(length), DataLoader(Numbers(12), 2)], whole)
    resumed.load_state_dict(through_a_file(data.state_dict(2)))
    assert next(resumed.fetcher)[0] == 3


def test_loaders_are_told_the_states_that_lightning_has_saved() -> None:
    data = TrainingData({"plain": DataLoader(Numbers(12), 2), "told": Told()}, whole)
    data.load_loader_states([{"at": 3}])
    data.start()
    assert next(data.fetcher)["told"] == 4
    assert not data.all_stateful


def test_states_of_more_loaders_than_there_are_are_refused() -> None:
    data = TrainingData(Told(), whole)
    with pytest.raises(CheckpointError, match=r"the states of 2 training loaders, and 1 of those"):
        data.load_loader_states([{"at": 3}, {"at": 4}])
