"""A small trial with everything that a resume could get wrong: shuffling, dropout, a scheduler, a model with a state."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from typing import Any

import determined
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from lightning_adapter import DETDM, DETLM, LightningAdapter

BATCHES = 16  # of an epoch


class Net(DETLM):
    def __init__(self, lr: float, width: int, seconds_per_batch: float, dies_at: int | None) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(
            nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 1)
        )

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y = batch
        loss = functional.mse_loss(self.layers(x), y)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        time.sleep(self.hparams.seconds_per_batch)
        return loss

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        info = determined.get_cluster_info()
        if self.trainer.global_step == self.hparams.dies_at and info is not None and info.latest_checkpoint is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", functional.mse_loss(self.layers(x), y))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)]

    def on_train_end(self) -> None:
        if self.trainer.is_global_zero:
            digest = hashlib.sha256()
            for value in self.state_dict().values():
                digest.update(value.cpu().numpy().tobytes())
            print(f"weights {digest.hexdigest()}", flush=True)


class Data(DETDM):
    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(200, 8, generator=generator)
        y = x.pow(2).sum(1, keepdim=True)
        self.training, self.held_out = TensorDataset(x[:160], y[:160]), TensorDataset(x[160:], y[160:])

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.training, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.held_out, batch_size=self.batch_size)


class Trial(LightningAdapter):
    def __init__(self, context: Any) -> None:
        hparams = context.get_hparams()
        patience = hparams.get("patience")
        callbacks = [pl.callbacks.EarlyStopping("val_loss", patience=patience, min_delta=1e9)] if patience else []
        module = Net(hparams["lr"], hparams["width"], hparams.get("seconds_per_batch", 0.0), hparams.get("dies_at"))
        super().__init__(
            context, module, Data(context.get_per_slot_batch_size()), callbacks=callbacks, log_every_n_steps=5
        )
