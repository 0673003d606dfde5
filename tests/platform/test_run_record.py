"""What does a run directory say of its run, however that was begun and has ended, and does a resumed run keep its best?"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from determined import pytorch

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.cli import main
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import json_file, record
from lightning_adapter.runs.store import stored_checkpoints
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)
CONFIG: dict[str, Any] = {"searcher": {"metric": "score"}, "hyperparameters": {"lr": 0.1, "net": {"depth": 2}}}
QUIET = {"enable_progress_bar": False, "enable_model_summary": False}
COMMIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit"]
#: The values of the validations, in order: the second is the best.
SCORES = (0.5, 0.1, 0.4, 0.3, 0.2, 0.6)


class Net(models.Net):
    """Its validations are as good as the test says."""

    def on_validation_epoch_end(self) -> None:
        self.log("score", SCORES[self.current_epoch])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.trainer.current_epoch + 1.0)


class Data(models.Data):
    def test_dataloader(self) -> Any:
        return self.val_dataloader()


class Trial(LightningAdapter):
    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        context.get_hparams()
        super().__init__(context, Net(), Data(), **QUIET)


class Failing(LightningAdapter):
    """Fails at a moment that its hyperparameters name."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        moment = context.get_hparam("moment")
        if moment == "constructor":
            raise ValueError("no such layer\nin the constructor")

        class Fails(pl.Callback):
            def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
                self.fail("setup")

            def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
                self.fail(f"epoch {trainer.current_epoch}")

            def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
                self.fail("teardown")

            def fail(self, now: str) -> None:
                if now == moment:
                    raise KeyboardInterrupt if moment == "epoch 1" else RuntimeError(f"in {now}")

        super().__init__(context, models.Net(), models.Data(), callbacks=[Fails()], logger=False, **QUIET)


def content(directory: Path) -> dict[str, Any]:
    found = record.read(directory)
    assert found is not None
    return found


def train(directory: Path, epochs: int, **options: Any) -> LightningAdapter:
    return fit(Trial, config=CONFIG, seed=3, max_epochs=epochs, run_dir=directory, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> LightningAdapter:
    """A run of three epochs, of which the second is the best; tests leave its directory as it is."""
    return train(tmp_path_factory.mktemp("trained") / "run", 3)


@pytest.fixture
def first(trained: LightningAdapter, tmp_path: Path) -> Path:
    """A copy of that run, to go on from."""
    assert trained.run_dir is not None
    return Path(shutil.copytree(trained.run_dir, tmp_path / "first", symlinks=True))


# The record


def test_record_of_a_finished_run_says_how_it_was_made_and_how_far_it_came(trained: LightningAdapter) -> None:
    trial, directory = trained, trained.run_dir
    assert directory is not None
    found = content(directory)
    steps = trial.lightning_module.trainer.global_step
    last = {"checkpoint": f"checkpoints/{trial.latest_checkpoint_uuid}", "batches": steps, "epoch": 3}
    best = {
        "checkpoint": f"checkpoints/{trial.best_checkpoint_uuid}",
        "batches": steps * 2 // 3,
        "epoch": 2,
        "value": 0.1,
    }
    expected = {
        "format": 1, "name": "Trial", "status": "finished", "error": None, "target": f"{__name__}:Trial", "seed": 3,
        "working_directory": os.getcwd(), "pid": os.getpid(), "processes": 1, "parent": None,
        "hyperparameters": CONFIG["hyperparameters"], "metric": {"name": "score", "smaller_is_better": True},
        "epoch": 3, "global_step": steps, "batches": steps, "last": last,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert found["best"] == {**best, "value": pytest.approx(0.1)}
    assert found["metrics"] == pytest.approx({name: float(value) for name, value in trial.callback_metrics.items()})
    assert found["start"] <= found["end"] and set(found["versions"]) >= {"python", "torch", "lightning_adapter"}
    (logger,) = found["loggers"]
    assert logger["class"] == "pytorch_lightning.loggers.tensorboard.TensorBoardLogger"
    assert (logger["name"], logger["version"], logger["save_dir"]) == ("", "", str(directory / "tensorboard"))


def test_loggers_that_know_their_run_only_when_they_log_are_named_with_it(tmp_path: Path) -> None:
    class Remote(pl.loggers.logger.DummyLogger):
        """As W&B's: its version is the id of a run that the first value begins."""

        run: str | None = None

        @property
        def version(self) -> Any:
            return self.run

        @property
        def name(self) -> Any:
            raise NotImplementedError

        def log_metrics(self, *args: Any, **kwargs: Any) -> None:
            self.run = "abc123"

        log_hyperparams = log_graph = save = lambda self, *args, **kwargs: None

    class Logs(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            csv = pl.loggers.CSVLogger(tmp_path / "csv", name="net")
            super().__init__(context, models.Net(), models.Data(), logger=[csv, Remote()], log_every_n_steps=1, **QUIET)

    fit(Logs, max_epochs=1, run_dir=tmp_path / "run")
    csv, remote = content(tmp_path / "run")["loggers"]
    save_dir = str(tmp_path / "csv")
    name = "pytorch_lightning.loggers.csv_logs.CSVLogger"
    assert csv == {"class": name, "name": "net", "version": 0, "save_dir": save_dir}
    assert remote["class"].endswith(".Remote") and (remote["name"], remote["version"]) == (None, "abc123")


def test_checkpoints_name_epoch_step_and_finite_metrics(trained: LightningAdapter) -> None:
    assert trained.latest_checkpoint is not None
    metadata = json.loads((trained.latest_checkpoint / "metadata.json").read_text())
    steps = trained.lightning_module.trainer.global_step
    assert (metadata["epoch"], metadata["global_step"], metadata["epochs_completed"]) == (2, steps, 3)
    assert metadata["metrics"]["score"] == pytest.approx(SCORES[2]) and "val_loss" in metadata["metrics"]


@pytest.mark.parametrize(
    ("moment", "status", "error"),
    [
        ("constructor", "failed", "ValueError: no such layer"),
        ("setup", "failed", "RuntimeError: in setup"),
        ("epoch 0", "failed", "RuntimeError: in epoch 0"),
        ("epoch 1", "interrupted", None),  # the keyboard
        ("teardown", "failed", "RuntimeError: in teardown"),
    ],
)
def test_record_says_what_has_ended_a_run_at_any_moment(
    moment: str, status: str, error: str | None, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, RuntimeError, SystemExit)):
        fit(Failing, hparams={"moment": moment}, max_epochs=2, run_dir=tmp_path)
    found = content(tmp_path)
    assert (found["status"], found["error"]) == (status, error)
    assert found["end"] >= found["start"]
    if moment == "teardown":
        assert found["epoch"] == 2 and found["last"] is not None


def test_run_that_its_trial_stops_is_interrupted(tmp_path: Path) -> None:
    class Stops(Trial):
        def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
            context = self.context

            class Stop(pytorch.PyTorchCallback):
                def on_training_epoch_end(self, epoch_idx: int) -> None:
                    context.set_stop_requested(True)

            return {"stop": Stop()}

    fit(Stops, config=CONFIG, max_epochs=3, run_dir=tmp_path)
    found = content(tmp_path)
    assert (found["status"], found["epoch"], found["target"]) == ("interrupted", 1, None)  # a class of a function


def test_values_of_the_test_at_the_end_are_in_the_record(tmp_path: Path) -> None:
    trial = train(tmp_path / "run", 1, test=True)
    assert trial.best_checkpoint is not None
    assert (
        content(tmp_path / "run")["test"] == json_file.read(trial.best_checkpoint / "test.json") == trial.test_metrics
    )


def test_error_of_the_test_at_the_end_is_that_of_the_run(tmp_path: Path) -> None:
    class Fails(Trial):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            super().__init__(context)
            self.lightning_module.on_test_start = lambda: 1 // 0  # type: ignore[assignment]

    with pytest.raises(ZeroDivisionError):
        fit(Fails, config=CONFIG, max_epochs=1, run_dir=tmp_path, test=True)
    assert content(tmp_path)["status"] == "failed" and content(tmp_path)["error"].startswith("ZeroDivisionError: ")


def test_log_begins_with_the_facts_whatever_is_logged(trained: LightningAdapter) -> None:
    assert trained.run_dir is not None
    lines = (trained.run_dir / "train.log").read_text().splitlines()
    facts = dict(line.split(": ", 1) for line in lines[: lines.index("")])
    assert facts["run"].startswith("Trial, begun 20") and f"by process {os.getpid()}" in facts["run"]
    assert facts["seed"] == "3" and facts["hyperparameters"] == "lr=0.1, net={'depth': 2}"
    assert facts["target"] == f"{__name__}:Trial" and "torch " in facts["versions"]


# Names


def test_runs_lie_below_their_name_and_know_it_in_a_given_directory_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = fit(Trial, config=CONFIG, max_epochs=1, name="wide net")
    assert first.run_dir is not None and first.run_dir.parent == tmp_path / "runs" / "wide net"
    assert (tmp_path / "runs" / "wide net" / "latest").resolve() == first.run_dir
    assert (content(first.run_dir)["name"], content(first.run_dir)["trial"]) == ("wide net", "Trial")
    fit(Trial, config=CONFIG, max_epochs=1, name="other", run_dir="here")
    assert content(tmp_path / "here")["name"] == "other"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "runs"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a/b", "is a path, and has to be the name of one folder"),
        ("a\\b", "is a path"),
        ("/tmp", "is a path"),
        ("..", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("", "is empty"),
        ("  ", "is empty"),
        (" a", "spaces around it"),
        ("a\nb", "cannot be printed"),
        ("a\0b", "cannot be printed"),
        ("ä" * 128, "longer than the 255 bytes"),
        (3, "has to be text"),
    ],
)
def test_name_that_is_no_folders_is_refused_with_the_reason(
    name: object, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=rf"name=.*{reason}"):
        fit(Trial, config=CONFIG, max_epochs=1, name=name)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


# Going on


def score_of(checkpoint: Path | None) -> float:
    assert checkpoint is not None
    return float(json.loads((checkpoint / "metadata.json").read_text())["validation"]["score"])


def test_best_comes_along_into_another_directory_and_outlives_the_earlier_run(
    trained: LightningAdapter, first: Path, tmp_path: Path
) -> None:
    assert score_of(trained.best_checkpoint) == pytest.approx(0.1)
    second = train(tmp_path / "second", 4, resume_from=first)
    assert content(tmp_path / "second")["parent"] == str(first)
    shutil.rmtree(first)
    third = train(tmp_path / "third", 5, resume_from=tmp_path / "second")
    shutil.rmtree(tmp_path / "second")
    for trial in (second, third):
        assert trial.best_checkpoint_uuid == trained.best_checkpoint_uuid
    assert third.best_checkpoint is not None and third.best_checkpoint.parent == tmp_path / "third" / "checkpoints"
    assert (tmp_path / "third" / "best").resolve() == third.best_checkpoint
    assert (tmp_path / "third" / "last").resolve() == third.latest_checkpoint
    assert content(tmp_path / "third")["best"]["value"] == pytest.approx(0.1)
    assert score_of(third.best_checkpoint) == pytest.approx(0.1)
    assert len(stored_checkpoints(tmp_path / "third" / "checkpoints")) == 2  # the best and the last
    fit(Trial, config=CONFIG, warm_start_from=third.best_checkpoint, max_epochs=1, run_dir=tmp_path / "fourth")


def test_run_that_ends_before_its_first_checkpoint_goes_on_where_it_stood_and_not_at_its_best(
    first: Path, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="in epoch 3"):

        class Stops(Trial):
            def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
                super().__init__(context)

                class Fails(pl.Callback):
                    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
                        raise RuntimeError(f"in epoch {trainer.current_epoch}")

                self.arguments.callbacks = [Fails()]

        fit(Stops, config=CONFIG, max_epochs=5, run_dir=tmp_path / "second", resume_from=first)
    shutil.rmtree(first)
    found = content(tmp_path / "second")
    assert (found["epoch"], found["best"]["epoch"], found["status"]) == (3, 2, "failed")
    whole = train(tmp_path / "second", 4, resume_from=tmp_path / "second")
    assert whole.lightning_module.trainer.current_epoch == 4
    assert score_of(whole.best_checkpoint) == pytest.approx(0.1)


@pytest.mark.parametrize("given", ["its file", "a copy of its file", "a folder that a person has named"])
def test_best_comes_along_however_the_checkpoint_is_given(
    given: str, trained: LightningAdapter, first: Path, tmp_path: Path
) -> None:
    latest = (first / "last").resolve()
    source = latest / "lightning.ckpt"
    if given == "a copy of its file":
        source = Path(shutil.copy(source, tmp_path / "mine.ckpt"))
    elif given != "its file":
        source = latest.rename(latest.with_name("mine"))
    second = train(tmp_path / "second", 4, resume_from=source)
    assert second.best_checkpoint_uuid == trained.best_checkpoint_uuid
    assert second.best_checkpoint is not None and second.best_checkpoint.parent == tmp_path / "second" / "checkpoints"
    assert len(stored_checkpoints(tmp_path / "second" / "checkpoints")) == 2


def test_best_that_cannot_come_along_stays_where_it_is_with_a_word(
    trained: LightningAdapter,
    first: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", refuse)
        second = train(tmp_path / "second", 4, resume_from=first)
    assert "it cannot be brought here: [Errno 28] No space left on device" in caplog.text
    assert score_of(second.best_checkpoint) == pytest.approx(SCORES[3])
    third = train(tmp_path / "third", 5, resume_from=tmp_path / "second")
    assert third.best_checkpoint_uuid == trained.best_checkpoint_uuid  # it is still known where it lies


def test_run_goes_on_in_its_directory_with_links_that_leave_the_discarded_future(tmp_path: Path) -> None:
    config = {**CONFIG, "checkpoint_storage": {"save_trial_latest": 9}}
    first = fit(Trial, config=config, seed=3, max_epochs=3, run_dir=tmp_path)
    start = content(tmp_path)["start"]
    earliest = stored_checkpoints(tmp_path / "checkpoints")[0]
    again = fit(Trial, config=config, seed=3, max_epochs=2, run_dir=tmp_path, resume_from=earliest.path)
    found = content(tmp_path)
    assert found["start"] == start <= found["resumed"] and found["parent"] is None
    assert (
        tmp_path / "best"
    ).resolve() == again.best_checkpoint and again.best_checkpoint_uuid != first.best_checkpoint_uuid
    assert score_of(again.best_checkpoint) == pytest.approx(0.1)
    assert found["epoch"] == 2


def test_run_directory_of_an_earlier_version_goes_on_ranks_and_gets_its_record(
    trained: LightningAdapter, first: Path, tmp_path: Path
) -> None:
    for name in ("run.json", "best", "last"):
        (first / name).unlink()
    for stored in stored_checkpoints(first / "checkpoints"):
        path = stored.path / "metadata.json"
        kept = {name: json.loads(path.read_text()).get(name) for name in ("steps_completed", "validation")}
        path.write_text(json.dumps({name: value for name, value in kept.items() if value is not None}))
    elsewhere = train(tmp_path / "new", 4, resume_from=first)
    again = train(first, 4, resume_from=first)
    for trial in (elsewhere, again):
        assert trial.best_checkpoint_uuid == trained.best_checkpoint_uuid
        assert trial.run_dir is not None and content(trial.run_dir)["epoch"] == 4


# What was typed


def test_command_and_target_are_kept_as_they_were_typed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "model_def.py").write_text(
        "from pytorch_lightning.demos.boring_classes import BoringModel\n"
        "from lightning_adapter import LightningAdapter, fit\n"
        "class Trial(LightningAdapter):\n"
        "    def __init__(self, context):\n"
        "        super().__init__(context, BoringModel(), limit_train_batches=1, limit_val_batches=1)\n"
        "if __name__ == '__main__':\n"
        "    fit(Trial, max_epochs=1, run_dir='by script')\n"
    )
    for words in (["git", "init", "-q"], ["git", "add", "."], [*COMMIT, "-qm", "x"]):
        subprocess.run(words, cwd=project, check=True)
    typed = ["fit", "model_def.py:Trial", "--max-epochs", "1", "--run-dir", "by command"]
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "/venv/bin/lightning-adapter", *typed])
    assert main(typed) == 0
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "model_def.py"])
    runpy.run_path(str(project / "model_def.py"), run_name="__main__")
    command, script = content(project / "by command"), content(project / "by script")
    assert command["command"] == "lightning-adapter fit model_def.py:Trial --max-epochs 1 --run-dir 'by command'"
    assert command["target"] == "model_def.py:Trial"
    assert script["command"] == "python model_def.py"
    assert script["target"] == f"{project / 'model_def.py'}:Trial"
    assert command["git"]["clean"] is True and len(command["git"]["commit"]) == 40
