"""What differs between the places that a trial runs in: `fit()` here, `fit()` on a cluster, Determined's own Trainer?"""

from __future__ import annotations

import pathlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

from determined import pytorch

from lightning_adapter.loop.components import Components
from lightning_adapter.platform.period import Period
from lightning_adapter.platform.starting_point import StartingPoint


class Platform(ABC):
    """Who owns periods, checkpoints and what is recorded.

    Attributes:
        start: the checkpoint that the run begins with.
        validation_period: overrides Lightning's arguments on when to validate.
        checkpoint_period: when to write checkpoints besides those that follow validations.
        checkpoint_each_epoch: whether epochs without a validation end with a checkpoint too.
        checkpoint_owed: a checkpoint is due and waits for the next optimizer step.
        max_batches: batches after which the run ends, with a validation; None for as many as Lightning's limits allow.
        root_dir: where callbacks and loggers write what they are given no other place for.
        table: name of the file in it that keeps all values; None where there is none.
        owns_loop: whether the adapter decides what Determined does after a batch; otherwise its Trainer's periods do.
    """

    start: StartingPoint
    validation_period: Period | None = None
    checkpoint_period: Period | None = None
    checkpoint_each_epoch = False
    checkpoint_owed = False
    max_batches: int | None = None
    root_dir: str
    table: str | None = None
    owns_loop: bool

    @abstractmethod
    def tensorboard(self) -> str:
        """Where the default logger writes."""

    @abstractmethod
    def reports_progress(self, has_callbacks: bool) -> bool:
        """Whether somebody is to be told at each reporting step: a master, or the trial's own Determined callbacks."""

    def callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        """Determined callbacks that the place needs beside the driver."""
        return {}

    def data_is_prepared(self) -> None:  # noqa: B027 - some have nothing to do then
        """What `prepare_data` writes is written."""

    def goes_on_from(self, checkpoint: pathlib.Path) -> None:  # noqa: B027 - as above
        """Determined is about to load a checkpoint of this trial, of which this is the directory."""

    def training_starts(self, parts: Components, sanity_checked: Collection[str]) -> None:  # noqa: B027 - some have nothing to do then
        """All of the user's objects are made and ready, and the first batch is about to be trained.

        Args:
            parts: the run.
            sanity_checked: the names that a sanity check has logged; none where there was no check.
        """

    @abstractmethod
    def stops_now(self) -> bool:
        """Whether the only process got a signal or a request to stop; several agree first, when they look together."""

    @property
    def received_sigterm(self) -> bool:
        """Whether this process was told to end, and goes on to a moment at which it can."""
        return False

    def owe_checkpoint(self) -> None:
        """A checkpoint is due."""
        self.checkpoint_owed = True

    @abstractmethod
    def record_training(self, batches: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Training metrics were logged."""

    @abstractmethod
    def validated(self, batches: int, epoch: int, metrics: Mapping[str, Any]) -> str | None:
        """A validation is over.

        Returns:
            The metric that ranks checkpoints, where this is its best value so far; None otherwise.

        Raises:
            ConfigurationError: on a cluster, whose searcher waits for a metric that was not logged.
        """

    @abstractmethod
    def ended_in_validation(self, batches: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        """A hook that has seen the values of a validation ends the run with an exception; nobody else is told of them."""

    @abstractmethod
    def run_is_over(self, parts: Components) -> None:
        """Lightning's limits are reached: Determined's loop has to end too."""

    @abstractmethod
    def loads_foreign_weights(self, uuid: str, first_batch_idx: int) -> bool:
        """Whether a checkpoint that Determined is about to load is another trial's, of which the weights alone are wanted."""

    @abstractmethod
    def state_of(self, parts: Components, state: dict[str, Any]) -> dict[str, Any]:
        """What Determined's own checkpoint is to hold of the run; empty where checkpoints are written here."""
