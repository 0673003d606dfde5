from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

import fake_searcher
from lightning_adapter import ConfiguredTrial, fit, load_config
from lightning_adapter.configs import hydra_tree, lightning_cli
from lightning_adapter.configs.listed import lists
from lightning_adapter.platform import experiment


def read(text: str, path: Path = Path("experiment.yaml")) -> dict:
    path.write_text(text)
    return experiment.read(path)


def test_lightning_cli_file_becomes_a_complete_experiment(configured: Path, init) -> None:
    config = read(init("config.yaml"))
    assert config["name"] == "LitNet"
    assert config["entrypoint"] == "python3 -m lightning_adapter fit lightning_adapter:ConfiguredTrial"
    assert config["searcher"] == {"name": "single", "metric": "val_loss", "smaller_is_better": True}
    assert config["resources"] == {"slots_per_trial": 1}
    assert config["reproducibility"] == {"experiment_seed": 7}
    assert config["max_restarts"] == 5
    hyperparameters = experiment.hyperparameters(config)
    assert hyperparameters.pop("global_batch_size") == 4
    composed = lightning_cli.compose("config.yaml")
    assert hyperparameters == composed
    assert list(hyperparameters) == list(composed)


def test_hydra_directory_becomes_a_complete_experiment_with_interpolations_kept(configured: Path, init) -> None:
    config = read(init("configs", "experiment=big"))
    assert config["searcher"] == {"name": "single", "metric": "val_loss", "smaller_is_better": True}
    assert config["reproducibility"] == {"experiment_seed": 5}
    hyperparameters = experiment.hyperparameters(config)
    assert hyperparameters.pop("global_batch_size") == 4
    assert hyperparameters == hydra_tree.compose("configs", None, ["experiment=big"])
    assert hyperparameters["model"]["lr"] == "${model.optimizer.lr}"


_APP = """
import hydra

@hydra.main(config_path="configs", config_name="train", version_base=None)
def main(config):
    pass

main()
"""


def test_grid_gives_the_trials_of_hydras_own_multirun(configured: Path, init) -> None:
    words = ["model=net,wide", "model.net.hidden=range(2,5)", "data.batch_size=4"]
    (configured / "app.py").write_text(_APP)
    subprocess.run([sys.executable, "app.py", "-m", *words, "hydra.sweep.dir=jobs"], check=True, capture_output=True)
    jobs = [YAML(typ="safe").load(path) for path in configured.glob("jobs/*/.hydra/config.yaml")]
    trials = fake_searcher.grid(init("configs/train", *words))
    assert len(jobs) == len(trials) == 6
    for trial in trials:
        assert trial.pop("global_batch_size") == 4
        assert trial in jobs
    assert all(job in trials for job in jobs)


def test_drawn_trial_trains_on_a_cluster_to_the_numbers_of_the_same_overrides_here(
    configured: Path, init, cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")
    text = init("configs", "model.net.hidden=3,5", "++trainer.limit_train_batches=1.0", "trainer.max_epochs=1")
    drawn = fake_searcher.grid(text)[1]
    here = fit(ConfiguredTrial, hparams=load_config("configs", ["model.net.hidden=5", "trainer.max_epochs=1"]))
    with cluster(hparams=json.loads(json.dumps(drawn)), trial_seed=99):
        there = fit(ConfiguredTrial)
    one, other = here.lightning_module.state_dict(), there.lightning_module.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_sweep_over_a_group_draws_whole_subtrees(configured: Path, init) -> None:
    text = init("configs", "model=net,wide", "trainer.max_epochs=1,2")
    expected = [
        hydra_tree.compose("configs", None, [f"model={model}", f"trainer.max_epochs={epochs}"])
        for model in ("net", "wide")
        for epochs in (1, 2)
    ]
    trials = fake_searcher.grid(text)
    for trial in trials:
        assert trial.pop("global_batch_size") == 4
    assert len(trials) == 4
    assert all(trial in trials for trial in expected)


def test_range_in_a_list_becomes_a_group_that_the_trial_reads_as_the_list(configured: Path, init) -> None:
    text = init("config.yaml", "trainer.callbacks.init_args.patience=1,2", "--model.lr", "0.5")
    found = []
    for trial in fake_searcher.grid(text):
        tree = lists(trial)
        assert tree["model"]["init_args"]["lr"] == 0.5
        found.append(tree["trainer"]["callbacks"][0]["init_args"]["patience"])
    assert found == [1, 2]


def test_interval_is_drawn_at_random(configured: Path, init) -> None:
    text = init("configs", "model.optimizer.lr=tag(log, interval(1e-4, 1e-1))", "model.net.hidden=int(interval(2,5))")
    config = read(text)
    assert config["hyperparameters"]["model"]["optimizer"]["lr"] == {
        "type": "log",
        "base": 10,
        "minval": -4,
        "maxval": -1,
    }
    assert config["searcher"]["name"] == "random"
    drawn = fake_searcher.samples(text)
    assert all(1e-4 <= trial["model"]["optimizer"]["lr"] <= 1e-1 for trial in drawn)
    assert {trial["model"]["net"]["hidden"] for trial in drawn} == {2, 3, 4, 5}


def test_several_slots_get_a_launcher_and_a_batch_for_each(configured: Path, init) -> None:
    config = read(init("config.yaml", "--slots", "3"))
    assert config["entrypoint"].startswith("python3 -m determined.launch.torch_distributed -- ")
    assert config["resources"]["slots_per_trial"] == 3
    assert config["hyperparameters"]["global_batch_size"] == 12


def test_source_of_no_kind_is_told_with_examples(configured: Path, init) -> None:
    said = init("nothing.yaml", status=2)
    assert "nothing.yaml is no file" in said
    assert "train.py:parser" in said
    assert "Traceback" not in said
    assert "is an experiment YAML already" in _of_text(init, "searcher: {name: single}\n")
    assert "parts.py:NAME" in init("parts.py", status=2)


def _of_text(init, text: str) -> str:
    Path("given.yaml").write_text(text)
    return init("given.yaml", status=2)


def test_what_a_module_prints_does_not_get_into_the_yaml(configured: Path, init) -> None:
    path = configured / "parts.py"
    path.write_text("print('hello')\n" + path.read_text())
    sys.modules.pop("parts", None)
    assert init("config.yaml").startswith("# An experiment of Determined's, made from config.yaml.")
