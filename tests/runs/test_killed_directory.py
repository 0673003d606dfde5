"""Killed between any two changes of the disk, a run's directory shows whole checkpoints, and goes on with its best."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter.runs import record
from lightning_adapter.runs.directory import RunDirectory
from lightning_adapter.runs.store import StoredCheckpoint, stored_checkpoints

CHANGES = ("fsync", "link", "mkdir", "remove", "rename", "replace", "rmdir", "symlink", "truncate", "unlink")
BY_LOSS = ("loss", True)
flush = os.fsync


class Watched:
    """What a process that is killed at a change of the disk leaves: all that was there before the change.

    Args:
        monkeypatch: puts it between the package and the disk.
        before: called before each change.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, before: Callable[[], None]) -> None:
        self._before = before
        self._is_looking = False
        for name in CHANGES:
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))

    def _watched(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **options: Any) -> Any:
            if not self._is_looking:
                self._is_looking = True
                self._before()
                self._is_looking = False
            if change is not flush:  # what is only slow
                return change(*args, **options)
            return None

        return changed


def reopened(path: Path) -> RunDirectory:
    return RunDirectory(path, ranked_by=BY_LOSS)


def saved(run: RunDirectory, steps: int) -> None:
    with run.store_checkpoint({"steps_completed": steps, "epochs_completed": steps}) as (path, _):
        (path / "lightning.ckpt").write_text(str(steps))
    run.apply_retention(1, 1, *BY_LOSS)


def validated(run: RunDirectory, steps: int, loss: float) -> None:
    run.record("validation", steps, 0, {"loss": loss})


def train(run: RunDirectory, known: list[float]) -> None:
    """Six checkpoints; one is validated after it was written. The best is the third."""
    run.recorder.begin({"name": "Trial", "start": "now"}, goes_on=False)
    for steps, loss in ((1, 0.5), (2, 0.4), (3, 0.1), (4, 0.3)):
        validated(run, steps, loss)
        saved(run, steps)
        known.append(loss)
    saved(run, 5)
    validated(run, 5, 0.2)
    known.append(0.2)
    run.apply_retention(1, 1, *BY_LOSS)
    saved(run, 6)


def go_back(run: RunDirectory, known: list[float]) -> None:
    """The run goes on from its best checkpoint, in its own directory, and finds a better one."""
    run.recorder.begin({"name": "Trial", "start": "later"}, goes_on=True)
    run.truncate_after(3)
    run.show()
    validated(run, 4, 0.05)
    saved(run, 4)
    known.append(0.05)


def go_on_elsewhere(run: RunDirectory, known: list[float]) -> None:
    """Another run goes on from the last checkpoint of the first, and brings that and the best one along."""
    first = reopened(run.path.parent / "first")
    last, best = first.newest(), first.best("loss")
    assert last is not None and best is not None
    run.recorder.begin({"name": "Trial", "start": "now"}, goes_on=False)
    run.carry(last, last.name, {})
    run.carry(best, best.name, {"loss": 0.1})
    known.append(0.1)
    run.show()
    validated(run, 7, 0.9)
    saved(run, 7)
    known.append(0.9)


def after(*lives: Callable[[RunDirectory, list[float]], None]) -> Callable[[Path], list[float]]:
    """What has happened before a life: the first directory, and the values that are known of it."""

    def prepare(path: Path) -> list[float]:
        known: list[float] = []
        for life in lives:
            run = reopened(path)
            run.checkpoints.mkdir(parents=True, exist_ok=True)
            life(run, known)
            run.close()
        return known

    return prepare


def whole(checkpoint: StoredCheckpoint) -> bool:
    return (checkpoint.path / "lightning.ckpt").read_text() == str(checkpoint.steps_completed)


def check_as_found(path: Path) -> None:
    """What a reader finds who comes after the death."""
    stored = stored_checkpoints(path / "checkpoints")
    assert all(whole(checkpoint) for checkpoint in (*stored, *stored_checkpoints(path / "superseded")))
    record.read(path)
    for name in ("best", "last"):
        if os.path.lexists(path / name):
            place = (path / name).resolve()
            assert place in [checkpoint.path for checkpoint in stored], f"{name} leads to {os.readlink(path / name)}"


def check_as_it_goes_on(path: Path, known: list[float]) -> None:
    """What the run that goes on knows and shows."""
    run = reopened(path)
    run.record("train", 9, 0, {"a": 1.0})  # the table takes further rows
    run.show()
    best, last = run.best("loss"), run.newest()
    for name, place in (("best", best), ("last", last)):
        assert (path / name).resolve() == place if place is not None else not os.path.lexists(path / name)
    if known:
        assert best is not None
        assert json.loads((best / "metadata.json").read_text())["validation"]["loss"] <= min(known)
    run.close()


def deaths(
    folder: Path, place: str, life: Callable[[RunDirectory, list[float]], None]
) -> Iterator[tuple[Path, list[float]]]:
    """The directory of a run that dies at its first change of the disk, then at its second, and so on to none."""
    run, known, left = reopened(folder / place), list[float](), list[tuple[Path, list[float]]]()
    run.checkpoints.mkdir(parents=True, exist_ok=True)

    def die() -> None:
        left.append((folder.with_name(f"death-{len(left)}"), list(known)))
        shutil.copytree(folder, left[-1][0], symlinks=True)

    with pytest.MonkeyPatch.context() as patch:
        Watched(patch, die)
        life(run, known)
    die()
    run.close()
    for copy, values in left:
        yield copy / place, values


@pytest.mark.parametrize(
    ("before", "place", "life"),
    [
        pytest.param(after(), "first", train, id="a run"),
        pytest.param(after(train), "first", go_back, id="a resume from an earlier checkpoint"),
        pytest.param(after(train), "second", go_on_elsewhere, id="a resume into another directory"),
    ],
)
def test_killed_at_any_change_of_the_disk_a_directory_is_right(
    tmp_path: Path, before: Callable[[Path], list[float]], place: str, life: Callable[[RunDirectory, list[float]], None]
) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    old = before(prepared / "first")
    count = 0
    for path, new in deaths(prepared, place, life):
        check_as_found(path)
        check_as_it_goes_on(path, [*old, *new] if place == "first" else new)
        count += 1
    assert count > 30  # the life has so many changes
