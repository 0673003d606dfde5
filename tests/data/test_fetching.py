"""Does the fetcher know the last batch, and fetch no earlier than Lightning's?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lightning_adapter.data.fetching import DataFetcher, DataLoaderIterator
from lightning_adapter.data.loaders import INFINITE


class Counted:
    """Numbers from 0 on, of which it counts how many were taken."""

    def __init__(self, count: int) -> None:
        self.count, self.taken = count, 0

    def __call__(self) -> Iterator[int]:
        for number in range(self.count):
            self.taken += 1
            yield number


def handed_out(fetcher: DataFetcher[int]) -> list[tuple[int, bool]]:
    """Every batch, and whether it was known to be the last."""
    return [(batch, fetcher.done) for batch in fetcher]


@pytest.mark.parametrize("ahead", [True, False])
def test_last_batch_of_known_length_is_known_without_fetching_ahead(ahead: bool) -> None:
    source = Counted(9)
    fetcher = DataFetcher(source, 3, ahead)
    fetcher.start()
    assert (source.taken, fetcher.fetched, fetcher.done) == (0, 0, False)
    assert handed_out(fetcher) == [(0, False), (1, False), (2, True)]
    assert (source.taken, fetcher.fetched) == (3, 3)


def test_last_batch_of_unknown_length_is_known_by_one_batch_fetched_ahead() -> None:
    source = Counted(3)
    fetcher = DataFetcher(source, INFINITE)
    fetcher.start()
    assert (source.taken, fetcher.fetched) == (1, 1)
    assert next(fetcher) == 0
    assert (source.taken, fetcher.fetched, fetcher.done) == (2, 2, False)
    assert handed_out(fetcher) == [(1, False), (2, True)]
    assert fetcher.fetched == 3


def test_unknown_length_without_fetching_ahead_ends_one_batch_later() -> None:
    fetcher = DataFetcher(Counted(2), INFINITE, ahead=False)
    fetcher.start()
    assert fetcher.fetched == 0
    assert handed_out(fetcher) == [(0, False), (1, False)]
    assert fetcher.done


def test_data_shorter_than_its_length_ends_where_it_ends() -> None:
    fetcher = DataFetcher(Counted(2), 5)
    fetcher.start()
    assert handed_out(fetcher) == [(0, False), (1, False)]
    assert fetcher.done


@pytest.mark.parametrize(("count", "length"), [(0, INFINITE), (3, 0)], ids=["empty", "limit_0"])
def test_pass_without_batches_is_done_at_its_start(count: int, length: float) -> None:
    fetcher = DataFetcher(Counted(count), length)
    fetcher.start()
    assert fetcher.done
    assert list(fetcher) == []


def test_position_is_asked_for_before_each_batch_that_is_fetched_ahead() -> None:
    source = Counted(2)
    seen: list[int] = []
    fetcher = DataFetcher(source, INFINITE, before_ahead=lambda: seen.append(source.taken))
    fetcher.start()
    assert seen == [0]
    next(fetcher)
    assert seen == [0, 1]


@pytest.mark.parametrize("length", [3, INFINITE])
def test_second_pass_starts_anew(length: float) -> None:
    fetcher = DataFetcher(Counted(3), length)
    fetcher.start()
    next(fetcher)
    fetcher.start()
    assert handed_out(fetcher) == [(0, False), (1, False), (2, True)]


@pytest.mark.parametrize("length", [5, INFINITE])
def test_resumed_pass_counts_what_is_gone_already(length: float) -> None:
    fetcher = DataFetcher(Counted(9), length)
    fetcher.resume(iter([3, 4]), fetched=3)
    assert handed_out(fetcher) == [(3, False), (4, True)]
    assert fetcher.fetched == 5


def test_pass_is_over_once_all_processes_agree_on_its_end() -> None:
    fetcher = DataFetcher(Counted(3), INFINITE, ahead=False)
    fetcher.start()
    next(fetcher)
    fetcher.agree_on_end(False)
    assert next(fetcher) == 1
    fetcher.agree_on_end(True)
    assert list(fetcher) == []


@pytest.mark.parametrize("length", [3, INFINITE])
def test_stopped_fetcher_hands_out_nothing_and_lets_go_of_its_iterator(length: float) -> None:
    fetcher = DataFetcher(Counted(3), length)
    fetcher.start()
    fetcher.stop()
    assert fetcher.iterator is None
    assert list(fetcher) == []


def test_iterator_for_a_step_remembers_what_it_gave_last() -> None:
    fetched: Iterator[Any] = iter([("a", 0, 0), ("b", 0, 1)])
    iterator = DataLoaderIterator(DataFetcher(Counted(2), 2), fetched.__next__)
    assert iterator.last == (None, 0, 0)
    assert list(iterator) == [("a", 0, 0), ("b", 0, 1)]
    assert iterator.last == ("b", 0, 1)


@pytest.mark.parametrize("length", [3, INFINITE])
def test_iterator_for_a_step_tells_how_far_its_pass_is(length: float) -> None:
    fetcher = DataFetcher(Counted(3), length, ahead=False)
    fetcher.start()
    iterator = DataLoaderIterator(fetcher, lambda: (next(fetcher), fetcher.batch_idx, 0))
    assert (iterator.done, iterator.fetched, iterator.length) == (False, 0, None if length == INFINITE else 3)
    assert [batch_idx for _, batch_idx, _ in iterator] == [0, 1, 2]
    assert (iterator.done, iterator.fetched) == (True, 3)


@pytest.mark.parametrize("length", [5, INFINITE])
def test_batches_of_an_earlier_run_count_and_the_pass_goes_on_as_it_is(length: float) -> None:
    fetcher = DataFetcher(Counted(9), length, ahead=length == INFINITE)
    fetcher.start()
    fetcher.count_on(3)
    assert next(fetcher) == 0
    assert fetcher.fetched == (4 if length == 5 else 5)
    assert next(fetcher) == 1
    assert fetcher.done is (length == 5)
    if length == 5:
        assert fetcher.batch_idx == 1
