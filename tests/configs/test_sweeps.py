from __future__ import annotations

import builtins

import pytest

from lightning_adapter.configs import ranges
from lightning_adapter.configs.sweeps import Choices, Interval, Override, parse
from lightning_adapter.errors import ConfigurationError


def one(word: str, **how):
    (found,) = parse([word], **how)
    return found


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("a=1,2", (1, 2)),
        ("a=x,'y z',null,true", ("x", "y z", None, True)),
        ("a=[1,2],[3]", ([1, 2], [3])),
        ("a={b:1},{b:2}", ({"b": 1}, {"b": 2})),
        ("a=range(1,4)", (1, 2, 3)),
        ("a=range(0,10,4)", (0, 4, 8)),
        ("a=range(0,0.3,0.1)", (0.0, 0.1, 0.2)),
        ("a=sort(3,1,2)", (1, 2, 3)),
        ("a=float(1,2)", (1.0, 2.0)),
        ("a=tag(t,choice(1,2))", (1, 2)),
    ],
)
def test_finite_sweep_tries_the_values_that_hydra_tries(word: str, values: tuple) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found = one(word)
    assert isinstance(found, Choices)
    assert found.values == values
    assert [type(value) for value in found.values] == [type(value) for value in values]
    # what each value is typed as again is what it was
    again = OverridesParser.create().parse_overrides([f"a={text}" for text in found.words])
    assert tuple(each.value() for each in again) == values


def test_shuffled_choices_are_the_same_trials() -> None:
    assert sorted(one("a=shuffle(1,2,3)").values) == [1, 2, 3]
    assert sorted(one("a=shuffle(range(1,4))", inclusive=True).values) == [1, 2, 3]


def test_range_of_optunas_sweeper_holds_its_end() -> None:
    assert one("a=range(1,4)", inclusive=True).values == (1, 2, 3, 4)
    assert one("a=range(1,4,2)", inclusive=True).values == (1, 3)
    assert one("a=range(0.5,1.0,0.25)", inclusive=True).values == (0.5, 0.75, 1.0)


def test_pattern_takes_the_choices_of_a_group() -> None:
    assert one("model=glob(net*)", options_of=lambda group: ["net", "netto", "wide"]).values == ("net", "netto")
    with pytest.raises(ConfigurationError, match="finds nothing of model: the group has net"):
        parse(["model=glob(x*)"], options_of=lambda group: ["net"])


def test_last_override_of_a_key_counts() -> None:
    assert parse(["a=1,2", "b=1", "a=3"]) == [Override("b", "b=1"), Override("a", "a=3")]


def test_single_value_is_no_sweep() -> None:
    assert one("a=choice(2)") == Override("a", "a=2")
    assert one("a=range(1,2)") == Override("a", "a=1")
    assert one("a='x,y'") == Override("a", "a='x,y'")


@pytest.mark.parametrize(
    ("word", "drawn"),
    [
        ("a=interval(0,1)", {"type": "double", "minval": 0.0, "maxval": 1.0}),
        ("a=int(interval(2,5.9))", {"type": "int", "minval": 2, "maxval": 5}),
        ("a=tag(log,interval(0.001,1))", {"type": "log", "base": 10, "minval": -3, "maxval": 0}),
        ("a=tag(log,int(interval(1,8)))", {"type": "int", "minval": 1, "maxval": 8}),
    ],
)
def test_interval_becomes_the_range_that_draws_from_it(word: str, drawn: dict) -> None:
    found = one(word)
    assert isinstance(found, Interval)
    made = ranges.of_interval(found)
    assert made == drawn
    assert [type(value) for value in made.values()] == [type(value) for value in drawn.values()]  # -3, and not -3.0


def test_ends_that_are_no_powers_of_ten_stay_exact() -> None:
    found = ranges.of_interval(Interval("a", 0.0003, 0.07, is_log=True))
    assert 10 ** found["minval"] == pytest.approx(0.0003, rel=1e-15)
    assert 10 ** found["maxval"] == pytest.approx(0.07, rel=1e-15)


def test_values_become_the_range_that_a_grid_goes_through() -> None:
    assert ranges.of_values([1, 2, 3]) == {"type": "int", "minval": 1, "maxval": 3, "count": 3}
    assert ranges.of_values([1, 3, 5]) == {"type": "categorical", "vals": [1, 3, 5]}
    assert ranges.of_values([True, False]) == {"type": "categorical", "vals": [True, False]}
    assert ranges.of_values([3, 2, 1]) == {"type": "categorical", "vals": [3, 2, 1]}


def test_older_search_space_of_optuna_becomes_the_same_sweeps() -> None:
    space = {
        "a": {"type": "categorical", "choices": ["x", "y"]},
        "b": {"type": "int", "low": 1, "high": 8},
        "c": {"type": "int", "low": 1, "high": 8, "step": 3},
        "d": {"type": "float", "low": 0.1, "high": 1.0, "log": True},
        "e": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.5},
        "f": {"type": "float", "low": 0.0, "high": 1.0},
    }
    found = {each.key: each for each in parse(["f=2"], space=space)}
    assert found["a"].values == ("x", "y")
    assert found["b"] == Interval("b", 1, 8, "int")
    assert found["c"].values == (1, 4, 7)
    assert found["d"] == Interval("d", 0.1, 1.0, is_log=True)
    assert found["e"].values == (0.0, 0.5, 1.0)
    assert found["f"] == Override("f", "f=2")


def test_all_faults_are_told_at_once() -> None:
    words = ["a=interval(1,0)", "b=tag(log,interval(0,1))", "c=range(1,2,0)", "d=range(0,100000)", "e", "f=choice("]
    with pytest.raises(ConfigurationError) as raised:
        parse(words, space={"g": {"type": "float"}})
    said = str(raised.value)
    for part in (
        "a=interval(1,0) goes from 1.0 to 0.0",
        "b=tag(log,interval(0,1)) is drawn by magnitude",
        "c=range(1,2,0)",
        "d=range(0,100000) holds 100,000 values",
        "e is no override",
        "f=choice( is no override",
        "hydra.sweeper.search_space.g is",
    ):
        assert part in said


def test_without_hydra_values_with_commas_are_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without_hydra(name, *rest, **named):
        if name.partition(".")[0] == "hydra":
            raise ImportError(name)
        return usual(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_hydra)
    assert one("a=0.1,1e-3") == Choices("a", (0.1, 1e-3), ("0.1", "1e-3"))
    assert one("a='x,y',[1,2]").values == ("x,y", [1, 2])
    assert one("a=[1,2]") == Override("a", "a=[1,2]")
    with pytest.raises(ConfigurationError, match=r"pip install 'lightning-adapter\[hydra\]'"):
        parse(["a=range(1,3)"])
