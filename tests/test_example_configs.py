"""Do the example's projects train to the same numbers with Lightning's own Trainer and through the adapter?"""

from __future__ import annotations

import json
import logging
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import nbformat
import pytest
import torch
from ruamel.yaml import YAML

import fake_searcher
from fake_master import FakeMaster
from kernel import execute
from lightning_adapter import cli, load_config, load_trial
from lightning_adapter.platform import experiment
from lightning_adapter.runs import record

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "configs"

pytestmark = pytest.mark.usefixtures("seeding", "logging_as_before")

CLI_OVERRIDES = ["--data.arms=4", "--model.width=16", "--optimizer.lr=0.1", "--trainer.max_epochs=3"]
HYDRA_OVERRIDES = ["experiment=five_arms", "model.optimizer.lr=0.1", "trainer=short"]


@pytest.fixture
def seeding(monkeypatch: pytest.MonkeyPatch) -> None:
    """`seed_everything(workers=True)` says so in the environment, as Lightning's does."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """`@hydra.main` configures logging for the process."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in [each for each in root.handlers if each not in before]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def at(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A copy of one of the example's projects becomes the working directory."""

    def go(name: str) -> Path:
        copy = project / name
        shutil.copytree(EXAMPLE / name, copy, ignore=shutil.ignore_patterns("runs", "outputs", "lightning_logs"))
        monkeypatch.chdir(copy)
        monkeypatch.syspath_prepend(str(copy))
        return copy

    return go


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[pl.Trainer]]:
    """What `python SCRIPT WORDS` trains: the Trainers of Lightning whose `fit` it calls."""

    def run(script: str, *words: str) -> list[pl.Trainer]:
        trainers: list[pl.Trainer] = []
        fit = pl.Trainer.fit

        def noted(self: pl.Trainer, *args: Any, **kwargs: Any) -> None:
            trainers.append(self)
            fit(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", [script, *words])
            patch.setattr(pl.Trainer, "fit", noted)
            runpy.run_path(script, run_name="__main__")
        return trainers

    return run


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


def assert_run_is_that_of(trainer: pl.Trainer, run_dir: str | Path) -> None:
    """The last weights and values of a run are those of Lightning's Trainer, bit for bit."""
    trained = load_trial(run_dir, last=True).lightning_module
    assert torch.equal(weights(trained), weights(trainer.lightning_module))
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert record.read(Path(run_dir))["metrics"] == metrics


# --- LightningCLI -----------------------------------------------------------------------------------------------------


def test_cli_project_trains_to_the_numbers_of_its_own_command(
    at: Callable[[str], Path], typed: Callable[..., list[pl.Trainer]]
) -> None:
    at("cli")
    (own,) = typed("main.py", "fit", "--config", "config.yaml", *CLI_OVERRIDES)
    assert cli.main(["fit", "trial.py:SpiralTrial", "--cli", "config.yaml", "--run-dir", "here", *CLI_OVERRIDES]) == 0
    assert_run_is_that_of(own, "here")
    assert own.lightning_module.net[-1].out_features == 4  # data.arms, which is linked


# --- Hydra ------------------------------------------------------------------------------------------------------------


def test_hydra_project_trains_to_the_numbers_of_its_own_script(
    at: Callable[[str], Path], typed: Callable[..., list[pl.Trainer]]
) -> None:
    at("hydra")
    (own,) = typed("plain.py", "hydra.run.dir=own", *HYDRA_OVERRIDES)
    assert typed("train.py", "hydra.run.dir=ours", *HYDRA_OVERRIDES) == []
    assert_run_is_that_of(own, "ours")
    assert list(Path("ours/csv").glob("**/metrics.csv")) and list(Path("ours/checkpoints").glob("epoch=*.ckpt"))
    assert cli.main(["fit", "--hydra", "configs/train", "--run-dir", "here", *HYDRA_OVERRIDES]) == 0
    assert_run_is_that_of(own, "here")
    assert own.lightning_module.net[-1].out_features == 5  # ${data.arms}


# --- on a cluster -----------------------------------------------------------------------------------------------------


@pytest.fixture
def init(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `lightning-adapter init WORDS` prints."""

    def run(*words: str) -> str:
        capsys.readouterr()
        assert cli.main(["init", *words]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def submitted(cluster: Any) -> Callable[[dict[str, Any], dict[str, Any]], FakeMaster]:
    """Train a trial of an experiment by its entrypoint, with hyperparameters that a master has drawn."""

    def train(config: dict[str, Any], drawn: dict[str, Any]) -> FakeMaster:
        program, *words = shlex.split(config["entrypoint"])
        assert (program, words[:3]) == ("python3", ["-m", "lightning_adapter", "fit"])
        with cluster(hparams=drawn, config={"searcher": config["searcher"]}, trial_seed=99) as master:
            assert cli.main(words[2:]) == 0
        return master

    return train


def assert_trial_is_that_of(trainer: pl.Trainer, master: FakeMaster) -> None:
    """The last validation that a master was told of, and the weights that it keeps, are those of Lightning's Trainer."""
    _, told = master.validation[-1]
    own = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val_")}
    assert {name: told[name] for name in own} == own
    (best,) = [path for path in master.store.glob("*/lightning.ckpt") if _epochs(path) == trainer.current_epoch]
    saved = torch.load(best, weights_only=True)["state_dict"]
    module = trainer.lightning_module
    assert saved.keys() == module.state_dict().keys()
    assert all(torch.equal(saved[name], value) for name, value in module.state_dict().items())


def _epochs(checkpoint: Path) -> int:
    loops = torch.load(checkpoint, weights_only=True)["loops"]
    return int(loops["fit_loop"]["epoch_progress"]["current"]["processed"])


def test_cli_project_trains_to_the_numbers_of_its_own_command_through_init_and_a_master(
    at: Callable[[str], Path],
    typed: Callable[..., list[pl.Trainer]],
    init: Callable[..., str],
    submitted: Callable[..., FakeMaster],
) -> None:
    at("cli")
    (own,) = typed("main.py", "fit", "--config", "config.yaml", *CLI_OVERRIDES)
    text = init("trial.py:SpiralTrial", "--cli", "config.yaml", *CLI_OVERRIDES)
    config = YAML(typ="safe").load(text)
    assert_trial_is_that_of(own, submitted(config, experiment.hyperparameters(config)))


def test_one_trial_of_the_sweep_trains_to_the_numbers_of_its_job(
    at: Callable[[str], Path],
    typed: Callable[..., list[pl.Trainer]],
    init: Callable[..., str],
    submitted: Callable[..., FakeMaster],
) -> None:
    at("hydra")
    jobs = typed("plain.py", "-m", "hparams_search=grid", "trainer=short", "hydra.sweep.dir=own")
    overrides = [YAML(typ="safe").load(path) for path in sorted(Path("own").glob("*/.hydra/overrides.yaml"))]
    assert len(jobs) == len(overrides) == 6
    text = init("configs/train", "hparams_search=grid", "trainer=short")
    trials = fake_searcher.grid(text)
    assert len(trials) == 6
    for words in overrides:
        assert load_config("configs/train", words) in trials
    last = trials.index(load_config("configs/train", overrides[-1]))
    assert_trial_is_that_of(jobs[-1], submitted(YAML(typ="safe").load(text), trials[last]))


ROWS = re.findall(
    r"^\| (`.+`) \| (`?.+?) \| `(grid|random)` \|$", (ROOT / "docs" / "configs.md").read_text(), re.MULTILINE
)


@pytest.mark.parametrize(("typed_words", "written", "searcher"), ROWS, ids=[row[0] for row in ROWS])
def test_sweep_becomes_the_range_that_the_page_says(
    typed_words: str, written: str, searcher: str, at: Callable[[str], Path], init: Callable[..., str]
) -> None:
    at("hydra")
    first, *others = re.findall(r"`([^`]+)`", typed_words)
    name = first.partition("=")[0]
    for word in (first, *(other if "=" in other else f"{name}={other}" for other in others)):
        config = YAML(typ="safe").load(init("configs/train", word))
        node = config["hyperparameters"]
        for key in name.split("."):
            node = node[key]
        if written.startswith("`{"):
            assert node == YAML(typ="safe").load(written.strip("`"))
        else:
            assert (node["type"], len(node["vals"])) == ("categorical", 2)
        assert config["searcher"]["name"] == searcher


# --- a dataclass ------------------------------------------------------------------------------------------------------


def test_dataclass_project_trains_to_the_numbers_of_its_own_script(
    at: Callable[[str], Path], typed: Callable[..., list[pl.Trainer]], init: Callable[..., str]
) -> None:
    at("typed")
    (own,) = typed("plain.py")
    Path("experiment.yaml").write_text(init("model_def.py:SpiralTrial"))
    words = ["fit", "model_def.py:SpiralTrial", "--config", "experiment.yaml", "--seed", "1", "--run-dir", "here"]
    assert cli.main(words) == 0
    assert_run_is_that_of(own, "here")


# --- the notebook -----------------------------------------------------------------------------------------------------


def test_notebook_runs_as_it_stands(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cli", "hydra"):
        shutil.copytree(EXAMPLE / name, project / name)
    notebook = nbformat.read(EXAMPLE / "configs.ipynb", as_version=4)
    done = execute(notebook, project, monkeypatch)
    shown = [output for cell in done.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("image/png" in output["data"] for output in shown) == 2
    assert "'val_acc': tensor(" in shown[-1]["data"]["text/plain"]
    assert {path.name for path in project.glob("runs/*")} == {
        "SpiralModule",
        "SpiralTrial",
    }  # what callbacks write lies in there


def test_notebook_is_kept_without_outputs() -> None:
    notebook = json.loads((EXAMPLE / "configs.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
