"""Train a small CNN on MNIST with PyTorch Lightning."""

from __future__ import annotations

import argparse

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics import Accuracy

import mnist_data


class LitMNIST(pl.LightningModule):
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


class MNISTData(pl.LightningDataModule):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--data-dir", help="directory with the four .gz files of MNIST")
    parser.add_argument("--max-epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    pl.seed_everything(args.seed)
    module = LitMNIST(lr=args.learning_rate, width=args.width, dropout=args.dropout)
    data = MNISTData(batch_size=args.batch_size, data_dir=args.data_dir)
    trainer = pl.Trainer(max_epochs=args.max_epochs, logger=False, enable_checkpointing=False)
    trainer.fit(module, data)
    print(f"val_acc={trainer.callback_metrics['val_acc']:.4f} val_loss={trainer.callback_metrics['val_loss']:.4f}")


if __name__ == "__main__":
    main()
