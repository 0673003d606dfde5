"""A search of a configuration draws what the experiment says, and leaves the rest of the configuration as it is."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter import cli
from lightning_adapter.cli import fit
from lightning_adapter.cli.search_request import Asked, asked
from lightning_adapter.configs.listed import lists
from lightning_adapter.configs.searched import searched
from lightning_adapter.configured_trial import ConfiguredTrial
from lightning_adapter.platform import experiment
from lightning_adapter.platform.target import CONFIGURED
from lightning_adapter.tuning.draws import draws
from lightning_adapter.tuning.settings import searcher_settings

pytestmark = pytest.mark.usefixtures("configured")

LOG = {"type": "log", "base": 10, "minval": -3, "maxval": -1}
CHOICE = {"type": "categorical", "vals": [1, 3]}


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> Asked:
    """What is asked for by a command line."""
    found: list[Any] = []
    monkeypatch.setattr("lightning_adapter.cli.search.run", lambda arguments: found.append(asked(arguments)) or 0)
    assert cli.main(["search", *words]) == 0
    made: Asked = found[0]
    return made


def experiment_yaml(hyperparameters: str, entrypoint: str = "fit --hydra configs", searcher: str = "random") -> str:
    return (
        f"entrypoint: python3 -m lightning_adapter {entrypoint}\n"
        f"hyperparameters: {hyperparameters}\n"
        f"searcher: {{name: {searcher}, metric: val_loss, max_trials: 2}}\nreproducibility: {{experiment_seed: 1}}\n"
    )


def values_of_the_first_trial(of: Asked) -> dict[str, Any]:
    """What the first trial is given."""
    settings = searcher_settings(of.config)
    drawn = next(draws(settings, of.config["hyperparameters"], 1)).hyperparameters
    return experiment.hyperparameters({"hyperparameters": drawn}, drawn=True)


# the tree


def test_range_takes_the_place_of_a_value_of_a_group_and_of_one_in_a_list() -> None:
    tree = {
        "model": {"class_path": "a.B", "init_args": {"lr": 1, "w": 2}},
        "callbacks": [{"patience": 5}, {"type": "x"}],
    }
    spec = {
        "model": {"init_args": LOG, "more": {"type": "const", "val": 3}},
        "callbacks": {"0": {"patience": CHOICE}},
        "global_batch_size": 8,
    }
    assert searched(tree, spec, {"model": {"more": 4}}, is_grid=False) == {
        "model": {"class_path": "a.B", "init_args": LOG, "more": 4},
        "callbacks": {"0": {"patience": CHOICE}, "1": {"type": "const", "val": {"type": "x"}}},
        "global_batch_size": 8,
    }


def test_typed_value_makes_a_constant_of_a_range() -> None:
    assert searched({"a": {"lr": 1}}, {"a": {"lr": LOG}}, {"a": {"lr": 0.5}}, is_grid=False) == {"a": {"lr": 0.5}}


# the command


@pytest.mark.parametrize(
    ("words", "name", "vals"),
    [
        (["--hydra", "configs", "model.optimizer.lr=0.1,0.01"], "model.optimizer.lr", [0.1, 0.01]),
        (["--cli", "config.yaml", "model.init_args.lr=0.1,0.01"], "model.init_args.lr", [0.1, 0.01]),
    ],
)
def test_search_without_an_experiment_is_of_what_init_writes(
    words: list[str], name: str, vals: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = typed(monkeypatch, *words)
    source = words[1]
    assert cli.main(["init", source, *words[2:]]) == 0
    written = capsys.readouterr().out.splitlines()
    assert found.request.text is not None
    # the first lines name the source, and the class that reads it
    assert [line for line in found.request.text.splitlines() if not line.startswith("#")] == [
        line for line in written if not line.startswith("#")
    ]
    assert found.request.target == CONFIGURED and found.request.hyperparameters is None
    spec = found.config["hyperparameters"]
    for part in name.split("."):
        spec = spec[part]
    assert spec == {"type": "categorical", "vals": vals}


def test_lightning_cli_is_searched_by_the_trial_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("main.py").write_text("from pytorch_lightning.cli import LightningCLI\nclass MyCLI(LightningCLI): ...\n")
    words = ["main.py:MyCLI", "--cli", "config.yaml", "--model.init_args.lr=0.1,0.2"]
    assert cli.main(["search", *words, "--preview"]) == 2
    assert "the trial that reads this has to name MyCLI. Write it into main.py" in capsys.readouterr().err
    Path("main2.py").write_text(
        Path("main.py").read_text()
        + "from lightning_adapter import ConfiguredTrial\nclass Mine(ConfiguredTrial):\n    cli_class = MyCLI\n"
    )
    found = typed(monkeypatch, "main2.py:MyCLI", *words[1:])
    assert found.request.target == "main2.py:Mine" and not found.notices


@pytest.mark.parametrize(
    "words",
    [
        ["--hydra", "configs", "--config", "e.yaml", "experiment=big"],
        ["--config", "e.yaml"],  # whose entrypoint says the same
        [CONFIGURED, "--config", "e.yaml"],
    ],
)
def test_ranges_of_an_experiment_are_drawn_over_the_configuration(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = "{model: {optimizer: {lr: {type: categorical, vals: [0.3]}}}}"
    Path("e.yaml").write_text(experiment_yaml(spec, "fit --hydra configs experiment=big"))
    found = typed(monkeypatch, *words, "--hparam", "data.batch_size=16")
    assert found.request.target == CONFIGURED and found.request.hparams == {}
    assert found.request.hyperparameters == found.config["hyperparameters"]
    values = values_of_the_first_trial(found)
    tree = ConfiguredTrial.given_hyperparameters(values)
    assert values["model"]["optimizer"] == {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.3}
    assert (values["seed"], values["data"]["batch_size"], values["model"]["net"]["hidden"]) == (5, 16, 8)
    ConfiguredTrial.check_hyperparameters(tree)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (["--hydra", "configs"], {"model": {"optimizer": {"lr": LOG}, "net": {"hidden": CHOICE}}}),
        (
            ["--hydra", "configs"],
            {"model": {"_target_": "parts.Other", "lr": LOG}, "data": {"type": "const", "val": {"a": 1}}},
        ),
        (
            ["--cli", "config.yaml"],
            {
                "trainer": {"callbacks": {"0": {"init_args": {"patience": CHOICE}}}, "limit_val_batches": 0.5},
                "model": {"init_args": {"lr": LOG, "hidden": {"type": "int", "minval": 2, "maxval": 9}}},
            },
        ),
    ],
)
def test_trials_have_the_values_that_they_have_on_a_cluster(
    words: list[str], spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # there the master draws from the experiment alone, and each trial puts the values into the configuration
    config = {"searcher": {"name": "random", "metric": "val_loss", "max_trials": 4}, "hyperparameters": spec}
    Path("e.yaml").write_text(json.dumps(config))
    found = typed(monkeypatch, *words, "--config", "e.yaml")
    tree = fit.configuration_typed(ConfiguredTrial, words)
    settings = searcher_settings(config)
    theirs = draws(settings, spec, 7)
    ours = draws(settings, found.config["hyperparameters"], 7)
    for there, here in itertools.islice(zip(theirs, ours, strict=False), 4):
        values = ConfiguredTrial.merged_hyperparameters(there.hyperparameters, tree)
        assert lists(here.hyperparameters) == lists(values)
        assert here.seed == there.seed


def test_configuration_that_is_typed_wins_over_that_of_the_entrypoint(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("e.yaml").write_text(experiment_yaml("{model: {init_args: {lr: {type: categorical, vals: [0.3]}}}}"))
    found = typed(monkeypatch, "--cli", "config.yaml", "--config", "e.yaml", "--trainer.max_epochs", "7")
    values = values_of_the_first_trial(found)
    assert (values["model"]["init_args"]["lr"], values["trainer"]["max_epochs"]) == (0.3, 7)
    assert "seed" not in values and values["seed_everything"] == 7


def test_configuration_of_the_entrypoint_is_not_that_of_another_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("e.yaml").write_text(experiment_yaml("{lr: {type: categorical, vals: [1]}}"))
    found = typed(monkeypatch, "parts:Data", "--config", "e.yaml")
    assert found.request.hyperparameters is None and list(found.config["hyperparameters"]) == ["lr"]


def test_target_that_reads_no_configuration_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("e.yaml").write_text(experiment_yaml("{lr: {type: categorical, vals: [1]}}"))
    assert cli.main(["search", "parts:Data", "--hydra", "configs", "--config", "e.yaml", "--preview"]) == 2
    assert "parts:Data does not read a configuration, which --hydra names" in capsys.readouterr().err
