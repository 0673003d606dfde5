"""How does a search go on from one event to the next: trials begin, are validated, end, until none is left?"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from lightning_adapter.errors import ConfigurationError, SearchError
from lightning_adapter.platform import experiment
from lightning_adapter.runs import record
from lightning_adapter.runs.directory import RunDirectory
from lightning_adapter.runs.store import stored_checkpoints
from lightning_adapter.runs.summary import shown
from lightning_adapter.tuning import preview
from lightning_adapter.tuning.directory import SearchDirectory
from lightning_adapter.tuning.job import Crew, Ended, Job, Validated
from lightning_adapter.tuning.plan import Plan
from lightning_adapter.tuning.pruner import OUTCOME
from lightning_adapter.tuning.searcher import BATCHES, BEST, EPOCHS, NOTE, VALUES, Assignment, Searcher
from lightning_adapter.tuning.storage import EventStorage
from lightning_adapter.tuning.time_left import TimeLeft
from lightning_adapter.tuning.view import Row, State, View, Watcher

logger = logging.getLogger("lightning_adapter")

#: Seconds between two looks at the clock, and two drawings of what is shown.
_LOOK_S = 1.0
#: Least seconds from what was told last to what is told of a validation.
_TELL_S = 0.2
#: So many trials may fail before the first result; more are in vain.
_PATIENCE = 3
#: So many trials, one after the other, may have their hyperparameters refused.
_PATIENCE_WITH_INVALID = 100

_STATES: dict[TrialState, State] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
}
#: How the record of a run has it.
_RUN_STATUS = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned"}


class Running:
    """A search while its trials train.

    Args:
        plan: the search.
        directory: where it writes.
        study: Optuna's.
        storage: of the study.
        searcher: decides.
        crew: trains.
        watcher: is told.
        deadline: the monotonic clock's time at which trials are interrupted; infinity for never.

    Attributes:
        stopped_by: the signal that has ended the search, or "timeout"; None where nothing has.
    """

    def __init__(
        self,
        plan: Plan,
        directory: SearchDirectory,
        study: optuna.Study,
        storage: EventStorage,
        searcher: Searcher,
        crew: Crew,
        watcher: Watcher,
        deadline: float,
    ) -> None:
        self._plan = plan
        self._directory = directory
        self._study = study
        self._storage = storage
        self._searcher = searcher
        self._crew = crew
        self._watcher = watcher
        self._deadline = deadline
        self._training: set[int] = set()
        self._refused: int | None = None  # the trial by which it was found that none can be made
        self._told_at = -math.inf
        self.stopped_by: signal.Signals | Literal["timeout"] | None = None
        lengths = preview.lengths(plan.settings)
        self._time_left = TimeLeft(lengths, plan.given.options.get("max_epochs"), self._rows())

    def run(self) -> None:
        """Train all trials, as far as nobody stops the search.

        Raises:
            ConfigurationError: no trial can be made of what was given.
            SearchError: trials fail one after the other.
        """
        with self._listening():
            left = self._begun()
            while True:
                while self.stopped_by is None and len(self._training) < self._crew.size:
                    next_one = self._next(left)
                    if next_one is None:
                        break
                    self._crew.start(self._job(next_one))
                    self._training.add(next_one.number)
                    self._tell()
                if not self._training:
                    return
                over = self._crew.wait(self._judge, _LOOK_S)
                if self.stopped_by is None and time.monotonic() >= self._deadline:
                    self.stopped_by = "timeout"
                    self._crew.stop()
                for ended in over:
                    self._training.remove(ended.number)
                    self._end(ended)
                self._tell()

    def _begun(self) -> list[Assignment]:
        """The trials that an earlier process has left; the runs of those of which all is known are told how they have ended."""
        running = [trial.number for trial in self._searcher.trials() if trial.state is TrialState.RUNNING]
        left = self._searcher.begun(self._batches_of)
        settings, trials = self._plan.settings, self._searcher.trials()
        for number in running:
            path, state = self._directory.trial(number), trials[number].state
            if state in _RUN_STATUS and record.read(path) is not None:
                RunDirectory(path, ranked_by=(settings.metric, settings.smaller_is_better)).show()
                record.update(path, status=_RUN_STATUS[state])
        return left

    @property
    def is_over(self) -> bool:
        """Whether no trial is left that a resume would train: one may have been stopped by itself."""
        return self.stopped_by is None and all(trial.state.is_finished() for trial in self._searcher.trials())

    def _batches_of(self, number: int) -> int:
        """Of a trial's last checkpoint; 0 where it has none."""
        stored = stored_checkpoints(self._directory.trial(number) / "checkpoints")
        return stored[-1].steps_completed if stored else 0

    def _next(self, left: list[Assignment]) -> Assignment | None:
        """The trial that is to be trained next; those are first that an earlier process has left."""
        with self._storage.one_event():
            found = left.pop(0) if left else self._searcher.next()
            if found is not None:
                self._searcher.trained_with(found.number, self._crew.variables)
            return found

    def _job(self, assigned: Assignment) -> Job:
        given = self._plan.given
        run_dir = self._directory.trial(assigned.number)
        has_checkpoint = bool(stored_checkpoints(run_dir / "checkpoints"))
        return Job(
            number=assigned.number,
            config=trial_config(given.config, assigned.hyperparameters, assigned.seed),
            run_dir=str(run_dir),
            resume_from=str(run_dir) if has_checkpoint else None,
            options=given.options,
        )

    def _judge(self, event: Validated) -> str | None:
        with self._storage.one_event():
            reason = self._searcher.validated(event)
        if time.monotonic() - self._told_at >= _TELL_S:  # to draw takes longer than to judge
            self._tell()
        return reason

    def _end(self, ended: Ended) -> None:
        """Note how a trial has ended.

        Raises:
            ConfigurationError: no trial can be made of what was given.
            SearchError: trials fail one after the other.
        """
        has_results = any(BEST in trial.user_attrs for trial in self._searcher.trials())
        if ended.outcome == "refused" and not has_results:
            self._refused = ended.number
            self._searcher.ended(Ended(ended.number, "interrupted"))  # which writes nothing
            raise ConfigurationError(
                f"{ended.details}\nThe search in {shown(self._directory.path)} ends here. Correct that, and begin a new one."
            )
        with self._storage.one_event():
            self._searcher.ended(ended)
        self._check_invalid()
        failed = [trial for trial in self._searcher.trials() if trial.user_attrs.get(OUTCOME) == "failed"]
        if not has_results and len(failed) >= max(_PATIENCE, self._crew.size):
            last = ended.details or failed[-1].user_attrs[NOTE]
            last = f"\n{last}" if "\n" in last else f" {last}"
            raise SearchError(
                f"The first {len(failed)} trials have failed, and none has come to a validation; what they have printed is in "
                f"{shown(self._directory.path)}. The last one:{last}"
            )

    def _check_invalid(self) -> None:
        """End a search that only replaces trials, as a cluster's would without end.

        Raises:
            SearchError: it does.
        """
        ended = [trial for trial in self._searcher.trials() if trial.state.is_finished()]
        last = ended[-_PATIENCE_WITH_INVALID:]
        if len(last) == _PATIENCE_WITH_INVALID and all(trial.user_attrs.get(OUTCOME) == "invalid" for trial in last):
            raise SearchError(
                f"{len(last)} trials one after the other have refused their hyperparameters (det.InvalidHP), and a cluster would "
                f"go on making others without end. The last one: {last[-1].user_attrs[NOTE]}. Narrow the ranges to values that "
                "the trial takes."
            )

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        self._watcher.changed(self.view())

    def view(self) -> View:
        """Return how the search stands."""
        rows, settings = self._rows(), self._plan.settings
        is_any_complete = any(row.state == "complete" for row in rows)  # Optuna has no best one otherwise
        return View(
            directory=self._directory.path,
            metric=settings.metric,
            smaller_is_better=settings.smaller_is_better,
            rows=rows,
            best=rows[self._study.best_trial.number] if is_any_complete else None,
            planned=self._searcher.planned,
            time_left_s=self._time_left.seconds(rows),
        )

    def _rows(self) -> list[Row]:
        return [self._row(trial) for trial in self._searcher.trials()]

    def _row(self, trial: FrozenTrial) -> Row:
        attrs = trial.user_attrs
        state: State = _STATES.get(trial.state) or ("invalid" if attrs.get(OUTCOME) == "invalid" else "failed")
        if state == "running" and trial.number not in self._training:  # stopped, or left by an earlier process
            state = "waiting" if trial.number == self._refused else "interrupted"
        run_dir = self._directory.trial(trial.number)
        return Row(
            number=trial.number,
            state=state,
            batches=attrs.get(BATCHES, 0),
            epochs=attrs.get(EPOCHS, 0),
            value=attrs.get(BEST),
            hyperparameters=self._plan.space.searched(attrs[VALUES]) if VALUES in attrs else {},
            run_dir=None if state == "waiting" else run_dir,
            note=attrs[NOTE] if OUTCOME in attrs else "",
        )

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Let a signal end the search in order; outside of the main thread Python hears none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: FrameType | None) -> None:
            if time.monotonic() < self._deadline:  # otherwise it is our own, to the trial
                if self.stopped_by is None:
                    logger.warning(
                        "%s: trials that train save a checkpoint each and end; another signal ends them at once",
                        signal.Signals(number).name,
                    )
                self.stopped_by = signal.Signals(number)
            self._crew.stop()

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def trial_config(config: Mapping[str, Any], hyperparameters: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the experiment of one trial: as best.yaml would hold it, with the search's own searcher."""
    reproducibility = {**(config.get("reproducibility") or {}), "experiment_seed": seed}
    return {**config, "hyperparameters": experiment.as_written(hyperparameters), "reproducibility": reproducibility}
