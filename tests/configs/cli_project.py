"""A project that is driven by LightningCLI, as its owner has written it."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import lightning.pytorch as pl
import torch
from jsonargparse.typing import Path_fr
from lightning.pytorch.cli import LightningCLI, LRSchedulerCallable, OptimizerCallable
from torch.utils.data import DataLoader


class Activation(enum.Enum):
    RELU = 1
    TANH = 2


@dataclasses.dataclass
class Net:
    width: int = 4
    activation: Activation = Activation.RELU


class Base(pl.LightningModule):
    def __init__(self, width: int = 3, activation: Activation = Activation.RELU) -> None:
        super().__init__()
        act = torch.nn.Tanh() if activation is Activation.TANH else torch.nn.ReLU()
        self.net = torch.nn.Sequential(torch.nn.Linear(6, width), act, torch.nn.Dropout(0.2), torch.nn.Linear(width, 1))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.net(batch).pow(2).mean()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.net(batch).pow(2).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Model(Base):
    def __init__(
        self,
        lr: float,
        net: Net = Net(),  # noqa: B008  # as users write it
        batch_size: int = 2,
        num_classes: int = 3,
    ) -> None:
        super().__init__(net.width + num_classes, net.activation)
        self.save_hyperparameters()
        self.lr, self.batch_size = lr, batch_size


class CallableModel(Base):
    def __init__(
        self,
        lr: float = 0.1,
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable = torch.optim.lr_scheduler.ConstantLR,
        **more: Any,
    ) -> None:
        super().__init__()
        self.optimizer, self.scheduler, self.lr, self.more = optimizer, scheduler, lr, more

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        return [optimizer], [self.scheduler(optimizer)]


class FileModel(Base):
    def __init__(self, file: Path_fr, table: dict[int, float] = {}, loose: Any = None) -> None:  # noqa: B006
        super().__init__()
        self.file, self.table, self.loose = file, table, loose


class Data(pl.LightningDataModule):
    def __init__(self, batch_size: int = 4) -> None:
        super().__init__()
        self.batch_size, self.drawn, self.num_classes = batch_size, torch.randn(2), 5

    def setup(self, stage: str) -> None:
        self.training, self.validation = torch.randn(16, 6), torch.randn(8, 6)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.training, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.validation, batch_size=self.batch_size)


class LinkedCli(LightningCLI):
    """Has links, sections of its own, and methods that draw random numbers."""

    def add_arguments_to_parser(self, parser: Any) -> None:
        parser.link_arguments("data.batch_size", "model.batch_size")
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")
        parser.add_optimizer_args(torch.optim.AdamW)
        parser.add_lr_scheduler_args(torch.optim.lr_scheduler.ExponentialLR)
        parser.add_lightning_class_args(pl.callbacks.EarlyStopping, "early")
        parser.set_defaults({"early.monitor": "val_loss", "lr_scheduler.gamma": 0.9, "model.lr": 0.3})

    def before_instantiate_classes(self) -> None:
        torch.randn(3)

    def before_fit(self) -> None:
        self.model.drawn = torch.randn(1)


class OwnOptimizerCli(LightningCLI):
    @staticmethod
    def configure_optimizers(lightning_module: Any, optimizer: Any, lr_scheduler: Any = None) -> Any:
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": lr_scheduler, "interval": "step"}}

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        return super().instantiate_trainer(gradient_clip_val=0.01, **kwargs)


class AccumulatingTrainer(pl.Trainer):
    def __init__(self, *, accumulate_grad_batches: int = 2, callbacks: Any = None, **kwargs: Any) -> None:
        super().__init__(accumulate_grad_batches=accumulate_grad_batches, callbacks=callbacks, **kwargs)


def trainer_builder(max_epochs: int = 1) -> pl.Trainer:
    return pl.Trainer(max_epochs=max_epochs)


def model_builder(lr: float = 0.2) -> Model:
    return Model(lr)
