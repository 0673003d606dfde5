"""After which batches does a period in Determined's units end?"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from determined import pytorch

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.platform.period import Period


def ends(unit: pytorch.TrainUnit, epochs: int = 4, length: int = 3) -> list[int]:
    """Numbers of the batches with which the period ends, over some epochs of a known length."""
    period = Period.of(unit)
    assert period is not None
    limits = SimpleNamespace(accumulate_grad_batches=1, min_epochs=0, min_steps=None)
    progress = TrainingProgress(limits)  # type: ignore[arg-type]
    found = []
    for _ in range(epochs):
        progress.advance_epoch_ready()
        progress.advance_epoch_started()
        for batch in range(length):
            progress.batch.advance_ready(batch + 1 == length)
            if period.ends(progress):
                found.append(progress.total_batches)
        progress.advance_epoch_processed()
        progress.advance_epoch_completed()
    return found


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (pytorch.Batch(5), [5, 10]),
        (pytorch.Batch(1), list(range(1, 13))),
        (pytorch.Batch([2, 7, 99]), [2, 7]),
        (pytorch.Epoch(1), [3, 6, 9, 12]),
        (pytorch.Epoch(2), [6, 12]),
        (pytorch.Epoch({1, 4}), [3, 12]),
        (pytorch.Batch(0), list(range(1, 13))),
        (pytorch.Epoch(0), [3, 6, 9, 12]),
    ],
    ids=["batches", "batch", "some-batches", "epoch", "epochs", "some-epochs", "no-batches", "no-epochs"],
)
def test_period_ends_with_its_batches(unit: pytorch.TrainUnit, expected: list[int]) -> None:
    assert ends(unit) == expected


def test_no_batch_trained_ends_no_period() -> None:
    limits = SimpleNamespace(accumulate_grad_batches=1, min_epochs=0, min_steps=None)

    assert not Period(pytorch.Batch(5)).ends(TrainingProgress(limits))  # type: ignore[arg-type]


def test_no_unit_is_no_period() -> None:
    assert Period.of(None) is None
