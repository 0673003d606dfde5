"""Who monitors a name that nobody logs is told which names there are, and which one was meant."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from lightning_adapter import cli
from lightning_adapter.errors import ConfigurationError, MonitorError
from lightning_adapter.trainer.monitors import advice, explained
from lightning_adapter.versions import hosts
from two_ways import BoringModel, Fit, outcomes

Misconfigured = pl.utilities.exceptions.MisconfigurationException


class Logs(BoringModel):
    """Logs `val_loss`, and more."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)["loss"]
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.step(batch))
        self.log("accuracy", 0.5)


class Plateau(Logs):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_los"}


WATCHERS: dict[str, tuple[Callable[[], Any], Callable[[], Any], type[Exception]]] = {
    "EarlyStopping": (Logs, lambda: pl.callbacks.EarlyStopping("val_los"), RuntimeError),
    "ModelCheckpoint": (Logs, lambda: pl.callbacks.ModelCheckpoint(monitor="val_los"), Misconfigured),
    "ReduceLROnPlateau": (Plateau, pl.callbacks.Callback, Misconfigured),
}


@pytest.mark.parametrize("watcher", WATCHERS)
def test_monitored_name_that_is_not_logged_is_named_with_a_guess(watcher: str, tmp_path: Path) -> None:
    model, callback, kind = WATCHERS[watcher]

    def situation(train: Fit) -> list[str]:
        with pytest.raises(kind) as raised:
            train(model(), callbacks=[callback()], max_epochs=1, limit_train_batches=1, limit_val_batches=1)
        return [*str(raised.value).splitlines(), str(isinstance(raised.value, ConfigurationError))]

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == [theirs[0], "Did you mean 'val_loss'?", "True"]
    assert "`accuracy`" in ours[0] or "'accuracy'" in ours[0]


@pytest.mark.parametrize(
    ("monitor", "logged", "expected"),
    [
        ("val_los", ["accuracy", "val_loss"], "Did you mean 'val_loss'?"),
        ("loss", ["val", "loss/dataloader_idx_0"], "Did you mean 'loss/dataloader_idx_0'?"),
        ("x", ["accuracy"], "Write self.log('x', value) in the module, or monitor one of those that are logged."),
        ("x", [], "Nothing is logged yet. Write self.log('x', value) in a step that runs before it is looked for."),
    ],
)
def test_advice_names_what_was_meant_or_what_to_write(monitor: str, logged: list[str], expected: str) -> None:
    assert advice(monitor, logged) == expected


def test_error_of_a_users_own_callback_is_left_as_it_is(tmp_path: Path) -> None:
    class Own(pl.callbacks.EarlyStopping):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            raise RuntimeError("mine")

    def situation(train: Fit) -> str:
        with pytest.raises(RuntimeError, match="mine") as raised:
            train(Logs(), callbacks=[Own("val_los")], max_epochs=1, limit_train_batches=1, limit_val_batches=1)
        assert not isinstance(raised.value, MonitorError)
        return str(raised.value)

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs


def test_metrics_are_computed_for_an_error_about_a_metric_alone() -> None:
    def logged() -> list[str]:
        raise AssertionError("nobody asked for the metrics")

    try:
        raise RuntimeError("out of memory")
    except RuntimeError as error:
        callback = pl.callbacks.EarlyStopping("x")
        assert explained(hosts.host("pytorch_lightning"), callback, error, logged) is None


def test_command_line_ends_with_the_name_and_the_guess_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trial_that_monitors.py").write_text(
        "from pytorch_lightning.callbacks import EarlyStopping\n"
        "from lightning_adapter import LightningAdapter\n"
        "from trainer.test_monitors import Logs\n"
        "class Trial(LightningAdapter):\n"
        "    def __init__(self, context):\n"
        "        super().__init__(context, Logs(), callbacks=EarlyStopping('val_los'), limit_train_batches=1,\n"
        "                         limit_val_batches=1, enable_progress_bar=False)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    assert cli.main(["fit", "trial_that_monitors.py:Trial", "--max-epochs", "1", "--run-dir", "run"]) == 2

    lines = capsys.readouterr().err.rstrip().splitlines()
    assert lines[-2].startswith("lightning-adapter: error: Early stopping conditioned on metric `val_los`")
    assert lines[-1] == "Did you mean 'val_loss'?"
    assert not any("Traceback" in line for line in lines)
