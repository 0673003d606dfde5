"""Are the draws those of the master? The values are what Determined 0.38.1's own searcher draws from these ranges."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice
from typing import Any

import pytest

from lightning_adapter.tuning.draws import Draw, drawn_in_any_order, draws
from lightning_adapter.tuning.settings import SearcherSettings

RANDOM = SearcherSettings("random", "m", True, 4, 16)
GRID = SearcherSettings("grid", "m", True, 12, 16)
RANGES = {
    "lr": {"type": "log", "base": 10, "minval": -4, "maxval": -1},
    "width": {"type": "int", "minval": 4, "maxval": 64},
    "dropout": {"type": "double", "minval": 0, "maxval": 0.5},
    "net": {"kind": {"type": "categorical", "vals": ["a", 2.0, [1.0, {"b": 1}], None]}, "depth": 3.0},
    "batch": {"type": "const", "val": 64},
}


def drawn(seed: int, dropout: float, lr: float, kind: object, width: int, trial_seed: int) -> tuple[int, Draw]:
    """One of the master's."""
    values = {"batch": 64, "dropout": dropout, "lr": lr, "net": {"depth": 3, "kind": kind}, "width": width}
    return seed, Draw(values, trial_seed)


MASTERS = [
    drawn(0, 0.2744067519636624, 0.013981961408994043, None, 63, 626610453),
    drawn(0, 0.1921908536463499, 0.0007809150983452719, "a", 28, 1340754471),
    drawn(1, 0.208511002351287, 0.014486833887239339, None, 13, 396591248),
    drawn(1, 0.19829036364801306, 0.0014579150644317578, "a", 10, 1345499493),
    drawn(4294967295, 0.0488160144970069, 0.05459445512452006, "a", 4, 2016512639),
    drawn(4294967295, 0.25219304708084217, 0.012203851104523364, [1, {"b": 1}], 31, 1378259670),
]


@pytest.mark.parametrize("seed", [0, 1, 4294967295])
def test_hyperparameters_and_seeds_are_the_masters(seed: int) -> None:
    theirs = [draw for of_seed, draw in MASTERS if of_seed == seed]
    ours = list(islice(draws(RANDOM, RANGES, seed), 2))
    # as text: True is not 1 there, 1.0 not 1, and the order of keys counts
    assert repr(ours) == repr(theirs)


def test_odd_ranges_are_drawn_as_by_the_master() -> None:
    ranges = {
        "small": {"type": "int", "minval": 7, "maxval": 8},
        "wide": {"type": "int", "minval": -5, "maxval": 2**40},
        "edge": {"type": "int", "minval": 0, "maxval": 2**32 - 1},
        "one": {"type": "categorical", "vals": ["x"]},
        "whole": {"type": "log", "base": 2, "minval": 60, "maxval": 69.5},
        "exact": 2**60 + 1,
    }
    found = [(*draw.hyperparameters.values(), draw.seed) for draw in islice(draws(RANDOM, ranges, 3), 4)]
    whole = 1152921504606847000
    assert found == [
        (2365658986, whole, "x", 7, 122165965479123420000, 867663915878, 221049975),
        (401800614, whole, "x", 7, 111904092839670040000, 401394042274, 1520010714),
        (2904492694, whole, "x", 7, 56433935544348570000, 298080869219, 829521048),
        (2519513595, whole, "x", 7, 7047127467122016000, 736778657308, 1106320404),
    ]


def test_single_search_draws_one_value_of_each_range() -> None:
    single = SearcherSettings("single", "m", True, 1, 1)
    assert next(draws(single, RANGES, 0)) == MASTERS[0][1]


def test_points_of_a_grid_come_from_the_end() -> None:
    ranges = {
        "b": {"type": "int", "minval": 0, "maxval": 5, "count": 3},
        "a": {"type": "categorical", "vals": ["x", "y"]},
        "net": {
            "d": {"type": "log", "base": 10, "minval": -3, "maxval": -1, "count": 2},
            "c": {"type": "double", "minval": 0, "maxval": 1, "count": 1},
            "e": {},
        },
        "k": 1.0,
    }
    found = list(draws(GRID, ranges, 3))
    assert repr(found[0]) == repr(Draw({"a": "y", "b": 5, "k": 1, "net": {"c": 0.5, "d": 0.1, "e": {}}}, 1249426360))
    assert [
        (draw.hyperparameters["a"], draw.hyperparameters["b"], draw.hyperparameters["net"]["d"], draw.seed)
        for draw in found
    ] == [
        *(("y", 5, 0.1, 1249426360), ("y", 5, 0.001, 1877166739), ("y", 3, 0.1, 890101386)),
        *(("y", 3, 0.001, 836761236), ("y", 0, 0.1, 640568824), ("y", 0, 0.001, 2115855170)),
        *(("x", 5, 0.1, 252776371), ("x", 5, 0.001, 226653793), ("x", 3, 0.1, 1891734334)),
        *(("x", 3, 0.001, 1106663803), ("x", 0, 0.1, 953301854), ("x", 0, 0.001, 88538612)),
    ]


@pytest.mark.parametrize(
    ("spec", "values"),
    [
        ({"type": "int", "minval": 0, "maxval": 5, "count": 3}, [0, 3, 5]),
        ({"type": "int", "minval": -5, "maxval": 0, "count": 3}, [-5, -3, 0]),
        ({"type": "int", "minval": 1, "maxval": 2, "count": 9}, [1, 2]),
        ({"type": "int", "minval": 0, "maxval": 3, "count": 1}, [2]),
        ({"type": "double", "minval": 0, "maxval": 1, "count": 4}, [0, 0.3333333333333333, 0.6666666666666666, 1]),
        (
            {"type": "log", "minval": -4, "maxval": -1, "count": 7, "base": 10},
            [0.0001, 0.00031622776601683794, 0.001, 0.003162277660168379, 0.01, 0.03162277660168379, 0.1],
        ),
    ],
)
def test_points_of_a_range_are_the_masters(spec: Mapping[str, Any], values: list[float]) -> None:
    found = [draw.hyperparameters["a"] for draw in draws(GRID, {"a": spec}, 3)]
    assert repr(found[::-1]) == repr(values)


def test_point_of_a_great_grid_needs_no_others() -> None:
    many = {name: {"type": "double", "minval": 0, "maxval": 1, "count": 10**6} for name in "ab"}
    assert next(draws(GRID, many, 3)).hyperparameters == {"a": 1, "b": 1}


def test_thousands_of_draws_take_no_time() -> None:
    began = time.perf_counter()
    list(islice(draws(RANDOM, RANGES, 0), 5000))
    assert time.perf_counter() - began < 2  # 0.2 on an idle machine


@pytest.mark.parametrize(
    ("hyperparameters", "group"),
    [
        (RANGES, None),
        ({"net": {"a": RANGES["lr"], "b": RANGES["lr"]}}, ("net",)),
        ({"net": {"a": RANGES["lr"], "b": {"c": RANGES["lr"], "d": 1}}}, ("net",)),
        ({"net": {"a": 1, "b": {"c": RANGES["lr"], "d": RANGES["width"]}}}, ("net", "b")),
        ({"net": {"a": 1, "b": {"c": RANGES["lr"], "d": {"type": "const", "val": 1}}}}, None),
    ],
)
def test_group_whose_draws_nobody_knows_is_found(
    hyperparameters: dict[str, Any], group: tuple[str, ...] | None
) -> None:
    assert drawn_in_any_order(hyperparameters) == group
