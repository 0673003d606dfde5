"""A LightningCLI makes its parsers once for all that reads a configuration before a run, and once for the objects."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter import ConfiguredTrial, build, cli, fit, load_config
from lightning_adapter.configs import cli_kept
from lightning_adapter.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("configured")

TRIAL = """\
from pytorch_lightning.cli import LightningCLI

from lightning_adapter import ConfiguredTrial, load_config

made = []


class Counted(LightningCLI):
    def add_arguments_to_parser(self, parser):
        made.append(self)

    def before_instantiate_classes(self):
        made.append("objects")


class Trial(ConfiguredTrial):
    cli_class = Counted
    cli_arguments = {"save_config_callback": None, "trainer_defaults": {"logger": False, "enable_progress_bar": False}}


class Defaults(Trial):
    cli_arguments = {**Trial.cli_arguments, "parser_kwargs": {"fit": {"default_config_files": ["defaults.yaml"]}}}


class Reads(Trial):
    def build_callbacks(self):
        load_config("config.yaml", trial_class=Trial)
        load_config("config.yaml", trial_class=Trial)
        return super().build_callbacks()
"""


@pytest.fixture
def trials(configured: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module with the trials, whose list says what was made."""
    (configured / "trial.py").write_text(TRIAL)
    monkeypatch.syspath_prepend(".")
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")
    monkeypatch.delitem(sys.modules, "trial", raising=False)
    import trial

    return trial


def parsers_of(trials: Any) -> tuple[int, int]:
    """How many were made for reading, and how many from where the objects were made on."""
    at = trials.made.index("objects")
    return at - 1, len(trials.made) - at  # the LightningCLI that makes the objects makes a parser as well


def test_command_makes_one_parser_to_read_with_and_one_for_the_objects(trials: Any) -> None:
    assert cli.main(["fit", "trial:Trial", "--cli", "config.yaml"]) == 0
    assert parsers_of(trials) == (1, 1)


def test_build_makes_one_parser_to_read_with(trials: Any) -> None:
    config = load_config("config.yaml", trial_class=trials.Trial)
    trials.made.clear()
    build(config, trial_class=trials.Trial)
    assert parsers_of(trials) == (1, 1)


def test_lightningcli_of_a_script_is_read_with_one_parser(trials: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py", "--config", "config.yaml", "--trainer.logger=false"])
    made = trials.Counted(run=False)
    trials.made.clear()
    fit(ConfiguredTrial, hparams=made)
    assert parsers_of(trials) == (1, 1)


def test_parsers_that_take_defaults_from_files_are_made_for_each_reading(trials: Any) -> None:
    Path("defaults.yaml").write_text(
        "trainer: {max_epochs: 7}\nmodel: {class_path: parts.LitNet, init_args: {hidden: 3}}\n"
    )
    Path("config.yaml").write_text("model: {class_path: parts.LitNet}\ndata: {class_path: parts.Data}\n")
    words = ["fit", "trial:Defaults", "--cli", "config.yaml", "--max-epochs", "1"]
    assert cli.main(words) == 0
    # to compose, to check, and for the metric; the parsers of all subcommands each time, since the files may speak of them
    found, _ = parsers_of(trials)
    assert found > 1


def test_nothing_is_kept_once_the_objects_are_made(trials: Any) -> None:
    assert cli.main(["fit", "trial:Reads", "--cli", "config.yaml"]) == 0
    assert parsers_of(trials) == (1, 3)


def test_block_within_a_block_ends_with_the_outer_one(trials: Any) -> None:
    with trials.Trial.reading_once():
        with trials.Trial.reading_once():
            load_config("config.yaml", trial_class=trials.Trial)
        load_config("config.yaml", trial_class=trials.Trial)
        assert len(trials.made) == 1
    load_config("config.yaml", trial_class=trials.Trial)
    assert len(trials.made) == 2


def test_other_arguments_of_the_constructor_make_another_parser(trials: Any) -> None:
    class Other(trials.Trial):
        cli_arguments = {**trials.Trial.cli_arguments, "seed_everything_default": 5}

    with trials.Trial.reading_once():
        for trial in (trials.Trial, Other):
            assert load_config("config.yaml", trial_class=trial)["seed_everything"] == 7
    assert len(trials.made) == 2


def test_class_that_has_changed_since_is_read_anew(trials: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import parts
    import pytorch_lightning as pl

    config = load_config("config.yaml", trial_class=trials.Trial)
    monkeypatch.setattr(parts, "LitNet", type("LitNet", (pl.LightningModule,), {"__module__": "parts"}))
    with pytest.raises(ConfigurationError, match="lr"):
        build(config, trial_class=trials.Trial)


def test_another_tree_is_read_by_the_parsers_that_are_kept(trials: Any) -> None:
    config = load_config("config.yaml")
    with cli_kept.reading_once():
        ConfiguredTrial.check_hyperparameters(config)
        init_args = {**config["model"]["init_args"], "hidden": "four"}
        with pytest.raises(ConfigurationError, match="hidden"):
            ConfiguredTrial.check_hyperparameters({**config, "model": {**config["model"], "init_args": init_args}})
        ConfiguredTrial.check_hyperparameters(config)
