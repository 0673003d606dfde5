"""Points on the arms of a spiral."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset, random_split


class SpiralData(pl.LightningDataModule):
    def __init__(self, arms: int = 3, points: int = 600, noise: float = 0.1, batch_size: int = 32) -> None:
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
