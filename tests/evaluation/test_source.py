"""WHAT is found: the best checkpoint of a run, or the one that is named; what is wrong with it is said."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter.errors import CheckpointError, ConfigurationError
from lightning_adapter.evaluation.source import find
from lightning_adapter.runs.occupancy import Occupancy


def checkpoint(run: Path, name: str, steps: int, **validation: float) -> Path:
    path = run / "checkpoints" / name
    path.mkdir(parents=True)
    (path / "lightning.ckpt").write_bytes(b"weights")
    (path / "metadata.json").write_text(json.dumps({"steps_completed": steps, "validation": validation}))
    return path


def record(run: Path, **content: Any) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.json").write_text(json.dumps({"format": 1, "name": "Trial", "status": "finished", **content}))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A run whose first checkpoint is the best one by its configuration."""
    run = tmp_path / "runs" / "Trial" / "2026-01-01_00-00-00"
    checkpoint(run, "first", 3, loss=0.1, accuracy=0.5)
    checkpoint(run, "second", 6, loss=0.2, accuracy=0.9)
    (run / "experiment.yaml").write_text("searcher: {name: single, metric: loss}\nhyperparameters: {lr: 0.1}\n")
    (run.parent / "latest").symlink_to(run.name)
    return run


@pytest.mark.parametrize("what", ["", "/checkpoints", "/../latest", "/../latest/checkpoints/"])
def test_best_checkpoint_of_a_run_is_taken_and_the_newest_where_that_is_asked_for(made: Path, what: str) -> None:
    found = find(f"{made}{what}")
    assert (found.run, found.checkpoint) == (made, made / "checkpoints" / "first")
    assert found.is_choice_of_run and found.config["hyperparameters"] == {"lr": 0.1}
    newest = find(f"{made}{what}", last=True)
    assert newest.checkpoint.name == "second" and not newest.is_choice_of_run


def test_record_says_the_metric_the_target_and_where_it_was_typed(made: Path) -> None:
    record(
        made,
        metric={"name": "accuracy", "smaller_is_better": False},
        target="model_def.py:Trial",
        working_directory="/home/you/project",
    )
    found = find(made)
    assert found.checkpoint.name == "second" and found.target == "model_def.py:Trial"
    assert found.working_directory == Path("/home/you/project")


def test_newest_checkpoint_is_taken_where_nothing_ranks(made: Path) -> None:
    (made / "experiment.yaml").write_text("searcher: {name: single, metric: that nobody logs}\n")
    found = find(made)
    assert found.checkpoint.name == "second" and found.is_choice_of_run


@pytest.mark.parametrize("name", ["first", "second", "first/lightning.ckpt"])
def test_checkpoint_that_is_named_is_taken_with_what_its_run_knows(made: Path, name: str) -> None:
    found = find(made / "checkpoints" / name)
    assert found.checkpoint == made / "checkpoints" / name.partition("/")[0]
    assert found.run == made and found.is_choice_of_run is name.startswith("first")


def test_link_to_a_checkpoint_is_followed(made: Path) -> None:
    (made / "best").symlink_to("checkpoints/first")
    assert find(made / "best").checkpoint == made / "checkpoints" / "first"


def test_file_of_lightnings_is_taken_as_it_is(made: Path, tmp_path: Path) -> None:
    for file in (tmp_path / "epoch=1.ckpt", made / "tensorboard" / "version_0" / "epoch=1.ckpt"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"weights")
        assert find(file).checkpoint == file
    assert find(tmp_path / "epoch=1.ckpt").run is None and find(file).run == made
    assert find("s3://bucket/x.ckpt").checkpoint == "s3://bucket/x.ckpt"


def test_target_of_a_run_without_one_is_that_of_its_entrypoint_and_its_code_lies_beside(made: Path) -> None:
    (made / "experiment.yaml").write_text(
        "entrypoint: python3 -m determined.launch.torch_distributed -- python3 -m lightning_adapter fit model_def:Trial\n"
    )
    (made / "checkpoints" / "second" / "code").mkdir()
    found = find(made)
    assert found.target == "model_def:Trial"
    assert found.working_directory == made / "checkpoints" / "second" / "code"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"status": "failed", "error": "ValueError: no data"},
            "has no checkpoint: the run failed before its first one, with: ValueError: no data",
        ),
        ({"status": "interrupted"}, "the run was interrupted before its first one"),
        ({"status": "running", "pid": 2**22 + 1, "host": socket.gethostname()}, "the run was killed before its first"),
    ],
)
def test_run_without_a_checkpoint_says_how_it_ended(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    record(tmp_path / "run", **content)
    with pytest.raises(CheckpointError, match=said):
        find(tmp_path / "run")


@pytest.mark.parametrize("damage", ["absent", "cut short"])
def test_checkpoint_without_readable_metadata_is_named_and_not_taken_for_none(tmp_path: Path, damage: str) -> None:
    record(tmp_path, last={"checkpoint": "checkpoints/only", "batches": 3, "epoch": 1})
    metadata = checkpoint(tmp_path, "only", 3) / "metadata.json"
    metadata.unlink() if damage == "absent" else metadata.write_text("{")
    with pytest.raises(CheckpointError, match=r"metadata.json of only is absent or damaged.*only/lightning\.ckpt"):
        find(tmp_path)


def test_run_whose_checkpoints_somebody_has_deleted_says_so(tmp_path: Path) -> None:
    record(tmp_path, last={"checkpoint": "checkpoints/only", "batches": 3, "epoch": 1})
    with pytest.raises(CheckpointError, match="were deleted, or moved away: it had checkpoints/only"):
        find(tmp_path)


def test_run_that_has_just_begun_is_to_be_waited_for(tmp_path: Path) -> None:
    record(tmp_path, status="running", pid=os.getpid(), host=socket.gethostname())
    occupancy = Occupancy(tmp_path)
    try:
        with pytest.raises(CheckpointError, match="has no checkpoint yet: the run is still going on"):
            find(tmp_path)
    finally:
        occupancy.end()


def test_run_without_record_and_checkpoint_is_refused(made: Path) -> None:
    for path in (made / "checkpoints").iterdir():
        (path / "metadata.json").unlink()
        (path / "lightning.ckpt").unlink()
    (made / "train.log").write_text("")
    with pytest.raises(CheckpointError, match=r"has no whole checkpoint\. .*train\.log has its log"):
        find(made)
    shutil.rmtree(made / "checkpoints")
    (made / "metrics.csv").write_text("")
    with pytest.raises(CheckpointError, match=r"has no whole checkpoint\. .*train\.log has its log"):
        find(made)


def test_what_is_no_run_is_refused_with_what_to_give(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"holds 1 run, and is none itself\. Give one: .*Trial/latest"):
        find(made.parent)
    with pytest.raises(ConfigurationError, match=r"is no run and no checkpoint: it has no run\.json"):
        find(tmp_path)
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "experiment.yaml").write_text("name: x\n")
    with pytest.raises(ConfigurationError, match="is no run and no checkpoint"):
        find(tmp_path / "project")
    (tmp_path / "project" / "a.ckpt").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"but has a\.ckpt\. Give the file: .*a\.ckpt"):
        find(tmp_path / "project")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "state_dict.pth").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"is no whole checkpoint of fit\(\)"):
        find(tmp_path / "theirs")


def test_what_is_not_there_is_refused_with_a_guess(made: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is not there; did you mean '.*Trial/latest'\?"):
        find(made.parent / "latst")
    with pytest.raises(ConfigurationError, match="~nobody-of-this-name/run is not there"):
        find("~nobody-of-this-name/run")
    (made.parent / "broken").symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match="is a link that leads nowhere"):
        find(made.parent / "broken")
    for nothing in ("", " "):
        with pytest.raises(ConfigurationError, match="No run and no checkpoint is named"):
            find(nothing)
    with pytest.raises(ConfigurationError, match="is no usable path"):
        find("x" * 5000)


def test_newest_of_a_single_checkpoint_is_refused(made: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is one checkpoint: leave --last \(last=True\) out"):
        find(made / "checkpoints" / "first", last=True)


def test_damaged_record_is_named(made: Path) -> None:
    (made / "run.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"run\.json cannot be read as the record of a run"):
        find(made)


@pytest.mark.parametrize("what", ["12", "0fae6c4f-1c0e-4a6e-9d1e-1d5a0f7f2b3c"])
def test_number_without_a_master_says_what_is_missing(
    what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DET_MASTER", "http://127.0.0.1:9")
    with pytest.raises(
        ConfigurationError, match=rf"There is no {what} on this machine, .*No Determined master answers"
    ):
        find(what)
