"""Points on the arms of a spiral, a module that tells the arms apart, and the dataclass that both are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split


@dataclass
class DataConfig:
    arms: int = 3  # of the spiral
    points: int = 600  # on all arms together
    noise: float = 0.05  # how far they lie beside their arm
    batch_size: int = 32  # of each process


@dataclass
class OptimizerConfig:
    name: Literal["adam", "sgd"] = "adam"
    lr: float = 0.03  # at the beginning
    gamma: float = 0.9  # what it is multiplied by after each epoch


@dataclass
class Config:
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    widths: list[int] = field(default_factory=lambda: [32, 32])  # of the hidden layers
    dropout: float = 0.05  # after each of them


class SpiralData(pl.LightningDataModule):
    def __init__(self, config: DataConfig) -> None:
        super().__init__()
        self.config = config

    def setup(self, stage: str) -> None:
        draw = torch.Generator().manual_seed(0)
        y = torch.arange(self.config.points) % self.config.arms
        t = torch.rand(len(y), generator=draw)
        angle = 5 * t + y * 2 * torch.pi / self.config.arms
        x = torch.stack([t * angle.cos(), t * angle.sin()], dim=1)
        x += self.config.noise * torch.randn(x.shape, generator=draw)
        self.train_set, self.val_set = random_split(TensorDataset(x, y), [0.75, 0.25], generator=draw)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_set, self.config.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val_set, self.config.batch_size)


class SpiralModule(pl.LightningModule):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        inputs = 2
        for width in config.widths:
            layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(config.dropout)]
            inputs = width
        self.net = nn.Sequential(*layers, nn.Linear(inputs, config.data.arms))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        x, y = batch
        scores = self.net(x)
        self.log("val_loss", F.cross_entropy(scores, y), prog_bar=True)
        self.log("val_acc", (scores.argmax(dim=1) == y).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> dict[str, object]:
        config = self.config.optimizer
        cls = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[config.name]
        optimizer = cls(self.parameters(), lr=config.lr)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, config.gamma)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}
