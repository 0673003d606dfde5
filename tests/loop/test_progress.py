"""Does the position count what Lightning counts, and is what is derived from it right at each batch?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from lightning_adapter.loop.progress import LoopProgress, Phase, TrainingProgress

UNKNOWN = float("inf")


@dataclass
class Limits:
    accumulate_grad_batches: int = 1
    min_epochs: int = 0
    min_steps: int | None = None
    max_epochs: int = -1
    max_steps: int = -1


def position(**limits: Any) -> TrainingProgress:
    return TrainingProgress(Limits(**limits))


def start_epoch(progress: TrainingProgress, length: float = UNKNOWN) -> None:
    progress.epoch_length_known(length)
    progress.advance_epoch_ready()
    progress.advance_epoch_started()


def train(progress: TrainingProgress, batches: int = 1, is_last: bool = False) -> None:
    for index in range(batches):
        progress.batch.advance_ready(is_last and index == batches - 1)
        progress.batch.advance_started()
        progress.batch.advance_processed()
        progress.batch.advance_completed()


def end_epoch(progress: TrainingProgress) -> None:
    progress.advance_epoch_processed()
    progress.advance_epoch_completed()


def counts(counter: Any) -> tuple[int, int, int, int]:
    return counter.ready, counter.started, counter.processed, counter.completed


@pytest.mark.parametrize(
    ("advance", "expected"),
    [
        (lambda loop: loop.advance_ready(False), (1, 0, 0, 0)),
        (LoopProgress.advance_started, (0, 1, 0, 0)),
        (LoopProgress.advance_processed, (0, 0, 1, 0)),
        (LoopProgress.advance_completed, (0, 0, 0, 1)),
    ],
    ids=["ready", "started", "processed", "completed"],
)
def test_advance_of_batches_changes_one_counter_of_epoch_and_run(
    advance: Callable[[LoopProgress], None], expected: tuple[int, ...]
) -> None:
    loop = LoopProgress()

    advance(loop)

    assert counts(loop.current) == counts(loop.total) == expected


@pytest.mark.parametrize(
    ("advance", "expected", "phase"),
    [
        (TrainingProgress.advance_epoch_ready, (1, 0, 0, 0), Phase.BETWEEN_EPOCHS),
        (TrainingProgress.advance_epoch_started, (0, 1, 0, 0), Phase.IN_EPOCH),
        (TrainingProgress.advance_epoch_processed, (0, 0, 1, 0), Phase.BETWEEN_EPOCHS),
        (TrainingProgress.advance_epoch_completed, (0, 0, 0, 1), Phase.BETWEEN_EPOCHS),
    ],
    ids=["ready", "started", "processed", "completed"],
)
def test_advance_of_epochs_changes_one_counter(
    advance: Callable[[TrainingProgress], None], expected: tuple[int, ...], phase: Phase
) -> None:
    progress = position()

    advance(progress)

    assert counts(progress.epoch.current) == expected
    assert progress.phase is phase


def test_epoch_that_starts_counts_its_batches_from_zero_and_the_runs_on() -> None:
    progress = position()
    start_epoch(progress)
    train(progress, 3, is_last=True)
    progress.validation.advance_ready(True)
    end_epoch(progress)

    start_epoch(progress)

    assert counts(progress.batch.current) == (0, 0, 0, 0)
    assert counts(progress.batch.total) == (3, 3, 3, 3)
    assert counts(progress.validation.total) == (0, 0, 0, 0)
    assert not progress.batch.is_last_batch
    assert (progress.batch_idx, progress.total_batches, progress.current_epoch) == (-1, 3, 1)


def test_batch_idx_is_the_index_of_the_batch_in_work() -> None:
    progress = position()
    start_epoch(progress)
    seen = []
    for _ in range(3):
        train(progress)
        seen.append(progress.batch_idx)

    assert seen == [0, 1, 2]


def test_last_batch_is_reached_where_the_loader_says_so_or_the_number_of_batches_does() -> None:
    by_loader, by_number, neither = position(), position(), position()
    start_epoch(by_loader)
    train(by_loader, 2, is_last=True)
    start_epoch(by_number, length=2)
    train(by_number, 2)
    start_epoch(neither, length=3)
    train(neither, 2)

    assert by_loader.last_batch_reached and by_number.last_batch_reached
    assert not neither.last_batch_reached


def test_epoch_cut_short_has_its_last_batch() -> None:
    progress = position()
    start_epoch(progress, length=5)
    train(progress, 2)

    progress.epoch_cut_short()

    assert progress.last_batch_reached


@pytest.mark.parametrize(
    ("length", "tells_last", "expected"),
    [
        (5, True, [True, False, True, False, False]),
        (UNKNOWN, True, [True, False, True, False, False]),
        (UNKNOWN, False, [True, False, True, False, True]),
    ],
    ids=["known", "unknown-until-last", "unknown"],
)
def test_gradients_accumulate_in_groups_of_which_the_last_may_be_short(
    length: float, tells_last: bool, expected: list[bool]
) -> None:
    progress = position(accumulate_grad_batches=2)
    start_epoch(progress, length)
    seen = []
    for batch in range(5):
        train(progress, is_last=tells_last and batch == 4)
        seen.append(progress.accumulates)

    assert seen == expected


def test_single_batches_never_accumulate() -> None:
    progress = position()
    start_epoch(progress)
    train(progress)

    assert not progress.accumulates


@pytest.mark.parametrize(
    ("limits", "epochs", "steps", "expected"),
    [
        ({}, 0, 0, True),
        ({"min_epochs": 2}, 1, 9, False),
        ({"min_epochs": 2}, 2, 0, True),
        ({"min_steps": 3}, 9, 2, False),
        ({"min_steps": 3}, 0, 3, True),
        ({"min_epochs": 1, "min_steps": 3}, 1, 2, False),
        ({"min_epochs": 1, "min_steps": 3}, 0, 3, False),
        ({"min_epochs": 1, "min_steps": 3}, 1, 3, True),
    ],
)
def test_run_may_stop_early_once_both_minima_are_reached(
    limits: dict[str, int], epochs: int, steps: int, expected: bool
) -> None:
    progress = position(**limits)
    for _ in range(epochs):
        progress.advance_epoch_processed()
    for _ in range(steps):
        progress.advance_optimizer_step()

    assert progress.may_stop_early is expected


def test_whole_epochs_count_the_one_that_the_batch_in_work_ends() -> None:
    progress = position()
    seen = [progress.whole_epochs]
    start_epoch(progress, length=2)
    seen.append(progress.whole_epochs)
    train(progress)
    seen.append(progress.whole_epochs)
    train(progress)
    seen.append(progress.whole_epochs)
    progress.advance_epoch_processed()
    seen.append(progress.whole_epochs)
    progress.advance_epoch_completed()
    seen.append(progress.whole_epochs)

    assert seen == [0, 0, 0, 1, 1, 1]


def test_epochs_that_were_only_processed_count_as_completed_at_the_limit() -> None:
    progress = position()
    progress.advance_epoch_processed()

    progress.all_epochs_completed()

    assert progress.current_epoch == 1


def test_sanity_check_leaves_no_validation_batches() -> None:
    progress = position()
    progress.validation.advance_ready(True)

    progress.sanity_check_over()

    assert counts(progress.validation.current) == counts(progress.validation.total) == (0, 0, 0, 0)


def test_run_that_is_finished_in_mid_epoch_still_stands_there() -> None:
    progress = position()
    start_epoch(progress)
    assert progress.in_epoch and not progress.is_finished

    progress.finish()

    assert progress.is_finished and progress.in_epoch  # a resume with a higher limit goes on from here
    assert progress.state_dict()["in_epoch"]


def test_step_before_is_left_again_after_an_exception() -> None:
    progress = position()
    progress.advance_settled()
    progress.advance_settled()

    with pytest.raises(KeyError, match="mine"), progress.at_the_step_before():
        assert progress.batches_that_stepped == 1
        raise KeyError("mine")

    assert progress.batches_that_stepped == 2


def test_settled_batch_steps_the_loggers_only_after_its_gradients_were_used() -> None:
    progress = position(accumulate_grad_batches=2)
    start_epoch(progress, length=5)
    seen = []
    for _ in range(5):
        train(progress)
        progress.advance_settled()
        seen.append(progress.batches_that_stepped)

    assert seen == [0, 1, 1, 2, 3]


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_epoch", [True, False])
def test_state_is_plain_and_brings_another_position_to_the_same_place(in_epoch: bool) -> None:
    progress = position(accumulate_grad_batches=2)
    start_epoch(progress)
    train(progress, 4, is_last=True)
    end_epoch(progress)
    start_epoch(progress)
    train(progress, 3)
    progress.validation.advance_ready(True)
    for _ in range(3):
        progress.advance_optimizer_step()
    progress.batches_that_stepped = 2
    if not in_epoch:
        end_epoch(progress)
    other = position(accumulate_grad_batches=2)

    other.load_state_dict(json.loads(json.dumps(progress.state_dict())))

    assert other.state_dict() == progress.state_dict()
    assert other.phase is progress.phase
    assert (other.optimizer_steps, other.batches_that_stepped, other.batch_idx) == (3, 2, 2)
    assert other.accumulates is True
    assert other.restarting is False


def test_state_is_a_copy_of_its_moment() -> None:
    progress = position()
    start_epoch(progress)
    train(progress)
    state = progress.state_dict()

    train(progress)

    assert state["batches"]["current"]["ready"] == 1


def lightning_batches(trained: int, total: int, is_last: bool, ready: int | None = None) -> dict[str, Any]:
    """Lightning's `batch_progress`; in mid batch `ready` is one ahead of what was worked off."""

    def counter(processed: int, ready: int) -> dict[str, int]:
        return {"ready": ready, "started": ready, "processed": processed, "completed": processed - 1}

    return {
        "current": counter(trained, trained if ready is None else ready),
        "total": counter(total, total),
        "is_last_batch": is_last,
    }


def test_lightning_checkpoint_of_an_epochs_end_stands_between_epochs() -> None:
    progress = position()
    epochs = {"ready": 2, "started": 2, "processed": 2, "completed": 1}

    progress.load_lightning(8, epochs, lightning_batches(4, 8, True), 8)

    assert progress.phase is Phase.BETWEEN_EPOCHS
    assert counts(progress.epoch.current) == (2, 2, 2, 2)
    assert counts(progress.batch.current) == (4, 4, 4, 4)
    assert counts(progress.batch.total) == (8, 8, 8, 8)
    assert (progress.optimizer_steps, progress.batches_that_stepped) == (8, 8)
    assert progress.batch.is_last_batch
    assert progress.restarting


def test_lightning_checkpoint_of_mid_epoch_counts_the_batch_that_it_was_written_in_as_one_that_stepped() -> None:
    progress = position()
    epochs = {"ready": 2, "started": 2, "processed": 1, "completed": 1}

    progress.load_lightning(6, epochs, lightning_batches(2, 6, False, ready=3), 5)

    assert progress.phase is Phase.IN_EPOCH
    assert counts(progress.epoch.current) == (2, 2, 1, 1)
    assert counts(progress.batch.current) == (2, 2, 2, 2)
    assert counts(progress.batch.total) == (6, 6, 6, 6)
    assert (progress.optimizer_steps, progress.batches_that_stepped) == (6, 6)
    assert progress.restarting


def test_lightning_checkpoint_in_an_accumulation_window_counts_no_further_step() -> None:
    progress = position(accumulate_grad_batches=2)
    epochs = {"ready": 1, "started": 1, "processed": 0, "completed": 0}

    progress.load_lightning(1, epochs, lightning_batches(3, 3, False), 1)

    assert progress.batches_that_stepped == 1


def test_lightning_checkpoint_before_the_first_batch_of_an_epoch_counts_no_step() -> None:
    progress = position()
    epochs = {"ready": 2, "started": 2, "processed": 1, "completed": 1}

    progress.load_lightning(4, epochs, lightning_batches(0, 4, False), 4)

    assert progress.in_epoch
    assert progress.batches_that_stepped == 4


@pytest.mark.parametrize("begins", [True, False])
def test_restart_is_over_with_the_next_start_or_end_of_an_epoch(begins: bool) -> None:
    progress = position()
    epochs = {"ready": 1, "started": 1, "processed": 1, "completed": 1}
    progress.load_lightning(4, epochs, lightning_batches(4, 4, True), 4)

    if begins:
        progress.advance_epoch_started()
    else:
        progress.advance_epoch_completed()

    assert not progress.restarting
