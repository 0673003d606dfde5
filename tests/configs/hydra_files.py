"""A small project whose scripts are Hydra's: modules, and a tree of configurations."""

from __future__ import annotations

from pathlib import Path

PROJECT = """
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

MADE = []


class Net(torch.nn.Sequential):
    def __init__(self, inputs, width, outputs):
        super().__init__(torch.nn.Linear(inputs, width), torch.nn.ReLU(), torch.nn.Linear(width, outputs))
        self.width = width
        MADE.append("net")


class Model(pl.LightningModule):
    def __init__(self, net, optimizer, out=None, extra=None):
        super().__init__()
        MADE.append("model")
        self.net, self.optimizer, self.out, self.extra = net, optimizer, out, extra

    def training_step(self, batch, batch_idx):
        loss = self.net(batch).square().mean()
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return self.optimizer(self.parameters())


class Data(pl.LightningDataModule):
    def __init__(self, batch_size, path=None):
        super().__init__()
        MADE.append("data")
        self.batch_size, self.path = batch_size, path
        self.rows = torch.randn(32, 4)

    def train_dataloader(self):
        return DataLoader(self.rows, batch_size=self.batch_size, shuffle=True)


class Told(pl.Callback):
    def __init__(self, name):
        MADE.append(f"callback {name}")
        self.name = name


class Logger(pl.loggers.CSVLogger):
    def __init__(self, save_dir):
        super().__init__(save_dir)
        MADE.append("logger")


class Broken:
    def __init__(self):
        raise LookupError("the file of weights is empty")


def several(names):
    return [Told(name) for name in names]
"""

FILES = {
    "hydra_project.py": PROJECT,
    "configs/train.yaml": """
defaults:
  - _self_
  - data: small
  - model: plain
  - callbacks: null
  - logger: null
  - experiment: null

seed: 7
width: 2
tags: [a]
task_name: fitting
optimized_metric: null
ckpt_path: null
train: true
test: true
extras:
  print_config: true
paths:
  root_dir: ${oc.env:PROJECT_ROOT}
  data_dir: ${paths.root_dir}/data
  output_dir: ${hydra:runtime.output_dir}
trainer:
  _target_: pytorch_lightning.Trainer
  default_root_dir: ${paths.output_dir}
  max_epochs: 2
  check_val_every_n_epoch: 1
  enable_progress_bar: false
""",
    "configs/data/small.yaml": "_target_: hydra_project.Data\nbatch_size: 4\npath: ${paths.data_dir}\n",
    "configs/model/plain.yaml": """
_target_: hydra_project.Model
net:
  _target_: hydra_project.Net
  inputs: 4
  width: ${width}
  outputs: 1
optimizer:
  _target_: torch.optim.SGD
  _partial_: true
  lr: 0.1
out: ${paths.output_dir}/x
""",
    "configs/callbacks/two.yaml": """
first:
  _target_: hydra_project.Told
  name: first
second:
  _target_: hydra_project.Told
  name: second
unused:
  name: third
""",
    "configs/callbacks/stop.yaml": """
early_stopping:
  _target_: pytorch_lightning.callbacks.EarlyStopping
  monitor: ???
""",
    "configs/logger/csv.yaml": """
csv:
  _target_: hydra_project.Logger
  save_dir: ${paths.output_dir}
""",
    "configs/experiment/wide.yaml": """
# @package _global_
defaults:
  - override /callbacks: two
width: 3
model:
  optimizer:
    lr: 0.5
""",
}


def write(directory: Path, **more: str) -> None:
    """Write the project, and more files: name -> content."""
    for name, text in {**FILES, **more}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip("\n"))
