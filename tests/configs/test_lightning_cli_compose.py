from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_adapter.configs import lightning_cli
from lightning_adapter.configs.lightning_cli import Cli
from lightning_adapter.errors import ConfigurationError

from . import cli_project
from .cli_project import LinkedCli

M = cli_project.__name__
CONFIG = f"""
trainer:
  max_epochs: 2
  limit_val_batches: 3
  callbacks:
  - class_path: lightning.pytorch.callbacks.EarlyStopping
    init_args:
      monitor: val_loss
seed_everything: 3
model:
  class_path: {M}.Model
  init_args:
    net:
      activation: TANH
    lr: 0.5
data:
  class_path: {M}.Data
ckpt_path: null
"""
LINKED = Cli(LinkedCli, {"model_class": cli_project.Model, "datamodule_class": cli_project.Data})

Compose = Callable[..., dict[str, Any]]


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compose:
    """Compose a text; what comes out, written down, has to be composed to the same, and be JSON."""
    monkeypatch.chdir(tmp_path)

    def composed(text: str, overrides: Sequence[str] = (), cli: Cli | None = None, name: str = "config.yaml") -> Any:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        tree = lightning_cli.compose(name, overrides, cli)
        again = tmp_path / "again.yaml"
        again.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
        assert json.dumps(lightning_cli.compose(again, (), cli)) == json.dumps(tree)
        lightning_cli.check(json.loads(json.dumps(tree)), cli)
        return tree

    return composed


def test_tree_is_the_file_in_its_order_without_defaults(compose: Compose) -> None:
    assert yaml.safe_dump(compose(CONFIG), sort_keys=False).strip() == CONFIG.strip()


def test_override_with_another_class_drops_the_arguments_of_the_first(compose: Compose) -> None:
    tree = compose(CONFIG, ["--model", "CallableModel", "--model.optimizer=SGD", "--model.optimizer.lr", "0.3"])
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.3}}
    assert tree["model"] == {"class_path": f"{M}.CallableModel", "init_args": {"lr": 0.5, "optimizer": sgd}}


def test_appended_callback_follows_those_of_the_file(compose: Compose) -> None:
    tree = compose(CONFIG, ["--trainer.callbacks+=LearningRateMonitor", "--trainer.callbacks.logging_interval=step"])
    names = [each["class_path"].rpartition(".")[2] for each in tree["trainer"]["callbacks"]]
    assert names == ["EarlyStopping", "LearningRateMonitor"]
    assert tree["trainer"]["callbacks"][1]["init_args"] == {"logging_interval": "step"}


def test_logger_appended_to_a_default_one_keeps_the_default_one(compose: Compose) -> None:
    default = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "a"}}
    cli = Cli(arguments={"trainer_defaults": {"logger": [default]}})
    tree = compose(CONFIG, ["--trainer.logger+=CSVLogger", "--trainer.logger.save_dir=b"], cli)
    assert [each["init_args"]["save_dir"] for each in tree["trainer"]["logger"]] == ["a", "b"]


def test_second_configuration_wins_and_keeps_the_rest(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("model: {init_args: {lr: 0.25}}\ntrainer: {max_epochs: 7}", encoding="utf-8")
    tree = compose(CONFIG, ["--config", "more.yaml", "--trainer.max_epochs=8"])
    assert tree["model"]["init_args"] == {"net": {"activation": "TANH"}, "lr": 0.25}
    assert tree["trainer"]["max_epochs"] == 8


def test_optimizer_from_words_is_a_section_of_its_own(compose: Compose) -> None:
    tree = compose(CONFIG, ["--optimizer", "Adam", "--optimizer.lr=0.1"])
    assert tree["optimizer"] == {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}


def test_what_a_link_sets_is_left_out_also_where_its_source_is_a_default(compose: Compose) -> None:
    assert compose("model: {net: {width: 5}}", (), LINKED) == {"model": {"net": {"width": 5}}}
    assert compose("{}", ["--data.batch_size=3"], LINKED) == {"data": {"batch_size": 3}}


def test_section_of_fit_is_taken_out_with_the_seed_beside_it(compose: Compose) -> None:
    text = f"seed_everything: 7\nfit: {{model: {{class_path: {M}.CallableModel}}}}\nvalidate: {{verbose: false}}"
    tree = compose(text, ["--model.lr=0.3"])
    assert tree == {"seed_everything": 7, "model": {"class_path": f"{M}.CallableModel", "init_args": {"lr": 0.3}}}


def test_saved_configuration_with_all_its_defaults_is_composed_as_it_is(compose: Compose) -> None:
    text = (
        f"ckpt_path: null\nweights_only: null\ntrainer: {{max_epochs: null, max_steps: -1}}\nmodel: {M}.CallableModel"
    )
    tree = compose(text)
    assert tree["ckpt_path"] is None
    assert tree["trainer"] == {"max_epochs": None, "max_steps": -1}
    assert tree["model"] == {"class_path": f"{M}.CallableModel"}


def test_arguments_that_no_signature_names_stay(compose: Compose) -> None:
    text = f"model: {{class_path: {M}.CallableModel, dict_kwargs: {{depth: {{a: 1}}}}}}"
    assert compose(text)["model"]["dict_kwargs"] == {"depth": {"a": 1}}


def test_default_files_and_variables_become_part_of_the_tree(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "default.yaml").write_text(f"model: {{class_path: {M}.CallableModel}}", encoding="utf-8")
    monkeypatch.setenv("PL_FIT__TRAINER__MAX_STEPS", "9")
    kwargs = {"default_env": True, "fit": {"default_config_files": ["default.yaml"], "default_env": True}}
    tree = compose("trainer: {max_epochs: 1}", (), Cli(arguments={"parser_kwargs": kwargs}))
    assert tree["model"] == {"class_path": f"{M}.CallableModel"}
    assert tree["trainer"] == {"max_epochs": 1, "max_steps": 9}


def test_file_beside_the_configuration_is_found_from_the_working_directory(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "names.txt").write_text("x", encoding="utf-8")
    (tmp_path / "conf" / "model.yaml").write_text(
        f"class_path: {M}.FileModel\ninit_args: {{file: names.txt, table: {{1: 2.5}}}}", encoding="utf-8"
    )
    tree = compose("model: model.yaml", (), name="conf/config.yaml")
    file = os.path.join("conf", "names.txt")
    assert tree["model"] == {"class_path": f"{M}.FileModel", "init_args": {"file": file, "table": {"1": 2.5}}}


def test_names_that_hyperparameters_cannot_hold_are_refused(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "x.txt").touch()
    with pytest.raises(ConfigurationError, match=r"model.init_args.loose.1: 1 cannot stand .* dict\[int, float\]"):
        compose(f"model: {{class_path: {M}.FileModel, init_args: {{file: x.txt, loose: {{1: 2}}}}}}")


# --- interpolations ---

OMEGACONF = Cli(arguments={"parser_kwargs": {"parser_mode": "omegaconf"}})
INTERPOLATED = CONFIG.replace("max_epochs: 2", "max_epochs: ${seed_everything}").replace(
    f"{M}.Data\n", f"{M}.Data\n  init_args: {{batch_size: '${{trainer.max_epochs}}'}}\n"
)


def test_interpolations_stay_and_are_followed_when_the_tree_is_built(compose: Compose) -> None:
    tree = compose(INTERPOLATED, (), OMEGACONF)
    assert tree["trainer"]["max_epochs"] == "${seed_everything}"
    assert tree["data"]["init_args"]["batch_size"] == "${trainer.max_epochs}"
    tree["trainer"]["max_epochs"] = 6  # as a searcher puts it there
    parts = lightning_cli.build(tree, OMEGACONF, seed=3)
    assert (parts.datamodule.batch_size, parts.trainer_arguments["max_epochs"]) == (6, 6)


def test_interpolation_keeps_the_value_of_the_file_where_lightningcli_does(compose: Compose) -> None:
    # the parser follows them while it reads the file, before the word is there
    tree = compose(INTERPOLATED, ["--trainer.max_epochs=5"], OMEGACONF)
    assert (tree["trainer"]["max_epochs"], tree["data"]["init_args"]["batch_size"]) == (5, 3)


def test_interpolation_that_leads_nowhere_is_told_with_its_entry() -> None:
    tree = {"model": {"class_path": f"{M}.CallableModel", "init_args": {"lr": "${no.such}"}}}
    with pytest.raises(ConfigurationError, match=r"model.init_args.lr: Interpolation key 'no.such' not found") as error:
        lightning_cli.check(tree, OMEGACONF)
    assert error.value.keys == ("model", "init_args", "lr")


# --- refusals ---


def message(text: str, overrides: Sequence[str] = (), cli: Cli | None = None) -> str:
    Path("config.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as error:
        lightning_cli.compose("config.yaml", overrides, cli)
    return str(error.value)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_all_faults_of_a_file_are_told_with_their_lines(in_tmp: None) -> None:
    text = (
        CONFIG.replace("max_epochs: 2", "max_epochs: two")
        .replace("monitor: val_loss", "monitor: 3")
        .replace("TANH", "TANG")
        .replace("lr: 0.5", "rate: 0.5")
        .replace(f"{M}.Data", f"{M}.Dada")
        + "extra: 1\n"
    )
    told = message(text)
    lines = {int(line.partition("line ")[2].partition(":")[0]) for line in told.splitlines() if "config.yaml" in line}
    assert lines == {3, 8, 10, 14, 15, 16, 19}
    assert 'config.yaml, line 10: Parser key "model"' in told  # lr is missing
    assert f"module '{M}' has no attribute 'Dada'" in told
    assert "There is no option 'extra'" in told
    assert "--help" not in told


def test_fault_of_a_word_is_told_with_the_words_and_not_with_a_line(in_tmp: None) -> None:
    told = message(CONFIG, ["--model.lr", "much"])
    assert told.startswith("--model.lr much: Parser key")
    assert "Expected a <class 'float'>. Got value: much" in told
    assert "config.yaml" not in told


def test_fault_of_a_second_file_is_told_with_its_line(in_tmp: None) -> None:
    Path("more.yaml").write_text("model:\n  init_args:\n    lr: much\n", encoding="utf-8")
    assert message(CONFIG, ["--config=more.yaml"]).startswith("more.yaml, line 3: ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- 1\n", "config.yaml holds a list"),
        ("# nothing\n", "config.yaml holds nothing"),
        ("model: {init_args: &a {x: [*a]}}\n", "config.yaml: an alias, *name, stands inside"),
        ("model:\n  a: {b\n", "config.yaml, line 3: Problems parsing config"),
        ("{}", "config.yaml: the following arguments are required: model"),
    ],
)
def test_file_that_is_no_configuration_is_told(in_tmp: None, text: str, told: str) -> None:
    assert message(text).startswith(told)


def test_file_that_is_absent_is_told(in_tmp: None) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere.yaml is no file: give a configuration of LightningCLI"):
        lightning_cli.compose("nowhere.yaml")


def test_faults_of_a_tree_carry_the_way_to_their_entries() -> None:
    tree = yaml.safe_load(CONFIG)
    tree["trainer"]["callbacks"][0]["init_args"]["patience"] = "long"
    tree["model"]["init_args"]["lr"] = "much"
    with pytest.raises(ConfigurationError) as error:
        lightning_cli.check(tree)
    assert {fault.keys for fault in error.value.faults} == {
        ("trainer", "callbacks", "0", "init_args", "patience"),
        ("model", "init_args", "lr"),
    }


def test_other_class_than_lightningcli_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no LightningCLI: give the class, or a subclass"):
        lightning_cli.check({}, Cli(dict))


def test_default_that_is_no_data_is_told(in_tmp: None) -> None:
    text = f"model: {M}.CallableModel\ntrainer: {{callbacks: {{class_path: Timer}}}}"
    assert "has the default <Interval.step: 'step'>" in message(text)


def test_absent_jsonargparse_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'lightning-adapter\[cli\]'"):
        lightning_cli.seed_of({})
