"""How long has a run trained, in this process and in those before it?"""

from __future__ import annotations

from typing import Any

import pytest

from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.platform.training_time import TrainingTime


def test_time_runs_from_the_first_batch_to_the_end() -> None:
    now = 5.0
    time = TrainingTime(10.0, lambda: now)
    now = 7.0
    assert (time.here, time.in_all) == (0.0, 10.0)
    time.starts()
    now = 9.5
    assert (time.here, time.in_all) == (2.5, 12.5)
    time.ends()
    now = 100.0
    assert (time.here, time.in_all) == (2.5, 12.5)


def test_run_from_scratch_or_from_weights_begins_at_nothing() -> None:
    assert TrainingTime.of(StartingPoint()).in_all == 0.0
    assert TrainingTime.of(StartingPoint({OURS: {"seconds": 3.0}}, weights_only=True)).in_all == 0.0


@pytest.mark.parametrize(
    ("kept", "in_all"),
    [({"seconds": 3.5}, 3.5), ({}, None), ({"seconds": None}, None), ({"seconds": "3"}, None), ({"seconds": -1}, None)],
)
def test_run_that_goes_on_adds_to_what_its_checkpoint_says(kept: dict[str, Any], in_all: float | None) -> None:
    assert TrainingTime.of(StartingPoint({OURS: kept})).in_all == in_all
