"""`lightning-adapter validate` and `test`: what is typed, printed and written, and the exit status."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from evaluation.trained import Trial, trained
from lightning_adapter import cli, load_trial
from lightning_adapter.cli import evaluation, tables

pytestmark = pytest.mark.usefixtures("project")

FILE = "from evaluation.trained import Trial as Base\n\nclass Trial(Base):\n    pass\n"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "one"
    trained(directory)
    return directory


@pytest.fixture
def run(original: Path, project: Path) -> Path:
    shutil.copytree(original, project / "runs" / "one")
    (project / "proj_trial.py").write_text(FILE)
    content = {"format": 1, "name": "Trial", "status": "finished", "target": "proj_trial.py:Trial"}
    (project / "runs" / "one" / "run.json").write_text(json.dumps({**content, "working_directory": str(project)}))
    return project / "runs" / "one"


def test_test_of_a_run_needs_no_more_and_keeps_the_values(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["test", "runs/one"]) == 0
    printed = capsys.readouterr().out
    best = load_trial(run, Trial).checkpoint
    assert best is not None
    values = json.loads((best / "test.json").read_text())
    assert values == json.loads((run / "run.json").read_text())["test"] and len(values) == 2
    assert f"test of runs/one/checkpoints/{best.name}" in printed and "loader 1" in printed
    assert f"{values['error/dataloader_idx_0']:.6g}" in printed
    assert f"values  runs/one/checkpoints/{best.name}/test.json" in printed


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("out", [io.StringIO, Terminal])
def test_bar_of_lightning_is_shown_on_a_terminal_alone(
    run: Path, project: Path, monkeypatch: pytest.MonkeyPatch, out: type[io.StringIO]
) -> None:
    (project / "proj_trial.py").write_text(
        FILE + "    def __init__(self, context):\n        super().__init__(context)\n"
        "        object.__setattr__(self.arguments, 'enable_progress_bar', True)\n"
    )
    shown = out()
    monkeypatch.setattr("sys.stdout", shown)
    assert cli.main(["test", "runs/one"]) == 0
    # where rich is installed, newer Lightnings take their bar from it
    assert ("Testing" in shown.getvalue()) is shown.isatty() and "values" in shown.getvalue()


def test_lines_of_lightning_that_say_nothing_are_left_out_within_the_command_alone(
    run: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level("INFO")
    assert cli.main(["test", "runs/one"]) == 0
    told = [*caplog.messages, *(str(warning.message) for warning in recwarn)]
    assert any(line.startswith("Loaded model weights from the checkpoint at") for line in told)
    noise = ("litlogger", "LeafSpec", "GPU available", "Restoring states")
    assert not [line for line in told if any(word in line for word in noise)]
    caplog.clear()
    load_trial(run, Trial).test(verbose=False)
    assert any("GPU available" in line for line in caplog.messages)


def test_validation_takes_the_split_the_checkpoint_and_the_hyperparameters_that_are_typed(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--last", "--split", "train", "--hparam", "global_batch_size=3"]
    assert cli.main(["validate", "runs/one", "proj_trial:Trial", *words]) == 0
    assert "on the loaders of train" in capsys.readouterr().out
    last = load_trial(run, Trial, last=True).checkpoint
    assert last is not None and list(json.loads((last / "validate-train.json").read_text())) == [
        "error",
        "val_loss",
        "worse",
    ]
    assert "validate" not in json.loads((run / "run.json").read_text())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runs/two"], "runs/two is not there"),
        (["runs/two", "--hparam", "lr=[", "--config", "no.yaml"], r"lr=\[ cannot be read|runs/two|no\.yaml"),
        (["runs/one", "proj_trial.py:Absent"], "has no Absent"),
        (["runs/one", "--hparam", "lr.x=1"], "lr"),
        (["runs/one", "--config", "no.yaml"], r"no\.yaml does not exist"),
    ],
)
def test_what_cannot_be_used_ends_with_status_2(
    run: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["test", *words]) == 2
    printed = capsys.readouterr().err
    assert "lightning-adapter: error: " in printed and "Traceback" not in printed
    for one in said.split("|"):
        assert re.search(one, printed), printed


def test_missing_step_and_loader_end_with_status_2(
    run: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = "from evaluation.test_loading import Bare\nfrom evaluation.trained import trial_of\nTrial = trial_of(Bare, None)\n"
    (project / "proj_bare.py").write_text(bare)
    assert cli.main(["test", "runs/one", "proj_bare.py:Trial"]) == 2
    assert "Bare has no test_step()" in capsys.readouterr().err


def test_values_of_a_fit_with_a_test_and_of_the_command_are_the_same(project: Path, run: Path) -> None:
    again: Any = trained(project / "runs" / "two")
    assert cli.main(["test", "runs/two", "proj_trial.py:Trial"]) == 0
    assert again.best_checkpoint is not None
    assert json.loads((again.best_checkpoint / "test.json").read_text()) == json.loads(
        json.dumps({name: value for one in again.test(verbose=False) for name, value in one.items()})
    )


def test_table_has_a_column_for_each_loader_and_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    one = [{"loss": 0.25, "accuracy": math.nan}]
    two = [{"loss/dataloader_idx_0": 1.0, "at the end": 2.0}, {"loss/dataloader_idx_1": 1234567.0, "at the end": 2.0}]
    assert evaluation._table(one) == "metric    value\n--------  -----\naccuracy    nan\nloss       0.25"
    lines = evaluation._table(two).splitlines()
    assert lines[0].split() == ["metric", "loader", "0", "loader", "1"]
    assert lines[2].split() == ["at", "the", "end", "2", "2"] and lines[3].split() == ["loss", "1", "1.23457e+06"]
    assert "nothing was logged" in evaluation._table([{}]) and "nothing was logged" in evaluation._table([])
    monkeypatch.setattr(tables, "terminal_width", lambda: 30)
    assert max(map(len, evaluation._table([{"validation/a_long_name_of_a_metric": 0.123456}]).splitlines())) <= 30
