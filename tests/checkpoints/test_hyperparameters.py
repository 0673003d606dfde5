"""Hyperparameters of every kind are in the file as plain data, and `load_from_checkpoint` gives them back as they were."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from packaging.version import Version

from lightning_adapter import LightningAdapter, fit
from parity.models import flavour

LIGHTNING = Version(pl.__version__)
models = flavour("pytorch_lightning", ours=True)


class Color(enum.Enum):
    RED = 1


class Word(str, enum.Enum):
    ADAM = "adam"


@dataclasses.dataclass
class Options:
    lr: float
    color: Color = Color.RED
    inner: dict[str, Any] = dataclasses.field(default_factory=dict)


class Table(dict):  # type: ignore[type-arg]
    pass


class Several(models.Net):
    def __init__(
        self,
        options: Any = None,
        color: Any = None,
        path: Any = None,
        args: Any = None,
        config: Any = None,
        plain: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()


class OneIsAll(models.Net):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.save_hyperparameters(config)
        self.rate = config.lr


class Data(models.Data):
    def __init__(self, options: Any = None) -> None:
        super().__init__()
        self.save_hyperparameters()


def checkpoint_of(module: Any, tmp_path: Path, data: Any = None, see: Any = None) -> Path:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            if see is not None:
                module.save_hyperparameters({"table": see(context)})
            super().__init__(
                context, module, data or models.Data(), max_steps=1, enable_model_summary=False, logger=False
            )

    trial = fit(Trial, run_dir=tmp_path / "run", hparams={"width": {"a": 1}})
    assert trial.latest_checkpoint is not None
    return trial.latest_checkpoint / "lightning.ckpt"


GIVEN: dict[str, Any] = {
    "options": Options(0.1, inner={"where": Path("a")}),
    "color": Color.RED,
    "path": Path("data") / "x",
    "args": argparse.Namespace(word=Word.ADAM, table=Table(a=1)),
    "config": OmegaConf.create({"lr": 0.1, "twice": "${.lr}", "list": [1, 2]}),
    "plain": 3,
}


@pytest.mark.filterwarnings("error:These objects are left out")
def test_objects_of_every_kind_are_given_back_as_what_they_were(tmp_path: Path) -> None:
    path = checkpoint_of(Several(**GIVEN), tmp_path)
    torch.load(path, weights_only=True)  # no class is named in it

    loaded = Several.load_from_checkpoint(path).hparams

    assert {name: (type(value), value) for name, value in loaded.items()} == {
        name: (type(value), value) for name, value in GIVEN.items()
    }
    assert type(loaded["args"].table) is Table and loaded["config"].twice == 0.1


def test_what_the_caller_gives_wins(tmp_path: Path) -> None:
    path = checkpoint_of(Several(**GIVEN), tmp_path)
    loaded = Several.load_from_checkpoint(path, strict=True, color="blue", plain=4).hparams
    assert (loaded["color"], loaded["plain"], loaded["path"]) == ("blue", 4, GIVEN["path"])


@pytest.mark.parametrize("config", [OmegaConf.create({"lr": 0.1, "b": "${lr}"}), argparse.Namespace(lr=0.1)], ids=str)
def test_one_argument_that_is_all_hyperparameters_keeps_its_attributes(config: Any, tmp_path: Path) -> None:
    loaded = OneIsAll.load_from_checkpoint(checkpoint_of(OneIsAll(config), tmp_path))
    assert (loaded.rate, loaded.hparams.lr) == (0.1, 0.1)
    assert isinstance(loaded.hparams, DictConfig) == isinstance(config, DictConfig)


def test_one_argument_is_changed_by_what_the_caller_gives(tmp_path: Path) -> None:
    path = checkpoint_of(OneIsAll(OmegaConf.create({"lr": 0.1})), tmp_path)
    assert OneIsAll.load_from_checkpoint(path, lr=0.5).rate == 0.5


def test_module_that_is_no_detlm_has_attributes_too(tmp_path: Path) -> None:
    class Theirs(flavour("pytorch_lightning", ours=False).Net):  # type: ignore[misc]
        def __init__(self, config: Any) -> None:
            super().__init__()
            self.save_hyperparameters(config)
            self.rate = config.lr

    path = checkpoint_of(Theirs(OmegaConf.create({"lr": 0.1})), tmp_path)
    assert Theirs.load_from_checkpoint(path, weights_only=True).rate == 0.1


def test_hyperparameters_of_the_datamodule_are_given_back(tmp_path: Path) -> None:
    path = checkpoint_of(models.Net(), tmp_path, Data(Options(0.3)))
    assert Data.load_from_checkpoint(path).hparams["options"] == Options(0.3)


@pytest.mark.filterwarnings("error:These objects are left out")
def test_group_that_the_context_gave_is_saved_as_a_plain_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] == "omegaconf"]:
            patch.delitem(sys.modules, name)
        path = checkpoint_of(Several(), tmp_path, see=lambda context: context.get_hparams())
    table = torch.load(path, weights_only=True)["hyper_parameters"]["table"]
    assert (type(table), table) == (dict, {"width": {"a": 1}})


def test_values_without_omegaconf_are_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = checkpoint_of(Several(**GIVEN), tmp_path)
    monkeypatch.delitem(sys.modules, "omegaconf")
    loaded = Several.load_from_checkpoint(path).hparams
    assert loaded["config"] == {"lr": 0.1, "twice": "${.lr}", "list": [1, 2]}


@pytest.mark.skipif(Version("2.6") > LIGHTNING, reason="it reads files of objects without being asked to")
def test_file_of_lightnings_trainer_is_left_to_lightning(tmp_path: Path) -> None:
    trainer = pl.Trainer(
        max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu",
    )  # fmt: skip
    trainer.fit(Several(path=Path("a"), plain=2), models.Data())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    assert Several.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=False).hparams["path"] == Path("a")


@pytest.mark.skipif(Version("2.1") > LIGHTNING, reason="it may be called on an instance")
def test_it_is_no_method_of_an_instance() -> None:
    with pytest.raises(TypeError, match="cannot be called on an instance"):
        Several().load_from_checkpoint("x")
