"""best.yaml: the searched file, with the values of the best trial as constants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_adapter.platform import experiment
from lightning_adapter.platform.experiment.revised import same
from lightning_adapter.submission.checks import Typed, faults_of
from lightning_adapter.submission.configuration import sent_text
from lightning_adapter.submission.entrypoint import read_entrypoint
from lightning_adapter.tuning.best import best_yaml

ADAPTIVE = """\
# A search.
name: mnist  # of the examples
entrypoint: python3 -m lightning_adapter fit model_def:MNISTTrial --max-epochs 9
hyperparameters:
  # the rate
  learning_rate:   # drawn
    type: log
    base: 10
    minval: -4 # 10 to this power
    maxval: -1 # likewise

  # of a layer
  width: {type: categorical, vals: [4, 8]}   # two of them
  optimizer:
    type: const
    val: {type: SGD, lr: 1e-3}
  layers:
  - 0x10
  dropout:    0.10 # a\ttab
# how
searcher:
  name: adaptive_asha
  metric: 'val_loss'
  max_trials: 16   # many
  time_metric: epochs
  max_time: 9
reproducibility: {experiment_seed: 1}
"""
VALUES: dict[str, Any] = {
    **{"learning_rate": 1.0007225413910534e-05, "width": 8, "optimizer": {"type": "SGD", "lr": 0.001}},
    **{"layers": [16], "dropout": 0.1},
}
BEST = """\
# The best of 16,
# val_loss 0.1
# A search.
name: mnist  # of the examples
entrypoint: python3 -m lightning_adapter fit model_def:MNISTTrial --max-epochs 9
hyperparameters:
  # the rate
  learning_rate: 1.0007225413910534e-05   # drawn

  # of a layer
  width: 8   # two of them
  optimizer:
    type: const
    val: {type: SGD, lr: 1e-3}
  layers:
  - 0x10
  dropout:    0.10 # a\ttab
# how
searcher:
  name: single
  metric: 'val_loss'
  max_length:
    epochs: 9
reproducibility: {experiment_seed: 7}
"""


def best(text: str, values: dict[str, Any], variables: dict[str, str] | None = None) -> str:
    return best_yaml(text, values, 7, "the best", variables or {})


def read(text: str, path: Path) -> dict[str, Any]:
    """A file's content, as `fit` reads it."""
    path.write_text(text, encoding="utf-8", newline="")
    return experiment.read(path)


def values_of(text: str, tmp_path: Path) -> dict[str, Any]:
    return experiment.hyperparameters(read(text, tmp_path / "best.yaml"))


def with_searcher(searcher: str) -> str:
    return f"hyperparameters: {{lr: {{type: double, minval: 0, maxval: 1}}}}\nsearcher: {searcher}\n"


def test_file_keeps_its_comments_its_order_and_its_spelling() -> None:
    assert best_yaml(ADAPTIVE, VALUES, 7, "The best of 16,\nval_loss 0.1", {}) == BEST


def test_file_of_another_system_keeps_its_ends_of_lines() -> None:
    crlf = best_yaml(ADAPTIVE.replace("\n", "\r\n"), VALUES, 7, "The best of 16,\nval_loss 0.1", {})
    assert crlf.partition("# A search.")[2] == BEST.replace("\n", "\r\n").partition("# A search.")[2]


def test_file_passes_the_checks_of_submit(tmp_path: Path) -> None:
    config = read(best(ADAPTIVE, VALUES), tmp_path / "best.yaml")
    assert faults_of(config, read_entrypoint(config["entrypoint"]), Typed(max_epochs=9)) == []
    assert experiment.periods(config).max_length is not None


def test_values_are_sent_to_a_cluster_bit_for_bit(tmp_path: Path) -> None:
    values = {**VALUES, "learning_rate": 4.71419478000555e-05, "typed": [8.685723572279034e-05, 2.227326178387632e22]}
    assert same(values_of(sent_text(best(ADAPTIVE, values), None, None), tmp_path), values)


def test_what_was_typed_beside_the_file_is_added_to_it(tmp_path: Path) -> None:
    values = {**VALUES, "optimizer": {"type": "Adam", "lr": 0.001}, "net": {"depth": 2, "block": {"type": "res"}}}
    text = best(ADAPTIVE, values)
    assert "    val: {type: Adam, lr: 1e-3}\n" in text
    assert "  net:\n    depth: 2\n    block: {type: const, val: {type: res}}\n" in text
    assert same(values_of(text, tmp_path), values)


def test_ranges_in_groups_are_replaced_there(tmp_path: Path) -> None:
    text = "hyperparameters:\n  a: {b: {lr: {type: int, minval: 1, maxval: 2}, c: 1}, d: 2}  # deep\nsearcher: {name: random}\n"
    values = {"a": {"b": {"lr": 2, "c": 1}, "d": 2}}
    made = best(text, values)
    assert "  a: {b: {lr: 2, c: 1}, d: 2}  # deep\n" in made
    assert same(values_of(made, tmp_path), values)


def test_a_number_that_the_master_hands_on_as_another_kind_is_written_so() -> None:
    made = best("hyperparameters:\n  limit: 1.0 # all\n", {"limit": 1})
    assert "  limit: 1 # all\n" in made


def test_constants_that_are_written_as_such_stay_so() -> None:
    text = "hyperparameters:\n  a: {type: const, val: 3}\n  b: {type: const, val: [1]}\n"
    made = best(text, {"a": 3, "b": [2]})
    assert "  a: {type: const, val: 3}\n  b: {type: const, val: [2]}\n" in made


def test_alias_keeps_its_value_where_its_anchor_has_another_one() -> None:
    text = "hyperparameters:\n  a: &a {x: 1}\n  b: {y: *a}\n  c: &c {x: 2}\n  d: {y: *c}\n"
    made = best(text, {"a": {"x": 3}, "b": {"y": {"x": 1}}, "c": {"x": 2}, "d": {"y": {"x": 2}}})
    assert "  a: &a {x: 3}\n  b: {y: {x: 1}}\n  c: &c {x: 2}\n  d: {y: *c}\n" in made


def test_ranges_of_one_anchor_have_a_value_each(tmp_path: Path) -> None:
    text = """\
data:
  common: &common
    lr: &lr {type: double, minval: 0, maxval: 1}
    n: 3
hyperparameters:
  a:
    <<: *common # and
    n: 4
  b: *common
  c: *lr  # once more
  d: &d
    type: int
    minval: 1
    maxval: 4
  e: *d
  f: &f [1]
  g: *f
"""
    values = {"a": {"lr": 0.5, "n": 4}, "b": {"lr": 0.25, "n": 3}, "c": 0.125, "d": 2, "e": 3, "f": [1], "g": [1]}
    made = best(text, values)
    assert "  a:\n    <<: *common # and\n    n: 4\n    lr: 0.5\n" in made
    assert '  b:\n    lr: 0.25\n    "n": 3\n  c: 0.125  # once more\n  d: 2\n  e: 3\n  f: &f [1]\n  g: *f\n' in made
    assert same(values_of(made, tmp_path), values)


def test_json_stays_in_its_lines() -> None:
    text = """\
{
  "hyperparameters": {
    "lr": {"type": "log", "base": 10, "minval": -5, "maxval": -1},
    "name": "\u00e9 on"
  },
  "searcher": {"name": "random", "metric": "val_loss", "max_trials": 4}
}
"""
    made = best(text, {"lr": 1e-05, "name": "\u00e9 on", "typed": "on"})
    expected = """\
# the best
{
  "hyperparameters": {
    "lr": 1.0e-05,
    "name": "\u00e9 on",
    "typed": "on"
  },
  "searcher": {"name": "single", "metric": "val_loss"},
  "reproducibility": {"experiment_seed": 7}
}
"""
    assert made == expected


@pytest.mark.parametrize(
    ("searcher", "length"),
    [
        ("{name: adaptive_asha, metric: m, time_metric: batches, max_time: 500}", {"batches": 500}),
        ("{name: random, metric: m, max_length: {epochs: 4}}", {"epochs": 4}),
        ("{name: random, metric: m, max_length: 4, unit: records}", {"records": 4}),
        ("{name: random, metric: m, max_length: 4}", None),
        ("{name: adaptive_asha, metric: m, time_metric: examples, max_time: 500}", None),
        ("{name: random, metric: m}", None),
    ],
)
def test_trials_length_is_kept(searcher: str, length: dict[str, int] | None, tmp_path: Path) -> None:
    config = read(best(with_searcher(searcher), {"lr": 0.5}), tmp_path / "best.yaml")
    kept = {} if length is None else {"max_length": length}
    assert config["searcher"] == {"name": "single", "metric": "m", **kept}


def test_searcher_keeps_what_a_single_one_has_too(tmp_path: Path) -> None:
    kept = {"metric": "acc", "smaller_is_better": False, "source_trial_id": 3, "source_checkpoint_uuid": "u"}
    gone = {"name": "async_halving", "num_rungs": 3, "max_trials": 9, "max_concurrent_trials": 2, "divisor": 3}
    text = pyyaml.safe_dump({"hyperparameters": {"lr": 1}, "searcher": {**gone, **kept}})
    assert read(best(text, {"lr": 1}), tmp_path / "best.yaml")["searcher"] == {"name": "single", **kept}


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("", 'environment:\n  environment_variables: ["A=1", "B=2"]\n'),
        (
            "environment:\n  environment_variables:\n  # mine\n  - A=0 # off\n",
            'environment:\n  environment_variables:\n  # mine\n  - A=0 # off\n  - "B=2"\n',
        ),
        (
            "environment: {image: x, environment_variables: {gpu: [A=0], cpu: [B=0]}}\n",
            'environment: {image: x, environment_variables: {gpu: [A=0, "B=2"], cpu: [B=0, "A=1"], rocm: ["A=1", "B=2"]}}\n',
        ),
        (
            "environment: {environment_variables: {gpu: [A=0], cuda: [C=0]}}\n",
            'environment: {environment_variables: {gpu: [A=0], cuda: [C=0, "A=1", "B=2"], cpu: ["A=1", "B=2"], '
            'rocm: ["A=1", "B=2"]}}\n',
        ),
        ("environment:\n", 'environment:\n  environment_variables: ["A=1", "B=2"]\n'),
    ],
)
def test_variables_are_added_to_those_of_the_user_which_win(given_: str, expected: str, tmp_path: Path) -> None:
    made = best(
        f"hyperparameters: {{lr: 1}}\nsearcher: {{name: single}}\nreproducibility: {{experiment_seed: 7}}\n{given_}",
        {"lr": 1},
        {"A": "1", "B": "2"},
    )
    assert made.partition("environment:")[2] == expected.partition("environment:")[2]
    read(made, tmp_path / "best.yaml")


NAMES = st.sampled_from(["lr", "on", "n", "a b", "model.lr", "\u00fc", "key: x", "#k", "1e5", "null", "width_2"])
LEAVES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**53), 2**53),
    st.booleans(),
    st.none(),
    st.text(st.characters(codec="utf-8"), max_size=8),
    st.sampled_from(
        ["on", "1e-5", "0x1F", "~", "- a", "a: b", "x #y", "2001-01-01", "1:30", "\u0085", "\u2028", "\ufeff"]
    ),
)
PLAIN = st.recursive(
    LEAVES,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES | st.just("type"), below, max_size=3),
    max_leaves=6,
)
RANGES = st.sampled_from(
    [
        "{type: double, minval: 0, maxval: 1}",
        "{type: categorical, vals: [1, two, [3]]} # of three",
        "\n{indent}  type: int # whole\n{indent}  minval: 1\n{indent}  maxval: 3\n",
        "# drawn\n{indent}  type: log\n{indent}  base: 10\n\n{indent}  minval: -3\n{indent}  maxval: 0 # last",
        "1.50 # once",
        "[1, 2]",
        "{type: const, val: {type: x}}",
    ]
)
GROUPS = st.recursive(RANGES, lambda below: st.dictionaries(NAMES, below, min_size=1, max_size=3), max_leaves=8)


def written(group: dict[str, Any], indent: str) -> str:
    """A text, with a comment before each name."""
    lines = []
    for name, value in group.items():
        key = f'{indent}# before {len(lines)}\n{indent}"{name}":'
        lines.append(
            f"{key}\n{written(value, indent + '  ')}"
            if isinstance(value, dict)
            else f"{key} {value.replace('{indent}', indent)}\n"
        )
    return "".join(lines)


def drawn(data: st.DataObject, group: dict[str, Any]) -> dict[str, Any]:
    return {name: drawn(data, each) if isinstance(each, dict) else data.draw(PLAIN) for name, each in group.items()}


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    data=st.data(),
    group=st.dictionaries(NAMES, GROUPS, min_size=1, max_size=3),
    more=st.dictionaries(NAMES, PLAIN, max_size=2),
)
def test_any_values_are_read_back_bit_for_bit(
    data: st.DataObject, group: dict[str, Any], more: dict[str, Any], tmp_path: Path
) -> None:
    text = f"hyperparameters:\n{written(group, '  ')}searcher: {{name: random}}  # the end\n"
    values = {**drawn(data, group), **{name: value for name, value in more.items() if name not in group}}
    made = best(text, values)
    assert same(values_of(made, tmp_path), values)
    assert made.count("# before") == text.count("# before")
    assert "searcher: {name: single}  # the end\n" in made
    again = pyyaml.safe_load(made)["hyperparameters"]
    assert same(again, experiment.read(tmp_path / "best.yaml")["hyperparameters"])
