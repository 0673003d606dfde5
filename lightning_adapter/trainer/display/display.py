"""What is a display of a run's progress told, and when?"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_adapter.runs.console import ALWAYS, FILE_ONLY


class Display:
    """Is told of a run's progress, and shows nothing of it; each kind overrides what it shows.

    All processes tell theirs; only that of the first one shows anything. Nothing here may wait for the device, but where it
    is waited for anyway (a reporting step, the end of a validation), or a few times a second.

    Attributes:
        follows_batches: whether it is to be told of each training batch; the step path costs nothing otherwise.
    """

    follows_batches = False

    def epoch_starts(self) -> None:
        """An epoch begins, or goes on where a checkpoint was written."""

    def batch_ends(self) -> None:
        """One training batch is done; told only where `follows_batches` is set."""

    def reporting_step(self) -> None:
        """The values of this batch were given to the loggers: every `log_every_n_steps` batches, logged values or none."""

    def epoch_ends(self) -> None:
        """The last batch of an epoch is done, and its validation too."""

    def validation_starts(self, batches: float, sanity: bool) -> None:
        """A validation begins.

        Args:
            batches: of all its loaders; infinite where a loader does not know its length.
            sanity: whether it is the sanity check before training.
        """

    def validation_batch_ends(self) -> None:
        """One batch of the validation is done."""

    def validation_ends(self) -> None:
        """The batches of the validation are through."""

    def validated(self, values: Mapping[str, object], best: str | None) -> None:
        """What a validation has logged; no sanity check's.

        Args:
            values: name to value.
            best: the metric that ranks checkpoints, where this validation has given its best value so far.
        """

    def run_ends(self) -> None:
        """No batch follows, however the run has ended: close what is open. May be told more than once."""

    def lost(self) -> None:
        """It has failed, and is told no more: let go of what it shows, without showing anything."""


class Displays(Display):
    """Several that are told the same. One that fails ends no run: it is said once, and that one is told no more.

    Args:
        displays: told in this order.
        log: of the run.
    """

    def __init__(self, displays: Sequence[Display], log: logging.Logger) -> None:
        self._displays = tuple(displays)
        self._log = log
        self._following = tuple(each for each in displays if each.follows_batches)
        self.follows_batches = bool(self._following)

    def epoch_starts(self) -> None:
        """See `Display`."""
        self._tell("epoch_starts")

    def batch_ends(self) -> None:
        """See `Display`; on the step path, so written out."""
        for each in self._following:
            try:
                each.batch_ends()
            except Exception as error:
                self._failed(each, error)

    def reporting_step(self) -> None:
        """See `Display`."""
        self._tell("reporting_step")

    def epoch_ends(self) -> None:
        """See `Display`."""
        self._tell("epoch_ends")

    def validation_starts(self, batches: float, sanity: bool) -> None:
        """See `Display`."""
        self._tell("validation_starts", batches, sanity)

    def validation_batch_ends(self) -> None:
        """See `Display`; written out likewise."""
        for each in self._displays:
            try:
                each.validation_batch_ends()
            except Exception as error:
                self._failed(each, error)

    def validation_ends(self) -> None:
        """See `Display`."""
        self._tell("validation_ends")

    def validated(self, values: Mapping[str, object], best: str | None) -> None:
        """See `Display`."""
        self._tell("validated", values, best)

    def run_ends(self) -> None:
        """See `Display`."""
        self._tell("run_ends")

    def _tell(self, what: str, *args: Any) -> None:
        for each in self._displays:
            try:
                getattr(each, what)(*args)
            except Exception as error:
                self._failed(each, error)

    def _failed(self, display: Display, error: Exception) -> None:
        """A terminal may be gone, and a value may be none that can be shown; the training is whole."""
        self._displays = tuple(each for each in self._displays if each is not display)
        self._following = tuple(each for each in self._following if each is not display)
        self.follows_batches = bool(self._following)
        display.lost()
        self._log.warning(
            "the display of the progress has failed, and shows no more of this run, which goes on: %s: %s",
            type(error).__name__,
            error,
            extra=ALWAYS,
        )
        self._log.info("where it has failed:", exc_info=error, extra=FILE_ONLY)
