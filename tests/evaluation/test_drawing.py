"""Does `lightning-adapter draw` show a trial's batches as training gets them, and a run's with its predictions?"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_adapter import cli
from lightning_adapter.evaluation import drawing
from lightning_adapter.pictures.predictions import Prediction
from lightning_adapter.runs import picture_file

PROJECT = """
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset
from lightning_adapter import DETDM, DETLM, LightningAdapter


def data(offset):
    made = torch.Generator().manual_seed(0)
    return TensorDataset(torch.rand(12, 3, 8, 8, generator=made) + offset, torch.arange(12) % 3)


class Net(DETLM):
    def setup(self, stage):
        if not hasattr(self, "layer"):
            self.layer = torch.nn.Linear(3 * 64, 3)

    def forward(self, x):
        return self.layer(x.flatten(1))

    def on_after_batch_transfer(self, batch, dataloader_idx):
        x, y = batch if isinstance(batch, list) else batch["a"]
        x = x + 10 * self.trainer.training + 100 * self.training  # augmentation of training batches
        return [x, y] if isinstance(batch, list) else {"a": [x, y], "b": batch["b"]}

    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Data(DETDM):
    def setup(self, stage):
        self.data = data(0)
        self.data.classes = ["cat", "dog", "cow"]

    def train_dataloader(self):
        return DataLoader(self.data, 4, shuffle=True)

    def val_dataloader(self):
        return [DataLoader(self.data, 6), DataLoader(data(1), 12)]


class Augmenting(Data):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [batch[0] + 1000 * self.trainer.training, batch[1]]


class Several(Data):
    def train_dataloader(self):
        return {"a": DataLoader(self.data, 4), "b": DataLoader(self.data, 6)}


class Nothing(Data):
    def train_dataloader(self):
        return []


class Trial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, Net(), Data(), max_epochs=1, enable_progress_bar=False, enable_model_summary=False)


class SeveralTrial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, Net(), Several())


class AugmentingTrial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, Net(), Augmenting(), max_epochs=1, enable_progress_bar=False)


class NothingTrial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, Net(), Nothing())
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a trial in it, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "drawn_def.py").write_text(PROJECT)
    yield tmp_path
    sys.modules.pop("drawn_def", None)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str, Any, Prediction | None]]:
    """What is given to be drawn; the pictures are empty."""
    found: list[tuple[Any, str, Any, Prediction | None]] = []

    def draw(*given: Any) -> Any:
        found.append(given)  # type: ignore[arg-type]
        return torch.zeros(2, 2, 3, dtype=torch.uint8).numpy()

    monkeypatch.setattr(drawing, "draw", draw)
    return found


def test_batches_of_a_trial_are_drawn_as_training_gets_them(
    project: Path, drawn: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["draw", "drawn_def.py:Trial", "--batches", "2", "--seed", "1"]) == 0
    assert [title for _, title, *_ in drawn] == ["train batch 0 · Trial", "train batch 1 · Trial"]
    (x, y), _, style, prediction = drawn[0]
    assert (x >= 110).all() and (x <= 111).all()  # what is done to batches that train is done
    assert (x.shape, y.shape, prediction) == ((4, 3, 8, 8), (4,), None)
    assert style.classes == ["cat", "dog", "cow"]
    assert [picture_file.is_ours(project / "pictures" / f"train-batch-{i}.png") for i in range(2)] == [True, True]
    said = capsys.readouterr().out
    assert "batch[0]  float32  [4, 3, 8, 8]  110" in said
    assert "picture  pictures/train-batch-1.png" in said
    assert not (project / "runs").exists()


def test_each_validation_loader_is_drawn_without_what_is_done_to_training_batches(
    project: Path, drawn: list[Any]
) -> None:
    assert cli.main(["draw", "drawn_def.py:Trial", "--split", "val", "--batches", "9", "--out", "here/deep"]) == 0
    assert sorted(path.name for path in (project / "here" / "deep").iterdir()) == [
        "val-batch-0.png", "val-batch-1.png", "val-loader-1-batch-0.png",
    ]  # fmt: skip
    assert [(len(batch[0]), int(batch[0].min())) for batch, *_ in drawn] == [(6, 0), (6, 0), (12, 1)]
    assert [title for _, title, *_ in drawn][-1] == "val batch 0 of loader 1 · Trial"


@pytest.mark.parametrize(("split", "least"), [("train", 1000), ("val", 0)])
def test_hooks_of_the_datamodule_see_the_stage_of_the_split(
    project: Path, drawn: list[Any], split: str, least: int
) -> None:
    assert cli.main(["draw", "drawn_def.py:AugmentingTrial", "--split", split]) == 0
    assert int(drawn[0][0][0].min()) == least


def test_training_loaders_give_one_batch_together(project: Path, drawn: list[Any]) -> None:
    assert cli.main(["draw", "drawn_def.py:SeveralTrial", "--batches", "5"]) == 0
    assert [(len(batch["a"][0]), len(batch["b"][0])) for batch, *_ in drawn] == [(4, 6)] * 3


def test_a_run_is_drawn_with_what_its_best_model_predicts(
    project: Path, drawn: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["fit", "drawn_def.py:Trial", "--run-dir", "run", "--seed", "1"]) == 0
    capsys.readouterr()
    assert cli.main(["draw", "run"]) == 0
    printed = capsys.readouterr().out
    (batch, title, _, prediction), other = drawn
    (checkpoint,) = (project / "run" / "checkpoints").iterdir()
    assert title == f"val batch 0 · Trial · checkpoint {checkpoint.name}"
    saved = torch.load(checkpoint / "lightning.ckpt", weights_only=False)["state_dict"]
    expected = batch[0].flatten(1) @ saved["layer.weight"].T + saved["layer.bias"]
    assert torch.allclose(prediction.value, expected)
    assert re.findall(r"^prediction +float32 +(\[.*?\])", printed, re.MULTILINE) == ["[6, 3]", "[12, 3]"]
    assert len(other[0][0]) == 12
    assert sorted(path.name for path in (project / "run" / "pictures" / "batches").iterdir()) == [
        "val-batch-0.png", "val-loader-1-batch-0.png",
    ]  # fmt: skip
    drawn.clear()
    capsys.readouterr()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a run that may only be read
    assert cli.main(["draw", "run"]) == 2
    assert "may not be written to. Name another directory with --out" in capsys.readouterr().err and drawn == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["drawn_def.py:Trial", "--last"],
            r"--last with the trial drawn_def.py:Trial, which is not trained: leave it out",
        ),
        (["drawn_def.py:Trial", "b.py:C", "--last"], r"--last and b.py:C with the trial .*: leave them out"),
        (["drawn_def.py:Data"], "draw was given .*, which is no trial class"),
        (["drawn_def.py:Tril"], "did you mean 'Trial'"),
        (["drawn_def.py:NothingTrial"], "The train loaders of NothingTrial give no batch"),
        (["drawn_def.py:Trial", "--split", "test"], r"Data has no test_dataloader\(\)"),
        (["drawn_def.py:Trial", "--out", "drawn_def.py/a"], "drawn_def.py is no directory. Name another one"),
        (["no/such/run"], "no/such/run"),
        ([".", "--seed", "1"], "--seed is for a trial that is not trained"),
    ],
)
def test_what_cannot_be_drawn_is_told_with_status_2(
    project: Path, drawn: list[Any], words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["draw", *words]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error.replace("\n", " ")), error
    assert drawn == []
    assert not (project / "pictures").exists()


@pytest.mark.parametrize("number", ["0", "-1", "some"])
def test_a_number_of_batches_is_one_or_more(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["draw", "a.py:B", f"--batches={number}"])
    assert f"'{number}' is no number of them: give 1 or more" in capsys.readouterr().err
