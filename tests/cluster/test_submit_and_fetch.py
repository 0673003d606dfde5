"""Do `submit` and `fetch` bring a project that is none of this repository's to a cluster, and its model back?"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cluster.experiments import BATCHES, CONTEXT, HYPERPARAMETERS, ROOT, Cluster, Run, fit, from_variables, merged

EPOCHS = 2


def command(*words: Any, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `lightning-adapter` of this checkout, as it is typed."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "lightning_adapter", *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, **variables},
        text=True,
        capture_output=True,
        timeout=600,
    )


def write_experiment(directory: Path, **keys: Any) -> None:
    config = {
        "name": "cluster-test",
        "entrypoint": fit(EPOCHS).replace("model_def:", "regression.model_def:"),
        "hyperparameters": HYPERPARAMETERS,
        "searcher": {"name": "single", "metric": "val_loss", "smaller_is_better": True},
    }
    found = merged(config, from_variables(), keys)
    (directory / "experiment.yaml").write_text(yaml.safe_dump(found), encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a src layout, a requirement of its own, and data that stay at home."""
    directory = tmp_path / "project"
    package = directory / "src" / "regression"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(CONTEXT / "model_def.py", package)
    with (package / "model_def.py").open("a", encoding="utf-8") as file:
        file.write(
            "\nif determined.get_cluster_info() is not None:\n    import humanize  # what requirements.txt asks for\n"
        )
    (directory / "requirements.txt").write_text("humanize\n", encoding="utf-8")
    (directory / "startup-hook.sh").write_text("echo the hook of the project\n", encoding="utf-8")
    (directory / "data").mkdir()
    (directory / "data" / "large.bin").write_bytes(os.urandom(3_000_000))
    (directory / ".detignore").write_text("data/\n", encoding="utf-8")
    write_experiment(directory)
    return directory


def created(real: Cluster, done: subprocess.CompletedProcess[str]) -> Run:
    found = re.search(r"experiment (\d+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return real.take(int(found[1]))


def test_submitted_followed_and_fetched(real: Cluster, project: Path) -> None:
    done = command("submit", "experiment.yaml", ".", "--name", "of the acceptance", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    run = created(real, done)
    assert run.state == "COMPLETED"
    assert run.experiment.name == "of the acceptance"
    assert "val_loss" in done.stdout
    assert "the hook of the project" in run.log()
    assert [step for step, _ in run.table("validation")] == [BATCHES, 2 * BATCHES]

    fetched = command("fetch", run.id, "fetched", cwd=project)
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    (checkpoint,) = (project / "fetched").rglob("*.ckpt")
    assert set(torch.load(checkpoint, weights_only=True)) >= {"state_dict", "hyper_parameters"}
    src = os.pathsep.join([str(project / "src"), str(ROOT)])
    going_on = command(
        "fit", "regression.model_def:Trial", "--resume-from", "fetched", "--max-epochs", EPOCHS + 1, "--run-dir", "on",
        cwd=project,
        PYTHONPATH=src,
    )  # fmt: skip
    assert going_on.returncode == 0, going_on.stdout + going_on.stderr


def test_detached_it_returns_at_once(real: Cluster, project: Path) -> None:
    done = command("submit", "experiment.yaml", ".", "--detach", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    run = created(real, done)
    assert run.state not in ("COMPLETED", "ERROR")
    run.wait()


def test_what_no_restart_can_mend_fails_once_with_exit_status_1(real: Cluster, project: Path) -> None:
    write_experiment(project, max_restarts=3)
    with (project / "src" / "regression" / "model_def.py").open("a", encoding="utf-8") as file:
        file.write("\nif determined.get_cluster_info() is not None:\n    import that_is_nowhere\n")
    done = command("submit", "experiment.yaml", ".", cwd=project)
    assert done.returncode == 1, done.stdout + done.stderr
    run = created(real, done)
    assert run.state == "ERROR"
    assert run.restarts == 0
    # the master's own line on why it does not retry quotes the one of ours
    assert len([line for line in run.log().splitlines() if line.startswith("lightning-adapter: error:")]) == 1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"hyperparameters": {"global_batch_size": 9}, "resources": {"slots_per_trial": 2}}, "multiple of 2"),
        ({"resources": {"slots_per_trial": 2}}, "determined.launch.torch_distributed"),
        ({"seracher": {}}, "seracher"),
        ({"entrypoint": "python3 -m lightning_adapter fit regression.model_deff:Trial --max-epochs 1"}, "model_deff"),
        ({"searcher": {"max_time": 7, "time_metric": "epochs", "name": "adaptive_asha", "max_trials": 2}}, "max_time"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_created(
    real: Cluster, project: Path, change: dict[str, Any], word: str
) -> None:
    before = max((experiment.id for experiment in real.determined.list_experiments()), default=0)
    write_experiment(project, **change)
    done = command("submit", "experiment.yaml", ".", cwd=project)
    assert done.returncode == 2, done.stdout + done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    names = [experiment.name for experiment in real.determined.list_experiments() if experiment.id > before]
    assert "cluster-test" not in names


def test_a_context_that_is_too_large_is_refused_with_its_largest_files(real: Cluster, project: Path) -> None:
    (project / ".detignore").unlink()
    (project / "data" / "huge.bin").write_bytes(os.urandom(200_000_000))
    done = command("submit", "experiment.yaml", ".", cwd=project)
    assert done.returncode == 2
    assert "huge.bin" in done.stderr


@pytest.mark.parametrize(
    "variables", [{"DET_MASTER": "http://127.0.0.1:9"}, {"DET_USER": "determined", "DET_PASS": "not the password"}]
)
def test_no_master_and_a_wrong_password_are_exit_status_2(
    real: Cluster, project: Path, variables: dict[str, str]
) -> None:
    done = command("submit", "experiment.yaml", ".", cwd=project, **variables)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
