from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightning_adapter.cli import main
from lightning_adapter.evaluation import prediction_tables
from lightning_adapter.evaluation.loading import load_trial
from lightning_adapter.evaluation.predictions import Predictions, load

MODEL = """
import os
import time

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_adapter import LightningAdapter


def data(size):
    x = torch.arange(4.0 * size).reshape(size, 4) / size
    return TensorDataset(x, (torch.arange(size) % 2))


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", torch.nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def predict_step(self, batch, batch_idx):
        if "SECONDS_A_BATCH" in os.environ:
            time.sleep(float(os.environ["SECONDS_A_BATCH"]))
        return self(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class Nested(Net):
    def predict_step(self, batch, batch_idx):
        return {"logits": self(batch[0])}


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(data(16), batch_size=4, shuffle=True)

    def val_dataloader(self):
        return DataLoader(data(10), batch_size=4)


class Trial(LightningAdapter):
    module = Net

    def __init__(self, context):
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        super().__init__(context, self.module(), Data(), **quiet)


class NestedTrial(Trial):
    module = Nested
"""
TARGET = "model_of_predictions.py:Trial"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a project and the run `run` in it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "model_of_predictions.py").write_text(MODEL)
    config = {"hyperparameters": {}, "searcher": {"name": "single", "metric": "val_loss", "smaller_is_better": True}}
    (folder / "const.yaml").write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["fit", TARGET, "--config", "const.yaml", "--max-epochs", "1", "--seed", "1", "--run-dir", "run"]
        assert main(words) == 0
    return folder


@pytest.fixture(autouse=True)
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def test_predictions_of_a_run_are_those_of_the_module(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    assert main(["predict", "run", TARGET, "--split", "val"]) == 0
    printed = capsys.readouterr().out
    rows = [
        "file         samples  prediction              target                        key",
        "-----------  -------  ----------------------  ----------------------------  ----",
        "loader-0.pt  10       float32 tensor of 10x2  int64 tensor of 10, batch[1]  none",
        "",
        "predictions  run/predictions-val",
        "evaluate     lightning-adapter evaluate run/predictions-val --metrics FILE_OR_MODULE:NAME",
    ]
    assert [line.rstrip() for line in printed.splitlines()[-6:]] == rows
    found = load(Path("run/predictions-val/loader-0.pt"))
    trial = load_trial("run", TARGET)
    x = torch.arange(40.0).reshape(10, 4) / 10
    assert torch.equal(found["prediction"], trial.lightning_module(x).detach())
    manifest = json.loads(Path("run/predictions-val/manifest.json").read_text())
    assert manifest["split"] == "val"
    assert manifest["checkpoint"]["name"] == trial.checkpoint.name
    # once more: nothing is written over
    assert main(["predict", "run", TARGET, "--split", "val"]) == 2
    assert "holds complete predictions (10 samples, 1 loader, pt)" in capsys.readouterr().err
    assert main(["predict", "run", TARGET, "--split", "val", "--overwrite"]) == 0


def test_training_data_are_predicted_in_the_order_of_the_dataset(tmp_path: Path) -> None:
    out = tmp_path / "p"
    assert main(["predict", "run", TARGET, "--split", "train", "--out", str(out), "--format", "csv"]) == 0
    (chunk,) = Predictions.open(out).chunks()
    assert chunk.index.tolist() == list(range(16))
    assert chunk.target.tolist() == [n % 2 for n in range(16)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", TARGET], "Data has no predict_dataloader()"),
        (["run", TARGET, "--split", "test"], "Data has no test_dataloader()"),
        (
            ["run", f"{TARGET[:-5]}NestedTrial", "--split", "val", "--format", "csv"],
            "a dict of 'logits' (float32 tensor of 4x2)",
        ),
        (["run", TARGET, "--split", "val", "--out", "."], "is not empty and holds no predictions"),
        (["run", TARGET, "--split", "val", "--target-key", "7"], "Give a number from 0 to 1."),
        (["absent", TARGET, "--split", "val"], "absent"),
    ],
)
def test_bad_input_ends_with_status_2_and_leaves_nothing(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = [] if "--out" in words else ["--out", str(tmp_path / "p")]
    assert main(["predict", *words, *out]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_parquet_without_pyarrow_is_refused_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_tables.importlib.util, "find_spec", lambda name: None)
    assert main(["predict", "absent", "--format", "parquet"]) == 2
    assert "pip install 'lightning-adapter[parquet]'" in capsys.readouterr().err


@pytest.mark.slow
def test_same_command_goes_on_after_a_kill(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    out = tmp_path / "p"
    words = ["predict", "run", TARGET, "--split", "train", "--out", str(out)]
    script = (
        "import sys\nfrom lightning_adapter.evaluation.prediction_writer import PredictionWriting\n"
        "PredictionWriting.__init__.__defaults__ = (1, 30.0)\n"
        "from lightning_adapter.cli import main\nsys.exit(main())"
    )
    environment = {**os.environ, "SECONDS_A_BATCH": "1"}
    job = subprocess.Popen([sys.executable, "-c", script, *words], env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 90
        while len(list(out.glob(".parts/loader-0*.pt"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        job.send_signal(signal.SIGKILL)
        job.wait()
    assert 2 <= len(list(out.glob(".parts/loader-0*.pt"))) < 4
    assert main(words) == 0
    assert not [warning for warning in recwarn if "another order" in str(warning.message)]
    found = load(out / "loader-0.pt")
    assert found["index"].tolist() == list(range(16))
    x = torch.arange(64.0).reshape(16, 4) / 16
    assert torch.allclose(found["prediction"], load_trial("run", TARGET).lightning_module(x).detach())
    assert not (out / ".parts").exists()
