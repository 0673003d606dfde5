"""Values are sorted by metric, and kept beside the checkpoint and in the record of the run that it stands for."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lightning_adapter.errors import LightningAdapterError
from lightning_adapter.evaluation.results import by_metric, file_of, keep
from lightning_adapter.evaluation.source import Source

ONE = [{"loss": 0.25, "accuracy": math.nan}]
TWO = [{"loss/dataloader_idx_0": 1.0, "at the end": 2.0}, {"loss/dataloader_idx_1": 1234567.0, "at the end": 2.0}]


def test_values_of_several_loaders_stand_below_one_name() -> None:
    assert by_metric(TWO) == {"at the end": {0: 2.0, 1: 2.0}, "loss": {0: 1.0, 1: 1234567.0}}
    assert list(by_metric(ONE)) == ["accuracy", "loss"]


def stored(run: Path, name: str, **validation: float) -> Path:
    """Write what counts as a checkpoint of a run."""
    checkpoint = run / "checkpoints" / name
    checkpoint.mkdir(parents=True)
    (checkpoint / "metadata.json").write_text(json.dumps({"steps_completed": 1, "validation": validation}))
    return checkpoint


def test_values_are_kept_beside_the_checkpoint(tmp_path: Path) -> None:
    path = keep(Source(None, tmp_path), "test", None, ONE)
    assert path == tmp_path / "test.json"
    assert json.loads(path.read_text()) == {"loss": 0.25, "accuracy": "NaN"}
    file = tmp_path / "epoch=1.ckpt"
    file.write_bytes(b"")
    assert file_of(file, "validate", "val") == tmp_path / "epoch=1.validate.json"
    assert file_of(tmp_path, "test", "val") == tmp_path / "test-val.json"
    assert keep(Source(None, "s3://bucket/x.ckpt"), "test", None, ONE) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("split", "stands_for_run", "told"), [(None, True, True), ("val", True, False), (None, False, False)]
)
def test_record_has_the_values_of_the_checkpoint_that_stands_for_the_run(
    tmp_path: Path, split: str | None, stands_for_run: bool, told: bool
) -> None:
    checkpoint = stored(tmp_path, "one", loss=0.5)
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "name": "x", "status": "finished"}))
    keep(Source(tmp_path, checkpoint, is_choice_of_run=stands_for_run), "test", split, TWO)  # type: ignore[arg-type]
    kept = json.loads((tmp_path / "run.json").read_text())
    assert kept.get("test") == ({**TWO[0], **TWO[1]} if told else None) and kept["status"] == "finished"


def test_values_that_cannot_be_kept_are_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").touch()
    (tmp_path / "x.test.json").mkdir()
    with pytest.raises(LightningAdapterError, match="were measured, and cannot be written"):
        keep(Source(None, tmp_path / "x.ckpt"), "test", None, ONE)


def test_checkpoint_that_a_better_one_has_followed_meanwhile_stands_for_the_run_no_longer(tmp_path: Path) -> None:
    first = stored(tmp_path, "one", loss=0.5)
    metric = {"name": "loss", "smaller_is_better": True}
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "name": "x", "status": "running", "metric": metric}))
    stored(tmp_path, "two", loss=0.1)
    keep(Source(tmp_path, first, is_choice_of_run=True), "test", None, ONE)
    assert "test" not in json.loads((tmp_path / "run.json").read_text())
    assert (first / "test.json").exists()


def test_checkpoint_that_its_run_has_deleted_meanwhile_leaves_no_file(tmp_path: Path) -> None:
    stored(tmp_path, "two", loss=0.1)
    gone = Source(tmp_path, tmp_path / "checkpoints" / "one", is_choice_of_run=True)
    with pytest.raises(LightningAdapterError, match="was deleted while it was measured"):
        keep(gone, "test", None, ONE)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["two"]
