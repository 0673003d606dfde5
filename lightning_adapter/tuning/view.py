"""What does somebody see who watches a search?"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

State: TypeAlias = Literal["waiting", "running", "interrupted", "complete", "pruned", "failed", "invalid"]


@dataclass(frozen=True)
class Row:
    """One trial.

    Attributes:
        number: Optuna's, from 0.
        state: waiting for a place; running; interrupted, where it has begun and nobody trains it now; complete; pruned, where
            the searcher has stopped it; failed; invalid, where the trial's code has refused its hyperparameters.
        batches: trained, as of the last validation.
        epochs: whole ones, likewise.
        value: the best of the searcher's metric so far; None where no validation has given a finite one.
        hyperparameters: those that the search draws, dotted.
        run_dir: of the trial; None as long as it waits.
        note: why it failed, in one line; "" otherwise.
    """

    number: int
    state: State
    batches: int
    epochs: int
    value: float | None
    hyperparameters: Mapping[str, Any]
    run_dir: pathlib.Path | None
    note: str = ""


@dataclass(frozen=True)
class View:
    """A search at one moment.

    Attributes:
        directory: of the search.
        metric: of the searcher.
        smaller_is_better: its direction.
        rows: the trials, by number.
        best: the best complete one; where none is complete, None.
        planned: trials that the search makes at most.
        time_left_s: estimated seconds; None where nothing is known yet.
    """

    directory: pathlib.Path
    metric: str
    smaller_is_better: bool
    rows: Sequence[Row]
    best: Row | None
    planned: int
    time_left_s: float | None


class Watcher(Protocol):
    """Is told how a search goes on. Called in one thread, never at the same time."""

    def changed(self, view: View) -> None:
        """A trial began, was validated, or ended; also called every second or so while trials train."""

    def ended(self, view: View) -> None:
        """No trial runs any more."""
