"""Points on the arms of a spiral: a datamodule, and a module that tells the arms apart."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split


class SpiralData(pl.LightningDataModule):
    def __init__(self, arms: int = 3, points: int = 600, noise: float = 0.1, batch_size: int = 32) -> None:
        """Draw them.

        Args:
            arms: of the spiral
            points: on all arms together
            noise: how far they lie beside their arm
            batch_size: of each process
        """
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        draw = torch.Generator().manual_seed(0)
        y = torch.arange(self.hparams.points) % self.hparams.arms
        t = torch.rand(len(y), generator=draw)
        angle = 5 * t + y * 2 * torch.pi / self.hparams.arms
        x = torch.stack([t * angle.cos(), t * angle.sin()], dim=1)
        x += self.hparams.noise * torch.randn(x.shape, generator=draw)
        self.train_set, self.val_set = random_split(TensorDataset(x, y), [0.75, 0.25], generator=draw)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_set, self.hparams.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val_set, self.hparams.batch_size)


class SpiralModule(pl.LightningModule):
    def __init__(self, classes: int, width: int = 32, dropout: float = 0.1) -> None:
        """Make a small network.

        Args:
            classes: how many there are to tell apart
            width: of the hidden layers
            dropout: after each of them
        """
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(
            *(nn.Linear(2, width), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(width, classes),
        )

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
