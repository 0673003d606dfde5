"""Which training metrics is Determined told of?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.platform.reports import TrainingReports

Told = list[tuple[int, dict[str, float]]]


class Master:
    """Keeps what `report_training_metrics` is given, through a context as the trial has it."""

    def __init__(self, rank: int) -> None:
        self.told: Told = []
        self.distributed = SimpleNamespace(rank=rank)
        self._core = SimpleNamespace(train=self)

    def report_training_metrics(self, steps_completed: int, metrics: dict[str, float]) -> None:
        self.told.append((steps_completed, metrics))


class Place:
    """Keeps what is recorded."""

    def __init__(self, owns_loop: bool) -> None:
        self.owns_loop = owns_loop
        self.recorded: list[Any] = []

    def record_training(self, batches: int, epoch: int, metrics: dict[str, float]) -> None:
        self.recorded.append((batches, epoch, metrics))


class Run:
    """Reports over epochs of two batches."""

    def __init__(self, owns_loop: bool = True, rank: int = 0) -> None:
        limits: Any = SimpleNamespace(accumulate_grad_batches=1, min_epochs=0, min_steps=None)
        self.progress = TrainingProgress(limits)
        self.master: Any = Master(rank)
        self.place: Any = Place(owns_loop)
        self.reports = TrainingReports(self.master, self.place, self.progress)

    @property
    def told(self) -> Told:
        return self.master.told

    def train(self) -> None:
        if not self.progress.in_epoch:
            self.progress.advance_epoch_ready()
            self.progress.advance_epoch_started()
        self.progress.batch.advance_ready(self.progress.batch.current.ready == 1)

    def end_epoch(self) -> None:
        self.progress.advance_epoch_processed()
        self.progress.advance_epoch_completed()


def test_metrics_are_reported_at_their_batch_with_batches_and_epochs() -> None:
    run = Run()
    run.train()
    run.reports.report({"loss": 0.5})
    run.train()
    run.reports.report({"loss": 0.25})

    assert run.told == [
        (1, {"batches": 1, "epochs": 0, "loss": 0.5}),
        (2, {"batches": 2, "epochs": 1, "loss": 0.25}),  # the epoch that the batch ends counts
    ]


def test_each_name_is_reported_once_per_batch() -> None:
    run = Run()
    run.train()
    run.reports.report({"loss": 0.5})
    run.reports.report({"loss": 0.75, "accuracy": 1.0})
    run.train()
    run.reports.report({"loss": 0.25})

    assert run.told[1:] == [(1, {"accuracy": 1.0}), (2, {"batches": 2, "epochs": 1, "loss": 0.25})]


def test_values_of_an_epochs_end_join_those_of_its_last_batch() -> None:
    run = Run()
    run.train()
    run.train()
    run.reports.report({"loss": 0.5})
    run.progress.advance_epoch_processed()
    run.reports.report({"loss_epoch": 0.75})

    assert run.told == [(2, {"batches": 2, "epochs": 1, "loss": 0.5}), (2, {"loss_epoch": 0.75})]


def test_batches_and_epochs_that_user_code_logs_win() -> None:
    run = Run()
    run.train()

    run.reports.report({"epochs": 7.0})

    assert run.told == [(1, {"batches": 1, "epochs": 7.0})]


def test_determineds_own_trainer_reports_batches_and_epochs_itself() -> None:
    run = Run(owns_loop=False)
    run.train()

    run.reports.report({"loss": 0.5})

    assert run.told == [(1, {"loss": 0.5})]


def test_chief_alone_reports() -> None:
    run = Run(rank=1)
    run.train()

    run.reports.report({"loss": 0.5})

    assert (run.told, run.place.recorded) == ([], [])


def test_nothing_logged_is_not_reported() -> None:
    run = Run()
    run.train()

    run.reports.report({})

    assert (run.told, run.place.recorded) == ([], [])


def test_run_directory_gets_all_values_as_logged_under_the_epoch_in_work() -> None:
    run = Run()
    run.train()
    run.train()
    run.end_epoch()
    run.train()
    run.reports.report({"loss": 0.5})
    run.reports.report({"loss": 0.75})

    assert run.place.recorded == [(3, 1, {"loss": 0.5}), (3, 1, {"loss": 0.75})]
