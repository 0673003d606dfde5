"""How does Lightning train? Its loops over epochs and batches, as one generator.

    on_train_start
    until max_epochs, max_steps or a request to stop:
        (loaders) -> on_train_epoch_start -> iter(loader)
        for each batch:
            the batch, see training_batch
            ... a validation may happen here
            plateau schedulers by step
            ... Determined may report, save or pause here
        on_train_epoch_end -> plateau schedulers by epoch -> loggers
        ... and here
    on_train_end

The loop knows neither Determined nor periods: who drives it decides at each event what to do before asking for the next.
"""

from __future__ import annotations

import copy
import enum
import functools
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol

from lightning_adapter.loop.epoch_outputs import EpochOutputs
from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.loop.progress import TrainingProgress, Unsettled
from lightning_adapter.loop.returned_logs import ReturnedLogs
from lightning_adapter.loop.schedulers import Schedulers
from lightning_adapter.loop.training_batch import TrainingBatch
from lightning_adapter.loop.unlogged import UnloggedReturns
from lightning_adapter.trainer.data_connector import DataConnector
from lightning_adapter.trainer.display.display import Display
from lightning_adapter.trainer.logger_connector import LoggerConnector
from lightning_adapter.trainer.loggers import LoggerDispatcher
from lightning_adapter.trainer.settings import Settings
from lightning_adapter.trainer.stop_request import StopRequest
from lightning_adapter.trainer.view import Trainer


class Event(enum.Enum):
    """Where the loop waits for whoever drives it."""

    MAY_VALIDATE = enum.auto()
    """A batch is trained."""
    MAY_PAUSE = enum.auto()
    """A batch and its validation are done, or an epoch is: nothing is half done."""


class EpochCallback(Protocol):
    """Called with the trainer and the module when an epoch starts."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """An epoch starts."""


@dataclass
class FitLoop:
    """Trains.

    Attributes:
        trainer: what hooks see.
        epoch_starts: told the index of an epoch when it begins, before its hooks.
        unlogged: looks for what the step returns and nobody logs.
        accumulation: acts before all hooks of an epoch: Lightning 1.x's GradientAccumulationScheduler.
        any_rank: for several processes, whether any of them has a flag set; None for a single one.
        state: what a checkpoint holds of the present position.
        resume_point: that state before a limit ended an epoch: with a higher limit the run goes on from there.
    """

    trainer: Trainer
    hooks: Hooks
    progress: TrainingProgress
    settings: Settings
    stop: StopRequest
    data: DataConnector
    connector: LoggerConnector
    dispatcher: LoggerDispatcher
    schedulers: Schedulers
    batch: TrainingBatch
    returned_logs: ReturnedLogs
    epoch_outputs: EpochOutputs | None
    unlogged: UnloggedReturns
    display: Display
    accumulation: EpochCallback | None
    any_rank: Callable[..., list[bool]] | None
    epoch_starts: Callable[[int], None]
    state: Callable[[], dict[str, Any]]
    resume_point: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        # said once, as `_TrainingEpochLoop.done` does
        self._inform_of_minima = functools.cache(self._say_that_minima_are_not_met)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def events(self) -> Generator[Event, None, None]:
        """Train until the end; returning is the only end of a run, as of `_FitLoop.run`.

        A StopIteration of user code means there what it means in Lightning: from a batch, its validation or what
        follows them the end of the epoch, from the hooks around an epoch the end of the run. One that a validation has
        raised is thrown in by whoever has run it.
        """
        progress = self.progress
        # hooks since the last look, `on_train_start` among them, may have asked to stop before the first epoch
        over = progress.is_finished or (not progress.in_epoch and self.is_done())
        while not over:
            try:
                # a resumed run may stand in the middle of an epoch, whose first hooks have run
                if progress.in_epoch:
                    self.display.epoch_starts()
                else:
                    self._start_epoch()
                unsettled = progress.unsettled
                goes_on = unsettled is not None or not self._is_epoch_done()
                try:
                    while goes_on and (unsettled is not None or self.batch.advance()):
                        if unsettled is not Unsettled.REST:
                            yield Event.MAY_VALIDATE
                        # the rest of `_TrainingEpochLoop.on_advance_end`
                        if self.schedulers.configs:
                            self.schedulers.step("step", plateau=True)
                        progress.advance_settled()
                        if unsettled is not None:
                            unsettled = None
                            progress.advance_resumed()
                        if self.stop.agreed:
                            self.dispatcher.save()
                        goes_on = not self._is_epoch_done()
                        if goes_on:
                            yield Event.MAY_PAUSE
                            # what ran there may have asked to stop
                            goes_on = not (self.stop.agreed and self._is_epoch_done())
                except StopIteration:
                    goes_on = True  # no limit has ended the epoch
                if not goes_on:
                    self._keep_resume_point()
                self._end_epoch()
            except StopIteration:
                break
            over = self.is_done()
            if not over:
                yield Event.MAY_PAUSE
                # what ran there may have asked to stop
                over = self.stop.agreed and self.is_done()
        if not progress.is_finished:
            # within the generator: what comes after it, a last checkpoint, is to hold what this hook did
            self.hooks.call("on_train_end")
            progress.finish()

    def _start_epoch(self) -> None:
        """`_FitLoop.advance` up to the first batch: `on_advance_start` and the epoch loop's `on_run_start`."""
        progress, data = self.progress, self.data
        data.load_training()
        assert data.training is not None
        # before the first hook, as `_FitLoop.advance` tells samplers in `on_advance_start`
        data.set_epoch(data.training.loaders)
        if self.accumulation is not None:
            self.accumulation.on_train_epoch_start(self.trainer, self.hooks.module)
        progress.advance_epoch_ready()
        self.epoch_starts(progress.current_epoch)
        self.hooks.call("on_train_epoch_start")
        # the first pass was begun when the loaders were asked for, as `_FitLoop.setup_data` does
        begins_pass = (
            progress.current_epoch > 0 and not progress.restarting
        ) or self.hooks.host.quirks.iterates_in_epoch
        progress.advance_epoch_started()
        if begins_pass:
            data.training.start()
        self.display.epoch_starts()

    def _keep_resume_point(self) -> None:
        """A limit ends the epoch: keep what a checkpoint would hold now, if batches of the epoch are left."""
        if not self.progress.last_batch_reached:
            self.resume_point = copy.deepcopy(self.state())

    def _end_epoch(self) -> None:
        """`_FitLoop.on_advance_end`."""
        hooks, connector, progress = self.hooks, self.connector, self.progress
        connector.epoch_end_reached()
        self._call_epoch_end_with_outputs()
        # `min_epochs` and the callbacks below count the epoch already
        progress.advance_epoch_processed()
        if hooks.host.quirks.monitors_in_order:
            hooks.call("on_train_epoch_end")
        else:
            # EarlyStopping and Checkpoint come after the module: they monitor what it logs here
            hooks.call("on_train_epoch_end", monitoring=False)
            connector.ranks_meet()
            hooks.call("on_train_epoch_end", monitoring=True)
        hooks.call("on_epoch_end")
        connector.on_epoch_end()
        # EarlyStopping has asked on each rank by now
        if self.any_rank is not None:
            self.stop.agree(self.any_rank)
        # after the hooks, which may log what a plateau scheduler monitors
        if progress.last_batch_reached and not progress.restarting:
            self.schedulers.step("epoch", plateau=True)
        with progress.at_the_step_before():
            self.dispatcher.log_training(connector.current_log())
        self.unlogged.reported(epoch_over=True)
        self.display.epoch_ends()
        # `current_epoch` grows last: loggers were told of the epoch under its own number
        connector.reset_results()
        progress.advance_epoch_completed()

    def _call_epoch_end_with_outputs(self) -> None:
        outputs = self.epoch_outputs.take() if self.epoch_outputs is not None else None
        if outputs is None:
            return
        if self.returned_logs.call_with_outputs("training_epoch_end", outputs) is not None:
            raise self.hooks.host.misconfiguration(
                "`training_epoch_end` expects a return of None."
                " HINT: remove the return statement in `training_epoch_end`."
            )
        self.connector.ranks_meet()

    # --- limits -------------------------------------------------------------------------------------------------------

    def _say_that_minima_are_not_met(self) -> None:
        """Somebody asks for the end before it may come."""
        settings = self.settings
        self.hooks.host.inform(
            f"Trainer was signaled to stop but the required `min_epochs={settings.min_epochs!r}` or"
            f" `min_steps={settings.min_steps!r}` has not been met. Training will continue..."
        )

    def _may_stop(self) -> bool:
        """Whether somebody's wish to stop is followed: minima hold wishes of the user's own code, as `_FitLoop.done` has it."""
        return self.stop.ordered is not None or self.progress.may_stop_early

    def _is_epoch_done(self) -> bool:
        """Whether no further batch belongs to this epoch, as `_TrainingEpochLoop.done`."""
        if self.progress.last_batch_reached:
            return True
        # asked after each batch, so what costs a call comes last
        if self.settings.max_steps != -1 and self.progress.max_steps_reached:
            return True
        if self.stop.agreed:
            if self._may_stop():
                return True
            self._inform_of_minima()
        return False

    def is_done(self) -> bool:
        """Whether the whole run is over, as `_FitLoop.done`."""
        inform = self.hooks.host.inform
        if self.progress.max_steps_reached:
            inform(f"`Trainer.fit` stopped: `max_steps={self.settings.max_steps!r}` reached.")
            return True
        # a run of 0 epochs is over before its first, and `current_epoch` says how many there were
        if self.progress.max_epochs_reached:
            self.progress.all_epochs_completed()
            inform(f"`Trainer.fit` stopped: `max_epochs={self.settings.max_epochs!r}` reached.")
            return True
        return self.stop.agreed and self._may_stop()
