"""In which form does `training_epoch_end` get what the steps returned?"""

from __future__ import annotations

from typing import Any

import pytest

from lightning_adapter.loop.epoch_outputs import EpochOutputs

ONE, TWO = {"loss": 1}, {"loss": 2}


def taken(several: bool, batches: list[Any]) -> Any:
    outputs = EpochOutputs(several)
    for batch in batches:
        outputs.add(batch)
    return outputs.take()


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([[ONE, TWO]], [ONE, TWO]),
        ([[TWO]], [TWO]),
        ([[]], []),
        ([[ONE, TWO], []], [[ONE, TWO]]),  # two batches, one of them skipped: the other one stays a list
        ([[ONE, TWO], [TWO]], [[ONE, TWO], [TWO]]),
    ],
    ids=["single batch", "one of two optimizers", "skipped", "single batch with output", "two batches"],
)
def test_list_of_a_single_batch_of_several_optimizers_is_not_wrapped_once_more(batches: list, expected: list) -> None:
    assert taken(True, batches) == expected


def test_single_batch_of_one_optimizer_stays_in_its_list() -> None:
    assert taken(False, [ONE]) == [ONE]


def test_outputs_are_taken_once() -> None:
    outputs = EpochOutputs(False)
    outputs.add(ONE)
    outputs.take()

    assert outputs.take() is None


def test_outputs_go_on_after_an_interruption() -> None:
    before, after = EpochOutputs(False), EpochOutputs(False)
    before.add(ONE)
    after.load_state_dict(before.state_dict())
    after.add(TWO)

    assert after.take() == [ONE, TWO]
    assert before.take() == [ONE]
