"""A line of any length is kept in a few thousand points, and no spike is lost."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from lightning_adapter.runs.thinning import ThinnedLine, last_finite, thinned


def line_of(values: list[float], step: int = 1) -> tuple[list[int], list[float]]:
    line = ThinnedLine()
    for index, value in enumerate(values):
        line.add(index * step, value)
    return line.points()


def test_long_line_keeps_its_extremes() -> None:
    values = [0.0] * 100_000
    values[4321], values[5432], values[77_777] = 9.0, math.nan, -7.0
    batches, heights = thinned(list(range(100_000)), values)
    assert len(batches) < 3000 and (batches[0], batches[-1]) == (0, 99_999)
    assert dict(zip(batches, heights, strict=True))[4321] == 9.0 and min(heights) == -7.0
    assert last_finite(batches, heights) == (5431, 0.0)


@pytest.mark.parametrize("count", [1, 2, 1000, 1024, 1025, 50_000])
def test_line_that_grows_keeps_its_ends_and_every_spike(count: int) -> None:
    draw = random.Random(1)
    values = [draw.gauss(0, 1) for _ in range(count)]
    spikes = {draw.randrange(count): 100.0 * sign for sign in (1, -1)}
    for at, value in spikes.items():
        values[at] = value
    places, heights = line_of(values, step=50)
    found = dict(zip(places, heights, strict=True))
    assert {at * 50: value for at, value in spikes.items()}.items() <= found.items()
    assert (places[0], places[-1]) == (0, (count - 1) * 50) and places == sorted(set(places))
    assert all(values[at // 50] == value for at, value in found.items())
    assert len(places) <= 2 * 1024 + 2 if count > 1024 else places == [at * 50 for at in range(count)]


def test_line_that_grows_keeps_both_extremes_of_each_stretch() -> None:
    values = [float(index % 2) for index in range(100_000)]
    places, heights = line_of(values)
    assert heights.count(0.0) == pytest.approx(len(heights) / 2, abs=2)
    assert max(after - before for before, after in itertools.pairwise(places)) < 100_000 / 256


@pytest.mark.parametrize("gap", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("count", [10, 10_000])
def test_gap_hides_no_value_and_its_beginning_is_known(gap: float, count: int) -> None:
    values = [1.0] * count
    values[5], values[7] = gap, 3.0
    places, heights = line_of(values)
    assert math.isnan(heights[places.index(5)]) and heights[places.index(7)] == 3.0
    assert last_finite(places, heights) is not None


def test_line_without_a_finite_value_has_gaps_alone() -> None:
    places, heights = line_of([math.nan] * 5000)
    assert places and all(map(math.isnan, heights)) and last_finite(places, heights) is None
    assert line_of([]) == ([], [])


def test_memory_of_a_line_does_not_grow() -> None:
    line = ThinnedLine()
    sizes = []
    for index in range(40_000):
        line.add(index, float(index))
        if index in (2_000, 39_999):
            sizes.append(sum(len(kept) for kept in (line._low, line._high, line._low_at, line._high_at)))
    assert max(sizes) <= 4 * 1024
