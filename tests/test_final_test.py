"""Does `fit(test=True)` test the best checkpoint as Lightning's own Trainer does, once, and leave the trial as it was?"""

from __future__ import annotations

import json
import logging
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torchmetrics
from torch.utils.data import DataLoader

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.final_test import kept_as_trained
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)


class Net(models.Net):
    """Has all that a test calls, and becomes worse: the first checkpoint is the best one."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torchmetrics.MeanMetric()
        self.called: list[str] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log("worse", float(self.current_epoch))

    def on_test_start(self) -> None:
        self.called.append("on_test_start")

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        output = self(batch[0]).sum()
        self.mean.update(output)
        self.log("mean", self.mean)
        self.log("out", output)

    def on_test_epoch_end(self) -> None:
        self.log("at_the_end", 1.5)


class Data(models.Data):
    """Two loaders for the test."""

    def test_dataloader(self) -> list[DataLoader[Any]]:
        return [self.val_dataloader(), self.val_dataloader()]


class Notes(pl.Callback):
    """A callback that a test calls too."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        self.called.append("on_test_end")


def trial_of(module: Any = Net, data: Any = Data, **arguments: Any) -> type[LightningAdapter]:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            given = {"max_epochs": 2, "enable_model_summary": False, "logger": False, **arguments}
            super().__init__(context, module(), data(), **given)

    return Trial


CONFIG = {"searcher": {"name": "single", "metric": "worse", "smaller_is_better": True}}


def by_lightning(checkpoint: Path) -> dict[str, float]:
    """What Lightning's Trainer measures with the weights of a checkpoint."""
    module = Net()
    module.load_state_dict(torch.load(checkpoint / "lightning.ckpt", weights_only=False)["state_dict"])
    trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    found = trainer.test(module, datamodule=Data(), verbose=False)
    return {name: value for of_loader in found for name, value in of_loader.items()}


def test_values_are_those_of_lightnings_trainer_with_the_best_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Notes()
    with caplog.at_level(logging.INFO, "lightning_adapter"), warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*has no effect")
        trial = fit(trial_of(callbacks=[notes]), config=CONFIG, run_dir=tmp_path / "run", seed=1, test=True)
    best = trial.best_checkpoint
    assert best is not None and best != trial.latest_checkpoint
    assert trial.test_metrics == by_lightning(best) == json.loads((best / "test.json").read_text())
    assert {"mean/dataloader_idx_0", "out/dataloader_idx_1", "at_the_end"} <= trial.test_metrics.keys()
    assert notes.called == ["on_test_end"]
    (said,) = [record.message for record in caplog.records if record.message.startswith("test of checkpoint")]
    assert best.name in said and "trained on 6 batches: " in said and "at_the_end 1.5" in said


def test_trial_is_given_back_as_training_has_left_it(tmp_path: Path) -> None:
    plain = fit(trial_of(), config=CONFIG, run_dir=tmp_path / "plain", seed=1)
    trial = fit(trial_of(), config=CONFIG, run_dir=tmp_path / "tested", seed=1, test=True)
    left, module = plain.lightning_module, trial.lightning_module
    assert left.state_dict().keys() == module.state_dict().keys()
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in left.state_dict().items())
    assert [part.training for part in left.modules()] == [part.training for part in module.modules()]
    assert module.trainer is not None and type(module.trainer) is type(left.trainer)
    assert module.trainer.global_step == 12
    assert trial.datamodule is not None and plain.datamodule is not None
    assert type(trial.datamodule.trainer) is type(plain.datamodule.trainer)
    assert plain.test_metrics is None and trial.callback_metrics == plain.callback_metrics
    assert module.called == ["on_test_start"] and left.called == []


@pytest.mark.parametrize("config", [{}, {"searcher": {**CONFIG["searcher"], "metric": "that nobody logs"}}])
def test_last_weights_are_tested_where_nothing_ranks(tmp_path: Path, config: dict[str, Any]) -> None:
    trial = fit(trial_of(), config=config, run_dir=tmp_path / "run", test=True)
    assert trial.latest_checkpoint is not None
    assert trial.test_metrics == json.loads((trial.latest_checkpoint / "test.json").read_text())


def test_module_that_makes_its_layers_in_setup_is_tested_with_the_weights_of_the_checkpoint(tmp_path: Path) -> None:
    class Late(Net):
        def setup(self, stage: str) -> None:
            self.late = torch.nn.Linear(1, 1)

        def forward(self, inputs: Any) -> Any:
            return self.late(super().forward(inputs))

    trial = fit(trial_of(Late), config=CONFIG, run_dir=tmp_path / "run", seed=1, test=True)
    best = trial.best_checkpoint
    assert best is not None
    trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    found = trainer.test(Late(), datamodule=Data(), ckpt_path=str(best / "lightning.ckpt"), verbose=False)
    assert trial.test_metrics == {name: value for of_loader in found for name, value in of_loader.items()}
    saved = torch.load(trial.latest_checkpoint / "lightning.ckpt", weights_only=False)["state_dict"]  # type: ignore[operator]
    state = trial.lightning_module.state_dict()
    assert all(torch.equal(state[name], saved[name]) for name in saved)


def test_loggers_of_the_training_are_told(tmp_path: Path) -> None:
    logger = pl.loggers.CSVLogger(tmp_path / "csv")
    fit(trial_of(logger=logger), config=CONFIG, run_dir=tmp_path / "run", seed=1, test=True)
    rows = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    assert (last["at_the_end"], last["step"]) == ("1.5", "12") and last["mean/dataloader_idx_1"]


def test_callbacks_for_checkpoints_go_along(tmp_path: Path) -> None:
    trial = fit(trial_of(callbacks=[pl.callbacks.ModelCheckpoint()]), run_dir=tmp_path / "run", test=True)
    assert trial.test_metrics


@pytest.mark.parametrize("when", ["in the middle", "when all is trained"])
def test_run_that_a_signal_stops_is_not_tested(tmp_path: Path, when: str) -> None:
    class Stopped(Net):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if when == "in the middle" and self.global_step == 2:
                signal.raise_signal(signal.SIGTERM)

        def on_fit_end(self) -> None:
            signal.raise_signal(signal.SIGTERM)

        def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            raise AssertionError("tested")

    with pytest.raises(SystemExit) as ended:
        fit(trial_of(Stopped), run_dir=tmp_path / "run", test=True)
    assert ended.value.code == 128 + signal.SIGTERM


def test_run_that_a_callback_ends_early_is_tested(tmp_path: Path) -> None:
    stop = pl.callbacks.EarlyStopping("worse", patience=1)
    trial = fit(trial_of(callbacks=[stop], max_epochs=9), config=CONFIG, run_dir=tmp_path / "run", test=True)
    assert trial.test_metrics is not None and trial.test_metrics["at_the_end"] == 1.5


@pytest.mark.parametrize("asked", [True, False])
def test_what_a_test_lacks_is_said_before_training(tmp_path: Path, asked: bool) -> None:
    class Old(models.Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            assert not asked
            return super().training_step(batch, batch_idx)

        def test_epoch_end(self, outputs: Any) -> None:
            pass

    if not asked:
        assert fit(trial_of(Old, models.Data, max_steps=1), run_dir=tmp_path / "run").test_metrics is None
        return
    with pytest.raises(ConfigurationError) as raised:
        fit(trial_of(Old, models.Data), run_dir=tmp_path / "run", test=True)
    said = str(raised.value)
    assert "Old has no test_step()" in said and "Data has no test_dataloader()" in said
    assert ("Old has test_epoch_end()" in said) is not hasattr(pl.LightningModule, "test_epoch_end")


def test_test_that_is_no_switch_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="test='best' has to be True or False"):
        fit(trial_of(), test="best")  # type: ignore[arg-type]


# --- on a cluster -----------------------------------------------------------------------------------------------------


def test_master_is_told_of_the_best_checkpoints_test_last_and_once(cluster: Any) -> None:
    with cluster(config=CONFIG) as master:
        trial = fit(trial_of(), test=True)
    report = master.metrics[-1]
    assert [one.group for one in master.metrics].count("test") == 1
    assert (report.group, report.steps_completed) == ("test", 6)
    assert report.metrics == trial.test_metrics and report.metrics["at_the_end"] == 1.5
    assert [one.steps_completed for one in master.checkpoints][-1] == 12 and master.unexpected == []


def test_paused_trial_is_tested_only_when_it_has_ended(cluster: Any) -> None:
    class Preempted(Net):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.global_step == 7:
                first.preempt()

    with cluster(config=CONFIG) as first:
        trial = fit(trial_of(Preempted, log_every_n_steps=1), test=True)
    assert first.checkpoints[-1].steps_completed == 8
    assert "test" not in [one.group for one in first.metrics] and trial.test_metrics is None
    last = first.checkpoints[-1]
    with cluster(config=CONFIG, latest_checkpoint=last.uuid, steps_completed=last.steps_completed) as second:
        fit(trial_of(log_every_n_steps=1), test=True)
    assert [(one.group, one.steps_completed) for one in second.metrics][-1] == ("test", 6)


def test_trial_that_the_searcher_stops_is_tested(cluster: Any) -> None:
    config = {"searcher": {**CONFIG["searcher"], "name": "adaptive_asha", "time_metric": "epochs", "max_time": 3}}
    with cluster(config=config) as master:
        master.stop_after(validations=1)
        fit(trial_of(max_epochs=None), test=True)
    assert [(one.group, one.steps_completed) for one in master.metrics][-1] == ("test", 6)


def test_module_is_on_its_device_again(monkeypatch: pytest.MonkeyPatch) -> None:
    module, on_device = Net(), torch.device("meta")  # stands for a GPU
    moved: list[Any] = []
    monkeypatch.setattr(type(module), "device", on_device)
    monkeypatch.setattr(type(module), "to", lambda self, *to: moved.append(to))
    with kept_as_trained(module, None, []):
        module.cpu()  # as Lightning's Trainer leaves it
    assert moved == [(on_device,)]
