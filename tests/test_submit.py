"""A submission is refused before anything is created, or created with all that it needs, and followed to its end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import lightning_adapter
from fake_experiments import ExperimentsMaster, Look, Trial
from lightning_adapter import cli
from lightning_adapter.cli import follow, trial_report
from lightning_adapter.cli.trial_report import TrialReport
from lightning_adapter.submission import context, policies

ENTRYPOINT = "python3 -m lightning_adapter fit model_def:MyTrial --max-epochs 5"
CONFIG = f"""\
name: mine
entrypoint: {ENTRYPOINT}
hyperparameters:
  global_batch_size: 64
searcher:
  name: single
  metric: val_loss
"""
MODEL = """
import pytorch_lightning as pl
from lightning_adapter import LightningAdapter
import helper

class Lit(pl.LightningModule):
    def training_step(self, batch, batch_idx):
        pass

class Sharded(Lit):
    def configure_sharded_model(self):
        pass

class MyTrial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, Lit())
"""
TORCH = "python3 -m determined.launch.torch_distributed --"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with its modules below src/, as the current directory, and nobody logged in."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "src/model_def.py").write_text(MODEL)
    (folder / "src/helper.py").write_text("")
    (folder / "requirements.txt").write_text("einops\n")
    (folder / "experiment.yaml").write_text(CONFIG)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DET_USER", "DET_PASS", "DET_MASTER_ADDR", "DET_USER_TOKEN", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(follow, "INTERVAL_S", 0.02)
    return folder


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExperimentsMaster]:
    with ExperimentsMaster() as started:
        monkeypatch.setenv("DET_MASTER", started.url)
        yield started


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Trials are not imported; what would be is noted, and is fine."""
    calls: list[Any] = []

    def look(*arguments: Any) -> TrialReport:
        calls.append(arguments)
        return TrialReport(lightning="pytorch-lightning")

    monkeypatch.setattr(trial_report, "look", look)
    return calls


Submit = Callable[..., tuple[int, str, str]]


@pytest.fixture
def submit(capsys: pytest.CaptureFixture[str]) -> Submit:
    """Type the command; return the exit status, and what was printed to both streams."""

    def run(*words: str) -> tuple[int, str, str]:
        status = cli.main(["submit", *words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def changed(folder: Path, **values: Any) -> None:
    content = {**YAML(typ="safe").load(CONFIG), **values}
    with (folder / "experiment.yaml").open("w") as file:
        YAML(typ="safe").dump(content, file)


def trial(validations: int, state: str = "STATE_RUNNING", **values: Any) -> Trial:
    made = [(100 * n, n, {"val_loss": 1 / n, "val_acc": 1 - 1 / (n + 1)}) for n in range(1, validations + 1)]
    return Trial(batches=100 * validations, state=state, validations=made, **values)


# What is sent


def test_submission_takes_everything_along(
    master: ExperimentsMaster, looked: list[Any], submit: Submit, project: Path
) -> None:
    (project / "startup-hook.sh").write_text("echo mine\n")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    status, out, err = submit("experiment.yaml")
    assert status == 0, err
    files = master.files
    wheel = f".lightning_adapter/lightning_adapter-{lightning_adapter.__version__}-py3-none-any.whl"
    assert set(files) == {
        "experiment.yaml", "requirements.txt", "src/model_def.py", "src/helper.py", "startup-hook.sh",
        "startup-hook-of-the-project.sh", ".lightning_adapter/install.py", ".lightning_adapter/plan.json", wheel,
    }  # fmt: skip
    assert files["startup-hook-of-the-project.sh"] == b"echo mine\n"
    assert b'export PYTHONPATH="$PWD/src' in files["startup-hook.sh"]
    assert json.loads(files[".lightning_adapter/plan.json"]) == {
        "package": Path(wheel).name, "extras": ["pytorch-lightning"], "file": "requirements.txt",
    }  # fmt: skip
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    assert "experiment 12 as determined" in out and f"{master.url}/det/experiments/12" in out
    assert "what requirements.txt asks for, src/ on the path, your startup-hook.sh" in out


def test_project_that_names_no_requirements_is_told_where_they_belong(
    master: ExperimentsMaster, looked: list[Any], submit: Submit, project: Path
) -> None:
    told = "note     no requirements.txt in the context"
    assert told not in submit("experiment.yaml", "--detach")[1]
    (project / "requirements.txt").unlink()
    assert told in submit("experiment.yaml", "--detach")[1]
    (project / "pyproject.toml").write_text('[project]\nname = "mine"\ndependencies = []\n')
    assert told not in submit("experiment.yaml", "--detach")[1]


def test_nothing_that_is_made_holds_what_is_secret(
    master: ExperimentsMaster, looked: list[Any], submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    master.password = "Secret-Password-1"
    for name, value in (
        ("DET_USER", "determined"),
        ("DET_PASS", "Secret-Password-1"),
        ("PIP_INDEX_URL", "https://a:b@c/"),
    ):
        monkeypatch.setenv(name, value)
    assert submit("experiment.yaml", "--detach")[0] == 0
    sent = json.dumps(master.created[0]).encode() + b"".join(master.files.values())
    for secret in (b"Secret-Password-1", b"a:b@c", b"a-token", str(Path.cwd().parent).encode()):
        assert secret not in sent


def test_configuration_has_what_was_typed_and_a_log_policy(
    master: ExperimentsMaster, looked: list[Any], submit: Submit
) -> None:
    status, _, err = submit("experiment.yaml", "--name", "other", "--project", "vision/faces", "--detach")
    assert status == 0, err
    config = YAML(typ="safe").load(master.created[0]["config"])
    assert (config["name"], config["workspace"], config["project"]) == ("other", "vision", "faces")
    assert config["log_policies"][-1]["pattern"] == policies.PATTERN
    assert master.validated == [master.created[0]["config"]]


def test_trial_is_imported_as_the_container_will(
    master: ExperimentsMaster, looked: list[Any], submit: Submit, project: Path
) -> None:
    changed(project, environment={"environment_variables": ["DATA=/mnt/data"]})
    submit("experiment.yaml", "--detach")
    variables = {"DATA": "/mnt/data", "PYTHONPATH": f"{project}/src"}
    words = ("model_def:MyTrial", "--max-epochs", "5")
    assert looked == [("model_def:MyTrial", project, variables, {"global_batch_size": 64}, words)]


def test_context_is_the_one_that_was_typed(
    master: ExperimentsMaster, looked: list[Any], submit: Submit, tmp_path: Path, project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert submit("project/experiment.yaml", "project", "--detach")[0] == 0
    assert looked[0][1] == project and "src/model_def.py" in master.files


def test_detached_submission_returns_at_once_and_says_how_to_follow(
    master: ExperimentsMaster, looked: list[Any], submit: Submit
) -> None:
    status, out, _ = submit("experiment.yaml", "--detach")
    assert status == 0 and "lightning-adapter follow 12" in out
    assert "GET /api/v1/experiments/12" not in master.requests


# What is looked at for real


def test_trial_that_is_fine_is_reported_with_what_it_imports(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "src/helper.py").write_text("import on_the_path\n")
    (tmp_path / "on_the_path.py").write_text("import installed_there\n")
    (tmp_path / "installed_there.py").write_text("")
    (tmp_path / "installed_there-1.dist-info").mkdir()
    (tmp_path / "installed_there-1.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: installed_there\nVersion: 1\n"
    )
    (tmp_path / "installed_there-1.dist-info/top_level.txt").write_text("installed_there\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    report = trial_report.look("model_def:MyTrial", project, {"PYTHONPATH": "src"})
    assert report.error is None and report.lightning == "pytorch-lightning"
    assert {Path(file).name for file in report.files} == {"model_def.py", "helper.py", "on_the_path.py"}
    assert any("configure_sharded_model" in message for message in report.rejected)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nowhere_to_be_found\n", "imports 'nowhere_to_be_found', which is not installed"),
        ("class MyTrial:\n    pass\n", "which is no trial class"),
        ("import os\nprint('last words', flush=True)\nos._exit(3)\n", "ended with status 3\nlast words"),
    ],
)
def test_trial_that_is_none_is_refused(
    text: str, told: str, master: ExperimentsMaster, submit: Submit, project: Path
) -> None:
    (project / "src/model_def.py").write_text(text)
    status, _, err = submit("experiment.yaml")
    assert status == 2 and told in err.replace("\n    ", "\n") and master.created == []


TYPED = (
    MODEL
    + """
from dataclasses import dataclass, field
from typing import Literal

@dataclass
class Optim:
    lr: float = 0.1
    name: Literal["sgd", "adam"] = "sgd"

@dataclass
class Config:
    width: int
    depth: int = 2
    optim: Optim = field(default_factory=Optim)

    def __post_init__(self):
        if self.depth > self.width:
            raise ValueError("depth has to be at most width")

MyTrial.Hyperparameters = Config
"""
)


def test_hyperparameters_that_contradict_the_trials_dataclass_are_refused(
    master: ExperimentsMaster, submit: Submit, project: Path
) -> None:
    (project / "src/model_def.py").write_text(TYPED)
    depth = {"type": "double", "minval": 1, "maxval": 4}
    name = {"type": "categorical", "vals": ["sgd", "adam", "adm"]}
    changed(
        project,
        entrypoint=f"{ENTRYPOINT} --hparam optim.lr=low",
        hyperparameters={"global_batch_size": 64, "depht": 1, "depth": depth, "optim": {"lr": 0.1, "name": name}},
    )
    told = refused(master, submit("experiment.yaml"))
    assert (
        "the trial model_def:MyTrial cannot be made of the hyperparameters: MyTrial.Hyperparameters (Config) has 5"
        in told
    )
    assert "width is missing" in told and "did you mean 'depth'?" in told and "optim.lr is the text 'low'" in told
    assert "depth is a range (double, 1 to 4), which may give 2.5: depth is 2.5, but must be a whole number" in told
    assert "which may give 'adm': optim.name is the text 'adm', but must be 'sgd' or 'adam'" in told


@pytest.mark.parametrize(("width", "status"), [(3, 0), ({"type": "int", "minval": 1, "maxval": 4}, 0), (1, 2)])
def test_what_a_dataclass_says_of_values_together_is_asked_where_they_are_known(
    width: Any, status: int, master: ExperimentsMaster, submit: Submit, project: Path
) -> None:
    (project / "src/model_def.py").write_text(TYPED)
    changed(project, hyperparameters={"width": width, "optim": {"lr": {"type": "const", "val": 1}}})
    found, _, err = submit("experiment.yaml", "--detach")
    assert found == status, err
    assert ("Config refuses its values: depth has to be at most width" in err) == (status == 2)


# What is refused


def refused(master: ExperimentsMaster, result: tuple[int, str, str]) -> str:
    status, _, err = result
    assert status == 2 and master.created == [], err
    # Determined has its say on passwords before
    assert "lightning-adapter: error: " in err and "Traceback" not in err
    return err


def test_all_faults_are_told_together(
    master: ExperimentsMaster, looked: list[Any], submit: Submit, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entrypoint = f"{TORCH} torchrun -m lightning_adapter fit model_def:MyTrial --max-epochs 5"
    changed(
        project,
        entrypoint=entrypoint,
        resources={"slots_per_trial": 3},
        searcher={
            "name": "adaptive_asha",
            "metric": "val_loss",
            "time_metric": "epochs",
            "max_time": 9,
            "max_trials": 4,
        },
    )
    (project / "data.bin").write_bytes(bytes(1000))
    monkeypatch.setattr(context, "LIMIT", 100)
    monkeypatch.setenv("DET_MASTER", "http://127.0.0.1:1")
    err = refused(master, submit("experiment.yaml"))
    assert "is not submitted, for 5 reasons" in err
    for told in (
        "No Determined master answers at http://127.0.0.1:1",
        "2 launchers",
        "--max-epochs 5, and searcher.max_time says 9",
    ):
        assert told in err
    assert "3 processes cannot share evenly" in err and "data.bin (1000 B)" in err


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"sercher": {}}, "sercher is no key of Determined's experiment config; did you mean 'searcher'?"),
        ({"entrypoint": None}, "the experiment has no entrypoint"),
        ({"entrypoint": ENTRYPOINT.replace("--max-epochs", "--max-epoch")}, "unrecognized arguments: --max-epoch 5"),
        ({"entrypoint": "python3 'x"}, "which no shell can read"),
        ({"entrypoint": "python3 trian.py"}, "starts trian.py, which is not in the context"),
        ({"resources": {"slots_per_trial": 2}}, f"To fix, write entrypoint: {TORCH} {ENTRYPOINT}"),
        ({"hyperparameters": {"lr": {"type": "log", "minval": 1}}}, "lacks maxval, base"),
    ],
)
def test_configuration_that_cannot_be_used_is_refused(
    values: dict[str, Any], told: str, master: ExperimentsMaster, looked: list[Any], submit: Submit, project: Path
) -> None:
    changed(project, **values)
    assert told in refused(master, submit("experiment.yaml"))


def test_entrypoint_is_looked_at_though_the_file_has_other_faults(
    master: ExperimentsMaster, looked: list[Any], submit: Submit, project: Path
) -> None:
    changed(project, sercher={}, entrypoint=ENTRYPOINT.replace("--max-epochs", "--max-epoch"))
    err = refused(master, submit("experiment.yaml"))
    assert "for 2 reasons" in err and "sercher is no key" in err and "unrecognized arguments" in err
    assert len(looked) == 1


def test_pipe_in_the_place_of_the_file_is_refused(
    master: ExperimentsMaster, looked: list[Any], submit: Submit, project: Path
) -> None:
    os.mkfifo(project / "pipe.yaml")
    assert "which only a file can be; give one" in refused(master, submit("pipe.yaml"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nowhere.yaml",), "does not exist"),
        (("experiment.yaml", "nowhere"), "the context 'nowhere' does not exist"),
        (
            ("experiment.yaml", "--project", "vision/face"),
            "no project in the workspace vision called 'face'; did you mean",
        ),
        (("experiment.yaml", "--project", "vison/faces"), "no workspace called 'vison'; did you mean 'vision'?"),
    ],
)
def test_words_that_name_nothing_are_refused(
    words: tuple[str, ...], told: str, master: ExperimentsMaster, looked: list[Any], submit: Submit
) -> None:
    assert told in refused(master, submit(*words))


def test_project_without_a_workspace_is_a_wrong_command_line(submit: Submit) -> None:
    with pytest.raises(SystemExit, match="2"):
        submit("experiment.yaml", "--project", "faces")


def test_modules_that_do_not_go_along_are_told(
    master: ExperimentsMaster, submit: Submit, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(tmp_path / "elsewhere.py"), str(project / "src/helper.py"), str(project / "src/model_def.py")]
    monkeypatch.setattr(trial_report, "look", lambda *arguments: TrialReport(files=files))
    (project / ".detignore").write_text("helper.py\n")
    err = refused(master, submit("experiment.yaml"))
    assert f"imports {project}/src/helper.py, which .detignore leaves out" in err
    assert f"the trial is in {tmp_path}/elsewhere.py, outside of the context {project}" in err


def test_modules_that_the_image_may_hold_are_named(
    master: ExperimentsMaster, submit: Submit, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(project / "src/model_def.py"), *(f"{tmp_path}/lib/{name}.py" for name in ("a", "b", "sub/c"))]
    monkeypatch.setattr(trial_report, "look", lambda *arguments: TrialReport(files=files))
    status, out, _ = submit("experiment.yaml", "--detach")
    assert status == 0 and f"imports from {tmp_path}/lib, outside of the context; the image" in out


@pytest.mark.parametrize("place", ["", "src/"])
def test_context_of_another_directory_is_guessed(
    place: str,
    master: ExperimentsMaster,
    submit: Submit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    project: Path,
) -> None:
    (project / "src/model_def.py").rename(project / f"{place}model_def.py")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    err = refused(master, submit("project/experiment.yaml", "other"))
    assert f"there is no module 'model_def' in the context {tmp_path}/other" in err and "current directory" not in err
    assert f"project/{place}model_def.py is there. To fix, give its directory as the context: " in err
    assert "lightning-adapter submit project/experiment.yaml project" in err


# The master


def test_words_of_the_master_are_told(master: ExperimentsMaster, looked: list[Any], submit: Submit) -> None:
    master.refuses = "invalid experiment configuration: <config>.searcher: max_trials required"
    assert "<config>.searcher: max_trials required" in refused(master, submit("experiment.yaml"))


def test_wrong_password_is_refused(
    master: ExperimentsMaster, looked: list[Any], submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    master.password = "another"
    monkeypatch.setenv("DET_USER", "determined")
    monkeypatch.setenv("DET_PASS", "another")
    assert submit("experiment.yaml", "--detach")[0] == 0  # Determined keeps the token
    master.created.clear()
    monkeypatch.setenv("DET_PASS", "wrong")
    err = refused(master, submit("experiment.yaml"))
    assert "refuses the name 'determined' or its password. To fix, type det user login determined, or set" in err


def test_missing_login_is_told(master: ExperimentsMaster, looked: list[Any], submit: Submit) -> None:
    master.password = "another"
    told = f"Nobody is logged in at {master.url}. To fix, type det user login YOU, or set DET_USER and DET_PASS."
    assert told in refused(master, submit("experiment.yaml"))


def test_connection_that_breaks_while_logging_in_is_told_in_words(
    master: ExperimentsMaster, looked: list[Any], submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    master.hangs_up_at = "/api/v1/auth/login"
    err = refused(master, submit("experiment.yaml"))
    assert "the login broke off: it closed the connection. Nothing was created; try again." in err


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://127.0.0.1:1", "(nothing listens there: connection refused), which is what DET_MASTER says"),
        ("http://me:pw@host", "is no address of a master"),
    ],
)
def test_master_that_is_not_there_is_told(
    address: str,
    told: str,
    master: ExperimentsMaster,
    looked: list[Any],
    submit: Submit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DET_MASTER", address)
    assert told in refused(master, submit("experiment.yaml"))


# Following


def test_one_trial_is_followed_to_its_end(master: ExperimentsMaster, looked: list[Any], submit: Submit) -> None:
    master.script = [
        Look("STATE_QUEUED"), Look("STATE_RUNNING", 0.0, [Trial()]), Look("STATE_RUNNING", 0.25, [trial(1)]),
        Look("STATE_PAUSED", 0.25, [trial(1)]), Look("STATE_RUNNING", 0.55, [trial(3, restarts=1)]),
        Look("STATE_COMPLETED", 1.0, [trial(4, "STATE_COMPLETED", restarts=1)]),
    ]  # fmt: skip
    status, out, _ = submit("experiment.yaml")
    assert status == 0
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in out.splitlines()]
    assert lines[lines.index("experiment 12 waiting for slots") :] == [
        "experiment 12 waiting for slots",
        "experiment 12 running",
        "trial 35: batch 100, 1 epoch done: val_loss 1, val_acc 0.5",
        "experiment 12 running, 20%",
        "experiment 12 paused (det experiment activate 12 lets it go on)",
        "experiment 12 running",
        "trial 35 failed and starts again, for the first time",
        "trial 35: batch 200, 2 epochs done: val_loss 0.5, val_acc 0.6667",
        "trial 35: batch 300, 3 epochs done: val_loss 0.3333, val_acc 0.75",
        "experiment 12 running, 50%",
        "trial 35: batch 400, 4 epochs done: val_loss 0.25, val_acc 0.8",
        "experiment 12 completed",
        "best val_loss 0.25, of trial 35",
        "its checkpoint: lightning-adapter fetch 12",
    ]


def test_search_ends_with_a_table_of_its_trials(
    master: ExperimentsMaster, looked: list[Any], submit: Submit, project: Path
) -> None:
    changed(
        project,
        hyperparameters={
            "optim": {"lr": {"type": "log", "base": 10, "minval": -4, "maxval": -1}},
            "global_batch_size": 64,
        },
        searcher={"name": "random", "metric": "val_acc", "smaller_is_better": False, "max_trials": 3},
    )
    trials = [
        trial(1, "STATE_COMPLETED", id=1, hparams={"optim": {"lr": 0.000123456}}),
        trial(3, "STATE_COMPLETED", id=2, hparams={"optim": {"lr": 0.01}}),
        Trial(id=3, state="STATE_CANCELED", hparams={"optim": {"lr": 0.1}}),
    ]
    master.script = [Look("STATE_RUNNING", 0.3, trials[:1]), Look("STATE_COMPLETED", 1.0, trials)]
    status, out, _ = submit("experiment.yaml")
    assert status == 0
    assert "trial 1 completed after 100 batches, val_acc 0.5: optim.lr 0.0001235" in out
    table = out[out.index("trial    state") :].splitlines()
    assert [line.split() for line in table[:5] if "---" not in line] == [
        ["trial", "state", "batches", "val_acc", "optim.lr"],
        ["2", "completed", "300", "0.75", "0.01"],
        ["1", "completed", "100", "0.5", "0.0001235"],
        ["3", "cancelled", "0", "0.1"],
    ]
    assert "best val_acc 0.75, of trial 2" in out


@pytest.mark.parametrize("state", ["STATE_ERROR", "STATE_CANCELED"])
def test_experiment_that_did_not_complete_is_status_1(
    state: str, master: ExperimentsMaster, looked: list[Any], submit: Submit
) -> None:
    config = '{"log_policies": [{"pattern": "lightning-adapter: error: |"}]}'
    log = ["starting", config, "lightning-adapter: error: the metric val_los is not logged", "its second line"]
    log += ["E1126 09:58:52 torch's launcher", "Traceback (most recent call last):"]
    master.script = [Look(state, 0.1, [Trial(state=state, log=log)])]
    status, out, _ = submit("experiment.yaml")
    assert status == 1
    told = [line for line in out.splitlines() if line.startswith("  ")]
    assert told == (["  " + line for line in log[2:4]] if state == "STATE_ERROR" else [])


def test_log_of_the_first_trial_is_printed_once_on_request(
    master: ExperimentsMaster, looked: list[Any], submit: Submit
) -> None:
    first, second = ["one", "two"], ["one", "two", "three"]
    master.script = [
        Look("STATE_RUNNING", 0.1, [Trial(log=first)]),
        Look("STATE_RUNNING", 0.1, [Trial(log=second), Trial(id=36, log=["other"])]),
        Look("STATE_COMPLETED", 1.0, [Trial(log=second), Trial(id=36, log=["other"])]),
    ]
    _, out, _ = submit("experiment.yaml", "--logs")
    assert [line for line in out.splitlines() if line in (*second, "other")] == second


@pytest.mark.parametrize("status", [500, 429])
def test_master_in_trouble_is_asked_again_with_one_word_about_it(
    status: int, master: ExperimentsMaster, looked: list[Any], submit: Submit
) -> None:
    master.script = [Look("STATE_RUNNING"), Look(status=status), Look(status=status), Look("STATE_COMPLETED", 1.0)]
    assert (result := submit("experiment.yaml"))[0] == 0
    assert result[1].count("and so do the attempts") == 1 and result[1].count("the master answers again") == 1


def test_experiment_that_is_not_there_cannot_be_followed(
    master: ExperimentsMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["follow", "99"]) == 2
    printed = capsys.readouterr()
    assert f"The master at {master.url} has no experiment 99. det experiment list shows" in printed.err
    assert printed.out == "" and "Traceback" not in printed.err


def test_experiment_is_followed_again_later(master: ExperimentsMaster, capsys: pytest.CaptureFixture[str]) -> None:
    master.script = [Look("STATE_COMPLETED", 1.0, [trial(2, "STATE_COMPLETED")])]
    assert cli.main(["follow", "12"]) == 0
    assert "trial 35: batch 200, 2 epochs done: val_loss 0.5" in capsys.readouterr().out


def test_interrupt_leaves_the_experiment_running_and_says_how_to_come_back(master: ExperimentsMaster) -> None:
    master.script = [Look("STATE_RUNNING", 0.5, [trial(1)])]
    # a shell's background job is started with SIGINT ignored, and so are its children
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from lightning_adapter.cli import main; sys.exit(main(['follow', '12']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "trial 35: batch 100" in line:
                break
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(10) == 130
    assert (
        "experiment 12 goes on. To come back: lightning-adapter follow 12. To end it: det experiment cancel 12" in rest
    )
    assert not any("cancel" in request or "kill" in request for request in master.requests)


def test_reader_who_goes_leaves_the_experiment_running_and_is_told_how_to_come_back(master: ExperimentsMaster) -> None:
    master.script = [Look("STATE_RUNNING", 0.5, [trial(1)])]
    program = "import sys; from lightning_adapter.cli import main; sys.exit(main(['follow', '12']))"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        master.script = [Look("STATE_PAUSED", 0.5, [trial(1)])]
        assert process.wait(30) == 128 + signal.SIGPIPE
        told = process.stderr.read()
    assert told.endswith(
        "experiment 12 goes on. To come back: lightning-adapter follow 12. To end it: det experiment cancel 12\n"
    )
    assert "Traceback" not in told


def test_number_of_an_experiment_is_told_though_nobody_reads_the_output(
    master: ExperimentsMaster, looked: list[Any], project: Path
) -> None:
    program = (
        "import sys; from lightning_adapter.cli import main; sys.exit(main(['submit', 'experiment.yaml', '--detach']))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=project, stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert "experiment 12 as" in done.stderr and "Traceback" not in done.stderr


def test_following_for_hours_needs_no_torch() -> None:
    program = (
        "import sys, lightning_adapter.submission.master, lightning_adapter.submission.prepare, lightning_adapter.cli.follow, "
        "lightning_adapter.submission.standing; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_words_after_fit_that_cannot_be_read_are_told_once(
    master: ExperimentsMaster, submit: Submit, project: Path
) -> None:
    (project / "config.yaml").write_text("{}")
    changed(project, entrypoint="python3 -m lightning_adapter fit --cli config.yaml --max-epochs x")
    status, _, err = submit("experiment.yaml")
    assert status == 2
    assert err.count("invalid int value: 'x'") == 1 and "usage:" not in err
