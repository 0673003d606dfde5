"""What do these tests load? A small trial whose first checkpoint is the best one, and the run that it has left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torchmetrics
from torch.utils.data import DataLoader, IterableDataset, random_split

from lightning_adapter import LightningAdapter, fit
from parity.models import samples

CONFIG: dict[str, Any] = {
    "hyperparameters": {"lr": 0.1, "global_batch_size": 4},
    "searcher": {"name": "single", "metric": "worse", "smaller_is_better": True},
}
SEED = 7
QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Net(pl.LightningModule):
    """Its metrics have a state; `worse` grows from epoch to epoch."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.lr = lr
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.5), torch.nn.Linear(3, 1))
        self.error = torchmetrics.MeanAbsoluteError()

    def forward(self, inputs: Any) -> Any:
        return self.net(inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return torch.nn.functional.mse_loss(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.error(self(batch[0]), batch[1])
        self.log("error", self.error)
        self.log("val_loss", torch.nn.functional.mse_loss(self(batch[0]), batch[1]))

    def on_validation_epoch_end(self) -> None:
        self.log("worse", float(self.current_epoch))

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.error(self(batch[0]), batch[1])
        self.log("error", self.error)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Stream(IterableDataset):
    """Has no length."""

    def __iter__(self) -> Iterator[Any]:
        return iter([samples(11, seed=5)[index] for index in range(11)])


class Data(pl.LightningDataModule):
    """Draws its validation set in `setup`, and has several loaders for the test; some are made by position."""

    def __init__(self, batch_size: int = 4) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.stages: list[str] = []

    def setup(self, stage: str) -> None:
        self.stages.append(str(getattr(stage, "value", stage)))
        if stage in ("fit", "validate"):
            self.training, self.validation = random_split(samples(20), [12, 8])

    def train_dataloader(self) -> Any:
        return DataLoader(self.training, self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.validation, self.batch_size)

    def test_dataloader(self) -> Any:
        return [DataLoader(samples(10, seed=3), 4), DataLoader(Stream(), batch_size=3)]


class Trial(LightningAdapter):
    """The one that the run was made with."""

    def __init__(self, context: Any) -> None:
        batch_size = context.get_per_slot_batch_size()
        super().__init__(context, Net(context.get_hparam("lr")), Data(batch_size), max_epochs=2, **QUIET)


def trial_of(module: Any = Net, data: Any = Data, **arguments: Any) -> type[LightningAdapter]:
    """A trial of other parts."""

    class Other(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, module(), data and data(), **{"max_epochs": 2, **QUIET, **arguments})

    return Other


def trained(directory: Path, trial_class: type[LightningAdapter] = Trial, **options: Any) -> LightningAdapter:
    """A trial, trained for two epochs: its first checkpoint is the best one."""
    return fit(trial_class, config={**CONFIG, **options}, run_dir=directory, seed=SEED)


def by_lightning(stage: str, module: Any, data: Any, checkpoint: Path, **trainer_arguments: Any) -> Any:
    """What Lightning's own Trainer gives with the weights of a checkpoint."""
    trainer = pl.Trainer(accelerator="cpu", devices=1, **{**QUIET, **trainer_arguments})
    quiet = {} if stage == "predict" else {"verbose": False}
    return getattr(trainer, stage)(module, datamodule=data, ckpt_path=str(checkpoint / "lightning.ckpt"), **quiet)
