"""Does a search find in an experiment YAML what the master finds, and tell all that the master would refuse?"""

from __future__ import annotations

from typing import Any

import pytest

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.tuning.settings import SearcherSettings, searcher_settings

RATE = {"type": "log", "base": 10, "minval": -4, "maxval": -1}


def read(searcher: dict[str, Any] | None, trials: int | None = None, **hyperparameters: Any) -> SearcherSettings:
    """The settings of a searcher; over a learning rate where nothing else is given."""
    config = {"searcher": searcher, "hyperparameters": hyperparameters or {"learning_rate": RATE}}
    return searcher_settings(config, trials)


def adaptive(**more: Any) -> dict[str, Any]:
    """A whole searcher that stops trials."""
    whole = {"name": "adaptive_asha", "metric": "val_loss", "max_trials": 16, "time_metric": "epochs", "max_time": 9}
    return {**whole, **more}


def test_defaults_are_those_of_the_schema() -> None:
    assert read(adaptive()) == SearcherSettings(
        name="adaptive_asha",
        metric="val_loss",
        smaller_is_better=True,
        max_trials=16,
        max_concurrent_trials=16,
        time_metric="epochs",
        max_time=9,
        divisor=4.0,
        max_rungs=5,
        mode="standard",
    )


def test_null_is_the_default() -> None:
    assert read(adaptive(divisor=None, mode=None, bracket_rungs=None, smaller_is_better=None)) == read(adaptive())


def test_key_of_another_searcher_without_a_value_is_refused_too() -> None:
    with pytest.raises(ConfigurationError, match="max_trials is no key of the searcher single"):
        read({"name": "single", "metric": "m", "max_trials": None})


def test_length_of_zero_raises() -> None:
    with pytest.raises(ConfigurationError, match=r"max_length is .*at least 1"):
        read({"name": "single", "metric": "m", "max_length": {"epochs": 0}})


def test_typed_trials_replace_those_of_the_file() -> None:
    assert read(adaptive(), trials=4).max_trials == 4


def test_searcher_without_trials_takes_the_typed_ones() -> None:
    assert read({"name": "random", "metric": "val_loss"}, trials=4).max_trials == 4


def test_single_is_one_trial() -> None:
    settings = read({"name": "single", "metric": "val_loss"}, trials=1)
    assert (settings.max_trials, settings.max_concurrent_trials) == (1, 1)


def test_grid_has_as_many_trials_as_points() -> None:
    settings = read(
        {"name": "grid", "metric": "val_loss"},
        learning_rate={**RATE, "count": 4},
        width={"type": "int", "minval": 1, "maxval": 3, "count": 9},
        net={"name": {"type": "categorical", "vals": ["a", "b"]}},
    )
    assert settings.max_trials == 4 * 3 * 2


@pytest.mark.parametrize(
    ("searcher", "said"),
    [
        (None, "searcher: is absent.*write searcher: {name: random"),
        ({"metric": "val_loss"}, "searcher: has no name"),
        ({"name": "random", "max_trials": 3}, "searcher.metric is absent.*metric: val_loss"),
        ({"name": "random", "metric": "m"}, "searcher.max_trials is absent.*--trials 8"),
        (
            {"name": "grid", "metric": "m", "max_trials": 3},
            "max_trials is no key of the searcher grid.*as many trials as",
        ),
        (
            {"name": "random", "metric": "m", "max_trials": 3, "divisor": 3},
            "divisor is no key of the searcher random; it",
        ),
        (adaptive(num_rungs=3), "num_rungs is no key of the searcher adaptive_asha; it is one of async_halving"),
        (adaptive(divisor=1), "divisor is 1, but must be a number greater than 1"),
        (adaptive(bracket_rungs=[2, 0]), r"bracket_rungs is \[2, 0\], but must be"),
        (adaptive(max_time=None), "searcher.max_time is absent.*time_metric: epochs and max_time: 9"),
        (adaptive(time_metric=None), "searcher.time_metric is absent"),
        (adaptive(time_metric="records"), "counted in records, which no trial reports"),
        ({**adaptive(), "name": "async_halving"}, "num_rungs is absent"),
    ],
)
def test_what_the_master_refuses_is_told(searcher: dict[str, Any] | None, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read(searcher)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)3 faults.*metric.*max_time.*divisor"):
        read({"name": "adaptive_asha", "max_trials": 3, "divisor": 0, "time_metric": "epochs"})


@pytest.mark.parametrize("searcher", [{}, {"name": "random", "metric": "m"}])
def test_message_names_the_file(searcher: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"^adaptive\.yaml: searcher"):
        searcher_settings({"searcher": searcher, "hyperparameters": {"lr": RATE}}, source="adaptive.yaml")


def test_older_length_is_taken_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="write time_metric: epochs and max_time: 9"):
        settings = read({"name": "adaptive_asha", "metric": "val_loss", "max_trials": 16, "max_length": {"epochs": 9}})
    assert settings == read(adaptive())


def test_older_length_with_a_unit_beside_it_is_taken_with_warnings() -> None:
    searcher = {"name": "adaptive_asha", "metric": "val_loss", "max_trials": 16, "max_length": 9, "unit": "epochs"}
    with (
        pytest.warns(UserWarning, match="write time_metric: epochs and max_time: 9"),
        pytest.warns(UserWarning, match=r"searcher\.unit .* leave it out"),
    ):
        settings = read(searcher)
    assert settings == read(adaptive())


def test_limits_in_the_place_of_exponents_are_noticed_with_what_to_write() -> None:
    rate = {**RATE, "minval": 0.0001, "maxval": 1}
    with pytest.warns(UserWarning, match=r"lr goes from 10\^0.0001 = 1 to 10\^1 = 10, .* write minval: -4, maxval: 0"):
        read(adaptive(), lr=rate)


def test_range_inside_a_list_is_noticed() -> None:
    with pytest.warns(UserWarning, match=r"hyperparameters\.net\.rates is a list with a range in it"):
        read(adaptive(), width=RATE, net={"rates": [RATE], "layers": [{"type": "int"}]})


def test_older_length_in_records_raises() -> None:
    with pytest.raises(ConfigurationError, match="time_metric: batches"):
        read({"name": "adaptive_asha", "metric": "val_loss", "max_trials": 16, "max_length": {"records": 9}})


def test_older_length_without_a_unit_raises() -> None:
    with pytest.raises(ConfigurationError, match="time_metric: epochs and max_time: 9"):
        read({"name": "adaptive_asha", "metric": "val_loss", "max_trials": 16, "max_length": 9})


def test_length_of_a_searcher_that_stops_none_is_left_to_the_trial() -> None:
    settings = read({"name": "random", "metric": "m", "max_trials": 2, "max_length": {"records": 9}})
    assert settings.max_time is None


def test_single_of_several_trials_raises() -> None:
    with pytest.raises(ConfigurationError, match=r"3 trials are asked for.*single.*name: random"):
        read({"name": "single", "metric": "m"}, trials=3)


@pytest.mark.parametrize("trials", [0, -1, True, 1.5])
def test_trials_that_are_no_number_of_trials_raise(trials: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"trials is .*at least 1"):
        read(adaptive(), trials=trials)


@pytest.mark.parametrize("name", ["single", "random", "grid", "adaptive_asha", "async_halving"])
def test_search_without_ranges_raises(name: str) -> None:
    searcher = adaptive(num_rungs=3) if name in ("adaptive_asha", "async_halving") else {"metric": "m", "max_trials": 3}
    with pytest.raises(ConfigurationError, match=r"no hyperparameter has a range.*type fit"):
        read({**searcher, "name": name}, lr={"type": "const", "val": 1}, net={"width": 3, "widths": [1, 2]})


def test_range_of_a_nested_group_is_one() -> None:
    assert read(adaptive(), net={"lr": RATE}).max_trials == 16


def test_grid_larger_than_typed_trials_raises_with_its_axes() -> None:
    with pytest.raises(
        ConfigurationError, match=r"24 points \(a 4 x net\.b 6\), and 8 trials.*name: random with max_trials: 8"
    ):
        read(
            {"name": "grid", "metric": "m"},
            8,
            a={"type": "double", "minval": 0, "maxval": 1, "count": 4},
            net={"b": {"type": "int", "minval": 0, "maxval": 5, "count": 50}},
        )


def test_grid_as_large_as_typed_trials_is_fine() -> None:
    assert read({"name": "grid", "metric": "m"}, 4, a={**RATE, "count": 4}).max_trials == 4


def test_grid_beyond_all_measure_raises_at_once() -> None:
    with pytest.raises(ConfigurationError, match="the grid has 1,000,000,000,000 points"):
        read({"name": "grid", "metric": "m"}, a={**RATE, "count": 10**6}, b={**RATE, "count": 10**6})


def test_range_without_a_count_in_a_grid_raises() -> None:
    with pytest.raises(ConfigurationError, match=r"hyperparameters\.net\.lr has no count"):
        read({"name": "grid", "metric": "m"}, net={"lr": RATE})


@pytest.mark.parametrize(("kind", "limit"), [("double", 1.7e308), ("int", 2**62)])
def test_range_wider_than_random_numbers_raises(kind: str, limit: float) -> None:
    with pytest.raises(ConfigurationError, match="spans more"):
        read(adaptive(), lr={"type": kind, "minval": -limit, "maxval": limit})
