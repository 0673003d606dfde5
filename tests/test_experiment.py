"""An experiment YAML is read as Determined reads it, and every fault is named, all of them in one message."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import datetime
import enum
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from determined import pytorch

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import experiment
from lightning_adapter.platform.experiment import schema


class Activation(enum.Enum):
    RELU = 1


class Level(enum.IntEnum):
    HIGH = 3


class Word(str, enum.Enum):
    ADAM = "adam"


RANGES: dict[str, Any] = {
    "hyperparameters": {
        "global_batch_size": 32,
        "learning_rate": {"type": "log", "base": 10, "minval": -5, "maxval": -1},
        "dropout": {"type": "double", "minval": 0.1, "maxval": 0.5},
        "hidden": {"type": "const", "val": 128},
        "optimizer": {
            "name": {"type": "categorical", "vals": ["adam", "sgd"]},
            "betas": [0.9, 0.999],
        },
        "layers": {"type": "int", "minval": 1, "maxval": 4},
    }
}
VALUES = {"learning_rate": 0.01, "dropout": 0.2, "optimizer.name": "sgd", "layers": 2}


def write(folder: Path, text: str, name: str = "experiment.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


# Reading


def test_read_of_none_is_empty() -> None:
    assert experiment.read(None) == {}


def test_read_of_a_dict_shares_nothing_with_it() -> None:
    config = copy.deepcopy(RANGES)
    result = experiment.read(config)
    result["hyperparameters"]["optimizer"]["betas"].append(1)
    assert config == RANGES


def test_read_turns_tuples_into_lists_as_a_checkpoint_does() -> None:
    assert experiment.read({"hyperparameters": {"betas": (1, 2)}}) == {"hyperparameters": {"betas": [1, 2]}}


def test_scientific_notation_without_a_point_is_a_number(tmp_path: Path) -> None:
    path = write(tmp_path, "hyperparameters: {lr: 1e-3}\n")
    assert experiment.read(path)["hyperparameters"]["lr"] == 0.001
    assert experiment.read(str(path)) == experiment.read(path)


def test_read_result_is_json(tmp_path: Path) -> None:
    config = experiment.read(write(tmp_path, "name: x\nlabels: [a]\nhyperparameters: {a: {b: [1, null, true]}}\n"))
    assert json.loads(json.dumps(config)) == config


def test_missing_file_is_named_with_a_guess(tmp_path: Path) -> None:
    write(tmp_path, "name: x\n", "const.yaml")
    with pytest.raises(ConfigurationError, match=r"cosnt\.yaml does not exist; .* did you mean 'const\.yaml'\?"):
        experiment.read(tmp_path / "cosnt.yaml")


def test_directory_instead_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*[Ii]s a directory"):
        experiment.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\n  b: 2\n", r"not valid YAML: line 2, column 4: mapping values are not allowed here"),
        ("name: a\nname: b\n", r'not valid YAML: line 2, column 1: found duplicate key "name"'),
        ("name: !!python/name:os.system\n", r"not valid YAML: line 1, column 7: could not determine a constructor"),
        ("name: \x01\n", r"not valid YAML: unacceptable character"),
        ("- a\n- b\n", r"holds a list \(\['a', 'b'\]\); its top level must be `key: value` lines"),
        ("", r"is empty; leave config out"),
    ],
)
def test_text_that_is_no_config_says_why_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        experiment.read(write(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__  # no traceback of the YAML library


def test_config_of_another_type_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"config=3 is of type int; pass the path"):
        experiment.read(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"hyperparmeters": {}}, r"hyperparmeters is no key .*; did you mean 'hyperparameters'\?"),
        ({"metric": "val_loss"}, r"metric is no key .*; it belongs below searcher:"),
        ({"searcher": {"records_per_epoch": 1}}, r"searcher.records_per_epoch .*; it belongs on the top level"),
        ({"zzz": 1}, r"zzz is no key .*; values of your own belong below hyperparameters: or data:"),
        ({"searcher": {"metrics": "a"}}, r"searcher\.metrics is no key .*; did you mean 'metric'\?"),
        ({1: 2}, r"the key 1 is of type int; keys must be text"),
        ({"name": 3}, r"name is 3, but must be text"),
        ({"searcher": "single"}, r"searcher is 'single', but must be a group of `key: value` lines"),
        ({"searcher": {"name": "asha"}}, r"searcher\.name is 'asha', but must be one of single, random,"),
        ({"searcher": {"smaller_is_better": "yes"}}, r"smaller_is_better is 'yes', but must be true or false"),
        ({"checkpoint_policy": "bets"}, r"must be one of best, all, none; did you mean 'best'\?"),
        ({"max_restarts": True}, r"max_restarts is True, but must be a whole number of at least 0"),
        ({"scheduling_unit": 0}, r"scheduling_unit is 0, but must be a whole number of at least 1"),
        ({"reproducibility": {"experiment_seed": -1}}, r"experiment_seed is -1, but must be .* at least 0"),
        ({"min_validation_period": 100}, r"min_validation_period is 100, but must be one of \{batches: N\}"),
        ({"min_checkpoint_period": {"epoch": 1}}, r"min_checkpoint_period is .* must be one of \{batches: N\}"),
        ({"min_checkpoint_period": {"epochs": 1, "batches": 2}}, r"min_checkpoint_period is .* must be one of"),
        ({"entrypoint": ["a", 1]}, r"entrypoint is \['a', 1\], but must be text or a list of texts"),
        ({"environment": {"environment_variables": "A=1"}}, r"is 'A=1', but must be a list of NAME=VALUE"),
        ({"environment": {"environment_variables": ["A"]}}, r"environment_variables has 'A', but each .* NAME=VALUE"),
        ({"environment": {"environment_variables": [{"A": 1}]}}, r"has {'A': 1}, but each entry must be NAME=VALUE"),
        ({"environment": {"environment_variables": ["=1", 3]}}, r"has 2 faults:"),
        ({"environment": {"environment_variables": ["A=\0"]}}, r"holds a zero byte"),
        ({"environment": {"environment_variables": {"cdua": ["A=1"]}}}, r"'cdua' is no kind .*did you mean 'cuda'\?"),
        ({"environment": {"environment_variables": {"cpu": "A=1"}}}, r"environment_variables\.cpu is 'A=1'"),
        ({"data": {"day": datetime.date(2020, 1, 1)}}, r"data\.day is datetime.* of type date, which JSON cannot"),
        ({"data": {"a": [1, float("nan")]}}, r"data\.a\.1 is nan, which JSON cannot carry"),
        (
            {"hyperparameters": {"a": {"type": "flaot"}}},
            r"hyperparameters\.a\.type is 'flaot', .* must be one of const",
        ),
        ({"hyperparameters": {"a": {"type": "int", "minval": 1}}}, r"a is of type int and lacks maxval"),
        ({"hyperparameters": {"a": {"type": "const"}}}, r"a is of type const and lacks val"),
        ({"hyperparameters": {"a": {"type": "categorical", "vals": []}}}, r"a\.vals is \[\], .* at least one value"),
        ({"hyperparameters": {"a": {"b": {"type": "int", "minval": 1.5, "maxval": 2}}}}, r"a\.b\.minval is 1\.5"),
        ({"hyperparameters": {"a": {"type": "double", "minval": 2, "maxval": 2}}}, r"minval must be the smaller one"),
        ({"hyperparameters": {"a": {"type": "log", "minval": 1, "maxval": 2, "base": 0}}}, r"base is 0, but must be"),
        ({"hyperparameters": {"a": {"type": "int", "minval": 1, "maxval": 2, "cuont": 3}}}, r"did you mean 'count'\?"),
        ({"hyperparameters": {"a": {"type": "int", "minval": 1, "maxval": 2, "count": 0}}}, r"a\.count is 0"),
    ],
)
def test_faulty_config_is_refused(config: dict[Any, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        experiment.read(config)


def test_all_faults_come_in_one_message(tmp_path: Path) -> None:
    path = write(tmp_path, "nme: x\nlabels: a\nsearcher: {metrc: a}\nhyperparameters: {a: {type: int}}\n")
    with pytest.raises(ConfigurationError, match=r"experiment\.yaml has 4 faults:") as caught:
        experiment.read(path)
    lines = str(caught.value).splitlines()[1:]
    assert [line.split()[1] for line in lines] == ["nme", "labels", "searcher.metrc", "hyperparameters.a"]


def test_every_section_with_null_values_is_accepted() -> None:
    for section, fields in schema.FIELDS.items():
        values = dict.fromkeys(fields)
        config = values if section == "" else {section: values}
        assert experiment.read(config) == config


def test_deprecated_keys_are_accepted_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        experiment.read(
            {
                "scheduling_unit": 50,
                "records_per_epoch": 60000,
                "min_validation_period": {"records": 100},
                "searcher": {"name": "single", "metric": "val_loss", "max_length": {"epochs": 3}},
                "optimizations": {"aggregation_frequency": 1, "mixed_precision": "O0"},
            }
        )


@pytest.mark.parametrize(
    ("setting", "instead"),
    [
        ({"aggregation_frequency": 4}, "accumulate_grad_batches="),
        ({"mixed_precision": "O2"}, "precision="),
        ({"gradient_compression": True}, "fp16_compression="),
    ],
)
def test_setting_that_nothing_would_honour_is_warned_about(setting: dict[str, Any], instead: str) -> None:
    with pytest.warns(UserWarning, match=f"optimizations.* has no effect here; pass {instead}"):
        experiment.read({"optimizations": setting})


# Hyperparameters


def test_hyperparameters_resolve_constants_groups_and_given_ranges() -> None:
    assert experiment.hyperparameters(RANGES, VALUES) == {
        "global_batch_size": 32,
        "learning_rate": 0.01,
        "dropout": 0.2,
        "hidden": 128,
        "optimizer": {"name": "sgd", "betas": [0.9, 0.999]},
        "layers": 2,
    }


def test_hyperparameters_do_not_share_with_the_config() -> None:
    config = copy.deepcopy(RANGES)
    experiment.hyperparameters(config, VALUES)["optimizer"]["betas"].append(1)
    assert config == RANGES


def test_hyperparameters_without_a_section_are_the_overrides() -> None:
    assert experiment.hyperparameters({}, {"a.b": (1, 2)}) == {"a": {"b": [1, 2]}}
    assert experiment.hyperparameters({"hyperparameters": None}) == {}


def test_override_wins_over_plain_values_and_constants() -> None:
    values = experiment.hyperparameters(RANGES, {**VALUES, "hidden": 64, "optimizer": {"betas": [0, 0]}})
    assert values["hidden"] == 64
    assert values["optimizer"] == {"name": "sgd", "betas": [0, 0]}


def test_constant_mapping_is_replaced_as_one_value() -> None:
    config = {"hyperparameters": {"a": {"type": "const", "val": {"x": 1, "y": 2}}}}
    assert experiment.hyperparameters(config) == {"a": {"x": 1, "y": 2}}
    assert experiment.hyperparameters(config, {"a": {"x": 3}}) == {"a": {"x": 3}}


def test_group_that_is_a_constant_for_its_key_type_is_a_group() -> None:
    config = {"hyperparameters": {"a": {"type": "const", "val": {"type": "adam", "lr": 1, "b": {"c": 1, "d": 2}}}}}
    assert experiment.hyperparameters(config, {"a.lr": 2, "a.b.d": 3})["a"] == {
        "type": "adam",
        "lr": 2,
        "b": {"c": 1, "d": 3},
    }
    with pytest.raises(ConfigurationError, match=r"a\.lr is given both as a value and as a group"):
        experiment.hyperparameters(config, {"a.lr.x": 2})


def test_name_with_a_dot_in_the_config_is_taken_whole() -> None:
    assert experiment.hyperparameters({"hyperparameters": {"a.b": 1}}, {"a.b": 2}) == {"a.b": 2}


def test_ranges_without_a_value_are_all_listed_with_what_to_type() -> None:
    with pytest.raises(ConfigurationError, match=r"3 of them are ranges without a value") as caught:
        experiment.hyperparameters(RANGES, {"layers": 2})
    message = str(caught.value)
    assert "learning_rate (log, 10^-5 to 10^-1); dropout (double, 0.1 to 0.5); optimizer.name (one of" in message
    assert "--hparam learning_rate=0.001 --hparam dropout=0.3 --hparam optimizer.name=adam" in message
    assert "fit(hparams={'learning_rate': 0.001, 'dropout': 0.3, 'optimizer.name': 'adam'})" in message


def test_misspelt_override_is_mentioned_beside_the_range_it_leaves_open() -> None:
    with pytest.raises(ConfigurationError, match=r"learning_rat is not in the config .* mean 'learning_rate'\?"):
        experiment.hyperparameters(RANGES, {"learning_rat": 0.1, **{k: VALUES[k] for k in list(VALUES)[1:]}})


def test_misspelt_override_of_a_constant_is_warned_about() -> None:
    with pytest.warns(UserWarning, match=r"hiden is not in the config and is added to it; did you mean 'hidden'\?"):
        values = experiment.hyperparameters(RANGES, {**VALUES, "hiden": 1})
    assert (values["hidden"], values["hiden"]) == (128, 1)


def test_new_override_that_resembles_nothing_is_added_quietly() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert experiment.hyperparameters(RANGES, {**VALUES, "momentum": 0.9})["momentum"] == 0.9


@pytest.mark.parametrize(
    ("name", "value"), [("learning_rate", 0.2), ("dropout", 0.6), ("layers", 5), ("optimizer.name", "lion")]
)
def test_value_outside_its_range_is_used_with_a_warning(name: str, value: Any) -> None:
    with pytest.warns(UserWarning, match=rf"hyperparameter {name}={value!r} is outside its range .* used as given"):
        values = experiment.hyperparameters(RANGES, {**VALUES, name: value})
    assert value in (values.get(name), values["optimizer"]["name"])


@pytest.mark.parametrize(("base", "minval", "maxval"), [(10, -3, -1), (0.1, 1, 3)])  # 0.1 ** 3 is not quite 0.001
@pytest.mark.parametrize("value", [0.001, 0.01, 0.1])
def test_value_on_the_edge_of_a_log_range_is_inside(base: float, minval: int, maxval: int, value: float) -> None:
    spec = {"type": "log", "base": base, "minval": minval, "maxval": maxval}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert experiment.hyperparameters({"hyperparameters": {"lr": spec}}, {"lr": value}) == {"lr": value}


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"layers": 2.5}, r"layers is given 2\.5, but must be a whole number \(int, 1 to 4\)"),
        ({"learning_rate": "big"}, r"learning_rate is given 'big', but must be a number"),
        ({"optimizer": "adam"}, r"optimizer is given the value 'adam', but it is a group in the config; give optim"),
        ({"hidden.x": 1}, r"hidden\.x is given, but hidden is the value 128 in the config"),
        ({"global_batch_size.x": 1}, r"global_batch_size\.x is given, but global_batch_size is the value 32"),
        (
            {"new": {"type": "int", "minval": 0, "maxval": 1}},
            r"new is given the range .*, but an override is one value",
        ),
        ({"a": 1, "a.b": 2}, r"a is given both as a value and as a group"),
        ({"a..b": 2}, r"'a\.\.b' is not a name; write name=value or group\.name=value"),
        ({"hidden": np.float32(1)}, r"hidden is np\.float32\(1\.0\) of type float32, which JSON cannot carry"),
        ({"new": {"deep": {1: 2}}}, r"the key 1 of new\.deep is of type int"),
    ],
)
def test_faulty_override_is_refused(overrides: dict[str, Any], problem: str) -> None:
    values = {name: value for name, value in VALUES.items() if name.split(".")[0] not in overrides}
    with pytest.raises(ConfigurationError, match=problem):
        experiment.hyperparameters(RANGES, {**values, **overrides})


def test_malformed_range_is_refused_without_read() -> None:
    with pytest.raises(ConfigurationError, match=r"a is of type int and lacks minval, maxval"):
        experiment.hyperparameters({"hyperparameters": {"a": {"type": "int"}}})


def test_parse_value_reads_as_the_config_does() -> None:
    values = [experiment.parse_value("k", text) for text in ("1e-3", "3", "true", "[1, 2.5]", "adam", "null", "'1'")]
    assert values == [0.001, 3, True, [1, 2.5], "adam", None, "1"]
    with pytest.raises(ConfigurationError, match=r"the value of k=\[1, cannot be read: line 1, column 4"):
        experiment.parse_value("k", "[1,")


# Batch size, searcher, retention


@pytest.mark.parametrize("hparams", [{}, {"global_batch_size": 8}, {"global_batch_size": 4}])
def test_batch_size_that_can_be_shared_passes(hparams: dict[str, Any]) -> None:
    experiment.global_batch_size_check(hparams, 4)


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (33, r"is 33, which 4 processes cannot share evenly \(33 / 4 = 8\.25 .* such as 32 or 36"),
        (3, r"is 3, which 4 processes .* such as 4$"),
        (0, r"is 0, but it counts the samples"),
        (8.0, r"is 8\.0, but it counts the samples"),
        (True, r"is True, but it counts the samples"),
    ],
)
def test_batch_size_that_cannot_be_shared_is_refused(size: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"global_batch_size {problem}"):
        experiment.global_batch_size_check({"global_batch_size": size}, 4)


def test_searcher_metric_has_determineds_defaults() -> None:
    assert experiment.searcher_metric({}) == (None, True)
    assert experiment.searcher_metric({"searcher": {"metric": "loss", "smaller_is_better": None}}) == ("loss", True)
    assert experiment.searcher_metric({"searcher": {"metric": "acc", "smaller_is_better": False}}) == ("acc", False)


def test_checkpoint_retention_has_determineds_defaults() -> None:
    assert experiment.checkpoint_retention({}) == (0, 1, 1)
    storage = {"save_experiment_best": 2, "save_trial_best": 0, "save_trial_latest": None}
    assert experiment.checkpoint_retention({"checkpoint_storage": storage}) == (2, 0, 1)


# Periods


def shape(unit: pytorch.TrainUnit | None) -> tuple[str, Any] | None:
    return None if unit is None else (type(unit).__name__, unit.value)


def test_periods_of_an_empty_config_are_determineds_defaults() -> None:
    periods = experiment.periods({})
    assert periods == experiment.Periods(None, None, None, None, None, "best", False, None)


def test_periods_become_determineds_units() -> None:
    periods = experiment.periods(
        {
            "min_validation_period": {"epochs": 2},
            "min_checkpoint_period": {"batches": 100},
            "scheduling_unit": 50,
            "records_per_epoch": 60000,
            "checkpoint_policy": "none",
            "perform_initial_validation": True,
            "reproducibility": {"experiment_seed": 0},
            "searcher": {"max_length": {"epochs": 3}},
        }
    )
    assert shape(periods.validation) == ("Epoch", 2)
    assert shape(periods.checkpoint) == ("Batch", 100)
    assert shape(periods.reporting) == ("Batch", 50)
    assert shape(periods.max_length) == ("Epoch", 3)
    assert (periods.records_per_epoch, periods.checkpoint_policy) == (60000, "none")
    assert (periods.perform_initial_validation, periods.experiment_seed) == (True, 0)


def test_period_of_zero_is_not_set() -> None:
    config = {"min_validation_period": {"batches": 0}, "min_checkpoint_period": {"records": 0}, "records_per_epoch": 0}
    periods = experiment.periods(config)
    assert (periods.validation, periods.checkpoint, periods.records_per_epoch) == (None, None, None)


def test_period_in_records_is_divided_by_the_batch_size() -> None:
    config = {"min_validation_period": {"records": 330}, "min_checkpoint_period": {"records": 3}}
    periods = experiment.periods(config, global_batch_size=32)
    assert (shape(periods.validation), shape(periods.checkpoint)) == (("Batch", 10), ("Batch", 1))


def test_periods_in_records_without_a_batch_size_are_refused_together() -> None:
    config = {"min_validation_period": {"records": 330}, "searcher": {"max_length": {"records": 3}}}
    with pytest.raises(
        ConfigurationError, match=r"(?s)2 faults.*min_validation_period is 330.*searcher.max_length is 3"
    ):
        experiment.periods(config)


@pytest.mark.parametrize(
    ("searcher", "expected"),
    [
        ({"max_length": 30, "unit": "batches"}, ("Batch", 30)),
        ({"max_time": 4, "time_metric": "epochs"}, ("Epoch", 4)),
        ({"max_time": 40, "time_metric": "batches"}, ("Batch", 40)),
        ({"max_time": 4, "time_metric": "seconds"}, None),
        ({"max_length": {"epochs": 2}, "max_time": 4, "time_metric": "epochs"}, ("Epoch", 2)),
    ],
)
def test_length_of_a_trial_is_read_in_every_form(searcher: dict[str, Any], expected: tuple[str, int] | None) -> None:
    assert shape(experiment.periods(experiment.read({"searcher": searcher})).max_length) == expected


def test_length_without_a_unit_is_warned_about_and_not_used() -> None:
    with pytest.warns(UserWarning, match=r"searcher\.max_length is 30 without a unit .* max_length: \{epochs: 30\}"):
        periods = experiment.periods({"searcher": {"max_length": 30}})
    assert periods.max_length is None


# What fit() is given


@dataclasses.dataclass
class Given:
    lr: float
    betas: tuple[float, float] = (0.9, 0.99)
    act: Activation = Activation.RELU
    data: Path = Path("data")


def given_forms() -> list[Any]:
    from omegaconf import OmegaConf

    content = {"lr": 0.1, "betas": [0.9, 0.99], "act": "RELU", "data": "data"}
    return [
        content,
        argparse.Namespace(lr=0.1, betas=(0.9, 0.99), act=Activation.RELU, data=Path("data")),
        Given(0.1),
        OmegaConf.create({**content, "betas": [0.9, "${more}"], "more": 0.99}),
        OmegaConf.structured(Given(0.1)),
    ]


@pytest.mark.parametrize("form", range(5), ids=["dict", "namespace", "dataclass", "dictconfig", "structured"])
def test_every_form_of_hyperparameters_becomes_what_a_yaml_could_hold(form: int) -> None:
    values = experiment.hyperparameters({"hyperparameters": {"lr": 1.0, "other": 3}}, given_forms()[form])
    values.pop("more", None)
    assert values == {"lr": 0.1, "other": 3, "betas": [0.9, 0.99], "act": "RELU", "data": "data"}


def test_missing_value_of_a_dictconfig_is_named() -> None:
    from omegaconf import OmegaConf

    with pytest.raises(ConfigurationError, match=r"DictConfig cannot be resolved: Missing mandatory value: lr"):
        experiment.hyperparameters({}, OmegaConf.create({"lr": "???"}))


def test_group_of_dataclasses_is_nested() -> None:
    nested = argparse.Namespace(optimizer=Given(0.1))
    assert experiment.hyperparameters({"hyperparameters": {"optimizer": {"lr": 1.0}}}, nested)["optimizer"]["lr"] == 0.1


def test_numbers_of_numpy_and_members_of_enumerations_lose_their_classes() -> None:
    values = experiment.hyperparameters({}, {"a": np.float64(0.5), "b": Level.HIGH, "c": Word.ADAM})
    assert [(type(value), value) for value in values.values()] == [(float, 0.5), (int, 3), (str, "adam")]


def test_values_of_a_cluster_are_overridden_one_by_one() -> None:
    drawn = {"optimizer": {"name": "adam", "lr": 1.0}, "a.b": 1}
    assert experiment.override(drawn, {"optimizer.lr": 0.1, "a.b": 2}) == {
        "optimizer": {"name": "adam", "lr": 0.1},
        "a.b": 2,
    }
    assert drawn["optimizer"]["lr"] == 1.0  # type: ignore[index]
