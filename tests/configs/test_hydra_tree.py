from __future__ import annotations

from pathlib import Path

import pytest

from lightning_adapter.configs import hydra_tree
from lightning_adapter.errors import ConfigurationError

pytest.importorskip("hydra")

PROJECT = """
import torch
import lightning.pytorch as pl
from torch.utils.data import DataLoader


class Net(torch.nn.Linear):
    pass


class Model(pl.LightningModule):
    def __init__(self, net, optimizer, out=None):
        super().__init__()
        self.net, self.optimizer, self.out = net, optimizer, out

    def training_step(self, batch, batch_idx):
        loss = self.net(batch).square().mean()
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return self.optimizer(self.parameters())


class Data(pl.LightningDataModule):
    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self):
        return DataLoader(torch.randn(32, 4), batch_size=self.batch_size, shuffle=True)
"""

TRAIN = """
defaults:
  - _self_
  - data: small
  - model: linear
  - callbacks: null
  - experiment: null

seed: 7
width: 2
paths:
  output_dir: ${hydra:runtime.output_dir}
trainer:
  _target_: lightning.pytorch.Trainer
  default_root_dir: ${paths.output_dir}
  max_epochs: 2
  check_val_every_n_epoch: 1
"""

FILES = {
    "configs/train.yaml": TRAIN,
    "configs/data/small.yaml": "_target_: hydra_project.Data\nbatch_size: 4\n",
    "configs/model/linear.yaml": """
_target_: hydra_project.Model
net:
  _target_: hydra_project.Net
  in_features: 4
  out_features: ${width}
optimizer:
  _target_: torch.optim.SGD
  _partial_: true
  lr: 0.1
out: ${paths.output_dir}/x
""",
    "configs/callbacks/stop.yaml": """
early_stopping:
  _target_: lightning.pytorch.callbacks.EarlyStopping
  monitor: ???
""",
    "configs/experiment/wide.yaml": "# @package _global_\nwidth: 3\nmodel:\n  optimizer:\n    lr: 0.5\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "hydra_project.py").write_text(PROJECT)
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_experiment_and_overrides_are_composed_and_interpolations_kept(project: Path) -> None:
    tree = hydra_tree.compose("configs", None, ["experiment=wide", "data.batch_size=8", "+extra=1"])
    assert (tree["width"], tree["model"]["optimizer"]["lr"], tree["data"]["batch_size"], tree["extra"]) == (
        3,
        0.5,
        8,
        1,
    )
    assert tree["model"]["net"]["out_features"] == "${width}"
    assert "hydra" not in tree


def test_parts_are_made_and_the_trainer_is_not(project: Path) -> None:
    tree = hydra_tree.compose("configs")
    run = project / "run"
    hydra_tree.check(tree, run)
    parts = hydra_tree.build(tree, run)
    assert parts.lightning_module.net.out_features == 2  # type: ignore[union-attr]
    assert parts.lightning_module.out == f"{run}/x"
    assert parts.datamodule is not None and parts.datamodule.batch_size == 4  # type: ignore[attr-defined]
    assert parts.trainer_arguments == {"max_epochs": 2, "default_root_dir": str(run)}
    assert hydra_tree.seed_of(tree) == 7


def test_all_missing_values_are_told_at_once(project: Path) -> None:
    tree = hydra_tree.compose("configs", None, ["callbacks=stop", "model.net.in_features=???"])
    with pytest.raises(
        ConfigurationError, match=r"model\.net\.in_features, callbacks\.early_stopping\.monitor: `\?\?\?`"
    ):
        hydra_tree.check(tree, project)
