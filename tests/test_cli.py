"""The command line loads what it is told, passes on what was typed, and ends with one readable message."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning  # sets a variable when first imported, which a test may not

import lightning_adapter
from lightning_adapter import cli
from lightning_adapter.cli.output import telling
from lightning_adapter.cli.periods import parse_period
from lightning_adapter.errors import (
    CheckpointError,
    ConfigurationError,
    NonFiniteError,
    RanksDriftedError,
    TargetError,
    UnsupportedError,
)
from lightning_adapter.platform.target import load_target

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


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project as the current directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if name not in before and str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


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


# The target


@pytest.mark.parametrize("target", ["proj_model.py:MyTrial", "./proj_model.py:MyTrial", "proj_model:MyTrial"])
def test_target_is_loaded_from_a_file_or_a_module(project: Path, target: str) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    found = load_target(target)
    assert (found.__name__, found.__module__) == ("MyTrial", "proj_model")
    assert load_target(target) is found


def test_target_is_loaded_from_a_package(project: Path) -> None:
    (project / "proj_pkg").mkdir()
    (project / "proj_pkg" / "__init__.py").write_text("")
    (project / "proj_pkg" / "models.py").write_text("from .base import MyTrial\n")
    (project / "proj_pkg" / "base.py").write_text(TRIAL)
    assert load_target("proj_pkg.models:MyTrial").__module__ == "proj_pkg.base"


def test_file_finds_its_neighbours_before_those_of_the_current_directory(project: Path) -> None:
    (project / "sub").mkdir()
    (project / "sub" / "proj_file.py").write_text("from proj_neighbour import MyTrial\n")
    (project / "sub" / "proj_neighbour.py").write_text(TRIAL)
    (project / "proj_neighbour.py").write_text("raise RuntimeError('the wrong one')\n")
    load_target(f"{project}/sub/proj_file.py:MyTrial")
    assert sys.path[:2] == [str(project / "sub"), str(project)]


def test_current_directory_comes_first(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "proj_both.py").write_text("raise RuntimeError('the wrong one')\n")
    (project / "proj_both.py").write_text(TRIAL)
    sys.path.insert(0, str(other))
    assert load_target("proj_both:MyTrial").__name__ == "MyTrial"


def test_file_runs_under_its_own_name_and_not_as_main(project: Path) -> None:
    (project / "proj_main.py").write_text(TRIAL + "if __name__ == '__main__':\n    raise RuntimeError('ran')\n")
    load_target("proj_main.py:MyTrial")


@pytest.mark.parametrize("target", ["proj_model.py", "MyTrial", ":MyTrial", "proj_model:", ""])
def test_target_without_a_class_is_refused(target: str) -> None:
    with pytest.raises(TargetError, match=r"names no class: write FILE_OR_MODULE:Class"):
        load_target(target)


def test_missing_file_is_refused_with_a_guess(project: Path) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    with pytest.raises(TargetError, match=r"proj_modle\.py is not there .* did you mean 'proj_model\.py'\?"):
        load_target("proj_modle.py:MyTrial")


def test_missing_module_is_refused_with_a_guess(project: Path) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    with pytest.raises(TargetError, match=r"no module 'proj_modle' in the current .* did you mean 'proj_model'\?"):
        load_target("proj_modle:MyTrial")


def test_missing_submodule_is_refused_with_a_guess(project: Path) -> None:
    (project / "proj_pkg").mkdir()
    (project / "proj_pkg" / "__init__.py").write_text("")
    (project / "proj_pkg" / "models.py").write_text(TRIAL)
    with pytest.raises(TargetError, match=r"in the package proj_pkg; did you mean 'proj_pkg\.models'\?"):
        load_target("proj_pkg.modles:MyTrial")


@pytest.mark.parametrize(
    ("target", "file", "there"),
    [
        ("proj_pkg.train:MyTrial", "src/proj_pkg/train.py", "src/proj_pkg"),
        ("proj_single:MyTrial", "src/proj_single.py", "src/proj_single.py"),
        ("proj_start.py:MyTrial", "src/proj_pkg/models.py", "src/proj_pkg"),  # imports it
    ],
)
def test_missing_module_that_lies_in_src_is_named_with_what_to_write(
    project: Path, target: str, file: str, there: str
) -> None:
    (project / file).parent.mkdir(parents=True, exist_ok=True)
    (project / file).write_text(TRIAL)
    (project / "proj_start.py").write_text("import proj_pkg.models\n")
    with pytest.raises(TargetError, match=rf"{there} is there: write PYTHONPATH=src before the command"):
        load_target(target)


def test_word_that_is_no_module_name_is_refused() -> None:
    with pytest.raises(TargetError, match=r"'my-model' is no module name; for a file, write its path with \.py"):
        load_target("my-model:MyTrial")


@pytest.mark.parametrize("target", ["proj_broken.py:MyTrial", "proj_broken:MyTrial"])
def test_import_that_fails_in_user_code_is_named_with_the_users_frames_only(project: Path, target: str) -> None:
    (project / "proj_broken.py").write_text("import os\nimport absent_package.sub\n")
    with pytest.raises(TargetError, match=r"it imports 'absent_package', which is not installed .* To fix") as caught:
        load_target(target)
    message = str(caught.value)
    assert f'File "{project}/proj_broken.py", line 2' in message
    assert "importlib" not in message and "target.py" not in message
    assert "proj_broken" not in sys.modules


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("x = 1 / 0\n", r"ZeroDivisionError: division by zero\n\n(?s:.*)line 1"),
        ("def f(:\n", r"SyntaxError: .*\n\n(?s:.*)line 1"),
        ("import sys\nsys.exit(3)\n", r"it calls sys\.exit\(\) while it is imported"),
        ("from os import absent_name\n", r"ImportError: cannot import name 'absent_name' from 'os'"),
    ],
)
def test_file_that_fails_while_imported_shows_its_own_error(project: Path, code: str, problem: str) -> None:
    (project / "proj_broken.py").write_text(code)
    with pytest.raises(TargetError, match=rf"proj_broken\.py cannot be imported: {problem}"):
        load_target("proj_broken.py:MyTrial")


@pytest.mark.parametrize("code", ["open('absent.csv')", "import pathlib\npathlib.Path('absent.csv').read_text()"])
def test_file_that_is_missing_while_imported_is_told_with_the_users_line(project: Path, code: str) -> None:
    (project / "proj_broken.py").write_text(f"\n{code}\n")
    line = code.count("\n") + 2
    told = rf"'absent\.csv', in {project}/proj_broken\.py, line {line}, with {project} as the current directory"
    with pytest.raises(TargetError, match=told):
        load_target("proj_broken.py:MyTrial")


def test_relative_import_in_a_file_of_a_package_says_how_to_name_it(project: Path) -> None:
    (project / "proj_pkg").mkdir()
    (project / "proj_pkg" / "__init__.py").write_text("")
    (project / "proj_pkg" / "proj_rel.py").write_text("from .base import MyTrial\n")
    with pytest.raises(TargetError, match=r"(?s)no known parent.*proj_pkg/ is a package: name the class as package\."):
        load_target("proj_pkg/proj_rel.py:MyTrial")


def test_file_named_like_a_loaded_module_is_refused(project: Path) -> None:
    (project / "logging.py").write_text(TRIAL)
    with pytest.raises(TargetError, match=r"a module 'logging' is loaded already, from .*; rename the file"):
        load_target("logging.py:MyTrial")


def test_missing_class_is_refused_with_a_guess_and_a_list(project: Path) -> None:
    (project / "proj_model.py").write_text(TRIAL + "from pathlib import Path\n")
    with pytest.raises(TargetError, match=r"has no MyTrail; it defines MyTrial; did you mean 'MyTrial'\?"):
        load_target("proj_model.py:MyTrail")


def test_instance_instead_of_a_class_is_refused(project: Path) -> None:
    (project / "proj_model.py").write_text("MyTrial = 3\n")
    with pytest.raises(TargetError, match=r"proj_model\.py:MyTrial is 3 of type int, not a class"):
        load_target("proj_model.py:MyTrial")


# fit


def test_fit_passes_on_everything_that_was_typed(project: Path, fit_calls: list[dict[str, Any]]) -> None:
    (project / "proj_model.py").write_text(TRIAL)
    (project / "c.yaml").write_text("name: x\n")
    words = ["--config", "c.yaml", "--max-epochs", "3", "--max-steps", "10", "--resume-from", "ck"]
    words += ["--seed", "7", "--run-dir", "out", "--name", "mine", "--master-timeout", "90", "--test"]
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
    assert all(f"\n    {name} " in printed for name in ("fit", "check", "submit", "follow"))


def test_help_imports_neither_torch_nor_its_companions(project: Path) -> None:
    script = (
        "import sys; from lightning_adapter.cli import main\n"
        "try: main(['fit', '--help'])\n"
        "except SystemExit:\n"
        "  companions = {'torch', 'determined', 'matplotlib', 'lightning', 'lightning_utilities'}\n"
        "  print(sorted(companions & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(lightning_adapter.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True, cwd=project
    )
    assert done.stdout.splitlines()[-1] == "[]"


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


@pytest.mark.parametrize(
    "line",
    [
        "from pytorch_lightning import EvalResult",
        "import pytorch_lightning as pl; x = pl.EvalResult",
        "from pytorch_lightning.core.step_result import EvalResult",
    ],
)
def test_import_of_a_result_object_says_what_to_write(project: Path, line: str) -> None:
    (project / "proj_imports.py").write_text(f"{line}\n")
    with pytest.raises(TargetError, match=r"instead of EvalResult, log each value in validation_step"):
        load_target("proj_imports.py:Old")
