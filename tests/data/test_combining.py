"""Do several loaders give the batches of Lightning's CombinedLoader, in its order?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from packaging.version import Version

from lightning_adapter.data.collections import flatten
from lightning_adapter.data.combining import CombinedIterator, SequentialIterator
from lightning_adapter.versions import hosts, lightning_private

HOST = hosts.host("pytorch_lightning")
since_21 = pytest.mark.skipif(HOST.version < Version("2.1"), reason="CombinedLoader yields other things before 2.1")


class Loader:
    """Yields its name, the pass and the place in it; notes when it is iterated."""

    def __init__(self, name: str, length: int, events: list[str]) -> None:
        self.name, self.length, self.passes, self.events = name, length, 0, events

    def __iter__(self) -> Iterator[str]:
        self.passes += 1
        self.events.append(f"iter {self.name}")
        return (f"{self.name}{self.passes}.{place}" for place in range(self.length))

    def __len__(self) -> int:
        return self.length


def exhaust(batches: Iterable[Any], events: list[Any]) -> None:
    """Note what is yielded among the events, in the order in which all of it happens."""
    for batch in batches:
        events.append(batch)


def lightnings(loaders: Any, mode: str, limits: list[float] | None = None) -> Any:
    combined = lightning_private.combined_loader(HOST, loaders, mode)
    combined.limits = limits
    return combined


def collections(events: list[str], *lengths: int) -> list[Any]:
    made = [Loader("abc"[index], length, events) for index, length in enumerate(lengths)]
    return [made, dict(zip("xyz", made, strict=False)), {"x": made[0], "y": tuple(made[1:])}]


@since_21
@pytest.mark.parametrize("form", range(3), ids=["list", "dict", "nested"])
@pytest.mark.parametrize("lengths", [(2, 5), (5, 2), (3, 3), (4, 1, 2), (1, 3, 3), (2, 0)], ids=str)
@pytest.mark.parametrize("mode", CombinedIterator.MODES)
def test_batches_of_each_mode_are_those_of_lightnings_combined_loader(
    mode: str, lengths: tuple[int, ...], form: int
) -> None:
    our_events: list[Any] = []
    ours = collections(our_events, *lengths)[form]
    their_events: list[Any] = []
    theirs = lightnings(collections(their_events, *lengths)[form], mode)
    exhaust(CombinedIterator(flatten(ours), ours, mode), our_events)
    exhaust((batch for batch, _, _ in theirs), their_events)
    assert our_events == their_events


@since_21
@pytest.mark.parametrize(
    "limits", [(9, 9, 9), (2, 1, 9), (0, 2, 2), (2, 0, 0), (0, 0, 0), (float("inf"), 1, 1)], ids=str
)
@pytest.mark.parametrize("lengths", [(2, 3, 1), (0, 2, 2), (3, 0, 0)], ids=str)
def test_sequential_batches_are_those_of_lightnings_combined_loader(
    lengths: tuple[int, ...], limits: tuple[float, ...]
) -> None:
    our_events: list[Any] = []
    their_events: list[Any] = []
    exhaust(SequentialIterator(collections(our_events, *lengths)[0], limits), our_events)
    exhaust(lightnings(collections(their_events, *lengths)[0], "sequential", list(limits)), their_events)
    assert our_events == their_events


def test_sequential_iterator_stays_at_its_end() -> None:
    iterator = SequentialIterator(collections([], 1, 1)[0], [5, 5])
    assert len(list(iterator)) == 2
    assert list(iterator) == []


@pytest.mark.parametrize("taken", [1, 2, 4])
@pytest.mark.parametrize(("mode", "length"), [("min_size", 3), ("max_size", 5), ("max_size_cycle", 5)])
def test_iterator_made_under_way_goes_on_as_the_first_one(mode: str, length: int, taken: int) -> None:
    loaders = collections([], 3, 5)[0]
    first = CombinedIterator(loaders, loaders, mode)
    taken = min(taken, length)
    for _ in range(taken):
        next(first)
    ended = list(first.consumed)
    assert ended == [taken > 3, False]
    resumed = CombinedIterator(loaders, loaders, mode, (first.iterators, first.consumed))
    assert len(list(resumed)) == length - taken  # one that forgot which have ended would repeat the longest loader
    assert first.consumed == ended
