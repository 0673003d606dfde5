"""The best and the newest runs stay, and whatever may be needed; what goes never looks whole while it does."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from determined.pytorch import PyTorchTrialContext
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.runs import pruning, room
from lightning_adapter.runs.listing import Run, runs_below
from lightning_adapter.runs.occupancy import Occupancy
from lightning_adapter.runs.pruning import Plan, foreign_files, plan, remove
from parity.models import flavour
from runs.made_runs import make_older_run, make_run, store_checkpoint


def superfluous(found: Plan) -> list[str]:
    return [run.label for run in found.superfluous]


def why(found: Plan) -> dict[str, str]:
    return {run.path.name: reason for run, reason in found.kept}


def change(directory: Path, **changes: Any) -> None:
    path = directory / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("keep_best", "keep_last", "left"),
    [(1, 1, [1, 4]), (2, 1, [1, 2, 4]), (1, 3, [1, 2, 3, 4]), (0, 1, [4]), (0, 0, []), (9, 9, [0, 1, 2, 3, 4])],
)
def test_best_and_newest_of_a_name_stay(tmp_path: Path, keep_best: int, keep_last: int, left: list[int]) -> None:
    made = [make_run(tmp_path, number, best=best) for number, best in enumerate((0.9, 0.1, 0.2, 0.5, 0.8))]
    found = plan(tmp_path, keep_best, keep_last)
    assert [run.path for run, _ in found.kept] == [made[number] for number in left]
    assert len(found.superfluous) == 5 - len(left)


def test_each_name_and_each_metric_has_best_runs_of_its_own(tmp_path: Path) -> None:
    accuracy = {"name": "val_acc", "smaller_is_better": False}
    for number, (best, metric) in enumerate(((0.9, accuracy), (0.2, accuracy), (0.3, None), (0.1, None), (0.7, None))):
        make_run(tmp_path, number, "A", best=best, **({} if metric is None else {"metric": metric}))
    make_run(tmp_path, 0, "B", best=5.0)
    found = plan(tmp_path)
    assert superfluous(found) == ["A/2026-11-01_12-01-00", "A/2026-11-01_12-02-00"]


def test_killed_run_goes(tmp_path: Path) -> None:
    killed = make_run(tmp_path, 0, status="running", end=None, pid=2**22 + 1)
    make_run(tmp_path, 1, best=0.5)
    (run,) = plan(tmp_path).superfluous
    assert run.status == "killed"
    assert remove(run) is None and not killed.exists()


def test_run_whose_value_is_nan_is_never_among_the_best(tmp_path: Path) -> None:
    make_run(tmp_path, 0, best=None)
    make_run(tmp_path, 1, best=0.5)
    make_run(tmp_path, 2)
    assert superfluous(plan(tmp_path)) == ["MNISTTrial/2026-11-01_12-00-00"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: change(run, status="running", host="another", start="2026-11-01T12:00:00+00:00"), "running"),
        (lambda run: (run / "run.json").write_text("{"), "its record cannot be read"),
        (lambda run: change(run, format=2), "its record cannot be read"),
        (
            lambda run: store_checkpoint(run / "checkpoints" / "the-good-one", 50, {}),
            "named a checkpoint: the-good-one",
        ),
        (lambda run: (run / "notes.txt").write_text("mine"), "no run writes notes.txt"),
        (lambda run: (run / ".git").mkdir(), "no run writes .git"),
        (lambda run: make_run(run), "no run writes MNISTTrial"),
    ],
)
def test_run_stays_whatever_its_age(tmp_path: Path, spoil: Any, reason: str) -> None:
    directory = make_run(tmp_path, 0)
    make_run(tmp_path, 1)
    assert superfluous(plan(tmp_path)) == ["MNISTTrial/2026-11-01_12-00-00"]
    spoil(directory)
    found = plan(tmp_path)
    assert superfluous(found) == []
    assert reason in why(found)["2026-11-01_12-00-00"]


@pytest.mark.parametrize(("content", "stays"), [('{"status": "running"}', 2), ('{"status": "finished"}', 0), ("{", 2)])
def test_runs_of_a_search_stay_as_long_as_it_can_go_on(tmp_path: Path, content: str, stays: int) -> None:
    made = [make_run(tmp_path, number, best=number) for number in range(2)]
    (made[0].parent / "search.json").write_text(content)
    found = plan(tmp_path, keep_best=0, keep_last=0)
    assert list(why(found).values()) == ["of a search that can go on"] * stays
    assert len(found.superfluous) == 2 - stays


def test_run_of_an_earlier_version_stays(tmp_path: Path) -> None:
    for number in range(3):
        make_older_run(tmp_path, number)
    found = plan(tmp_path)
    assert superfluous(found) == []
    assert set(why(found).values()) == {"an earlier version's, without a record"}


def test_run_that_you_are_in_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make_run(tmp_path, 0)
    make_run(tmp_path, 1)
    monkeypatch.chdir(directory / "checkpoints")
    assert why(plan(tmp_path))[directory.name] == "you are in it"


def test_what_a_real_run_writes_is_no_reason_to_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    models = flavour("pytorch_lightning", ours=True)

    class Trial(LightningAdapter):
        def __init__(self, context: PyTorchTrialContext) -> None:
            directory = tmp_path / "run"
            super().__init__(
                context,
                models.Net(),
                models.Data(),
                enable_model_summary=False,
                logger=[CSVLogger(directory), TensorBoardLogger(directory / "tensorboard")],
                callbacks=[LearningRateMonitor()],
            )

    trial = fit(Trial, max_epochs=1, run_dir=tmp_path / "run")
    assert foreign_files(trial.run_dir) == []


def test_predictions_go_with_their_run_unless_they_are_being_made(tmp_path: Path) -> None:
    for number in range(3):
        predictions = make_run(tmp_path, number) / ("predictions", "predictions-val", "predictions-test")[number]
        predictions.mkdir()
        (predictions / "manifest.json").write_text("{}")
    (tmp_path / "MNISTTrial" / "2026-11-01_12-00-00" / "predictions" / ".parts").mkdir()
    found = plan(tmp_path)
    assert superfluous(found) == ["MNISTTrial/2026-11-01_12-01-00"]
    assert why(found)["2026-11-01_12-00-00"] == "predictions is not complete"


def test_files_that_are_named_keep_no_run(tmp_path: Path) -> None:
    (make_run(tmp_path, 0) / "model.onnx").touch()
    make_run(tmp_path, 1)
    assert superfluous(plan(tmp_path)) == []
    assert len(superfluous(plan(tmp_path, also=["*.onnx"]))) == 1


def test_only_runs_of_a_name_or_a_status_go_where_they_are_asked_for(tmp_path: Path) -> None:
    for name in ("A", "B"):
        for number, status in enumerate(("failed", "finished", "finished")):
            make_run(tmp_path, number, name, status=status)
    assert superfluous(plan(tmp_path, names=["A"])) == ["A/2026-11-01_12-00-00", "A/2026-11-01_12-01-00"]
    assert superfluous(plan(tmp_path, statuses=["failed"])) == ["A/2026-11-01_12-00-00", "B/2026-11-01_12-00-00"]


@pytest.mark.parametrize("key", ["best", "last"])
def test_run_in_which_the_checkpoint_of_a_kept_one_lies_stays_with_those_before_it(tmp_path: Path, key: str) -> None:
    grandparent, parent, unrelated, child = (make_run(tmp_path, number) for number in range(4))
    for one, source in ((child, parent), (parent, grandparent)):
        checkpoint = next((source / "checkpoints").iterdir())
        change(one, **{key: {"checkpoint": os.path.relpath(checkpoint, one), "batches": 1, "epoch": 0, "value": 1.0}})
    found = plan(tmp_path, keep_best=0)
    assert superfluous(found) == [f"MNISTTrial/{unrelated.name}"]
    assert why(found)[parent.name] == f"MNISTTrial/{child.name} needs a checkpoint of it"


def test_run_to_which_the_link_of_a_kept_one_leads_stays(tmp_path: Path) -> None:
    parent, child = make_run(tmp_path, 0), make_run(tmp_path, 1)
    (child / "best").symlink_to(os.path.relpath(next((parent / "checkpoints").iterdir()), child))
    assert superfluous(plan(tmp_path, keep_best=0)) == []


@pytest.mark.parametrize(("last", "stays"), [(None, True), ({"checkpoint": "checkpoints/x", "batches": 1}, False)])
def test_parent_of_a_kept_run_stays_as_long_as_that_has_no_checkpoint(tmp_path: Path, last: Any, stays: bool) -> None:
    parent = make_run(tmp_path, 0)
    make_run(tmp_path, 1, parent=str(parent / "checkpoints"), last=last)
    assert (superfluous(plan(tmp_path, keep_best=0)) == []) == stays


# Going


def listed(root: Path, number: int = 0) -> Run:
    return runs_below(root)[number]


def test_run_goes_and_latest_leads_to_the_newest_that_stays(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, 0), make_run(tmp_path, 1)
    (first.parent / "latest").symlink_to(second.name)
    assert remove(listed(tmp_path, 1)) is None
    assert sorted(path.name for path in first.parent.iterdir()) == [first.name, "latest"]
    assert (first.parent / "latest").resolve() == first
    assert remove(listed(tmp_path)) is None
    assert list(first.parent.iterdir()) == []


def test_latest_of_another_run_stays_as_it_is(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, 0), make_run(tmp_path, 1)
    (first.parent / "latest").symlink_to(second.name)
    remove(listed(tmp_path))
    assert os.readlink(first.parent / "latest") == second.name


def test_checkpoint_of_another_run_to_which_a_link_leads_stays(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, 0), make_run(tmp_path, 1)
    (first / "best").symlink_to(next((second / "checkpoints").iterdir()))
    remove(listed(tmp_path))
    assert not first.exists() and len(list((second / "checkpoints").iterdir())) == 1


def test_run_that_is_in_use_is_not_touched(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    run = listed(tmp_path)
    occupancy = Occupancy(directory)
    try:
        assert remove(run) == "it is in use"
    finally:
        occupancy.end()
    assert (directory / "run.json").exists()


@pytest.mark.parametrize("changes", [{"status": "running", "host": "another"}, {"epoch": 3}, {"test": {"test_acc": 1}}])
def test_run_that_has_changed_since_it_was_listed_is_not_touched(tmp_path: Path, changes: dict[str, Any]) -> None:
    directory = make_run(tmp_path, hyperparameters={"eps": "NaN"})
    run = listed(tmp_path)
    change(directory, **changes)
    assert remove(run) == "it has changed meanwhile"
    assert (directory / "run.json").exists()
    assert remove(listed(tmp_path)) is None or changes.get("host") == "another"


def test_deletion_that_is_cut_short_leaves_nothing_that_looks_like_a_run_and_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make_run(tmp_path)
    usual = shutil.rmtree

    def fail(path: Path) -> None:
        usual(path / "checkpoints")
        raise OSError("the disk is gone")

    monkeypatch.setattr(pruning.shutil, "rmtree", fail)
    assert "the disk is gone" in str(remove(listed(tmp_path)))
    monkeypatch.undo()
    assert runs_below(tmp_path) == [] and not directory.exists()
    (leftover,) = plan(tmp_path).leftovers
    assert leftover.name.startswith(".removing-run-")
    assert pruning.delete(leftover) is None
    assert list(directory.parent.iterdir()) == []


def test_directory_of_a_person_that_is_called_nearly_like_a_leftover_stays(tmp_path: Path) -> None:
    (tmp_path / ".removing-run-mine").mkdir()
    assert plan(tmp_path).leftovers == []


def test_run_whose_lock_cannot_be_made_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make_run(tmp_path)
    run = listed(tmp_path)
    (directory / ".lock").unlink()
    (directory / ".lock").mkdir()
    assert remove(run) is not None
    assert (directory / "run.json").exists()


# Room


def test_room_counts_what_has_another_name_elsewhere_only_where_that_goes_too(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "own").write_bytes(b"x" * 100_000)
    (tmp_path / "a" / "shared").write_bytes(b"x" * 50_000)
    (tmp_path / "b" / "shared").hardlink_to(tmp_path / "a" / "shared")
    (tmp_path / "a" / "link").symlink_to("own")
    shared = room.freed_without([tmp_path / "a", tmp_path / "b"]) - room.freed_without([tmp_path / "a"])
    assert 100_000 <= room.freed_without([tmp_path / "a"]) < 110_000
    assert 50_000 <= shared < 60_000
    assert room.freed_without([tmp_path / "b"]) == 0
