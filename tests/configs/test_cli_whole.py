"""What a LightningCLI says itself: its length, its callbacks and its devices are those of the experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_adapter import cli
from lightning_adapter.platform import experiment

_OWN = """
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.cli import LightningCLI

from lightning_adapter import ConfiguredTrial
from parts import Data, LitNet


class MyCLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.add_lightning_class_args(EarlyStopping, "early")
        parser.set_defaults({"trainer.max_epochs": 6, "early.monitor": "val/loss", "early.mode": "max"})


class FromClass(ConfiguredTrial):
    cli_class = MyCLI
    cli_arguments = {"model_class": LitNet, "datamodule_class": Data}


class FromTrainerDefaults(ConfiguredTrial):
    cli_class = LightningCLI
    cli_arguments = {
        "model_class": LitNet,
        "datamodule_class": Data,
        "trainer_defaults": {
            "max_steps": 40, "devices": 2, "num_nodes": 2, "callbacks": ModelCheckpoint(monitor="val/acc", mode="max")
        },
    }


class LinkedCLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.init_args.batch_size", "model", compute_fn=lambda size: {"class_path": "parts.LitNet"})


class FromLink(ConfiguredTrial):
    cli_class = LinkedCLI


class FromFile(ConfiguredTrial):
    cli_class = LightningCLI
    cli_arguments = {
        "model_class": LitNet,
        "datamodule_class": Data,
        "parser_kwargs": {"fit": {"default_config_files": ["base.yaml"]}},
    }
"""


@pytest.fixture
def init(capsys: pytest.CaptureFixture[str], configured: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the command for a trial of `own.py`, with a configuration that says next to nothing; return what it prints."""
    monkeypatch.syspath_prepend(str(configured))
    (configured / "own.py").write_text(_OWN)
    (configured / "base.yaml").write_text("trainer: {max_epochs: 5}\n")
    (configured / "own.yaml").write_text("fit:\n  model:\n    lr: 0.5\n")

    def run(trial: str, *words: str) -> str:
        assert cli.main(["init", f"own.py:{trial}", "--cli", "own.yaml", *words]) == 0
        return capsys.readouterr().out

    return run


def read(text: str) -> dict:
    Path("experiment.yaml").write_text(text)
    return experiment.read("experiment.yaml")


def test_defaults_of_the_class_give_length_and_metric_and_are_not_repeated(init) -> None:
    text = init("FromClass")
    assert "fit own.py:FromClass # as long as a default of the LightningCLI says, trainer.max_epochs: 6\n" in text
    assert "metric: val/loss # of EarlyStopping at early\n" in text
    config = read(text)
    assert config["searcher"] == {"name": "single", "metric": "val/loss", "smaller_is_better": False}
    assert config["hyperparameters"] == {"model": {"lr": 0.5}}
    assert "# Defaults of the LightningCLI that reads them are not repeated there" in text
    assert "and max_time: 6, the epochs of a trial" in init("FromClass", "model.lr=interval(0.1,0.5)")


def test_what_is_typed_wins_over_defaults_of_the_class(init) -> None:
    text = init("FromClass", "--trainer.max_epochs=2", "--early.monitor=val_loss")
    assert "fit own.py:FromClass # as long as hyperparameters.trainer says\n" in text
    assert "metric: val_loss # of EarlyStopping at early\n" in text


def test_trainer_defaults_give_length_slots_and_metric(init) -> None:
    text = init("FromTrainerDefaults")
    assert "as long as a default of the LightningCLI says, trainer.max_steps: 40\n" in text
    assert "metric: val/acc # of ModelCheckpoint at trainer_defaults.callbacks.0\n  smaller_is_better: false\n" in text
    assert read(text)["resources"] == {"slots_per_trial": 4}


def test_slots_that_are_typed_stand_over_devices_of_trainer_defaults(init) -> None:
    text = init("FromTrainerDefaults", "--slots", "1")
    assert read(text)["hyperparameters"]["trainer"] == {"devices": "auto", "num_nodes": 1}
    assert "devices: auto # as resources.slots_per_trial says; it was 2\n" in text


def test_default_config_files_give_the_length(init) -> None:
    assert "trainer.max_epochs: 5\n" in init("FromFile")


def test_lightning_cli_without_defaults_of_its_own_asks_for_a_length(init) -> None:
    Path("base.yaml").write_text("{}\n")
    assert "TO CHANGE: add --max-epochs N; without it Lightning trains 1000 epochs" in init("FromFile")


def test_experiment_is_named_after_the_module_that_the_class_knows(init) -> None:
    assert read(init("FromClass"))["name"] == "LitNet"
    assert read(init("FromFile"))["name"] == "LitNet"


def test_experiment_whose_module_only_a_link_knows_is_named_after_the_trial(init) -> None:
    Path("own.yaml").write_text("data: {class_path: parts.Data, init_args: {batch_size: 4}}\n")
    assert read(init("FromLink"))["name"] == "FromLink"
