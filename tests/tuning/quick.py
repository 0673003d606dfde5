"""A trial whose training takes milliseconds, and whose values follow from its hyperparameters."""

from __future__ import annotations

import os
import sys

import torch
from determined import InvalidHP
from torch.utils.data import DataLoader

from lightning_adapter import DETLM, LightningAdapter


class Module(DETLM):
    """Logs `loss`: |lr - 0.3| + noise of its training / epochs; `metric` names it otherwise."""

    def __init__(self, lr: float, metric: str, epochs: int, breaks: str) -> None:
        super().__init__()
        self.lr, self.metric, self.breaks = lr, metric, breaks
        self.weight = torch.nn.Parameter(torch.rand(3))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if self.breaks == "training" and self.current_epoch == 1:
            raise ValueError("broken")
        if self.breaks == "exit" and self.current_epoch == 1:
            sys.exit(143)
        if self.breaks == "kill" and self.current_epoch == 1:
            os.kill(os.getpid(), 9)
        loss = (self.weight * batch.mean() + torch.rand(3)).sum()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        value = abs(self.lr - 0.3) + float(self.weight.detach().abs().sum()) / 1000 / (1 + self.current_epoch)
        self.log(self.metric, float("nan") if self.breaks == "nan" else value)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.rand(4, 2), batch_size=2, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(torch.rand(2, 2), batch_size=2)


class Quick(LightningAdapter):
    def __init__(self, context) -> None:
        get = context.get_hparams().get
        if get("breaks") == "invalid":
            raise InvalidHP("not this one")
        module = Module(get("lr"), get("metric", "loss"), 4, get("breaks", ""))
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        super().__init__(context, module, max_epochs=get("max_epochs", 4), **quiet)
