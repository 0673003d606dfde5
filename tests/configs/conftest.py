"""A small project with a configuration in each dialect, as the current directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_adapter import cli

_PARTS = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import pytorch_lightning as pl


class Net(nn.Sequential):
    def __init__(self, hidden: int = 4, dropout: float = 0.2):
        super().__init__(nn.Linear(4, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 2))


class LitNet(pl.LightningModule):
    def __init__(self, lr: float = 0.1, hidden: int = 4):
        super().__init__()
        self.save_hyperparameters()
        self.net = Net(hidden)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self.net(x), y))

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_loss", nn.functional.cross_entropy(self.net(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class HydraNet(LitNet):
    def __init__(self, net, optimizer, lr=0.0):
        pl.LightningModule.__init__(self)
        self.net, self.make, self.lr = net, optimizer, lr

    def configure_optimizers(self):
        return self.make(params=self.parameters())


class Data(pl.LightningDataModule):
    def __init__(self, batch_size: int = 8):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        x = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
        self.train, self.val = random_split(TensorDataset(x, (x.sum(1) > 0).long()), [32, 16])

    def train_dataloader(self):
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, self.batch_size)

    test_dataloader = val_dataloader
"""
_CLI = """\
seed_everything: 7
trainer:
  max_epochs: 2
  callbacks:
    - class_path: pytorch_lightning.callbacks.EarlyStopping
      init_args:
        monitor: val_loss
        patience: 3
model:
  class_path: parts.LitNet
  init_args:
    lr: 0.05
data:
  class_path: parts.Data
  init_args:
    batch_size: 4
"""
_HYDRA = {
    "train.yaml": """\
defaults: [_self_, data: small, model: net, trainer: default, experiment: null]
seed: 3
optimized_metric: val_loss
paths:
  output_dir: ${hydra:runtime.output_dir}
""",
    "data/small.yaml": "_target_: parts.Data\nbatch_size: 4\n",
    "model/net.yaml": """\
_target_: parts.HydraNet
optimizer: {_target_: torch.optim.SGD, _partial_: true, lr: 0.05}
net: {_target_: parts.Net, hidden: 4}
lr: ${model.optimizer.lr}
""",
    "model/wide.yaml": """\
_target_: parts.HydraNet
optimizer: {_target_: torch.optim.Adam, _partial_: true, lr: 0.01}
net: {_target_: parts.Net, hidden: 8}
lr: ${model.optimizer.lr}
""",
    "trainer/default.yaml": """\
_target_: pytorch_lightning.Trainer
default_root_dir: ${paths.output_dir}
max_epochs: 2
""",
    "experiment/big.yaml": "# @package _global_\ndefaults: [{override /model: wide}]\nseed: 5\n",
}


@pytest.fixture
def configured(project: Path) -> Path:
    """`parts.py` with the classes, LightningCLI's `config.yaml`, and Hydra's `configs/train.yaml`."""
    (project / "parts.py").write_text(_PARTS)
    (project / "config.yaml").write_text(_CLI)
    for name, text in _HYDRA.items():
        path = project / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return project


@pytest.fixture
def init(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command; return what it prints."""

    def run(*words: str, status: int = 0) -> str:
        assert cli.main(["init", *words]) == status
        printed = capsys.readouterr()
        assert bool(printed.out) == (status == 0)
        return printed.out if status == 0 else printed.err

    return run
