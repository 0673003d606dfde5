"""Does `lightning-adapter fetch` leave a run directory as a local run leaves it, or nothing and a word?"""

from __future__ import annotations

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import torch
from determined import pytorch
from determined.common.storage import shared

from fake_checkpoints import CheckpointsMaster
from fake_master import FakeMaster, fake_cluster
from lightning_adapter import LightningAdapter, cli, fit, load_trial
from lightning_adapter.checkpoints.file import FILE
from lightning_adapter.evaluation.source import find
from lightning_adapter.fetching import files
from lightning_adapter.platform.experiment import read
from lightning_adapter.runs import record
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)
RATES = {22: 0.2, 23: 0.01}  # of the two trials


class Net(models.Net):
    """Logs a value at steps alone, so that a master merges no rows, and rates itself by its hyperparameter."""

    def __init__(self, lr: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("rate", self.lr)
        return loss


class Trial(LightningAdapter):
    """Of two epochs; puts a file of its own into each checkpoint."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        arguments = {"max_epochs": 2, "log_every_n_steps": 2, "enable_model_summary": False}
        super().__init__(context, Net(context.get_hparam("lr")), models.Data(), **arguments)

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        """A callback that writes."""
        return {"writes": Writes()}


class Writes(pytorch.PyTorchCallback):
    """Puts a file beside the weights."""

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        """Called by the chief."""
        (pathlib.Path(checkpoint_dir) / "classes.txt").write_text("cat\ndog\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[int, FakeMaster]:
    """Two trials of a search."""
    here = tmp_path_factory.mktemp("cluster")
    done = {}
    for number, lr in RATES.items():
        with fake_cluster(here, hparams={"lr": lr}, trial_seed=number, config={"checkpoint_policy": "all"}) as told:
            fit(Trial)
        done[number] = told
    return done


@pytest.fixture
def master(
    trained: dict[int, FakeMaster], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CheckpointsMaster]:
    """A master that has both trials, whose user works in an empty directory."""
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "other machine"
    shutil.copytree(trained[22].store, store)
    with CheckpointsMaster(store) as running:
        for number, lr in RATES.items():
            running.add_trial(number, trained[number], {"lr": lr})
        monkeypatch.setenv("DET_MASTER", running.url)
        monkeypatch.setenv("DET_DEBUG_CONFIG_PATH", str(tmp_path / "logins"))
        for name in ("DET_USER", "DET_PASS", "DET_USER_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield running


def fetch(*words: str) -> int:
    return cli.main(["fetch", *words])


def best_of(master: CheckpointsMaster) -> dict[str, Any]:
    """The checkpoint whose validation was best."""
    return min(master.checkpoints, key=lambda each: each["training"]["validationMetrics"]["avgMetrics"]["val_loss"])


def of_trial(master: CheckpointsMaster, number: int) -> list[dict[str, Any]]:
    """The checkpoints of a trial, from the oldest to the newest."""
    return [each for each in master.checkpoints if each["training"]["trialId"] == number]


def fetched(directory: str) -> str:
    """The id of the checkpoint in a directory."""
    (path,) = (pathlib.Path(directory) / "checkpoints").iterdir()
    return path.name


def test_best_checkpoint_of_a_search_becomes_a_run_directory(
    master: CheckpointsMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch("7", "run") == 0

    best = best_of(master)
    trial = best["training"]["trialId"]
    run = pathlib.Path("run")
    assert sorted(path.name for path in run.iterdir() if not path.name.endswith(".lock")) == [
        "best", "checkpoints", "curves.png", "experiment.yaml", "last", "metrics.csv", "run.json", "tensorboard", "train.log",
    ]  # fmt: skip
    assert fetched("run") == best["uuid"]
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert (checkpoint / "classes.txt").read_text() == "cat\ndog\n"
    metadata = json.loads((checkpoint / "metadata.json").read_text())
    assert metadata["validation"]["val_loss"] == best["training"]["validationMetrics"]["avgMetrics"]["val_loss"]
    assert (metadata["experiment_id"], metadata["trial_id"]) == (7, trial)
    assert (run / "train.log").read_text() == "[moment] || first\n[moment] || last\n"
    config = read(run / "experiment.yaml")
    assert config["hyperparameters"] == {"lr": {22: 0.2, 23: 0.01}[trial]}
    assert config["reproducibility"]["experiment_seed"] == trial  # the trial's own seed
    said = capsys.readouterr().out
    assert f"experiment 7 (digits, completed), trial {trial} (completed): checkpoint {best['uuid']}" in said
    assert "the best by val_loss (" in said
    assert "lightning-adapter fit model_def:MNISTTrial --config run/experiment.yaml --resume-from run" in said


def test_fetched_run_has_a_record_of_how_it_was_made_and_has_ended(
    master: CheckpointsMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch("7", "run") == 0
    best = best_of(master)
    trial, value = best["training"]["trialId"], best["training"]["validationMetrics"]["avgMetrics"]["val_loss"]
    written = record.read("run")
    assert written is not None
    known = (
        "name",
        "trial",
        "target",
        "status",
        "error",
        "seed",
        "hyperparameters",
        "metric",
        "processes",
        "pid",
        "parent",
    )
    assert {name: written[name] for name in known} == {
        "name": "MNISTTrial", "trial": "MNISTTrial", "target": "model_def:MNISTTrial", "status": "finished", "error": None,
        "seed": trial,
        "hyperparameters": {"lr": RATES[trial]}, "metric": {"name": "val_loss", "smaller_is_better": True}, "processes": 1,
        "pid": None, "parent": None,
    }  # fmt: skip
    steps = best["metadata"]["steps_completed"]
    place = f"checkpoints/{best['uuid']}"
    assert written["last"] == {"checkpoint": place, "batches": steps, "epoch": steps // 6}
    assert written["best"] == {**written["last"], "value": value}
    assert (written["epoch"], written["global_step"], written["batches"]) == (steps // 6, steps, steps)
    assert "val_loss" in written["metrics"]
    assert (written["fetched"]["experiment"], written["fetched"]["trial"]) == (7, trial)
    assert set(written["versions"]) == {"determined", "torch"}
    assert {os.readlink("run/best"), os.readlink("run/last")} == {place}
    assert record.shown_status({**written, "status": "running"}, "run") == "running"  # as it stood when it was fetched


def test_files_that_the_run_wrote_lie_in_its_directory_as_those_of_a_local_one(
    master: CheckpointsMaster, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    uuid = best_of(master)["uuid"]
    kept = tmp_path / "other machine" / uuid / "files"
    for name in ("model.onnx", "pictures/epoch-0.png", "checkpoints/own.ckpt", "train.log", "metrics.csv/odd"):
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        (kept / name).write_text(name)
    assert fetch("7", "run") == 0

    run = pathlib.Path("run")
    for name in ("model.onnx", "pictures/epoch-0.png", "checkpoints/own.ckpt"):
        assert (run / name).read_text() == name
    stays = run / "checkpoints" / uuid / "files"
    assert sorted(str(path.relative_to(stays)) for path in stays.rglob("*") if path.is_file()) == [
        "metrics.csv/odd", "train.log",
    ]  # fmt: skip
    assert (run / "train.log").read_text().startswith("[moment]")
    assert "so the files stay here: train.log, metrics.csv/odd" in caplog.text


def test_project_below_src_goes_on_with_src_on_the_path(
    master: CheckpointsMaster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = files._complete_metadata

    def with_code(choice: Any, path: pathlib.Path) -> None:
        complete(choice, path)
        module = path.parent / "code/src/model_def.py"
        module.parent.mkdir()
        (path.parent / "code/model_def.py").rename(module)

    monkeypatch.setattr(files, "_complete_metadata", with_code)
    assert fetch("7", "run") == 0
    assert "go on:  PYTHONPATH=src lightning-adapter fit model_def:MNISTTrial " in capsys.readouterr().out


def test_values_that_fit_was_given_on_the_cluster_are_those_of_the_configuration(master: CheckpointsMaster) -> None:
    for number in (22, 23):
        master.trial(number)["hparams"] = {"lr": 0.5}  # drawn by the master, and not used
    assert fetch("22", "run", "--trial") == 0

    assert read("run/experiment.yaml")["hyperparameters"] == {"lr": 0.2}


def test_table_is_that_of_the_same_run_here(master: CheckpointsMaster) -> None:
    assert fetch("23", "run", "--trial") == 0
    fit(Trial, hparams={"lr": 0.01}, seed=23, run_dir="here")

    def rows(directory: str) -> list[dict[str, str]]:
        with (pathlib.Path(directory) / "metrics.csv").open(newline="") as file:
            # learning rates are kept here alone: a master is told what is logged
            return [
                {name: value for name, value in row.items() if value and not name.startswith("lr-")}
                for row in csv.DictReader(file)
            ]

    def joined(table: list[dict[str, str]]) -> dict[tuple[str, str, str], dict[str, str]]:
        """Rows of one batch as one, as a master keeps them."""
        one: dict[tuple[str, str, str], dict[str, str]] = {}
        for row in table:
            one.setdefault((row["kind"], row["batches"], row["epoch"]), {}).update(row)
        return one

    assert joined(rows("run")) == joined(rows("here"))


def test_fetched_run_is_resumed_bit_for_bit(master: CheckpointsMaster) -> None:
    assert fetch("23", "run", "--trial") == 0
    resumed = fit(Trial, config="run/experiment.yaml", resume_from="run", max_epochs=4, run_dir="on")
    whole = fit(Trial, config="run/experiment.yaml", max_epochs=4, run_dir="whole")

    for name, value in whole.lightning_module.state_dict().items():
        assert torch.equal(resumed.lightning_module.state_dict()[name], value), name


def test_fetched_run_goes_on_in_its_own_directory(master: CheckpointsMaster) -> None:
    assert fetch("7", "run") == 0
    trial = fit(Trial, config="run/experiment.yaml", resume_from="run", max_epochs=3, run_dir="run")

    assert trial.latest_checkpoint is not None and trial.latest_checkpoint.parent.parent.name == "run"
    with open("run/metrics.csv", newline="") as file:
        assert [row["batches"] for row in csv.DictReader(file) if row["kind"] == "validation"] == ["6", "12", "18"]


def test_fetched_checkpoint_is_lightnings(master: CheckpointsMaster) -> None:
    assert fetch("22", "run", "--trial") == 0

    assert Net.load_from_checkpoint(pathlib.Path("run", "checkpoints", fetched("run"), FILE)).hparams["lr"] == 0.2


def test_last_checkpoint_is_that_of_the_best_trial(master: CheckpointsMaster) -> None:
    assert fetch("7", "run", "--last") == 0

    assert fetched("run") == of_trial(master, best_of(master)["training"]["trialId"])[-1]["uuid"]


def test_last_checkpoint_of_a_trial(master: CheckpointsMaster) -> None:
    assert fetch("--trial", "22", "run", "--last") == 0

    assert fetched("run") == of_trial(master, 22)[-1]["uuid"]


def test_checkpoint_is_named_by_its_id_and_gets_a_name_of_its_own(master: CheckpointsMaster) -> None:
    first = master.checkpoints[0]
    assert fetch(first["uuid"].upper()) == 0

    assert fetched("runs/experiment-7/trial-22-batch-6") == first["uuid"]


def test_larger_may_be_better(master: CheckpointsMaster) -> None:
    master.config["searcher"] = {"name": "single", "metric": "val_loss", "smaller_is_better": False}
    assert fetch("7", "run") == 0

    worst = max(master.checkpoints, key=lambda each: each["training"]["validationMetrics"]["avgMetrics"]["val_loss"])
    assert fetched("run") == worst["uuid"]


def test_without_a_finite_value_the_last_one_is_fetched_with_a_word(
    master: CheckpointsMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    for each in master.checkpoints:
        each["training"]["validationMetrics"]["avgMetrics"] = {"val_loss": "NaN"}
    assert fetch("7", "run") == 0

    assert fetched("run") == master.checkpoints[-1]["uuid"]
    assert "the last one, since none was validated with a finite val_loss" in capsys.readouterr().out


def test_storage_that_is_here_is_read_with_its_tensorboard_files(
    master: CheckpointsMaster, trained: dict[int, FakeMaster], tmp_path: pathlib.Path
) -> None:
    store = tmp_path / "here"
    shutil.copytree(trained[22].store, store)
    events = store / "the-cluster" / "tensorboard" / "experiment" / "7" / "trial" / "22" / "events.out.tfevents.1"
    events.parent.mkdir(parents=True)
    events.write_text("x")
    master.config["checkpoint_storage"] = {"type": "shared_fs", "host_path": str(store), "save_trial_best": 1}
    master.fails["/checkpoints/"] = 500  # through the master nothing can be had

    assert fetch("22", "run", "--trial") == 0
    assert (pathlib.Path("run") / "tensorboard" / "events.out.tfevents.1").read_text() == "x"


def test_storage_that_is_here_and_not_to_be_read_is_left_to_the_master(
    master: CheckpointsMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> str:
        raise PermissionError("not yours")

    monkeypatch.setattr(shared, "_full_storage_path", refuse)
    assert fetch("7", "run") == 0


# --- what cannot be fetched -------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *words: str, status: int = 2) -> str:
    """Fetch in vain: what is said, with nothing left behind."""
    before = sorted(os.listdir())
    assert fetch(*words) == status
    assert [name for name in sorted(os.listdir()) if name != "logins"] == [name for name in before if name != "logins"]
    said = capsys.readouterr().err.strip().splitlines()[-1]
    word = f"lightning-adapter: {'error' if status == 2 else 'failed'}: "
    assert said.startswith(word)
    return said.removeprefix(word)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["8"], " has no experiment 8."),
        (["22"], " has no experiment 22; trial 22 is one of experiment 7: type --trial to fetch of it."),
        (["8", "--trial"], " has no trial 8."),
        (["latest"], "'latest' is neither a number"),
        (["00000000-0000-0000-0000-000000000000"], " has no checkpoint 00000000-"),
        (["00000000-0000-0000-0000-000000000000", "--last"], "is the id of one checkpoint: leave --last out."),
    ],
)
def test_what_is_not_there_is_said(
    master: CheckpointsMaster, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    told = refused(capsys, *words)
    assert said in told and (" has no " not in said or told.startswith(f"The master at {master.url} has no "))


def test_directory_that_is_there_is_not_touched(master: CheckpointsMaster, capsys: pytest.CaptureFixture[str]) -> None:
    pathlib.Path("run").mkdir()
    assert refused(capsys, "7", "run").startswith("run is there already, and nothing is written over.")
    assert list(pathlib.Path("run").iterdir()) == []


def test_experiment_without_a_checkpoint(master: CheckpointsMaster, capsys: pytest.CaptureFixture[str]) -> None:
    master.checkpoints.clear()
    master.state = "STATE_RUNNING"
    said = refused(capsys, "7", status=1)
    assert said.startswith("There is no checkpoint of experiment 7 (experiment 7 is running): none is written yet")


def test_deleted_checkpoints_are_passed_over_and_one_that_is_named_is_refused(
    master: CheckpointsMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = of_trial(master, 22)[-1]
    gone.update(state="STATE_DELETED", resources={})
    assert f"The files of checkpoint {gone['uuid']} are deleted" in refused(capsys, gone["uuid"])
    assert fetch("22", "run", "--trial", "--last") == 0
    assert fetched("run") == of_trial(master, 22)[0]["uuid"]


def test_checkpoint_of_a_plain_trial(master: CheckpointsMaster, capsys: pytest.CaptureFixture[str]) -> None:
    best_of(master)["resources"] = {"state_dict.pth": "10", "load_data.json": "3", "metadata.json": "3"}
    said = refused(capsys, "7")
    assert "has no lightning.ckpt: Determined's own Trainer has written it" in said
    assert "load_trial_from_checkpoint_path" in said


def cut_archive(master: CheckpointsMaster) -> None:
    master.cut = 200


def lost_file(master: CheckpointsMaster) -> None:
    for each in master.checkpoints:
        each["resources"]["vocabulary.json"] = "12"


def damaged_file(master: CheckpointsMaster) -> None:
    for path in pathlib.Path("other machine").rglob(FILE):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(bytes(content))


def no_metrics(master: CheckpointsMaster) -> None:
    master.fails["/api/v1/trials/metrics"] = 500


@pytest.mark.parametrize(
    ("harm", "status", "said"),
    [
        (cut_archive, 1, "cannot be downloaded, from its storage or through the master"),
        (lost_file, 1, "did not come whole: vocabulary.json is missing or cut short"),
        (damaged_file, 2, "is damaged"),
        (no_metrics, 1, "The master does not give the metrics and the log of trial"),
    ],
)
def test_a_run_that_cannot_be_had_whole_is_absent(
    master: CheckpointsMaster,
    capsys: pytest.CaptureFixture[str],
    harm: Callable[[CheckpointsMaster], None],
    status: int,
    said: str,
) -> None:
    harm(master)
    assert said in refused(capsys, "7", "run", status=status)


def test_interrupted_fetch_leaves_nothing(master: CheckpointsMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "_complete_metadata", interrupt)
    assert fetch("7", "run") == 130
    assert not [name for name in os.listdir() if "run" in name]


def test_no_master(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DET_MASTER", "http://127.0.0.1:9")
    assert refused(capsys, "7").startswith("No Determined master answers at http://127.0.0.1:9")
    monkeypatch.setenv("DET_MASTER", "http://somewhere:x")
    assert "is no address of a master" in refused(capsys, "7")


def test_certificate_that_is_not_trusted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise requests.exceptions.SSLError("certificate verify failed")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DET_MASTER", "https://127.0.0.1:9")
    monkeypatch.setattr(requests.Session, "request", refuse)
    assert "is not trusted: certificate verify failed. To fix, set DET_MASTER_CERT_FILE" in refused(capsys, "7")


def test_wrong_password(
    master: CheckpointsMaster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    master.password = "Secret123"
    monkeypatch.setenv("DET_USER", "determined")
    monkeypatch.setenv("DET_PASS", "secret")
    assert "refuses the name 'determined' or its password. To fix, type det user login determined" in refused(
        capsys, "7"
    )


def test_password_that_nobody_can_type(
    master: CheckpointsMaster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("getpass.getpass", nobody)
    logins = pathlib.Path("logins")
    logins.mkdir()
    known = {"masters": {master.url: {"active_user": "determined", "tokens": {}}}, "version": 2}
    (logins / "auth.json").write_text(json.dumps(known))
    assert "wants a password of 'determined'" in refused(capsys, "7")


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\nfrom lightning_adapter import cli\ntry: cli.main(['fetch', '--help'])\n"
        "except SystemExit: pass\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_number_and_id_are_loaded_as_a_run_that_is_fetched_once(
    master: CheckpointsMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    best = best_of(master)
    loaded = load_trial("7", Trial)
    place = f"runs/experiment-7/trial-{best['training']['trialId']}-batch-{best['metadata']['steps_completed']}"
    assert loaded.run_dir == pathlib.Path(place).absolute() and fetched(place) == best["uuid"]
    assert loaded.hparams == {"lr": RATES[best["training"]["trialId"]]} and loaded.lightning_module.lr
    assert f"fetching checkpoint {best['uuid']}, the best by val_loss" in capsys.readouterr().out
    source = find(best["uuid"])
    assert (source.checkpoint, source.target) == (loaded.checkpoint, "model_def:MNISTTrial")
    assert source.working_directory == source.checkpoint / "code"
    assert "fetching" not in capsys.readouterr().out
    last = of_trial(master, best["training"]["trialId"])[-1]
    assert find("7", last=True).checkpoint.name == last["uuid"]


def test_other_processes_of_a_job_wait_for_what_the_first_one_fetches(
    master: CheckpointsMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    uuid = best_of(master)["uuid"]
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(find(uuid)))
    waiting.start()
    waiting.join(0.5)
    assert not found and not pathlib.Path("runs").exists()
    monkeypatch.setenv("RANK", "0")
    assert find(uuid).checkpoint.name == uuid
    waiting.join(20)
    assert found[0].checkpoint.name == uuid
