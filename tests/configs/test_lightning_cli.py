from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from lightning_adapter.configs import lightning_cli
from lightning_adapter.configs.lightning_cli import Cli
from lightning_adapter.errors import ConfigurationError


class Model(BoringModel):
    def __init__(self, lr: float, width: int = 2) -> None:
        super().__init__()
        self.lr, self.width = lr, width


class Data(BoringDataModule):
    def __init__(self, batch_size: int = 4) -> None:
        super().__init__()
        self.batch_size = batch_size


CONFIG = f"""
trainer:
  max_epochs: 2
  logger: false
seed_everything: 3
model:
  class_path: {__name__}.Model
  init_args:
    lr: 0.5
data:
  class_path: {__name__}.Data
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def test_composed_tree_holds_what_the_file_says_in_its_order(config: Path) -> None:
    tree = lightning_cli.compose(config)
    assert yaml.safe_dump(tree, sort_keys=False).strip() == CONFIG.strip()


def test_override_wins_over_the_file(config: Path) -> None:
    tree = lightning_cli.compose(config, ["--model.lr", "0.25", "--trainer.callbacks+=LearningRateMonitor"])
    assert tree["model"]["init_args"] == {"lr": 0.25}
    assert tree["trainer"]["callbacks"] == [{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}]


def test_wrong_type_in_the_file_is_told_with_its_line(config: Path) -> None:
    config.write_text(CONFIG.replace("0.5", "much"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"config.yaml, line 9: .*(?s:.*)Got value: much"):
        lightning_cli.compose(config)


def test_tree_becomes_the_objects_that_it_describes(config: Path) -> None:
    parts = lightning_cli.build(lightning_cli.compose(config), Cli(), seed=3)
    assert (parts.lightning_module.lr, parts.lightning_module.width) == (0.5, 2)
    assert parts.datamodule.batch_size == 4
    assert set(parts.trainer_arguments) == {"max_epochs", "logger", "callbacks"}


def test_seed_is_that_of_the_tree_or_lightnings_default(config: Path) -> None:
    assert lightning_cli.seed_of(lightning_cli.compose(config)) == 3
    assert lightning_cli.seed_of({}) is True
    assert lightning_cli.seed_of({}, Cli(arguments={"seed_everything_default": 7})) == 7
