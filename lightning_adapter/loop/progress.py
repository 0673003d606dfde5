"""Where does the run stand: which epoch, which batch, how many optimizer steps?

This is the one place that knows. Loops advance it through methods that say what happened; everything else (`batch_idx`,
`global_step`, whether gradients are only accumulated, whether a batch is its epoch's last) is derived from it. The
counters have the names and the meaning of Lightning's `_ProcessedTracker` and `_BatchProgress`, since callbacks read them
under `trainer.fit_loop` and checkpoints hold them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Protocol, TypedDict


class Phase(enum.Enum):
    """Between two batches, where in the run that is."""

    BETWEEN_EPOCHS = enum.auto()
    IN_EPOCH = enum.auto()


@dataclass(frozen=True)
class Resumed:
    """Where a checkpoint was written that a run goes on from.

    Attributes:
        in_epoch: within an epoch.
        after_batch: a file of Lightning's form, where no batch was in work: in the validation after one, in most cases.
    """

    in_epoch: bool
    after_batch: bool = False


class Unsettled(enum.Enum):
    """What Lightning's Trainer does first when it resumes after a batch whose validation is due."""

    VALIDATION = enum.auto()
    """The validation, which was interrupted, and what follows it."""
    REST = enum.auto()
    """What follows the validation, which has been made or is not made up for."""


class CounterState(TypedDict):
    """A `Counter` in a checkpoint."""

    ready: int
    started: int
    processed: int
    completed: int


class LoopProgressState(TypedDict):
    """A `LoopProgress` in a checkpoint."""

    current: CounterState
    total: CounterState
    is_last_batch: bool


class _LaterCounts(TypedDict, total=False):
    """What older files do not have."""

    schedulers: LoopProgressState


class ProgressState(_LaterCounts):
    """A `TrainingProgress` in a checkpoint."""

    in_epoch: bool
    epochs: LoopProgressState
    batches: LoopProgressState
    validation: LoopProgressState
    optimizer_steps: int
    batches_that_stepped: int


@dataclass
class Counter:
    """How often something was announced, begun, worked off and finished."""

    ready: int = 0
    started: int = 0
    processed: int = 0
    completed: int = 0

    def reset(self) -> None:
        """Count from zero again."""
        self.ready = self.started = self.processed = self.completed = 0

    def set_to(self, ready: int, started: int, processed: int, completed: int) -> None:
        """Take over what a checkpoint counted."""
        self.ready, self.started, self.processed, self.completed = ready, started, processed, completed


@dataclass
class LoopProgress:
    """A counter of the present run of a loop, and one of all its runs.

    Attributes:
        is_last_batch: whether the batch in work is the last of its loop.
    """

    current: Counter = field(default_factory=Counter)
    total: Counter = field(default_factory=Counter)
    is_last_batch: bool = False

    def state_dict(self) -> LoopProgressState:
        """The counters as plain numbers."""
        return {
            "current": CounterState(**vars(self.current)),  # type: ignore[typeddict-item]
            "total": CounterState(**vars(self.total)),  # type: ignore[typeddict-item]
            "is_last_batch": self.is_last_batch,
        }

    def load_state_dict(self, state: LoopProgressState) -> None:
        """Count on from what `state_dict` returned."""
        self.current.set_to(**state["current"])
        self.total.set_to(**state["total"])
        self.is_last_batch = state["is_last_batch"]

    def begin(self) -> None:
        """A run of the loop begins."""
        self.current.reset()
        self.is_last_batch = False

    def last_batch_known(self, is_last: bool) -> None:
        """It is known whether the batch in work, or the one that is about to be, is the last of its loop."""
        self.is_last_batch = is_last

    def advance_ready(self, is_last: bool) -> None:
        """A batch is at hand; `is_last` says whether its loop has no other."""
        self.is_last_batch = is_last
        self.current.ready += 1
        self.total.ready += 1

    def advance_started(self) -> None:
        """The batch goes into the step."""
        self.current.started += 1
        self.total.started += 1

    def advance_processed(self) -> None:
        """The step is through with the batch."""
        self.current.processed += 1
        self.total.processed += 1

    def advance_completed(self) -> None:
        """The hooks after the step have run."""
        self.current.completed += 1
        self.total.completed += 1

    def back_to_completed(self) -> None:
        """What was begun in the present run of the loop and not completed begins anew, as `reset_on_restart`."""
        self.current.set_to(*[self.current.completed] * 4)

    def advance_by(self, batches: int) -> None:
        """So many batches count as completed, the last of their loop among them."""
        for counter in (self.current, self.total):
            counter.set_to(*(count + batches for count in asdict(counter).values()))
        self.is_last_batch = True

    @property
    def is_within_step(self) -> bool:
        """Whether a batch has gone into its step and has not come out."""
        total = self.total
        return total.started == total.ready and total.processed == total.completed == total.started - 1

    @property
    def is_settled(self) -> bool:
        """Whether no batch is in work."""
        total = self.total
        return total.ready == total.started == total.processed == total.completed


class Accumulation(Protocol):
    """What the position is told of the trainer's settings."""

    accumulate_grad_batches: int
    min_epochs: int
    min_steps: int | None
    max_epochs: int
    max_steps: int
    log_every_n_steps: int


class TrainingProgress:
    """The position of one run.

    Args:
        settings: says over how many batches gradients are accumulated, before what nothing may stop the run, and after what
            it ends.

    Attributes:
        phase: where the run stands between two batches.
        epoch: epochs; `current` counts those of the whole run, as in Lightning's `fit_loop.epoch_progress`.
        batch: training batches, of the present epoch and of all.
        validation: validation batches, of the present validation and of the present epoch.
        schedulers: steps of schedulers that Lightning's loop has taken, of the present epoch and of all.
        optimizer_steps: steps of all optimizers, which is `trainer.global_step`.
        batches_that_stepped: batches after which an optimizer stepped, which is the step number that loggers get.
        num_training_batches: batches of an epoch; infinite where the loader does not know.
        restarting: True from a resume of a checkpoint of Lightning's Trainer to the next start or end of an epoch, as
            `_Loop.restarting`: the pass over the data has begun already, and plateau schedulers have stepped.
        resumed: where the checkpoint was written, from a resume to the end of the epoch that follows; else None.
        unsettled: after a resume of a checkpoint of Lightning's Trainer, what of the last batch is still to be done.
    """

    def __init__(self, settings: Accumulation) -> None:
        self._settings = settings
        self.epoch = LoopProgress()
        self.batch = LoopProgress()
        self.validation = LoopProgress()
        self.schedulers = LoopProgress()
        self.optimizer_steps = 0
        self.batches_that_stepped = 0
        self.num_training_batches = float("inf")
        self.restarting = False
        self.resumed: Resumed | None = None
        self.unsettled: Unsettled | None = None
        self.phase = Phase.BETWEEN_EPOCHS
        self._finished = False

    # --- derived ------------------------------------------------------------------------------------------------------

    @property
    def in_epoch(self) -> bool:
        """True from the start of an epoch to its end."""
        return self.phase is Phase.IN_EPOCH

    @property
    def is_finished(self) -> bool:
        """True once no further batch is to be trained."""
        return self._finished

    @property
    def current_epoch(self) -> int:
        """Epochs completed so far: index of the present one."""
        return self.epoch.current.completed

    @property
    def batch_idx(self) -> int:
        """Index of the batch in work, within its epoch."""
        return self.batch.current.ready - 1

    @property
    def total_batches(self) -> int:
        """Batches trained so far, the one in work included: Determined's `steps_completed`."""
        return self.batch.total.ready

    @property
    def last_batch_reached(self) -> bool:
        """Whether the batch in work is the epoch's last, as far as can be known."""
        batch = self.batch
        return batch.is_last_batch or batch.current.ready == self.num_training_batches

    @property
    def accumulated_batches_reached(self) -> bool:
        """Whether the batch in work completes a group of those whose gradients are summed up."""
        return self.batch.current.ready % self._settings.accumulate_grad_batches == 0

    @property
    def accumulates(self) -> bool:
        """Whether gradients are only accumulated with the batch in work, as `_should_accumulate` has it."""
        # the epoch's last batch steps, however many its group has
        every = self._settings.accumulate_grad_batches
        return every != 1 and self.batch.current.ready % every != 0 and not self.last_batch_reached

    def is_reported(self, stops: bool) -> bool:
        """Whether loggers and Determined are told of the batch in work, as `_LoggerConnector.should_update_logs` has it.

        Args:
            stops: whether all ranks have agreed to stop, after which each batch is told of.
        """
        every = self._settings.log_every_n_steps
        return every != 0 and (stops or (self.batches_that_stepped + 1) % every == 0)

    @property
    def may_stop_early(self) -> bool:
        """Whether `min_epochs` and `min_steps` are reached, as `_FitLoop._can_stop_early` has it."""
        settings = self._settings
        epochs = not settings.min_epochs or self.epoch.current.processed >= settings.min_epochs
        return epochs and (not settings.min_steps or self.optimizer_steps >= settings.min_steps)

    @property
    def max_steps_reached(self) -> bool:
        """Whether as many optimizer steps are taken as there may be."""
        return self._settings.max_steps != -1 and self.optimizer_steps >= self._settings.max_steps

    @property
    def max_epochs_reached(self) -> bool:
        """Whether as many epochs are processed as there may be."""
        return self._settings.max_epochs != -1 and self.epoch.current.processed >= self._settings.max_epochs

    @property
    def whole_epochs(self) -> int:
        """Epochs trained so far; the one that the batch in work ends counts already, as Determined counts them."""
        epochs = self.epoch.current
        ends = self.in_epoch and epochs.ready > epochs.processed and self.last_batch_reached
        return epochs.processed + int(ends)

    def epoch_in_words(self, max_epochs: int) -> str:
        """`3/5`: the epoch that is under way, or was last, counted from 1; its number alone where it is not one of so many."""
        number = max(1, self.epoch.current.ready)
        return str(number) if max_epochs < number else f"{number}/{max_epochs}"

    # --- what happened ------------------------------------------------------------------------------------------------

    def epoch_length_known(self, batches: float) -> None:
        """The loaders were asked for their lengths, or user code has changed the number of batches."""
        self.num_training_batches = batches

    def advance_epoch_ready(self) -> None:
        """An epoch is about to start."""
        self.epoch.current.ready += 1

    def advance_epoch_started(self) -> None:
        """The first hooks of the epoch have run; no batch of it was trained yet."""
        self.epoch.current.started += 1
        # `batch_idx` restarts with each epoch, `total` counts on
        self.batch.begin()
        self.schedulers.current.reset()
        self.validation.total.reset()
        self.restarting = False
        self.phase = Phase.IN_EPOCH

    def advance_epoch_processed(self) -> None:
        """All batches of the epoch are trained."""
        self.epoch.current.processed += 1

    def advance_epoch_completed(self) -> None:
        """The last hooks of the epoch have run."""
        self.epoch.current.completed += 1
        self.restarting = False
        self.resumed = self.unsettled = None
        self.phase = Phase.BETWEEN_EPOCHS

    def all_epochs_completed(self) -> None:
        """`max_epochs` is reached: epochs that were only processed when a checkpoint was written count as completed."""
        self.epoch.current.completed = self.epoch.current.processed

    def epoch_cut_short(self) -> None:
        """`on_train_batch_start` returned -1: the batch in work is the epoch's last."""
        self.batch.is_last_batch = True

    def sanity_check_over(self) -> None:
        """What the sanity check counted is forgotten."""
        self.validation.current.reset()
        self.validation.total.reset()

    def validation_begins(self) -> int:
        """A validation begins, or the one that was interrupted when a checkpoint of Lightning's was written goes on.

        Returns:
            Batches of it that were validated before.
        """
        if self.unsettled is not Unsettled.VALIDATION:
            self.validation.begin()
            return 0
        self.validation.back_to_completed()
        return self.validation.current.completed

    def validation_passed_over(self, batches: int) -> None:
        """A validation that was due is not made up for, and counts: `increment_progress_to_evaluation_end`."""
        self.validation.back_to_completed()
        self.validation.advance_by(batches)

    def resumes_after_batch(self, what: Unsettled) -> None:
        """A resumed run does first what is still to be done after the last batch."""
        self.unsettled = what

    def advance_resumed(self) -> None:
        """What was still to be done after the last batch is done."""
        self.unsettled = None

    def advance_optimizer_step(self) -> None:
        """An optimizer has stepped."""
        self.optimizer_steps += 1

    def count_steps_from(self, optimizer_steps: int) -> None:
        """User code has set Lightning's counter of optimizer steps: of steps that it takes by itself, or of another run."""
        self.optimizer_steps = optimizer_steps

    def count_logged_steps_from(self, batches: int) -> None:
        """User code has set the step number that loggers get."""
        self.batches_that_stepped = batches

    def advance_settled(self) -> None:
        """A batch and its validation are done; if an optimizer stepped after it, loggers get the next step number."""
        # asked after each batch; without accumulation nothing else need be asked
        if self._settings.accumulate_grad_batches == 1 or not self.accumulates:
            self.batches_that_stepped += 1

    @contextmanager
    def at_the_step_before(self) -> Iterator[None]:
        """What is logged for an epoch goes under the step of its last batch, as in `_FitLoop.on_advance_end`."""
        self.batches_that_stepped -= 1
        try:
            yield
        finally:
            self.batches_that_stepped += 1

    def finish(self) -> None:
        """The run is over; it may stand in the middle of an epoch, where one with a higher limit goes on."""
        self._finished = True

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def state_dict(self) -> ProgressState:
        """What a checkpoint holds of the position."""
        return {
            "in_epoch": self.in_epoch,
            "epochs": self.epoch.state_dict(),
            "batches": self.batch.state_dict(),
            "validation": self.validation.state_dict(),
            "schedulers": self.schedulers.state_dict(),
            "optimizer_steps": self.optimizer_steps,
            "batches_that_stepped": self.batches_that_stepped,
        }

    def load_state_dict(self, state: ProgressState) -> None:
        """Stand where `state_dict` was taken."""
        self.phase = Phase.IN_EPOCH if state["in_epoch"] else Phase.BETWEEN_EPOCHS
        self.epoch.load_state_dict(state["epochs"])
        self.batch.load_state_dict(state["batches"])
        self.validation.load_state_dict(state["validation"])
        if "schedulers" in state:
            self.schedulers.load_state_dict(state["schedulers"])
        self.resumed = Resumed(in_epoch=state["in_epoch"])
        self.optimizer_steps = state["optimizer_steps"]
        self.batches_that_stepped = state["batches_that_stepped"]

    def load_lightning(
        self,
        global_step: int,
        epochs: Mapping[str, int],
        batches: LoopProgressState,
        stepped: int,
        by_steps: bool = False,
    ) -> None:
        """Stand where Lightning's Trainer resumes from a checkpoint of its own.

        Its loops' `on_load_checkpoint` and `reset_on_restart` set what was begun back to what was worked off.

        Args:
            global_step: optimizer steps.
            epochs: its `epoch_progress.current`.
            batches: its `epoch_loop.batch_progress`.
            stepped: its `_batches_that_stepped`.
            by_steps: whether `max_steps` ends this run.
        """
        done = epochs["processed"]
        begun = epochs["ready"] > done
        trained, total = batches["current"]["processed"], batches["total"]["processed"]
        # written at the end of an epoch that a limit had cut short: Lightning goes on inside it, and counts it once more
        cut_short = not begun and epochs["completed"] < done and trained > 0 and not batches["is_last_batch"]
        self.restarting = True
        self.phase = Phase.IN_EPOCH if begun or cut_short else Phase.BETWEEN_EPOCHS
        # `_FitLoop.on_run_start` brings up `completed` unless steps are counted
        self.epoch.current.set_to(done + begun, done + begun, done, done - (cut_short and by_steps))
        self.batch.load_state_dict(batches)
        after_batch = self.batch.is_settled and (begun or (cut_short and by_steps))
        self.resumed = Resumed(in_epoch=begun, after_batch=after_batch)
        self.batch.current.set_to(*[trained] * 4)
        self.batch.total.set_to(*[total] * 4)
        self.optimizer_steps = global_step
        # a checkpoint of ModelCheckpoint is written within the batch, before the batch is counted as one that stepped
        saved_in_batch = begun and trained > 0 and not self.accumulates and not after_batch
        self.batches_that_stepped = stepped + int(saved_in_batch)

    def load_lightning_counts(self, validation: LoopProgressState, schedulers: Mapping[str, Mapping[str, int]]) -> None:
        """Count validation batches and steps of schedulers on as Lightning's Trainer does.

        Args:
            validation: its `epoch_loop.val_loop.batch_progress`.
            schedulers: its `epoch_loop.scheduler_progress`.
        """
        self.validation.load_state_dict(validation)
        for counter, saved in (
            (self.schedulers.current, schedulers["current"]),
            (self.schedulers.total, schedulers["total"]),
        ):
            counter.set_to(*[saved["completed"]] * 4)
