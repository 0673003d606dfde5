"""What stands in a run's log of its progress, line by line?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from lightning_adapter.runs.console import FILE_ONLY
from lightning_adapter.runs.words import in_clock, out_of, per_second
from lightning_adapter.trainer.display.display import Display
from lightning_adapter.trainer.display.facts import Facts
from lightning_adapter.trainer.display.pace import Pace
from lightning_adapter.trainer.display.values import named, shown_of

#: Seconds between two lines: at first, and in a run of days.
_AT_LEAST = 5.0
_AT_MOST = 60.0
_PART_OF_THE_TIME = 0.01
#: Values of a validation; all of them are in the run's table.
_MOST_OF_VALIDATION = 20
#: The speed is that since the line before.
_SAMPLES = 2


class Lines(Display):
    """Writes lines to the run's log: one for each validation, and between them one every few seconds.

    Args:
        facts: of the run.
        on_console: whether a person sees them there too: not beside a bar, and not where nobody asked for one.
        clock: seconds.
    """

    def __init__(self, facts: Facts, on_console: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._facts = facts
        self._extra = {} if on_console else FILE_ONLY
        self._clock = clock
        self._pace = Pace(facts.progress, facts.fraction, clock, samples=_SAMPLES)
        self._due = self._clock()  # the first reporting step says that the run is under way
        self._validation: tuple[str, float] = ("", 0)
        self._validation_due = self._due
        self._validated = 0
        self._of_validation: Mapping[str, object] = {}  # by the last one

    def epoch_starts(self) -> None:
        """The time in which nothing was trained is over."""
        self._pace.epoch_starts()

    def reporting_step(self) -> None:
        """A line, where the last one is old enough."""
        if self._clock() >= self._due:
            values = self._of_training()
            self._pace.sample()
            self._write([named(name, value) for name, value in shown_of(values).items()])

    def validation_starts(self, batches: float, sanity: bool) -> None:
        """Count its batches."""
        self._pace.stops()
        self._validation = ("sanity check" if sanity else "validation", batches)
        self._validated = 0
        self._validation_due = max(self._due, self._clock() + _AT_LEAST)  # a short one has its values alone

    def validation_batch_ends(self) -> None:
        """A line, where the last one is old enough."""
        self._validated += 1
        if self._clock() >= self._validation_due:
            name, batches = self._validation
            self._write([f"{name} {out_of(self._validated, batches)}"])
            self._validation_due = self._due

    def validated(self, values: Mapping[str, object], best: str | None) -> None:
        """A line, whenever the last one was."""
        self._pace.goes_on()
        self._of_validation = dict(values)
        before = {name: value for name, value in self._of_training().items() if name not in values}
        said = [named(name, value) for name, value in shown_of(before).items()]
        kept = sorted(values, key=lambda name: name != best)[:_MOST_OF_VALIDATION]
        said += [named(name, value, is_best=name == best) for name, value in values.items() if name in kept]
        if len(values) > len(kept):
            said.append(f"and {len(values) - len(kept)} more")
        self._pace.sample()
        self._write(said or ["validated, nothing was logged"])

    def _of_training(self) -> Mapping[str, object]:
        """For the bar, or else for the loggers, without what a validation has said before: that would read like another."""
        for values in (self._facts.bar_values, self._facts.logged_values):
            said = self._of_validation
            found = {name: value for name, value in values().items() if name not in said or said[name] != value}
            if shown_of(found):
                return found
        return {}

    def _write(self, parts: list[str]) -> None:
        progress, pace = self._facts.progress, self._pace
        batch = out_of(progress.batch.current.completed, progress.num_training_batches)
        said = [f"epoch {self._facts.epoch()}", f"batch {batch}", *parts]
        if pace.speed is not None:
            said.append(per_second(pace.speed))
        if pace.run_left is not None:
            said.append(f"{in_clock(pace.run_left)} left")
        self._facts.log.info("%s", "  ".join(said), extra=self._extra)
        self._due = self._clock() + max(_AT_LEAST, min(_AT_MOST, pace.elapsed * _PART_OF_THE_TIME))
