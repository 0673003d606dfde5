"""Killed at any moment, checkpoint writing included, and resumed, a run ends with the exact result."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from lightning_adapter.runs import record, store

from .killed import DiesWhileWriting, Killer, measured, result_of

SOAK_KILLS = int(os.environ.get("SOAK_KILLS", "100"))


@pytest.mark.multiprocess
@pytest.mark.parametrize(
    "kills", [pytest.param(15, id="15"), pytest.param(SOAK_KILLS, id="soak", marks=pytest.mark.soak)]
)
def test_killed_at_random_moments_a_run_ends_with_the_exact_result(kills: int, tmp_path: Path) -> None:
    killer, generator = Killer(), random.Random(kills)
    duration = measured(killer, tmp_path / "undisturbed")
    expected = result_of(tmp_path / "undisturbed")
    lives = 0
    while killer.kills < kills:
        lives += 1
        folder = tmp_path / f"life-{lives}"
        killer.lives(folder, duration, generator)
        assert result_of(folder) == expected, f"after {killer.kills} kills, in {folder}"
    print(f"{killer.kills} kills in {lives} runs, {killer.half_written} of them in the middle of a checkpoint")


@pytest.mark.multiprocess
def test_killed_while_writing_the_checkpoint_before_is_taken(tmp_path: Path) -> None:
    killer = Killer()
    killer.run(tmp_path / "undisturbed")
    folder = tmp_path / "killed"
    assert killer.run(folder, trial=DiesWhileWriting) == -signal.SIGKILL
    assert killer.half_written == 1
    assert [item.steps_completed for item in store.stored_checkpoints(folder / "checkpoints")] == [6, 8, 10]
    written = record.read(folder)
    assert written is not None and written["last"]["batches"] == 10
    assert (written["status"], record.shown_status(written, folder)) == ("running", "killed")
    assert killer.run(folder) == 0
    assert result_of(folder) == result_of(tmp_path / "undisturbed")
    assert not list((folder / "checkpoints").glob(".writing-*"))
