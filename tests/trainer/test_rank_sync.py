"""Two ranks in one process, each a thread: what they log becomes one value."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_adapter.trainer.rank_sync import RankSync
from tests.trainer.connectors import CPU, Logs, numbers

RANKS = 2


class Ranks:
    """Ranks that wait for each other in every exchange; a rank that does not come is an error after a second."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(RANKS, timeout=1)
        self.given: list[Any] = [None] * RANKS
        self.reductions: list[tuple[str, int]] = []

    def exchange(self, rank: int, given: Any) -> list[Any]:
        self.given[rank] = given
        self.barrier.wait()
        everyone = list(self.given)
        self.barrier.wait()
        return everyone

    def reduce(self, rank: int, value: Tensor, group: object, operation: str) -> Tensor:
        if rank == 0:
            self.reductions.append((operation, value.numel()))
        values = torch.stack(self.exchange(rank, value.clone()))
        return {"mean": values.mean(0), "sum": values.sum(0), "min": values.amin(0), "max": values.amax(0)}[operation]

    def sync(self, rank: int) -> RankSync:
        return RankSync(
            lambda value, group, operation: self.reduce(rank, value, group, operation),
            lambda described: self.exchange(rank, described),
            CPU,
        )

    def run(self, work: Callable[[int, Logs, RankSync], Any]) -> list[Any]:
        """What `work` returns on each rank."""

        def one(rank: int) -> Any:
            sync = self.sync(rank)
            return work(rank, Logs(sync), sync)

        with ThreadPoolExecutor(RANKS) as pool:
            return list(pool.map(one, range(RANKS)))


@pytest.mark.parametrize(("reduce_fx", "expected"), [("mean", 2.5), ("sum", 8.0), ("min", 1.0), ("max", 4.0)])
def test_epoch_values_of_two_ranks_become_one(reduce_fx: str, expected: float) -> None:
    def work(rank: int, logs: Logs, sync: RankSync) -> dict[str, float]:
        # three samples with 1, one with 3, and two with 4
        for value, size in (((1.0, 3), (3.0, 1)), ((4.0, 2),))[rank]:
            logs.batch(size, "training_step", value, on_step=False, on_epoch=True, reduce_fx=reduce_fx)
        assert "x" not in logs.connector.callback_metrics  # nobody waits for the other before all meet
        logs.connector.epoch_end_reached()
        return numbers(logs.connector.callback_metrics)

    expected = (3 * 1 + 3 + 2 * 4) / 6 if reduce_fx == "mean" else expected
    assert Ranks().run(work) == [{"x": pytest.approx(expected)}] * RANKS


def test_names_of_one_reduction_travel_together() -> None:
    ranks = Ranks()

    def work(rank: int, logs: Logs, sync: RankSync) -> None:
        for name in ("a", "b"):
            logs.log_in("on_train_epoch_end", name, 1.0)
        logs.log_in("on_train_epoch_end", "c", 1.0, reduce_fx="max")
        logs.connector.on_epoch_end()

    ranks.run(work)
    assert ranks.reductions == [("sum", 4), ("max", 1)]  # two sums with their two weights


def test_value_reduced_once_is_not_reduced_again() -> None:
    ranks = Ranks()

    def work(rank: int, logs: Logs, sync: RankSync) -> None:
        logs.log_in("on_train_epoch_end", "x", 1.0)
        logs.connector.ranks_meet()
        logs.connector.ranks_meet()

    ranks.run(work)
    assert len(ranks.reductions) == 1


def test_rank_without_a_batch_takes_part_with_nothing() -> None:
    def work(rank: int, logs: Logs, sync: RankSync) -> list[dict[str, float]]:
        shown = []
        for values in ((1.0, 3.0), (5.0,)):  # two validations: a name that is new, and one that was reset
            logs.connector.validation_starts()
            if rank == 1:
                logs.validate(*values)
            logs.connector.loader_end_reached()
            shown.append(numbers(logs.connector.update_eval_epoch_metrics().callback))
            logs.connector.reset_results()
            logs.connector.validation_ends(shows_epoch_values=False)
        return shown

    assert Ranks().run(work) == [[{"x": 2.0}, {"x": 5.0}]] * RANKS


def test_loader_without_a_batch_on_a_rank_is_named_as_on_the_others() -> None:
    def work(rank: int, logs: Logs, sync: RankSync) -> dict[str, float]:
        logs.connector.validation_starts()
        for loader in range(2):
            if rank == 0 or loader == 0:
                logs.validate(1.0 + loader, loader=loader)
            logs.connector.loader_end_reached(loader)
            logs.connector.update_eval_epoch_metrics()
        logs.connector.evaluation_epoch_end()
        return numbers(logs.connector.callback_metrics)

    assert Ranks().run(work) == [{"x/dataloader_idx_0": 1.0, "x/dataloader_idx_1": 2.0}] * RANKS


def test_metric_logged_by_one_rank_is_computed_by_all() -> None:
    ranks = Ranks()

    def work(rank: int, logs: Logs, sync: RankSync) -> dict[str, float]:
        mean = logs.module.mean
        mean.dist_sync_fn = lambda tensor, group=None: ranks.exchange(rank, tensor.clone())
        mean.distributed_available_fn = lambda: True
        mean.update(1.0 if rank == 0 else 5.0)
        if rank == 0:
            logs.log_in("on_train_epoch_end", "m", mean)
        logs.connector.on_epoch_end()
        return numbers(logs.connector.callback_metrics)

    assert ranks.run(work) == [{"m": 3.0}] * RANKS


def test_value_of_rank_zero_alone_is_its_own() -> None:
    ranks = Ranks()

    def work(rank: int, logs: Logs, sync: RankSync) -> dict[str, float]:
        if rank == 0:
            logs.log_in("on_train_epoch_end", "x", 1.0, rank_zero_only=True, sync_dist=True)
        shown = numbers(logs.connector.callback_metrics)
        logs.connector.on_epoch_end()
        return shown

    assert ranks.run(work) == [{"x": 1.0}, {}]
    assert not ranks.reductions


@pytest.mark.parametrize("sync_dist", [True, False])
def test_training_step_value_is_reduced_at_once_where_that_is_asked_for(sync_dist: bool) -> None:
    def work(rank: int, logs: Logs, sync: RankSync) -> dict[str, float]:
        logs.batch(1, "training_step", float(rank), sync_dist=sync_dist)
        return numbers(logs.connector.current_log())

    assert Ranks().run(work) == ([{"x": 0.5}] * 2 if sync_dist else [{"x": 0.0}, {"x": 1.0}])


@pytest.mark.parametrize("in_step", [True, False])
def test_validation_step_value_is_reduced_only_where_ranks_have_the_same_batches(in_step: bool) -> None:
    def work(rank: int, logs: Logs, sync: RankSync) -> tuple[dict[str, float], dict[str, float]]:
        logs.batch(1, "training_step", float(rank), sync_dist=True)
        logs.connector.validation_starts()
        sync.validation_loaded(in_step)
        logs.batch(1, "validation_step", float(rank), on_step=True, on_epoch=False, sync_dist=True)
        shown = numbers(logs.connector.current_log())
        logs.connector.validation_ends(shows_epoch_values=False)
        logs.batch(1, "training_step", float(rank), sync_dist=True)
        return shown, numbers(logs.connector.current_log())

    mean = {"x": 0.5}
    own = [{"x": 0.0}, {"x": 1.0}]
    assert Ranks().run(work) == [(mean if in_step else own[rank], mean) for rank in range(RANKS)]
