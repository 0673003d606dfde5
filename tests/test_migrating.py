"""Does a trial train that was written for Determined's own LightningAdapter, and what is its author told?"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from determined import pytorch
from torch.nn import functional

from lightning_adapter import LightningAdapter, fit
from parity.models import pl, samples


class Returns(pl.LightningModule):
    """A module that returns its metrics, as its steps had to."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.layer = torch.nn.Linear(4, 1)

    def loss(self, batch: Any) -> torch.Tensor:
        x, y = batch
        return functional.mse_loss(self.layer(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        return {"loss": loss, "error": loss.detach().sqrt()}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        return {"val_loss": loss, "val_error": loss.sqrt()}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Logs(Returns):
    """The same after the change."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        returned = super().training_step(batch, batch_idx)
        self.log_dict({"loss": returned["loss"], "error": returned["error"]})
        return returned

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        returned = super().validation_step(batch, batch_idx)
        self.log_dict(returned)
        return returned


class Adversaries(Returns):
    """Two optimizers, each with its own loss and nothing else."""

    def __init__(self, lr: float) -> None:
        super().__init__(lr)
        self.other = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        x, _ = batch
        fake, judged = self.layer(x), self.other(x)
        return {"loss": (fake - judged.detach()).pow(2).mean() if optimizer_idx == 0 else judged.mean()}

    def validation_step(self, batch: Any, batch_idx: int, *args: Any, **kwargs: Any) -> Any:
        return {"loss": self.loss(batch)}

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=self.lr) for part in (self.layer, self.other)], []


class Trial(LightningAdapter):
    """As the guide of Determined's adapter had it."""

    module: Any = Returns

    def __init__(self, context: pytorch.PyTorchTrialContext, *args: Any, **kwargs: Any) -> None:
        lm = self.module(lr=context.get_hparam("lr"))
        super().__init__(context, *args, lightning_module=lm, **kwargs)

    def build_training_data_loader(self) -> pytorch.DataLoader:
        return pytorch.DataLoader(samples(24), batch_size=self.context.get_per_slot_batch_size())

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        return pytorch.DataLoader(samples(8, seed=1), batch_size=self.context.get_per_slot_batch_size())


CONFIG = {
    "hyperparameters": {"global_batch_size": 4, "lr": 0.1},
    "searcher": {"name": "single", "metric": "val_loss", "max_length": {"batches": 12}},
}


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(trial_class: type[LightningAdapter], **config: Any) -> tuple[LightningAdapter, list[str]]:
    """The trained trial, and what was said of returned values."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trial = fit(trial_class, config={**CONFIG, **config})
    messages = (re.split("[.:]", str(warning.message))[0] for warning in caught)
    return trial, sorted(message for message in messages if " returns " in message)


def test_returned_metrics_are_named_once_for_each_step() -> None:
    trial, found = told(Trial)
    assert trial.lightning_module.global_step == 12
    assert found == [
        "training_step returns loss, error without logging them",
        "validation_step returns val_loss, val_error without logging them",
    ]


def test_logged_metrics_are_reported_and_nothing_is_said() -> None:
    trial, found = told(type("Logging", (Trial,), {"module": Logs}))
    assert {"loss", "error", "val_loss", "val_error"} <= set(trial.callback_metrics)
    assert found == []


def test_losses_of_two_optimizers_are_named_too() -> None:
    trial, found = told(type("Gan", (Trial,), {"module": Adversaries}))
    assert trial.run_dir is not None and found == [
        "training_step returns loss without logging it",
        "validation_step returns loss without logging it",
    ]


def test_lightnings_trainer_reports_no_more_of_what_is_returned() -> None:
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    loaders = [torch.utils.data.DataLoader(samples(8), 4) for _ in range(2)]
    trainer.fit(Returns(lr=0.1), *loaders)
    assert trainer.callback_metrics == {}


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        ({"speed": 1.0, "loss": torch.tensor(1.0)}, ["train_batch returns speed, loss, which is not reported"]),
        (torch.tensor([1.0, 2.0]).sum(), ["train_batch returns loss, which is not reported"]),
        ({}, []),
    ],
    ids=["metrics", "bare", "nothing"],
)
def test_what_a_trials_own_train_batch_returns_is_named_once(returned: Any, found: list[str]) -> None:
    class Overrides(Trial):
        module = Logs

        def train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> Any:
            assert batch is None
            super().train_batch(batch, epoch_idx, batch_idx)
            return returned

    assert told(Overrides)[1] == found


def test_what_a_trials_own_evaluate_batch_adds_is_reported() -> None:
    class Overrides(Trial):
        module = Logs

        def evaluate_batch(self, batch: Any, batch_idx: int) -> Any:
            return {**super().evaluate_batch(batch, batch_idx), "fitness": 3.0}

    searcher = {"name": "single", "metric": "fitness", "max_length": {"batches": 6}}
    trial, found = told(Overrides, searcher=searcher)
    assert found == []
    assert trial.run_dir is not None and "fitness" in (trial.run_dir / "metrics.csv").read_text().splitlines()[0]
