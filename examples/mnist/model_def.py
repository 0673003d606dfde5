"""Train a small CNN on MNIST with PyTorch Lightning, on Determined."""

from __future__ import annotations

import torch
from determined.pytorch import PyTorchTrialContext
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics import Accuracy

import mnist_data
from lightning_adapter import DETDM, DETLM, LightningAdapter


class LitMNIST(DETLM):
    def __init__(self, lr: float = 5e-3, width: int = 16, dropout: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, kernel_size=5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * width * 4 * 4, 10),
        )
        self.accuracy = Accuracy(task="multiclass", num_classes=10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.accuracy(logits, y)
        self.log("val_loss", F.cross_entropy(logits, y), prog_bar=True)
        self.log("val_acc", self.accuracy, prog_bar=True)

    def test_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> None:
        x, y = batch
        logits = self(x)
        self.accuracy(logits, y)
        self.log("test_loss", F.cross_entropy(logits, y))
        self.log("test_acc", self.accuracy)

    def predict_step(self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int) -> torch.Tensor:
        x, _ = batch
        return self(x)

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)]


class MNISTData(DETDM):
    def __init__(self, batch_size: int = 64, data_dir: str | None = None) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.data_dir = data_dir

    def prepare_data(self) -> None:
        mnist_data.fetch(self.data_dir)

    def setup(self, stage: str) -> None:
        self.train_set, self.val_set = mnist_data.load(self.data_dir)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val_set, batch_size=self.batch_size)

    def test_dataloader(self) -> DataLoader:
        # MNIST has two sets of digits; a project of yours has a third one, on which nothing was chosen
        return DataLoader(self.val_set, batch_size=self.batch_size)


class MNISTTrial(LightningAdapter):
    def __init__(self, context: PyTorchTrialContext) -> None:
        hparams = context.get_hparams()
        module = LitMNIST(lr=hparams["learning_rate"], width=hparams["width"], dropout=hparams["dropout"])
        data = MNISTData(batch_size=context.get_per_slot_batch_size(), data_dir=hparams.get("data_dir"))
        super().__init__(context, module, data, precision=hparams.get("precision", "32-true"))
