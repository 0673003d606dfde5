"""A run that trains keeps its record and its links right, and none of them can end it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import optuna
import pytest

from lightning_adapter.runs import record
from lightning_adapter.runs.atomic import replace_link
from lightning_adapter.runs.directory import RunDirectory
from lightning_adapter.runs.occupancy import check_room

FACTS: dict[str, Any] = {"name": "Trial", "start": "2026-01-01T00:00:00+00:00", "parent": "earlier", "seed": 1}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = RunDirectory.create("Trial", run_dir=tmp_path / "run", ranked_by=("loss", True))
    made.recorder.begin(FACTS, goes_on=False)
    return made


def saved(run: RunDirectory, steps: int, loss: float | None = None) -> str:
    """Write a checkpoint; return where a link to it leads."""
    if loss is not None:
        run.record("validation", steps, 0, {"loss": loss})
    metadata = {
        "steps_completed": steps,
        "epochs_completed": steps // 2,
        "global_step": steps * 3,
        "metrics": {"a": 1.0},
    }
    with run.store_checkpoint(metadata) as (_, name):
        pass
    return f"checkpoints/{name}"


def links(run: RunDirectory) -> dict[str, str]:
    return {name: os.readlink(run.path / name) for name in ("best", "last") if os.path.lexists(run.path / name)}


def content(run: RunDirectory) -> dict[str, Any]:
    found = record.read(run.path)
    assert found is not None
    return found


# Links


def test_links_and_record_follow_checkpoints_and_validations_in_either_order(run: RunDirectory) -> None:
    assert links(run) == {}
    first = saved(run, 2)
    assert links(run) == {"last": first}
    run.record("validation", 2, 0, {"loss": 0.5})  # comes after its checkpoint
    assert links(run) == {"last": first, "best": first}
    second = saved(run, 4, loss=0.9)
    assert links(run) == {"last": second, "best": first}
    found = content(run)
    assert found["last"] == {"checkpoint": second, "batches": 4, "epoch": 2}
    assert found["best"] == {"checkpoint": first, "batches": 2, "epoch": 1, "value": 0.5}
    assert (found["batches"], found["epoch"], found["global_step"]) == (4, 2, 12)
    assert found["metrics"] == {"loss": 0.9, "a": 1.0}


def test_what_was_measured_of_the_best_is_forgotten_when_another_is_best(run: RunDirectory) -> None:
    saved(run, 2, loss=0.5)
    record.update(run.path, test={"accuracy": 0.7}, validate={"loss": 0.5})
    saved(run, 4, loss=0.9)
    assert content(run)["test"] == {"accuracy": 0.7}
    saved(run, 6, loss=0.1)
    assert not {"test", "validate"} & set(content(run))


def test_links_lead_to_what_stays_before_anything_is_deleted(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for steps, loss in ((2, 0.5), (4, 0.9)):
        saved(run, steps, loss)
    third = saved(run, 6)
    seen: list[dict[str, str]] = []
    monkeypatch.setattr("shutil.rmtree", lambda path, **_: seen.append(links(run)))
    run.apply_retention(0, 1, "loss")
    assert seen == [{"last": third}] * 2
    assert content(run)["best"] is None


def test_links_leave_the_future_that_a_resume_discards_before_it_moves(run: RunDirectory) -> None:
    first, second = saved(run, 2, 0.5), saved(run, 4, 0.1)
    assert links(run) == {"last": second, "best": second}
    run.truncate_after(2)
    assert links(run) == {"last": first, "best": first}
    assert (run.path / "best").is_dir()


def test_without_a_metric_the_last_is_the_best(tmp_path: Path) -> None:
    run = RunDirectory.create("Trial", run_dir=tmp_path / "run")
    run.recorder.begin(FACTS, goes_on=False)
    saved(run, 2, 0.1)
    last = saved(run, 4, 0.5)
    assert links(run) == {"best": last, "last": last}
    assert content(run)["best"] == {"checkpoint": last, "batches": 4, "epoch": 2, "value": None}


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_somebody_elses_is_no_link_of_ours_and_stays(
    run: RunDirectory, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = run.path / "best"
    if kind == "file":
        theirs.write_text("mine")
    elif kind == "directory":
        theirs.mkdir()
    else:
        theirs.symlink_to("/data/best")
    last = [saved(run, steps, 0.5) for steps in (2, 4)][-1]
    assert os.readlink(run.path / "last") == last
    assert theirs.is_symlink() == (kind == "link") and caplog.text.count("the link best of the run cannot be kept") == 1
    assert content(run)["best"]["checkpoint"] == last


def test_file_system_without_links_ends_no_run_and_is_said_once(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    last = [saved(run, steps, 0.5) for steps in (2, 4)][-1]
    assert links(run) == {} and content(run)["last"]["checkpoint"] == last
    assert caplog.text.count("the link last of the run cannot be kept") == 1


def test_link_that_a_killed_process_has_begun_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".best-b").symlink_to("checkpoints/b")
    replace_link(tmp_path / "best", "checkpoints/b")
    assert os.readlink(tmp_path / "best") == "checkpoints/b" and not os.path.lexists(tmp_path / ".best-b")


# Beginnings


def test_run_that_goes_on_in_its_directory_keeps_its_start_parent_and_what_others_have_noted(run: RunDirectory) -> None:
    saved(run, 2, 0.5)
    record.update(run.path, test={"test_loss": 1.0}, theirs="note", status="failed", error="x", end="then")
    again = RunDirectory(run.path, ranked_by=("loss", True))
    again.recorder.begin({**FACTS, "start": "later", "parent": None, "seed": 2}, goes_on=True)
    found = content(again)
    assert (found["start"], found["resumed"], found["parent"]) == (FACTS["start"], "later", "earlier")
    assert (found["seed"], found["status"], found["error"], found["end"]) == (2, "running", None, None)
    assert found["theirs"] == "note" and "test" not in found
    assert found["best"]["value"] == 0.5 and found["metrics"] == {"loss": 0.5, "a": 1.0}


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_run_of_an_earlier_version_or_with_a_damaged_record_goes_on(run: RunDirectory, text: str | None) -> None:
    last = saved(run, 2, 0.5)
    (run.path / "run.json").unlink()
    for name in ("best", "last"):
        (run.path / name).unlink()
    (run.checkpoints / os.path.basename(last) / "metadata.json").write_text(
        json.dumps({"steps_completed": 2, "validation": {"loss": 0.5}})  # as earlier versions have it
    )
    if text is not None:
        (run.path / "run.json").write_text(text)
    again = RunDirectory(run.path, ranked_by=("loss", True))
    again.recorder.begin(FACTS, goes_on=True)
    again.show()
    assert links(again) == {"best": last, "last": last}
    assert content(again)["best"] == {"checkpoint": last, "batches": 2, "epoch": None, "value": 0.5}


def test_file_of_that_name_that_no_run_has_made_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("mine")
    with pytest.raises(ValueError, match=r"holds run\.json, which a run writes itself"):
        RunDirectory.create("Trial", run_dir=tmp_path)
    assert (tmp_path / "run.json").read_text() == "mine"
    check_room(tmp_path / "absent", tmp_path / "absent" / "checkpoints", [tmp_path / "absent" / "run.json"])


# Ends


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, "finished", None),
        (ValueError("first line\nsecond"), "failed", "ValueError: first line"),
        (RuntimeError(), "failed", "RuntimeError"),
        (KeyboardInterrupt(), "interrupted", None),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (optuna.TrialPruned("Trial was pruned at epoch 3.\nmore"), "pruned", "Trial was pruned at epoch 3."),
        (optuna.TrialPruned(), "pruned", None),
    ],
)
def test_record_says_how_what_was_done_has_ended(
    run: RunDirectory, error: BaseException | None, status: str, said: str | None
) -> None:
    if error is None:
        with run.recorder.recording():
            pass
    else:
        with pytest.raises(type(error)), run.recorder.recording():
            raise error
    found = content(run)
    assert (found["status"], found["error"]) == (status, said) and found["end"] >= FACTS["start"]


@pytest.mark.parametrize("status", ["finished", "interrupted"])
def test_exit_after_a_signal_is_no_error_of_the_run(run: RunDirectory, status: str) -> None:
    with pytest.raises(SystemExit), run.recorder.recording():
        run.recorder.trained(status, {"loss": 0.25})
        raise SystemExit(128 + signal.SIGTERM)
    found = content(run)
    assert (found["status"], found["error"], found["metrics"]) == (status, None, {"loss": 0.25})


def test_full_disk_changes_nothing_about_how_a_run_ends_and_is_said_once(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = (run.path / "run.json").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ZeroDivisionError), run.recorder.recording():
        run.recorder.change(loggers=[])
        raise ZeroDivisionError
    assert (run.path / "run.json").read_bytes() == before
    assert caplog.text.count("run.json of the run cannot be kept: [Errno 28] No space left on device") == 1


def test_directory_that_somebody_has_deleted_ends_no_run(run: RunDirectory) -> None:
    shutil.rmtree(run.path)
    with run.recorder.recording():
        run.recorder.change(loggers=[])
    assert not run.path.exists()
