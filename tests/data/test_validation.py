"""Does a validation run through its loaders within their limits, and know what the other processes have?"""

from __future__ import annotations

from typing import Any

import pytest
from packaging.version import Version
from torch.utils.data import DataLoader

from data.parts import Numbers, Stream, whole
from lightning_adapter.data.loaders import INFINITE
from lightning_adapter.data.validation import ValidationData
from lightning_adapter.versions import hosts, lightning_private

HOST = hosts.host("pytorch_lightning")


def loaders(*counts: int) -> list[Any]:
    return [DataLoader(Numbers(count), 2) for count in counts]


def run(fetcher: Any) -> list[tuple[Any, int, int, bool]]:
    fetcher.start()
    return [(batch, batch_idx, dataloader_idx, fetcher.done) for batch, batch_idx, dataloader_idx in fetcher]


def test_each_loader_is_limited_by_itself() -> None:
    data = ValidationData(loaders(10, 4), lambda length: min(length, 3))
    assert data.max_batches == data.longest == [3, 2]


def test_only_several_loaders_one_after_the_other_have_an_index() -> None:
    assert not ValidationData(loaders(4)[0], whole).several
    assert not ValidationData(loaders(4), whole).several
    assert ValidationData(loaders(4, 4), whole).several


@pytest.mark.parametrize(
    ("others", "longest", "in_step"),
    [
        ([[3, 2]], [3, 2], True),
        ([[3, 4], [1, 2]], [3, 4], False),
        ([[2, 2]], [3, 2], False),
    ],
)
def test_lengths_of_all_processes_are_gathered(others: list[list[float]], longest: list[float], in_step: bool) -> None:
    data = ValidationData(loaders(6, 4), whole, lambda own: [own, *others])
    assert (data.max_batches, data.longest, data.in_step) == ([3, 2], longest, in_step)


def test_processes_whose_lengths_are_unknown_are_not_in_step() -> None:
    data = ValidationData(DataLoader(Stream(), 2), whole, lambda own: [own, own])
    assert (data.longest, data.in_step) == ([INFINITE], False)


def test_empty_list_is_a_loader_without_batches() -> None:
    assert ValidationData([], whole, lambda own: [own, own]).longest == [0]


def test_loaders_one_after_the_other_give_their_batches_with_both_indices() -> None:
    data = ValidationData(loaders(4, 10), whole)
    found = [(batch.tolist(), *rest) for batch, *rest in run(data.fetcher([2, 1]))]
    assert found == [([0, 1], 0, 0, False), ([2, 3], 1, 0, False), ([0, 1], 0, 1, True)]


def test_last_batch_of_a_stream_is_known_where_fetching_ahead_is_allowed() -> None:
    data = ValidationData(DataLoader(Stream(), 2), whole)
    assert [done for *_, done in run(data.fetcher(data.max_batches))] == [False, True]
    assert [done for *_, done in run(data.fetcher(data.max_batches, ahead=False))] == [False, False]


@pytest.mark.skipif(HOST.version < Version("2.0"), reason="validation loaders side by side came with 2.0")
@pytest.mark.parametrize(("mode", "count"), [("min_size", 2), ("max_size", 3), ("max_size_cycle", 3)])
def test_loaders_side_by_side_give_one_batch_of_each_at_a_time(mode: str, count: int) -> None:
    data = ValidationData(lightning_private.combined_loader(HOST, loaders(6, 4), mode), whole)
    found = run(data.fetcher(data.max_batches))
    assert data.length_of_pass(data.max_batches) == count
    assert not data.several
    assert [(len(batch), *rest) for batch, *rest in found] == [(2, i, 0, i == count - 1) for i in range(count)]
