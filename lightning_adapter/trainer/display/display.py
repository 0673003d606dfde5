"""What is a display of a run's progress told, and when?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


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


class Displays(Display):
    """Several that are told the same.

    Args:
        displays: told in this order.
    """

    def __init__(self, displays: Sequence[Display]) -> None:
        self._displays = tuple(displays)
        following = [each for each in self._displays if each.follows_batches]
        self.follows_batches = bool(following)
        self._following = following

    def epoch_starts(self) -> None:
        """See `Display`."""
        for each in self._displays:
            each.epoch_starts()

    def batch_ends(self) -> None:
        """See `Display`."""
        for each in self._following:
            each.batch_ends()

    def reporting_step(self) -> None:
        """See `Display`."""
        for each in self._displays:
            each.reporting_step()

    def epoch_ends(self) -> None:
        """See `Display`."""
        for each in self._displays:
            each.epoch_ends()

    def validation_starts(self, batches: float, sanity: bool) -> None:
        """See `Display`."""
        for each in self._displays:
            each.validation_starts(batches, sanity)

    def validation_batch_ends(self) -> None:
        """See `Display`."""
        for each in self._displays:
            each.validation_batch_ends()

    def validation_ends(self) -> None:
        """See `Display`."""
        for each in self._displays:
            each.validation_ends()

    def validated(self, values: Mapping[str, object], best: str | None) -> None:
        """See `Display`."""
        for each in self._displays:
            each.validated(values, best)

    def run_ends(self) -> None:
        """See `Display`."""
        for each in self._displays:
            each.run_ends()
