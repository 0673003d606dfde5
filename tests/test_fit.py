"""Does fit() off a cluster train what it is asked to train, and leave behind what a person wants to find?"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import logging
import math
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import determined
import lightning.pytorch
import pytest
import pytorch_lightning as pl
import torch
from determined import pytorch
from ruamel.yaml import YAML
from torch.nn import functional
from torch.utils.data import DataLoader, RandomSampler

import lightning_adapter.lightning
from lightning_adapter import DETDM, DETLM, LightningAdapter, fit
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import curves
from lightning_adapter.runs.directory import RunDirectory
from parity.models import flavour, samples
from two_ways import weights

models = flavour("pytorch_lightning", ours=True)
ROOT = Path(__file__).resolve().parent.parent
EPOCH = 6  # batches of models.Data

Make = Callable[[], Any]


def trial_of(module: Make = models.Net, data: Make | None = models.Data, **arguments: Any) -> type[LightningAdapter]:
    """A trial with the given trainer arguments."""

    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            given = {"max_epochs": 2, "enable_model_summary": False, "log_every_n_steps": 2, **arguments}
            super().__init__(context, module(), data and data(), **given)

    return Trial


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    path = tmp_path / "work"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def validated_at(trial: LightningAdapter) -> list[int]:
    rows = list(csv.DictReader((trial.run_dir / "metrics.csv").open()))
    return [int(row["batches"]) for row in rows if row["kind"] == "validation"]


def checkpoints_at(trial: LightningAdapter) -> list[int]:
    read = YAML(typ="safe").load
    return sorted(read(path)["steps_completed"] for path in trial.run_dir.glob("checkpoints/*/metadata.json"))


# --- the run directory ------------------------------------------------------------------------------------------------


def test_run_directory_holds_what_a_person_looks_for(working_directory: Path) -> None:
    trial = fit(trial_of(), config={"hyperparameters": {"width": {"type": "const", "val": 3}}}, seed=1)
    run = trial.run_dir
    assert run.parent.resolve() == working_directory / "runs" / "Trial"
    assert (working_directory / "runs" / "Trial" / "latest").resolve() == run.resolve()
    assert {path.name for path in run.iterdir()} == {
        "checkpoints", "metrics.csv", "train.log", "curves.png", "experiment.yaml", "tensorboard", "run.json", "best",
        "last", ".lock", ".run.json", ".run.json.lock",
    }  # fmt: skip
    assert YAML(typ="safe").load(run / "experiment.yaml")["hyperparameters"] == {"width": 3}
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_metrics_file_has_each_value_at_its_batch_and_epoch() -> None:
    trial = fit(trial_of(), seed=1)
    rows = list(csv.DictReader((trial.run_dir / "metrics.csv").open()))
    seen = [(row["kind"], int(row["batches"]), int(row["epoch"]), {n for n in list(row)[3:] if row[n]}) for row in rows]
    one_epoch = [
        *(("train", batch, {"train_loss_step", "lr-SGD"}) for batch in (2, 4, 6)),
        ("validation", 6, {"val_loss"}),
        ("train", 6, {"train_loss_epoch", "lr-SGD"}),
    ]
    assert seen == [(kind, batch + 6 * epoch, epoch, names) for epoch in range(2) for kind, batch, names in one_epoch]
    last = {name: float(value) for row in rows for name, value in list(row.items())[3:] if value}
    for name in ("train_loss_step", "train_loss_epoch", "val_loss"):
        assert last[name] == float(trial.callback_metrics[name]), name


def test_a_second_run_gets_a_directory_of_its_own_and_the_link() -> None:
    first, second = fit(trial_of(max_epochs=1)), fit(trial_of(max_epochs=1))
    assert first.run_dir != second.run_dir
    assert (second.run_dir.parent / "latest").resolve() == second.run_dir.resolve()


def test_run_dir_is_used_as_given(tmp_path: Path) -> None:
    trial = fit(trial_of(max_epochs=1), run_dir=tmp_path / "mine")
    assert trial.run_dir == tmp_path / "mine"
    assert trial.latest_checkpoint.parent == tmp_path / "mine" / "checkpoints"


@pytest.mark.parametrize("start", [{}, {"warm_start_from": "mine"}, {"resume_from": "other"}])
def test_run_into_the_directory_of_another_run_is_refused_and_changes_nothing(start: dict[str, str]) -> None:
    keep = {"checkpoint_storage": {"save_trial_latest": 2}}
    fit(trial_of(), run_dir="mine", config=keep)
    fit(trial_of(max_epochs=1), run_dir="other")
    before = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}
    with pytest.raises(
        ConfigurationError, match=r"mine holds a run already, with 2 checkpoints.*batch 12.*--resume-from"
    ):
        fit(trial_of(), run_dir="mine", **start)
    assert before == {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}


def test_run_goes_on_in_its_own_directory_as_the_run_that_nobody_stopped() -> None:
    keep = {"checkpoint_storage": {"save_trial_latest": 9}, "searcher": {"metric": "val_loss"}}
    whole = fit(trial_of(), seed=3, config=keep, run_dir="whole")
    fit(trial_of(), seed=3, config=keep, max_steps=8, run_dir="mine")
    resumed = fit(trial_of(), config=keep, run_dir="mine", resume_from="mine")
    rows, uninterrupted = (list(csv.reader((trial.run_dir / "metrics.csv").open())) for trial in (resumed, whole))
    assert uninterrupted == [row for row in rows if row in uninterrupted]
    assert {row[1] for row in rows if row not in uninterrupted} <= {"8"}  # the end of the run that was cut short
    assert checkpoints_at(resumed) == [6, 8, 12]


def test_resume_that_does_not_come_to_train_discards_nothing() -> None:
    keep = {"checkpoint_storage": {"save_trial_latest": 9}}
    trial = fit(trial_of(), run_dir="mine", config=keep)
    earlier = next(
        path.parent for path in Path("mine").glob("checkpoints/*/metadata.json") if '": 6' in path.read_text()
    )
    rows = (trial.run_dir / "metrics.csv").read_bytes()
    with pytest.raises(ZeroDivisionError):
        fit(trial_of(lambda: 1 / 0), run_dir="mine", config=keep, resume_from=earlier)
    assert (trial.run_dir / "metrics.csv").read_bytes() == rows
    assert checkpoints_at(trial) == [6, 12]


def test_directory_that_another_process_uses_is_refused_with_its_name() -> None:
    run = RunDirectory.create("Trial", run_dir="mine")
    with pytest.raises(ConfigurationError, match=rf"in use by process {os.getpid()} on .+, since \d{{4}}-"):
        fit(trial_of(max_epochs=1), run_dir="mine")
    run.close()
    fit(trial_of(max_epochs=1), run_dir="mine")


def test_run_that_its_constructor_ended_begins_anew_in_its_directory() -> None:
    with pytest.raises(ZeroDivisionError):
        fit(trial_of(lambda: 1 / 0), run_dir="mine")
    assert fit(trial_of(max_epochs=1), run_dir="mine").latest_checkpoint is not None
    assert not Path("mine/superseded").exists()


@pytest.mark.parametrize("name", ["a#b", "a?b=c", "a;b", "a%20b", "s3:x", "a b"])
def test_directory_of_any_name_is_one(name: str) -> None:
    trial = fit(trial_of(max_epochs=1), run_dir=f"runs/{name}")
    assert trial.latest_checkpoint.is_dir()
    assert fit(trial_of(), resume_from=trial.run_dir, run_dir=trial.run_dir).lightning_module.trainer.global_step == 12


def test_user_code_may_change_the_working_directory(tmp_path: Path) -> None:
    class Leaves(models.Net):
        def on_train_start(self) -> None:
            (tmp_path / "elsewhere").mkdir()
            os.chdir(tmp_path / "elsewhere")

    begun = Path.cwd()
    trial = fit(trial_of(Leaves, max_epochs=1))
    assert trial.run_dir.parent == begun / "runs" / "Trial"
    assert (trial.latest_checkpoint / "lightning.ckpt").is_file() and (trial.run_dir / "curves.png").is_file()
    assert not list((tmp_path / "elsewhere").iterdir())


# --- the best checkpoint ----------------------------------------------------------------------------------------------


class Worsens(models.Net):
    """Its validation gives what the test wants, epoch by epoch."""

    losses = (0.5, 0.1, 0.3, 0.2, 0.4)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.losses[self.trainer.current_epoch])


BY_LOSS = {"searcher": {"metric": "val_loss"}}


def test_best_checkpoint_of_an_earlier_run_comes_along_into_each_directory() -> None:
    first = fit(trial_of(Worsens, max_epochs=2), config=BY_LOSS, run_dir="a")
    second = fit(trial_of(Worsens, max_epochs=3), config=BY_LOSS, run_dir="b", resume_from="a")
    third = fit(trial_of(Worsens, max_epochs=5), config=BY_LOSS, run_dir="c", resume_from="b")
    for name, trial in (("a", first), ("b", second), ("c", third)):
        assert trial.best_checkpoint == trial.run_dir / "checkpoints" / first.best_checkpoint.name
        assert trial.run_dir.name == name and (trial.best_checkpoint / "lightning.ckpt").exists()


def test_best_of_equal_checkpoints_is_the_one_that_is_kept() -> None:
    class Equal(Worsens):
        losses = (0.1, 0.1, 0.3, 0.2)

    first = fit(trial_of(Equal, max_epochs=3), config=BY_LOSS, run_dir="a")
    second = fit(trial_of(Equal, max_epochs=4), config=BY_LOSS, run_dir="b", resume_from="a")
    assert second.best_checkpoint_uuid == first.best_checkpoint_uuid


def test_best_checkpoint_is_known_by_the_searchers_metric_of_this_run(caplog: pytest.LogCaptureFixture) -> None:
    fit(trial_of(Worsens, max_epochs=2), config=BY_LOSS, run_dir="a")
    largest = {"searcher": {"metric": "other"}}

    class Other(Worsens):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("other", 7.0)

    second = fit(trial_of(Other, max_epochs=3), config=largest, run_dir="b", resume_from="a")
    assert second.best_checkpoint == second.latest_checkpoint
    assert second.best_checkpoint.parent.parent.name == "b"


def test_best_checkpoint_that_is_gone_is_said(caplog: pytest.LogCaptureFixture) -> None:
    first = fit(trial_of(Worsens, max_epochs=3), config=BY_LOSS, run_dir="a")
    shutil.rmtree(first.best_checkpoint)
    second = fit(trial_of(Worsens, max_epochs=4), config=BY_LOSS, run_dir="b", resume_from="a")
    assert "is not there any more" in caplog.text
    assert second.best_checkpoint == second.latest_checkpoint


def test_no_checkpoint_is_the_best_without_a_validation(capfd: pytest.CaptureFixture[str]) -> None:
    trial = fit(trial_of(max_epochs=1, limit_val_batches=0), config=BY_LOSS)
    assert trial.best_checkpoint is None and trial.latest_checkpoint is not None
    assert "best checkpoint  not known: no checkpoint was validated with a finite val_loss\n" in capfd.readouterr().out


def test_no_checkpoint_is_the_best_where_none_was_due_at_a_validation(capfd: pytest.CaptureFixture[str]) -> None:
    trial = fit(trial_of(max_steps=3, val_check_interval=2), config=BY_LOSS, checkpoint_period=pytorch.Batch(100))
    assert trial.best_checkpoint is None and "val_loss" in trial.callback_metrics
    assert "best checkpoint  not known: no checkpoint was validated with a finite val_loss\n" in capfd.readouterr().out


def test_checkpoints_taken_in_a_working_directory_with_runs_hold_no_copy_of_it(working_directory: Path) -> None:
    (working_directory / "code.py").write_text("x = 1")
    keep = {"checkpoint_storage": {"save_trial_latest": 3}}
    trial = fit(trial_of(max_epochs=3), config=keep)
    assert checkpoints_at(trial) == [6, 12, 18]
    for directory in (trial.run_dir / "checkpoints").iterdir():
        assert sorted(path.name for path in directory.rglob("*")) == ["lightning.ckpt", "metadata.json"]


def test_by_default_the_best_and_the_latest_checkpoint_are_kept() -> None:
    config = {"searcher": {"name": "single", "metric": "val_loss", "smaller_is_better": True}}
    trial = fit(trial_of(max_epochs=5), config=config, seed=1)
    rows = [row for row in csv.DictReader((trial.run_dir / "metrics.csv").open()) if row["kind"] == "validation"]
    best = min(rows, key=lambda row: float(row["val_loss"]))
    assert set(checkpoints_at(trial)) == {int(best["batches"]), 30}
    metadata = YAML(typ="safe").load(trial.best_checkpoint / "metadata.json")
    assert metadata["steps_completed"] == int(best["batches"])
    assert trial.best_checkpoint.name == trial.best_checkpoint_uuid


def test_checkpoint_loads_into_the_module_class_with_the_trained_weights() -> None:
    trial = fit(trial_of(), seed=1)
    loaded = models.Net.load_from_checkpoint(trial.latest_checkpoint / "lightning.ckpt")
    assert torch.equal(weights(loaded), weights(trial.lightning_module))
    assert trial.latest_checkpoint.name == trial.latest_checkpoint_uuid


def test_weights_are_stored_once() -> None:
    class Large(models.Net):
        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(250_000))  # a million bytes, without optimizer state

    trial = fit(trial_of(Large, max_epochs=1))
    assert sum(path.stat().st_size for path in trial.latest_checkpoint.rglob("*")) < 1_200_000


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_summary_names_final_metrics_checkpoints_and_curves(capfd: pytest.CaptureFixture[str]) -> None:
    trial = fit(trial_of(max_epochs=1), seed=1, config={"searcher": {"metric": "val_loss"}})
    shown = capfd.readouterr().out
    latest, curves = (path.relative_to(Path.cwd()) for path in (trial.latest_checkpoint, trial.run_dir / "curves.png"))
    assert f"{float(trial.callback_metrics['val_loss']):.6g}" in shown
    for text in ("best (epoch 1, 6 batches)", "the best and the last", str(latest), str(curves)):
        assert text in shown


def test_log_of_a_run_is_what_a_person_reads(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("lightning_adapter", "determined"):
        caplog.set_level(logging.INFO, name)
    trial = fit(trial_of(max_epochs=2), seed=1)
    facts, _, log = (trial.run_dir / "train.log").read_text().partition("\n\n")
    assert facts.startswith("run: Trial, begun ") and "\nseed: 1\n" in facts
    entry = re.compile(r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d INFO lightning_adapter: ", re.MULTILINE)
    place, block, *lines = (text.partition("\n20")[0].rstrip() for text in entry.split(log)[1:])
    assert place.startswith("Trial writes to runs/Trial/") and block.startswith("Trial trains\n")
    validated = [line for line in lines if "  val_loss " in line]
    for epoch, loss in enumerate(validation_losses(trial), start=1):
        assert validated[epoch - 1].startswith(f"epoch {epoch}/2  batch 6/6  ")
        assert f"  val_loss {loss:.4g}" in validated[epoch - 1]
    assert lines[-1] == "training has ended at epoch 2/2, 12 batches: max_epochs=2 reached"
    assert len(validated) == 2 and "stdout: trained " in log  # the summary is printed


def validation_losses(trial: LightningAdapter) -> list[float]:
    rows = csv.DictReader((trial.run_dir / "metrics.csv").open())
    return [float(row["val_loss"]) for row in rows if row["kind"] == "validation"]


def test_epochs_shorter_than_the_logging_interval_are_said_to_leave_no_rows() -> None:
    with pytest.warns(UserWarning, match=r"number of training batches \(6\) is smaller.*missing from metrics\.csv"):
        trial = fit(trial_of(max_epochs=1, log_every_n_steps=50))
    assert not [row for row in csv.DictReader((trial.run_dir / "metrics.csv").open()) if row.get("train_loss_step")]


def test_no_bar_where_output_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    fit(trial_of(max_epochs=1))
    captured = capfd.readouterr()
    assert "Epoch 1" not in captured.err and "\r" not in captured.err + captured.out


SCRIPT = """
import sys
sys.path[:0] = [{tests!r}, {root!r}]
from test_fit import fit, trial_of
fit(trial_of(max_epochs={epochs}, enable_progress_bar={bar}))
"""


def run_on_terminal(code: str) -> tuple[int, str]:
    """Run Python code whose stdout and stderr are a terminal; return its status and what the terminal got."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))  # lines and columns
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    output = b""
    try:
        while chunk := os.read(controller, 65536):
            output += chunk
    except OSError:  # what Linux says when the other side is closed
        pass
    os.close(controller)
    return process.wait(60), output.decode(errors="replace")


def test_one_bar_per_epoch_with_logged_values_on_a_terminal() -> None:
    status, shown = run_on_terminal(SCRIPT.format(tests=str(ROOT / "tests"), root=str(ROOT), epochs=2, bar=True))
    assert status == 0, shown
    for epoch in (1, 2):
        bars = [line for line in shown.replace("\r", "\n").splitlines() if f"Epoch {epoch}/2" in line]
        assert bars and "6/6" in bars[-1] and "train_loss" in bars[-1], shown
    lines = [line.rstrip("\r").split("\r")[-1] for line in shown.split("\n")]
    assert sum("6/6" in line for line in lines) == 2, "a bar was left behind more than once"


def test_progress_bar_can_be_turned_off_on_a_terminal() -> None:
    status, shown = run_on_terminal(SCRIPT.format(tests=str(ROOT / "tests"), root=str(ROOT), epochs=1, bar=False))
    assert status == 0 and "Epoch 1" not in shown
    assert "INFO lightning_adapter" in Path("runs/Trial/latest/train.log").read_text()


# --- who wins ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_trial", "config", "of_fit", "trained"),
    [
        ({"max_epochs": 1}, None, {}, 6),
        ({"max_epochs": 1}, None, {"max_epochs": 2}, 12),
        ({"max_epochs": 2}, None, {"max_steps": 8}, 8),
        ({"max_steps": 8, "max_epochs": None}, None, {"max_steps": 3}, 3),
        ({"max_epochs": None}, {"searcher": {"name": "single", "max_length": {"epochs": 3}}}, {}, 18),
        ({"max_epochs": None}, {"searcher": {"name": "single", "max_length": {"epochs": 3}}}, {"max_epochs": 1}, 6),
        ({"max_epochs": None}, {"searcher": {"name": "single", "max_length": {"batches": 8}}}, {}, 8),
        ({"max_epochs": 1}, {"searcher": {"name": "single", "max_length": {"epochs": 3}}}, {}, 6),
    ],
)
def test_fits_arguments_win_over_the_trials_and_those_over_the_config(
    of_trial: dict[str, Any], config: dict[str, Any] | None, of_fit: dict[str, int], trained: int
) -> None:
    trial = fit(trial_of(**of_trial), config=config, **of_fit)
    assert checkpoints_at(trial)[-1] == trained


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_length_in_batches_ends_with_a_validation_at_that_very_batch(accumulate: int) -> None:
    config = {"searcher": {"name": "single", "max_length": {"batches": 8}}}
    trial = fit(trial_of(max_epochs=None, accumulate_grad_batches=accumulate), config=config)
    assert checkpoints_at(trial)[-1] == 8
    assert validated_at(trial) == [6, 8]


class TwoOptimizers(models.Net):
    """Written for Lightning 1.x: two optimizer steps at each batch."""

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), 0.01), torch.optim.SGD(self.parameters(), 0.01)]


def test_a_length_in_batches_counts_a_batch_of_two_optimizer_steps_once() -> None:
    config = {"searcher": {"name": "single", "max_length": {"batches": 8}}}
    trial = fit(trial_of(TwoOptimizers, max_epochs=None), config=config)
    assert validated_at(trial) == [6, 8]


def test_profiler_that_the_trial_has_set_runs_around_each_batch() -> None:
    class Profiler(contextlib.AbstractContextManager[None]):
        steps = 0

        def step(self) -> None:
            self.steps += 1

        def __exit__(self, *error: object) -> None:
            pass

    profiler = Profiler()

    class Profiled(trial_of(max_epochs=1)):  # type: ignore[misc]
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            context.profiler = profiler  # as `context.set_profiler` does

    fit(Profiled)
    assert profiler.steps == EPOCH


class SeesLastBatch(models.Net):
    """What a hook that moves a batch of validation sees of its place."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.trainer.validating:
            self.seen.append(self.trainer.fit_loop.epoch_loop.val_loop.batch_progress.is_last_batch)
        return batch

    def on_fit_start(self) -> None:
        self.seen: list[bool] = []


def test_hook_that_moves_a_batch_of_validation_knows_whether_it_is_the_last() -> None:
    options = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "max_epochs": 1}
    expected = SeesLastBatch()
    pl.Trainer(accelerator="cpu", num_sanity_val_steps=0, enable_checkpointing=False, **options).fit(
        expected, datamodule=models.Data()
    )
    seen = fit(trial_of(SeesLastBatch, max_epochs=1)).lightning_module.seen
    assert seen == expected.seen
    assert seen[-1] and not any(seen[:-1])


class ReadsHparams(LightningAdapter):
    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.hparams = context.get_hparams()
        self.batch_size = context.get_per_slot_batch_size()
        data = models.Data(batch_size=self.batch_size)
        super().__init__(context, models.Net(), data, max_epochs=1, enable_model_summary=False)


def test_hparams_win_over_the_config_and_give_ranges_a_value(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "hyperparameters:\n  global_batch_size: 8\n  width: 4\n"
        "  lr: {type: log, base: 10, minval: -4, maxval: -1}\n  optimizer:\n    momentum: {type: const, val: 0.9}\n"
    )
    trial = fit(ReadsHparams, config=config, hparams={"lr": 0.01, "width": 5, "optimizer.momentum": 0.8})
    assert trial.hparams == {"global_batch_size": 8, "width": 5, "lr": 0.01, "optimizer": {"momentum": 0.8}}
    assert trial.batch_size == 8


def test_config_none_needs_nothing() -> None:
    assert fit(trial_of(max_epochs=1), config=None).callback_metrics


def test_seed_is_seed_everything_before_the_constructor() -> None:
    class Draws(trial_of(max_epochs=1)):  # type: ignore[misc]
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            self.drawn = float(torch.rand(()))
            super().__init__(context)

    trial = fit(Draws, seed=12)
    pl.seed_everything(12)
    assert trial.drawn == float(torch.rand(()))


def test_seed_of_the_config_is_used_and_that_of_fit_wins() -> None:
    config = {"reproducibility": {"experiment_seed": 5}}
    of_config = weights(fit(trial_of(), config=config).lightning_module)
    assert torch.equal(of_config, weights(fit(trial_of(), seed=5).lightning_module))
    assert not torch.equal(of_config, weights(fit(trial_of(), config=config, seed=6).lightning_module))


def test_without_a_seed_the_generators_go_on_as_they_are() -> None:
    torch.manual_seed(99)
    first = float(fit(trial_of(max_epochs=1)).callback_metrics["val_loss"])
    torch.manual_seed(99)
    assert first == float(fit(trial_of(max_epochs=1)).callback_metrics["val_loss"])


# --- periods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (None, [6, 12, 18]),
        (pytorch.Epoch(1), [6, 12, 18]),
        # with a period the last batch of the training is validated too
        (pytorch.Epoch(2), [12, 18]),
        (pytorch.Batch(4), [4, 8, 12, 16, 18]),
        (pytorch.Batch([5, 9]), [5, 9, 18]),
    ],
)
def test_validation_period(period: Any, expected: list[int]) -> None:
    assert validated_at(fit(trial_of(max_epochs=3), validation_period=period)) == expected


def test_validation_period_equals_lightnings_argument_of_the_same_meaning() -> None:
    by_period = fit(trial_of(), validation_period=pytorch.Batch(3), seed=1)
    by_argument = fit(trial_of(val_check_interval=3), seed=1)
    assert validated_at(by_period) == validated_at(by_argument) == [3, 6, 9, 12]
    assert torch.equal(weights(by_period.lightning_module), weights(by_argument.lightning_module))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"checkpoint_period": pytorch.Batch(4)}, [4, 8, 12, 16, 18]),
        ({"checkpoint_period": pytorch.Epoch(2)}, [12, 18]),
        ({"config": {"min_checkpoint_period": {"batches": 9}, "checkpoint_policy": "none"}}, [9, 18]),
        ({"config": {"checkpoint_policy": "none"}}, [18]),
        ({"config": {"min_checkpoint_period": {"batches": 4}}, "checkpoint_period": pytorch.Batch(9)}, [9, 18]),
    ],
)
def test_checkpoint_period(arguments: dict[str, Any], expected: list[int]) -> None:
    config = {**arguments.get("config", {}), "checkpoint_storage": {"save_trial_latest": 9}}
    trial = fit(trial_of(max_epochs=3), **{**arguments, "config": config})
    assert checkpoints_at(trial) == expected


def test_checkpoint_waits_for_the_optimizer_step_of_its_accumulation_window() -> None:
    trial = fit(
        trial_of(accumulate_grad_batches=3, max_epochs=1, limit_val_batches=0), checkpoint_period=pytorch.Batch(2),
        config={"checkpoint_storage": {"save_trial_latest": 9}},
    )  # fmt: skip
    assert checkpoints_at(trial) == [3, 6]


def test_a_module_without_validation_has_a_checkpoint_per_epoch() -> None:
    config = {"checkpoint_storage": {"save_trial_latest": 9}}
    assert checkpoints_at(fit(trial_of(limit_val_batches=0), config=config)) == [6, 12]


def test_period_given_to_fit_wins_over_that_of_the_config() -> None:
    config = {"min_validation_period": {"batches": 4}}
    assert validated_at(fit(trial_of(max_epochs=1), config=config)) == [4, 6]
    assert validated_at(fit(trial_of(max_epochs=1), config=config, validation_period=pytorch.Batch(3))) == [3, 6]


@pytest.mark.parametrize(
    ("of_trial", "given", "match"),
    [
        ({"val_check_interval": 0.5}, {"validation_period": pytorch.Batch(4)}, r"validation_period says Batch\(4\)"),
        ({"check_val_every_n_epoch": 2}, {"validation_period": pytorch.Epoch(3)}, "check_val_every_n_epoch=2"),
        ({"val_check_interval": "00:01:00:00"}, {"validation_period": pytorch.Epoch(1)}, "3600 seconds"),
        (
            {"check_val_every_n_epoch": 2},
            {"config": {"min_validation_period": {"epochs": 3}}},
            r"min_validation_period in the experiment config says Epoch\(3\)",
        ),
    ],
)
def test_two_contradicting_periods_are_an_error(of_trial: dict[str, Any], given: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        fit(trial_of(**of_trial), **given)


@pytest.mark.parametrize(
    ("of_trial", "period", "expected"),
    [
        ({"check_val_every_n_epoch": 2}, pytorch.Epoch(2), [12]),
        ({"val_check_interval": 5, "check_val_every_n_epoch": None}, pytorch.Batch(5), [5, 10, 12]),
    ],
)
def test_two_periods_that_agree_are_fine(of_trial: dict[str, Any], period: Any, expected: list[int]) -> None:
    assert validated_at(fit(trial_of(**of_trial), validation_period=period)) == expected


# --- loaders ----------------------------------------------------------------------------------------------------------


def note_seed(worker_id: int) -> None:
    torch.utils.data.get_worker_info().dataset.started = worker_id + 100


class Started(torch.utils.data.Dataset):
    """Samples that say which `worker_init_fn` ran where they are read."""

    started = 0

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((4,), float(self.started)), torch.zeros(1)


def halve(batch: list[Any]) -> Any:
    x, y = torch.utils.data.default_collate(batch)
    return x / 2, y


LOADERS: dict[str, Callable[[], DataLoader]] = {
    "shuffle, drop_last": lambda: DataLoader(samples(10), 4, shuffle=True, drop_last=True),
    "sampler": lambda: DataLoader(samples(10), 4, sampler=RandomSampler(samples(10), replacement=True, num_samples=7)),
    "batch_sampler": lambda: DataLoader(samples(10), batch_sampler=[[0, 1, 2], [9, 8], [3, 3]]),
    "collate_fn": lambda: DataLoader(samples(10), 4, collate_fn=halve),
    "generator": lambda: DataLoader(samples(10), 4, shuffle=True, generator=torch.Generator().manual_seed(3)),
    "workers": lambda: DataLoader(
        Started(), 4, num_workers=1, worker_init_fn=note_seed, persistent_workers=True, prefetch_factor=3, timeout=30,
        multiprocessing_context="fork",
    ),
}  # fmt: skip


class Keeps(models.Net):
    """Keeps the batches that it trains on."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[torch.Tensor] = []

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch[0].clone())


class Loader(DETDM):
    def __init__(self, loader: DataLoader) -> None:
        super().__init__()
        self.loader = loader

    def train_dataloader(self) -> DataLoader:
        return self.loader


@pytest.mark.parametrize("name", LOADERS)
def test_loader_gives_the_batches_that_it_gives_lightning(name: str) -> None:
    pl.seed_everything(2)
    reference = Keeps()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pl.Trainer(max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                   enable_model_summary=False).fit(reference, datamodule=Loader(LOADERS[name]()))  # fmt: skip
    trial = fit(trial_of(Keeps, lambda: Loader(LOADERS[name]())), seed=2)
    kept = trial.lightning_module.batches
    assert len(kept) == len(reference.batches) > 2
    assert all(torch.equal(a, b) for a, b in zip(kept, reference.batches, strict=True))


class Iterated(DataLoader):
    """Counts how often this very object is iterated."""

    count = 0

    def __iter__(self) -> Any:
        self.count += 1
        return super().__iter__()


def test_the_users_own_loader_object_is_iterated_once_per_epoch() -> None:
    loader = Iterated(samples(10), 4)
    fit(trial_of(data=lambda: Loader(loader), max_epochs=3))
    assert loader.count == 3


def test_pinned_memory_is_asked_for_by_the_loader_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    loader = DataLoader(samples(10), 4, pin_memory=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial = fit(trial_of(data=lambda: Loader(loader), max_epochs=1))
    assert trial.lightning_module.trainer.train_dataloader is loader and loader.pin_memory


@pytest.mark.parametrize("method", ["train_dataloader", "train_det_dataloader"])
def test_determineds_loader_is_taken_from_either_method(method: str) -> None:
    def build(self: Any) -> Any:
        return pytorch.DataLoader(samples(10), batch_size=4)

    module = Keeps()
    data = type("Data", (DETDM,), {method: build})
    fit(trial_of(lambda: module, data, max_epochs=1))
    assert torch.equal(torch.cat(module.batches), samples(10).tensors[0])


def test_validation_of_determineds_loader() -> None:
    class Data(models.Data):
        def val_det_dataloader(self) -> Any:
            return pytorch.DataLoader(samples(10, seed=1), batch_size=4)

    expected = fit(trial_of(), seed=1).callback_metrics["val_loss"]
    assert fit(trial_of(data=Data), seed=1).callback_metrics["val_loss"] == expected


def test_loaders_of_the_trial_win_over_those_of_datamodule_and_module() -> None:
    class Trial(trial_of(Keeps, max_epochs=1)):  # type: ignore[misc]
        def build_training_data_loader(self) -> Any:
            return DataLoader(samples(4, seed=8), 2)

        def build_validation_data_loader(self) -> Any:
            return pytorch.DataLoader(samples(4, seed=9), batch_size=4)

    trial = fit(Trial)
    assert torch.equal(torch.cat(trial.lightning_module.batches), samples(4, seed=8).tensors[0])
    assert trial.lightning_module.trainer.num_val_batches == [1]


# --- DETLM ------------------------------------------------------------------------------------------------------------


class OfLossFn(DETLM):
    def __init__(self, loss_fn: Any) -> None:
        super().__init__()
        self.loss_fn = loss_fn
        self.net = torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class ByHand(OfLossFn):
    """The steps that `loss_fn` stands for, written out."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = functional.mse_loss(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = functional.mse_loss(self(batch[0]), batch[1])
        self.log("val_loss", loss)
        return loss


@pytest.mark.parametrize(
    "loss_fn", ["mse_loss", functional.mse_loss, torch.nn.MSELoss()], ids=["name", "function", "module"]
)
def test_loss_fn_stands_for_both_steps(loss_fn: Any) -> None:
    short, long = fit(trial_of(lambda: OfLossFn(loss_fn)), seed=1), fit(trial_of(lambda: ByHand(None)), seed=1)
    assert torch.equal(weights(short.lightning_module), weights(long.lightning_module))
    assert short.callback_metrics == long.callback_metrics
    assert short.callback_metrics.keys() == {"train_loss", "val_loss"}


def test_loss_fn_supplies_only_the_step_that_is_missing() -> None:
    class OwnValidation(OfLossFn):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("mine", 1.0)

    assert fit(trial_of(lambda: OwnValidation("mse_loss"))).callback_metrics.keys() == {"train_loss", "mine"}


@pytest.mark.parametrize("loss_fn", ["mse_los", 5])
def test_loss_fn_that_is_none_is_named(loss_fn: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"loss_fn is {loss_fn!r}"):
        fit(trial_of(lambda: OfLossFn(loss_fn)))


def test_flags_of_lightning_1() -> None:
    seen: dict[str, bool] = {}

    class Asks(models.Net):
        def on_train_start(self) -> None:
            for name in ("use_amp", "use_ddp", "use_ddp2", "use_dp", "use_tpu"):
                seen[name] = getattr(self, name)

    fit(trial_of(Asks, max_epochs=1, precision="bf16-mixed"))
    assert seen == {"use_amp": True, "use_ddp": False, "use_ddp2": False, "use_dp": False, "use_tpu": False}
    fit(trial_of(Asks, max_epochs=1))
    assert seen["use_amp"] is False
    assert Asks().use_amp is False  # before there is a trainer


# --- packages ---------------------------------------------------------------------------------------------------------


def test_mixing_the_packages_is_an_error() -> None:
    other = flavour("lightning.pytorch", ours=True)
    with pytest.raises(ConfigurationError, match="the two do not mix"):
        fit(trial_of(models.Net, other.Data))
    with pytest.raises(ConfigurationError, match="the two do not mix"):
        fit(trial_of(other.Net, models.Data))


def test_faces_differ_in_their_base_classes_only() -> None:
    assert issubclass(lightning_adapter.lightning.DETLM, lightning.pytorch.LightningModule)
    assert issubclass(DETLM, pl.LightningModule)
    assert lightning_adapter.lightning.LightningAdapter is LightningAdapter
    assert lightning_adapter.lightning.fit is fit


def test_lightning_alone_is_enough(tmp_path: Path) -> None:
    code = """
    import sys
    sys.modules["pytorch_lightning"] = None  # as if it were not installed
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    from lightning_adapter.lightning import DETDM, DETLM, LightningAdapter, fit

    class Module(DETLM):
        loss_fn = "mse_loss"

        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(4, 1)

        def forward(self, x):
            return self.net(x)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    class Data(DETDM):
        def train_dataloader(self):
            return DataLoader(TensorDataset(torch.randn(8, 4), torch.randn(8, 1)), 4)

        val_dataloader = train_dataloader

    class Trial(LightningAdapter):
        def __init__(self, context):
            super().__init__(context, Module(), Data(), max_epochs=1)

    trial = fit(Trial, seed=1)
    Module.load_from_checkpoint(trial.latest_checkpoint / "lightning.ckpt")
    import lightning_adapter
    try:
        lightning_adapter.DETLM
    except ImportError as error:
        assert "lightning_adapter.lightning" in str(error), error
    else:
        raise AssertionError("DETLM without pytorch_lightning")
    assert not any(name.startswith("pytorch_lightning") for name, m in sys.modules.items() if m is not None)
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


# --- resume -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("stop", [1, 4, 6, 9])
def test_resume_goes_on_where_the_checkpoint_was_taken(stop: int, shuffle: bool) -> None:
    options = {"scheduler": "cosine", "interval": "step"}
    trial_class = trial_of(lambda: models.Net(**options), lambda: models.Data(shuffle=shuffle))
    whole = fit(trial_class, seed=3)
    stopped = fit(trial_class, seed=3, max_steps=stop)
    torch.manual_seed(0)  # a new process would not go on with these random numbers either
    resumed = fit(trial_class, resume_from=stopped.latest_checkpoint)
    assert torch.equal(weights(resumed.lightning_module), weights(whole.lightning_module))
    assert resumed.callback_metrics == whole.callback_metrics
    assert resumed.lightning_module.trainer.global_step == 12
    assert validated_at(resumed) == [at for at in (6, 12) if at > stop]


def test_resume_from_a_directory_of_checkpoints_takes_the_newest() -> None:
    whole = fit(trial_of(), seed=3)
    first = fit(trial_of(max_epochs=1), seed=3)
    resumed = fit(trial_of(), resume_from=first.run_dir / "checkpoints")
    assert torch.equal(weights(resumed.lightning_module), weights(whole.lightning_module))


def test_batch_numbers_of_determined_go_on_after_a_resume() -> None:
    seen: list[int] = []

    class Asks(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            super().__init__(context, models.Net(), models.Data(), max_epochs=2, enable_model_summary=False)

        def train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> Any:
            seen.append(self.context.current_train_batch())
            return super().train_batch(batch, epoch_idx, batch_idx)

    stopped = fit(Asks, max_steps=4)
    seen.clear()
    fit(Asks, resume_from=stopped.latest_checkpoint)
    assert seen == list(range(4, 12))


def test_warm_start_takes_the_weights_alone() -> None:
    trained = fit(trial_of(), seed=3)
    begun = fit(trial_of(max_epochs=0), warm_start_from=trained.latest_checkpoint)
    assert torch.equal(weights(begun.lightning_module), weights(trained.lightning_module))
    torch.save({"state_dict": trained.lightning_module.state_dict()}, "bare.ckpt")  # as many weights are passed on
    bare = fit(trial_of(max_epochs=0), warm_start_from="bare.ckpt")
    assert torch.equal(weights(bare.lightning_module), weights(trained.lightning_module))
    counted = fit(trial_of(max_epochs=1), warm_start_from=trained.latest_checkpoint / "lightning.ckpt")
    assert counted.lightning_module.trainer.global_step == EPOCH


# --- failures ---------------------------------------------------------------------------------------------------------


def test_invalid_hp_off_a_cluster_is_an_error_of_the_configuration() -> None:
    class Refuses(models.Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise determined.InvalidHP("this width does not train")

    with pytest.raises(
        ConfigurationError, match=r"refuses its hyperparameters .*'width': 3.*this width does not train"
    ):
        fit(trial_of(Refuses), hparams={"width": 3})


def test_metrics_and_curves_of_a_run_that_fails_are_there(tmp_path: Path) -> None:
    class Breaks(models.Net):
        def on_train_epoch_end(self) -> None:
            raise RuntimeError("broken hook")

    with pytest.raises(RuntimeError, match="broken hook"):
        fit(trial_of(Breaks), run_dir=tmp_path / "run")
    assert (tmp_path / "run" / "metrics.csv").exists() and (tmp_path / "run" / "curves.png").exists()


def test_curves_are_drawn_while_a_run_trains_and_by_one_that_goes_on_with_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_adapter.runs.live_curves._SECONDS", 0.0)
    monkeypatch.setattr("lightning_adapter.runs.live_curves._SHARE", math.inf)
    drawn: list[list[int]] = []
    usual = curves.draw

    def draw(points: Any, *more: Any) -> bool:
        drawn.append(points["train", "train_loss_step"][0])
        return usual(points, *more)

    monkeypatch.setattr(curves, "draw", draw)
    seen: list[bool] = []

    class Looks(pl.Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append((tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG"))

    first = fit(trial_of(max_epochs=1, callbacks=[Looks()]), run_dir=tmp_path / "run")
    # of each row, and at the end
    assert drawn == [[2], [2, 4], *[[2, 4, 6]] * 4] and seen == [True]
    drawn.clear()
    fit(trial_of(max_epochs=2), run_dir=tmp_path / "run", resume_from=first.latest_checkpoint)
    assert drawn[0] == [2, 4, 6, 8] and drawn[-1] == [2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("fails", [False, True])
def test_curves_that_cannot_be_drawn_change_no_end_of_a_run(
    fails: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(models.Net):
        def on_train_epoch_end(self) -> None:
            if fails:
                raise RuntimeError("broken hook")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_adapter.runs.curves.draw", full)
    with pytest.raises(RuntimeError, match="broken hook") if fails else contextlib.nullcontext():
        fit(trial_of(Fails, max_epochs=1))
    assert "curves.png could not be written: OSError" in caplog.text


def test_searcher_metric_that_nobody_logs_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    trial = fit(trial_of(), config={"searcher": {"name": "single", "metric": "val_los"}})
    (message,) = [record.getMessage() for record in caplog.records if "searcher.metric" in record.getMessage()]
    assert "'val_los'" in message and "did you mean 'val_loss'" in message
    assert trial.best_checkpoint is None and trial.best_checkpoint_uuid is None


@pytest.mark.parametrize("name", ["predict", "test_dataloaders", "progress_bar_callbacks"])
def test_trainer_says_what_it_lacks(name: str) -> None:
    class Reads(models.Net):
        def on_train_start(self) -> None:
            getattr(self.trainer, name)

    lightnings = name != "progress_bar_callbacks"
    with pytest.raises(AttributeError, match=r"predict|test_dataloaders|progress_bar_callbacks") as raised:
        fit(trial_of(Reads))
    assert ("part of Lightning's Trainer" in str(raised.value)) is lightnings
    assert not lightnings or all(part in str(raised.value) for part in ("callback_metrics", "loggers", "fit_loop"))


@pytest.mark.parametrize("callbacks", [True, False])
def test_determineds_callbacks_of_the_trial_are_told_of_each_report(callbacks: bool) -> None:
    ended: list[int] = []

    class Own(pytorch.PyTorchCallback):
        def on_training_workload_end(self, avg_metrics: Any, batch_metrics: Any) -> None:
            ended.append(trials[-1].lightning_module.trainer.fit_loop.epoch_loop.batch_progress.total.ready)

    class Trial(trial_of()):  # type: ignore[misc]
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            super().__init__(context)
            trials.append(self)

        def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
            return {"own": Own()} if callbacks else {}

    trials: list[Any] = []
    fit(Trial)
    assert sorted({*ended, *range(2, 13, 2)}) == sorted(ended) if callbacks else not ended


def test_determineds_callbacks_are_told_of_an_epochs_end_before_the_next_one_loads_data() -> None:
    told: list[str] = []

    class Unvalidated(models.Data):
        val_dataloader = DETDM.val_dataloader

        def train_dataloader(self) -> Any:
            told.append("data")
            return super().train_dataloader()

    class Own(pytorch.PyTorchCallback):
        def on_training_epoch_start(self, epoch_idx: int) -> None:
            told.append(f"start {epoch_idx}")

        def on_training_epoch_end(self, epoch_idx: int) -> None:
            told.append(f"end {epoch_idx}")

    class Trial(trial_of(data=Unvalidated, reload_dataloaders_every_n_epochs=1, log_every_n_steps=5)):  # type: ignore[misc]
        def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
            return {"own": Own()}

    fit(Trial, checkpoint_period=pytorch.Batch(1000))
    assert told == ["data", "start 0", "end 0", "data", "start 1", "end 1"]


def test_request_to_stop_is_heard_at_once_where_nothing_is_reported() -> None:
    class Asks(models.Net):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 3:
                trials[-1].context.set_stop_requested(True)

    class Trial(trial_of(Asks, log_every_n_steps=100)):  # type: ignore[misc]
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            super().__init__(context)
            trials.append(self)

    trials: list[Any] = []
    fit(Trial)
    assert checkpoints_at(trials[-1]) == [4]


def test_two_runs_in_one_process_do_not_see_each_other() -> None:
    alone = fit(trial_of(), seed=1)
    fit(trial_of(models.OwnLoaders, None, max_epochs=1), seed=2)
    again = fit(trial_of(), seed=1)
    assert torch.equal(weights(again.lightning_module), weights(alone.lightning_module))


def test_configuration_that_a_run_leaves_trains_again_also_with_a_group_called_type(tmp_path: Path) -> None:
    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            assert context.get_hparams() == {"optimizer": {"inner": {"type": "sgd", "lr": 0.1}}, "a": 1}
            super().__init__(context, models.Net(), models.Data(), max_steps=1)

    values = {"optimizer": {"inner": {"type": "sgd", "lr": 0.1}}, "a": 1}
    fit(Trial, hparams=values, run_dir=tmp_path / "first")
    fit(Trial, config=tmp_path / "first" / "experiment.yaml", run_dir=tmp_path / "second")


# --- the way to the first batch ---------------------------------------------------------------------------------------

FIRST_BATCH = """
import sys
import torch
from lightning_adapter import DETLM, LightningAdapter, fit

class Module(DETLM):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        print("loaded", *sys.modules)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.zeros(1, 3))

class Trial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, Module(), max_epochs=1)

fit(Trial)
"""


def test_first_batch_does_not_wait_for_imports_that_only_what_comes_later_needs(working_directory: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", FIRST_BATCH]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded = next(set(line.split()) for line in done.stdout.splitlines() if line.startswith("loaded"))

    assert "lightning_adapter.platform.fit" in loaded
    ours = {
        f"lightning_adapter.{name}" for name in ("evaluation.evaluator", "evaluation.package", "pictures.batch_page")
    }
    assert loaded & {*ours, "tabulate", "torch.utils.tensorboard"} == set()
    assert list((working_directory / "runs" / "Trial" / "latest" / "tensorboard").glob("events.*"))
