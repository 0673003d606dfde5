"""Values that are measured later come into the runs of the loggers that training has told, and no other run is begun."""

from __future__ import annotations

import csv
import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_adapter import LightningAdapter, load_trial
from lightning_adapter.evaluation.loggers import loggers_of_run
from lightning_adapter.trainer.late_values import Position, told_at
from lightning_adapter.versions.lightning_loggers import continue_run

from .trained import trained, trial_of


def scalars(directory: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(directory))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def recorded(run: Path, *loggers: Logger) -> dict[str, Any]:
    """What the record of a run says about its loggers."""
    told = [
        {
            "class": f"{type(one).__module__}.{type(one).__qualname__}",
            "name": one.name,
            "version": one.version,
            "save_dir": one.save_dir,
        }
        for one in loggers
    ]
    content = {"format": 1, "name": "x", "status": "finished", "loggers": told, "working_directory": str(Path.cwd())}
    (run / "run.json").write_text(json.dumps(content))
    return content


def test_default_logger_writes_where_training_has_written(tmp_path: Path) -> None:
    trial = trained(tmp_path / "run", trial_of(logger=True))
    load_trial(tmp_path / "run", trial_of(logger=True)).test(verbose=False)
    trial.test(verbose=False)
    assert [step for step, _ in scalars(tmp_path / "run" / "tensorboard", "error/dataloader_idx_0")] == [3, 6]
    # the first is the best checkpoint's epoch, the second that in which training has ended
    assert scalars(tmp_path / "run" / "tensorboard", "epoch")[-2:] == [(3, 0.0), (6, 2.0)]


def test_run_that_may_only_be_read_is_measured_without_its_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = trial_of(logger=None)
    run = trained(tmp_path / "run", kind).run_dir
    before = sorted((run / "tensorboard").iterdir())
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # whoever runs the tests may write everywhere
    with pytest.warns(UserWarning, match="may not be written to, so that its TensorBoard is not told"):
        assert load_trial(run, kind).test(verbose=False)
    assert sorted((run / "tensorboard").iterdir()) == before


def test_lightnings_own_loggers_go_on_with_their_runs(project: Path) -> None:
    class Logs(LightningAdapter):
        def __init__(self, context: Any) -> None:
            from .trained import QUIET, Data, Net

            loggers = [TensorBoardLogger("tb"), CSVLogger("csv")]
            super().__init__(context, Net(), Data(), max_epochs=2, **{**QUIET, "logger": loggers})

    trial = trained(project / "run", Logs)
    recorded(project / "run", *trial.arguments.logger)
    before = {path: path.read_bytes() for path in project.glob("csv/**/*") if path.is_file()}
    load_trial(project / "run", Logs).predict(split="test")  # has no values, and leaves nothing
    for _ in range(2):
        load_trial(project / "run", Logs).test(verbose=False)
    version = project / "tb" / "lightning_logs" / "version_0"
    assert [step for step, _ in scalars(version, "error/dataloader_idx_1")] == [3, 3]
    assert sorted(path.name for path in version.parent.iterdir()) == ["version_0"]
    assert all(path.read_bytes() == content for path, content in before.items())
    below = project / "csv" / "lightning_logs" / "version_0"
    assert sorted(path.name for path in below.iterdir() if path.is_dir()) == ["evaluation", "evaluation-2"]
    (row,) = csv.DictReader((below / "evaluation" / "metrics.csv").open())
    assert (row["step"], row["epoch"]) == ("3", "0") and float(row["error/dataloader_idx_0"]) > 0


def test_loggers_are_asked_for_when_there_are_values_to_tell(tmp_path: Path) -> None:
    class Logs(LightningAdapter):
        def __init__(self, context: Any) -> None:
            from .trained import QUIET, Data, Net

            super().__init__(context, Net(), Data(), max_epochs=1, **{**QUIET, "logger": CSVLogger(tmp_path / "csv")})

    trained(tmp_path / "run", Logs)
    (tmp_path / "run" / "run.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_trial(tmp_path / "run", Logs)
        assert loaded.lightning_module is not None
    with pytest.warns(UserWarning, match="CSVLogger of the trial cannot go on"):
        loaded.test(verbose=False)


def test_logger_that_cannot_go_on_is_told_nothing(tmp_path: Path) -> None:
    class Own(CSVLogger):
        """Not one that the record names."""

    trial = trained(tmp_path / "run", trial_of())
    trial.arguments.logger = [Own(tmp_path / "own"), TensorBoardLogger(tmp_path / "tb")]
    record = recorded(tmp_path / "run")
    with pytest.warns(
        UserWarning, match="Own, TensorBoardLogger of the trial cannot go on .*the run does not say which"
    ):
        assert loggers_of_run(trial, tmp_path / "run", record) == []
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("logger", [None, False, True])
def test_checkpoint_of_no_run_has_no_default_logger(logger: bool | None) -> None:
    from lightning_adapter.evaluation.loading import fresh_trial

    fresh = fresh_trial(trial_of(logger=logger))
    assert loggers_of_run(fresh.trial, None, {}) == []


def made(kind: type, **attributes: Any) -> Any:
    """A logger without the package that it needs."""
    logger = kind.__new__(kind)
    vars(logger).update(attributes)
    return logger


def test_ids_of_trackers_are_those_of_the_training() -> None:
    wandb = made(WandbLogger, _wandb_init={"project": "p"}, _id=None, _experiment=None)
    assert continue_run(wandb, "abc", "/there") and (wandb.version, wandb.save_dir) == ("abc", "/there")
    assert wandb._wandb_init == {"project": "p", "id": "abc", "resume": "allow", "dir": "/there"}
    mlflow = made(MLFlowLogger, _tracking_uri="http://there", _run_id=None)
    assert continue_run(mlflow, "123", None) and mlflow._run_id == "123"
    assert not continue_run(object(), "1", None)


def test_values_of_the_end_stand_where_training_stood_and_those_of_a_batch_where_they_were() -> None:
    class Told(Logger):
        def __init__(self) -> None:
            self.told: list[Any] = []

        name = version = "x"

        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            self.told.append((metrics, step))

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            raise AssertionError

    logger = Told()
    with told_at([logger], Position(12, 3)):
        logger.log_hyperparams({})
        logger.log_metrics(metrics={"loss": 1.0, "epoch": 0}, step=0)
        logger.log_metrics(metrics={"loss_step": 1.0}, step=0)
        logger.log_metrics(metrics={"loss": 1.0, "epoch": 0}, step=7)
    assert logger.told == [
        ({"loss": 1.0, "epoch": 3}, 12),
        ({"loss_step": 1.0}, 0),
        ({"loss": 1.0, "epoch": 0}, 7),
    ]
    assert "log_metrics" not in vars(logger)


def test_position_is_that_of_the_checkpoint(run: Path) -> None:
    saved = torch.load(next((run / "checkpoints").iterdir()) / "lightning.ckpt", weights_only=False)
    found = Position.of(saved)
    assert found is not None and found.step == saved["global_step"]
    assert Position.of({"state_dict": {}}) is None
