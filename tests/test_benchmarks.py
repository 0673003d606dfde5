"""Are the benchmark's systems measured in turns that favour none, and do its figures say what was measured?"""

from __future__ import annotations

import collections
import itertools

import pytest

from benchmarks.worker import in_turns


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_each_system_follows_each_other_equally_often(count: int) -> None:
    systems = [f"system {number}" for number in range(count)]
    repetitions = count if count % 2 == 0 else 2 * count
    order = list(in_turns(systems, repetitions))
    rows = [order[start : start + count] for start in range(0, len(order), count)]
    assert all(sorted(row) == systems for row in rows)
    followed = collections.Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert len(followed) == count * (count - 1)
    assert len(set(followed.values())) == 1
    assert set(collections.Counter(row[0] for row in rows).values()) == {repetitions // count}
