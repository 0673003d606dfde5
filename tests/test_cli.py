"""The command line loads what it is told, passes on what was typed, and ends with one readable message."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning  # sets a variable when first imported, which a test may not

import lightning_adapter
from lightning_adapter import cli
from lightning_adapter.cli.output import telling
from lightning_adapter.errors import (
    CheckpointError,
    ConfigurationError,
    NonFiniteError,
    RanksDriftedError,
    TargetError,
    UnsupportedError,
)
from lightning_adapter.platform.typed_period import parse_period

pytestmark = pytest.mark.usefixtures("project")

TRIAL = "class MyTrial:\n    pass\n"
# A module that must not be constructed, with a property that must not be evaluated.
MODULE = """
import pytorch_lightning as pl

class Good(pl.LightningModule):
    def __init__(self):
        raise RuntimeError("constructed")

    @property
    def expensive(self):
        raise RuntimeError("evaluated")

    def training_step(self, batch, batch_idx):
        pass

class Sharded(Good):
    def configure_sharded_model(self):
        pass

class Data(pl.LightningDataModule):
    def train_dataloader(self):
        pass

class Call(pl.Callback):
    def on_train_start(self, trainer, pl_module):
        pass
"""


@pytest.fixture
def fit_calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the runner by one that trains nothing and remembers how it was called."""
    calls: list[dict[str, Any]] = []
    runner = types.ModuleType("lightning_adapter.platform.fit")
    runner.fit = lambda trial_class, **arguments: calls.append({"trial_class": trial_class, **arguments})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning_adapter.platform.fit", runner)
    monkeypatch.setattr(lightning_adapter, "runner", runner, raising=False)
    return calls


def failing_runner(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fit(trial_class: type, **arguments: Any) -> None:
        raise error

    monkeypatch.setattr(sys.modules["lightning_adapter.platform.fit"], "fit", fit)


# What is shown


@pytest.mark.parametrize(
    ("terminal", "configured", "shown"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_course_of_a_run_is_shown_where_no_bar_shows_it(
    terminal: bool, configured: bool, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("lightning_adapter")
    before = (log.level, list(log.handlers))
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.NullHandler()] if configured else [])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    with telling():
        log.info("epoch 0")
        log.warning("look here")
    assert capsys.readouterr().err == ("epoch 0\nlook here\n" if shown else "" if configured else "look here\n")
    assert (log.level, list(log.handlers)) == before


# fit


def test_fit_passes_on_everything_that_was_typed(project: Path, fit_calls: list[dict[str, Any]]) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    (project / "c.yaml").write_text("name: x\n")
    words = ["--config", "c.yaml", "--max-epochs", "3", "--max-steps", "10", "--resume-from", "ck"]
    words += ["--seed", "7", "--run-dir", "out", "--name", "mine", "--master-timeout", "90", "--test"]
    words += ["--package", "best.pt"]
    words += ["--hparam", "lr=1e-3", "--hparam", "optimizer.betas=[0.9, 1]", "--hparam", "optimizer.name=adam"]
    words += ["--validation-period", "100", "--checkpoint-period", "2 epochs"]
    assert cli.main(["fit", "proj_model.py:MyTrial", *words]) == 0
    (call,) = fit_calls
    periods = [
        (type(unit).__name__, unit.value) for unit in (call.pop("validation_period"), call.pop("checkpoint_period"))
    ]
    assert periods == [("Batch", 100), ("Epoch", 2)]
    assert call.pop("trial_class").__name__ == "MyTrial"
    assert call == {
        "config": "c.yaml",
        "hparams": {"lr": 0.001, "optimizer": {"betas": [0.9, 1], "name": "adam"}},
        "max_epochs": 3,
        "max_steps": 10,
        "resume_from": "ck",
        "warm_start_from": None,
        "seed": 7,
        "run_dir": "out",
        "name": "mine",
        "master_timeout": 90.0,
        "test": True,
        "package": "best.pt",
    }


def test_configuration_may_be_a_pipe(project: Path, fit_calls: list[dict[str, Any]]) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    os.mkfifo("c.yaml")
    writer = threading.Thread(target=lambda: Path("c.yaml").write_text("name: x\n"))
    writer.start()
    assert cli.main(["fit", "proj_model.py:MyTrial", "--config", "c.yaml"]) == 0
    writer.join()
    assert fit_calls[0]["config"] == {"name": "x"}


def test_fit_without_options_leaves_every_argument_to_the_runner(
    project: Path, fit_calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    assert cli.main(["fit", "proj_model.py:MyTrial"]) == 0
    assert {name for name, value in fit_calls[0].items() if value not in (None, False)} == {"trial_class"}
    assert capsys.readouterr() == ("", "")


def test_fit_calls_the_runner_by_names_that_it_has(project: Path, request: pytest.FixtureRequest) -> None:
    runner = pytest.importorskip("lightning_adapter.platform.fit")
    fit_calls = request.getfixturevalue("fit_calls")
    (project / "proj_model.py").write_text(TRIAL)
    cli.main(["fit", "proj_model.py:MyTrial"])
    inspect.signature(runner.fit).bind(**fit_calls[0])


@pytest.mark.parametrize(
    ("text", "unit"),
    [("100", ("Batch", 100)), ("1 batch", ("Batch", 1)), ("2epochs", ("Epoch", 2)), (" 3  Epoch ", ("Epoch", 3))],
)
def test_period_is_read_in_every_form(text: str, unit: tuple[str, int]) -> None:
    resolved = parse_period(text).resolve()
    assert (type(resolved).__name__, resolved.value) == unit


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--validation-period", "0"], "'0' is no period: write a number of batches"),
        (["--checkpoint-period", "2 days"], "'2 days' is no period"),
        (["--checkpoint-period", "-1"], "'-1' is no period"),
        (["--hparam", "lr"], "'lr' is no assignment: write name=value"),
        (["--hparam", "=3"], "'=3' is no assignment"),
        (["--max-epochs", "many"], "invalid int value: 'many'"),
        (["--resume-from", "a", "--warm-start-from", "b"], "not allowed with argument --resume-from"),
        (["--max-ep", "1", "--lr", "2"], "unrecognized arguments: --max-ep 1 --lr 2"),
    ],
)
def test_wrong_command_line_ends_with_status_2(
    words: list[str], problem: str, fit_calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["fit", "proj_model.py:MyTrial", *words])
    assert problem in capsys.readouterr().err
    assert not fit_calls


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--hparam", "lr=[1,"], "the value of lr=[1, cannot be read"),
        (["--hparam", "a=1", "--hparam", "a.b=2"], "a is given both as a value and as a group"),
    ],
)
def test_wrong_hyperparameter_ends_with_status_2(
    project: Path,
    words: list[str],
    problem: str,
    fit_calls: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    assert cli.main(["fit", "proj_model.py:MyTrial", *words]) == 2
    assert problem in capsys.readouterr().err
    assert not fit_calls


@pytest.mark.usefixtures("fit_calls")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigurationError("say this"), 2),
        (TargetError("say this"), 2),
        (CheckpointError("say this"), 2),
        (UnsupportedError("say this"), 2),
        (NonFiniteError("say this"), 1),
        (RanksDriftedError("say this"), 1),
    ],
)
def test_error_of_the_package_is_one_message_without_a_traceback(
    project: Path,
    error: Exception,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    failing_runner(monkeypatch, error)
    assert cli.main(["fit", "proj_model.py:MyTrial"]) == status
    word = "error" if status == 2 else "failed"  # a log policy of `submit` tells the two apart
    assert capsys.readouterr() == ("", f"lightning-adapter: {word}: say this\n")


@pytest.mark.usefixtures("fit_calls")
def test_exception_of_user_code_keeps_its_traceback(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    failing_runner(monkeypatch, ValueError("from the user's training_step"))
    with pytest.raises(ValueError, match="from the user's training_step"):
        cli.main(["fit", "proj_model.py:MyTrial"])


# check


@pytest.mark.parametrize(
    ("name", "status", "line"),
    [
        ("Good", 0, "training_step"),
        ("Sharded", 1, "configure_sharded_model"),
        ("Data", 0, "train_dataloader"),
        ("Call", 0, "on_train_start"),
    ],
)
def test_check_reports_and_fails_where_something_is_rejected(
    project: Path, name: str, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "proj_lit.py").write_text(MODULE)
    assert cli.main(["check", f"proj_lit.py:{name}"]) == status
    printed = capsys.readouterr()
    assert line in printed.out
    assert ("rejected" in {word for row in printed.out.splitlines()[2:] for word in row.split()}) == bool(status)
    assert printed.err == ""


def test_check_of_a_class_that_is_none_of_lightnings_ends_with_status_2(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    assert cli.main(["check", "proj_model.py:MyTrial"]) == 2
    assert "MyTrial" in capsys.readouterr().err


def test_check_of_a_missing_target_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "absent.py:MyTrial"]) == 2
    assert "absent.py is not there" in capsys.readouterr().err


# The process


def run_module(*words: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(lightning_adapter.__path__[0]).parent)
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.run(
        [sys.executable, "-m", "lightning_adapter", *words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_module_run_as_a_command_returns_the_status(project: Path) -> None:
    result = run_module("check", "absent.py:MyTrial")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("lightning-adapter: error: absent.py is not there")


def test_command_without_words_shows_the_usage() -> None:
    result = run_module()
    assert result.returncode == 2
    assert "usage: lightning-adapter" in result.stderr


def test_version_names_the_package_and_its_hosts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"lightning-adapter {lightning_adapter.__version__} (Python ")
    assert f"pytorch-lightning {pytorch_lightning.__version__}" in printed and "determined 0." in printed


def test_help_names_the_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    printed = capsys.readouterr().out
    assert all(f"\n    {name} " in printed for name in COMMANDS)


COMMANDS = list(cli._COMMANDS)
HEAVY = {
    "torch",
    "determined",
    "matplotlib",
    "optuna",
    "numpy",
    "lightning",
    "lightning_utilities",
    "pytorch_lightning",
    "tabulate",
    "tqdm",
}


def imported_by(words: list[str], cwd: Path) -> tuple[int, set[str]]:
    """The exit status of a command, and what it has imported that is not the standard library's."""
    script = (
        "import sys; before = set(sys.modules); from lightning_adapter.cli import main\n"
        f"try: status = main({words})\n"
        "except SystemExit as ended: status = ended.code\n"
        "found = {name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "print(); print(status, *sorted(found))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(lightning_adapter.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True, cwd=cwd
    )
    status, *found = done.stdout.splitlines()[-1].split()
    return int(status), set(found)


@pytest.mark.parametrize(("words", "status"), [(["--help"], 0), (["--version"], 0), (["fti"], 2), ([], 2)])
def test_what_needs_no_command_imports_nothing_but_the_command_line(
    words: list[str], status: int, tmp_path: Path
) -> None:
    assert imported_by(words, tmp_path) == (status, {"lightning_adapter"})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    status, found = imported_by([command, "--help"], tmp_path)
    assert (status, found & HEAVY) == (0, set())
    assert imported_by([command, "--no-such-option"], tmp_path)[1] & HEAVY == set()


def test_help_of_runs_imports_nothing_heavy_for_its_own_commands_either(tmp_path: Path) -> None:
    for command in ("list", "show", "compare", "prune"):
        status, found = imported_by(["runs", command, "--help"], tmp_path)
        assert (status, found & HEAVY) == (0, set())


OLD_MODULE = """
import pytorch_lightning as pl
import proj_results

class Old(pl.LightningModule):
    def training_step(self, batch, batch_idx):
        loss = self(batch)
        result = pl.TrainResult(minimize=loss)
        result.log("train_loss", loss)
        return result

    def validation_step(self, batch, batch_idx):
        def inner():
            return pl.EvalResult(checkpoint_on=batch)
        return inner()

class Mine(pl.LightningModule):
    def training_step(self, batch, batch_idx):
        return proj_results.TrainResult(batch)
"""


def test_check_recognises_the_result_objects_of_lightning_0_9(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "proj_results.py").write_text("class TrainResult: pass\n")
    (project / "proj_old.py").write_text(OLD_MODULE)
    assert cli.main(["check", "proj_old.py:Old"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "TrainResult rejected uses TrainResult in training_step: Lightning 1.0 removed its result objects" in printed
    assert "self.log('train_loss', loss, prog_bar=True)" in printed
    assert "uses EvalResult in validation_step" in printed and "self.log('val_loss', loss)" in printed
    assert cli.main(["check", "proj_old.py:Mine"]) == 0
