"""What do `fit()` here and `fit()` on a cluster share?"""

from __future__ import annotations

import logging
import math
import signal
from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

from determined import core, pytorch

from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.loop.components import Components
from lightning_adapter.platform import beginning, experiment
from lightning_adapter.platform.checkpoint_writer import CheckpointWriter
from lightning_adapter.platform.course import tell_end, tell_pause
from lightning_adapter.platform.driver import Driver
from lightning_adapter.platform.experiment.periods import SearcherMetric
from lightning_adapter.platform.period import Period
from lightning_adapter.platform.platform import Platform
from lightning_adapter.platform.request import FitRequest
from lightning_adapter.platform.searcher_metric import CodeOfRun, missing
from lightning_adapter.platform.signals import Interruption, exit_status
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.platform.training_time import TrainingTime
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.runs.console import ALWAYS, FILE_ONLY
from lightning_adapter.runs.words import position
from lightning_adapter.versions import determined_private, lightning_chatter, lightning_private
from lightning_adapter.versions.determined_controller import Controller

logger = logging.getLogger("lightning_adapter")


class FitPlatform(Platform):
    """One call of `fit`.

    Args:
        trial: the trial, constructed; limits given to `fit` are put into its arguments.
        core_context: Determined's core context.
        metric: the searcher's.
        periods: what the configuration says about time.
        request: what was asked of `fit`.
        start: the checkpoint that the run begins with.
        checkpoints: writes checkpoints.
        root_dir: where callbacks and loggers write what they are given no other place for.
        time: that the run has trained.
        known: rows of the start block that are known before anything is made.

    Attributes:
        time: that the run has trained.
        metric: the searcher's.
        interruption: a signal to stop.
        stopped_by: the signal that has ended the run, on all ranks the same; None as long as none has.
        stop_reason: who has asked for the end of a run that could go on, in words; None as long as nobody has.
        best_values: of the best validation of this process, and where it was; nothing where none has bettered those before.
    """

    owns_loop = True

    def __init__(
        self,
        trial: LightningTrial,
        core_context: core.Context,
        metric: SearcherMetric,
        periods: experiment.Periods,
        request: FitRequest,
        start: StartingPoint,
        checkpoints: CheckpointWriter,
        root_dir: str,
        time: TrainingTime,
        known: Mapping[str, str],
    ) -> None:
        self.core = core_context
        self.time = time
        self._known = known
        self._trial_name = type(trial).__name__
        self.checkpoints = checkpoints
        self.root_dir = root_dir
        self.interruption = Interruption()
        self.stopped_by: signal.Signals | None = None
        self.stop_reason: str | None = None
        self._metric_is_doubtful = self._knows_sanity_check = False
        self._best: float | None = None  # of all validations, also of those that no checkpoint follows
        self.best_values: tuple[dict[str, float], str] = ({}, "")
        self._seen = FILE_ONLY  # where a person sees what the run says of its course
        self.start = start
        start.belongs_to_rank(core_context.distributed.rank)
        module = trial.lightning_module
        # Lightning 1.x steps several optimizers at one batch, and a step of each counts
        several = lightning_private.has_parameter(module.training_step, "optimizer_idx")
        self.validation_period, self.max_batches = request.apply(
            trial.arguments,
            request.validation_period or periods.validation,
            periods.max_length,
            one_step_per_batch=module.automatic_optimization and not several,
        )
        self.checkpoint_period = Period.of(request.checkpoint_period or periods.checkpoint)
        self._context = trial.context
        self.metric = metric

    def run(self, trial: LightningTrial, steps: int, policy: str, initial: bool) -> None:
        """Enter Determined's loop.

        Args:
            trial: the trial.
            steps: batches trained before.
            policy: which validations are followed by a checkpoint.
            initial: whether to validate before the first batch.
        """
        driver = trial.drive_on(self)
        try:
            driver.set_up()
            self._doubt_metric(driver.parts)
            controller = Controller(
                driver,
                self,
                trial_inst=trial,
                context=trial.context,
                max_length=pytorch.Epoch(max(1, driver.parts.settings.max_epochs)),
                smaller_is_better=self.metric.smaller_is_better,
                steps_completed=steps,
                latest_checkpoint=None,
                local_training=self.is_local,
                test_mode=False,
                searcher_metric_name=self.metric.name,
                checkpoint_policy=policy,
                step_zero_validation=initial,
                global_batch_size=None,
                profiling_enabled=False,
                **driver.boundaries.periods(),
            )
            try:
                with self.checkpoints.beside.done_by_the_end(), determined_private.without_chatter(self.is_local):
                    with lightning_chatter.end_not_printed():
                        controller.run()
            finally:
                self.time.ends()
                driver.display_ends()
            if self.stopped_by is None or driver.finished:
                driver.lifetime.end()
            else:
                # by now the run has stopped: Lightning's word would announce it
                with lightning_chatter.end_not_printed():
                    driver.lifetime.interrupt(lightning_private.stopped_by_signal(driver.parts.host, self.stopped_by))
            _tell_end(self, driver, self._seen)
        except KeyboardInterrupt as error:
            driver.lifetime.interrupt(error)
            # as `_call_and_handle_interrupt` does, though with the status that a shell knows
            raise SystemExit(exit_status(signal.SIGINT)) from error
        except BaseException as error:
            driver.lifetime.interrupt(error)
            raise
        finally:
            driver.parts.data.stop()

    # --- the place ------------------------------------------------------------------------------------------------

    is_local: bool

    @abstractmethod
    def metric_is_missing(self, message: str) -> None:
        """The searcher's metric was not logged."""

    @abstractmethod
    def upload_tensorboard(self) -> None:
        """Upload TensorBoard files, where somebody wants them."""

    def wait_for_room(self) -> None:
        """All processes are about to meet, outside of a collective that has a timeout: a good moment to wait for others.

        Raises:
            CheckpointError: the last checkpoint could not be written.
        """
        self.checkpoints.beside.look()

    # --- decisions ------------------------------------------------------------------------------------------------

    def stops_now(self) -> bool:
        """Whether the only process got a signal or a request to stop; several agree first, when they look together."""
        asked = self.interruption.signal is not None or self._context.get_stop_requested()
        return asked and self.core.distributed.size == 1

    def asked_to_stop(self) -> bool:
        """Whether any process got a signal to stop. All processes ask together."""
        mine = self.interruption.signal
        signals = [mine] if self.core.distributed.size == 1 else self.core.distributed.allgather(mine)
        self.stopped_by = next((one for one in signals if one is not None), None)
        if self.stopped_by is not None:
            self.stop_reason = self.stopped_by.name
        return self.stopped_by is not None

    def host_stops(self) -> None:
        """Determined's loop ends now: the master has asked for it, or the trial itself."""
        own = self._context.get_stop_requested()
        self.stop_reason = (
            "the trial has asked for it (context.set_stop_requested)"
            if own
            else "the cluster has asked for it, for a pause, a cancel, or a trial of higher priority"
        )

    @property
    def received_sigterm(self) -> bool:
        """Whether this process was told to end."""
        return self.interruption.signal is signal.SIGTERM

    def run_is_over(self, parts: Components) -> None:
        """The loop asks the driver whether it is over."""

    @property
    def resumes(self) -> bool:
        """Whether the run goes on from a checkpoint."""
        return self.start.resumes

    @property
    def has_written(self) -> bool:
        """Whether this run has a checkpoint of its own."""
        return self.checkpoints.uuid is not None

    # --- the searcher's metric ------------------------------------------------------------------------------------

    def _doubt_metric(self, parts: Components) -> None:
        """Look whether the code can log the searcher's metric; where it seems not to, a sanity check is to show it."""
        metric = self.metric.name
        if metric is None or self.resumes or not parts.data.enable_validation:
            return
        values = [determined_private.hyperparameters(self._context), parts.module.hparams]
        code = CodeOfRun([parts.module, parts.datamodule, *parts.callbacks.items], values)
        mine = (not code.may_log(metric), code.knows_sanity_check)
        self._metric_is_doubtful, self._knows_sanity_check = self.core.distributed.broadcast(mine)
        if self._metric_is_doubtful and not self.is_local:
            parts.settings.add_sanity_check()

    def training_starts(self, parts: Components, sanity_checked: Collection[str]) -> None:
        """Look whether a sanity check has logged the searcher's metric.

        Raises:
            ConfigurationError: on a cluster, where neither the check nor the code gives reason to hope for it.
        """
        metric = self.metric.name
        names = self.core.distributed.broadcast(sorted(sanity_checked))
        if metric is None or not names or metric in names or self._knows_sanity_check:
            return
        message = missing(metric, names, "the sanity check")
        if self._metric_is_doubtful:
            self.metric_is_missing(message)
        else:
            logger.warning(
                "%s If the first validation does not log it either, a cluster ends the trial there.", message
            )

    # --- what a person reads first --------------------------------------------------------------------------------

    def begin_training(self, parts: Components, ended_by: str | None, on_console: bool) -> None:
        """All is ready but the first batch: say what trains, and let the time begin.

        Args:
            parts: the run.
            ended_by: who may end it before its limits; None where nobody may.
            on_console: whether a person sees it there too, who has not asked for silence.
        """
        # the log of a cluster's task is the only file that there is
        on_console = on_console and (parts.arguments.enable_progress_bar or not self.is_local)
        self._seen = ALWAYS if on_console else FILE_ONLY
        if self.core.distributed.rank == 0 and not parts.progress.is_finished:
            validated = beginning.of_period(self.validation_period)
            said = beginning.block(parts, self._trial_name, self._known, validated, self.max_batches, ended_by)
            parts.log.info("%s", said, extra=self._seen)
        self.time.starts()

    # --- validation and checkpoints -------------------------------------------------------------------------------

    def validated(self, batches: int, epoch: int, metrics: Mapping[str, Any]) -> str | None:
        """A validation is over.

        Raises:
            ConfigurationError: on a cluster, whose searcher waits for a metric that was not logged.
        """
        metric = self.metric.name
        if metric is None:
            return None
        if metric not in metrics:
            self.metric_is_missing(missing(metric, metrics, "the validation"))
            return None
        value = float(metrics[metric])
        self.checkpoints.validated(batches, value)
        if not self._is_best(value):
            return None
        self.best_values = (
            {name: float(one) for name, one in metrics.items()},
            position(epoch + 1, batches),
        )
        return metric

    def _is_best(self, value: float) -> bool:
        before = self._best
        if before is None and self.checkpoints.best is not None:
            before = self.checkpoints.best["value"]
        smaller = self.metric.smaller_is_better
        is_best = math.isfinite(value) and (before is None or (value < before if smaller else value > before))
        if is_best:
            self._best = value
        return is_best

    def restore_callbacks(self, callbacks: Mapping[str, pytorch.PyTorchCallback]) -> None:
        """Give the trial's own Determined callbacks the state that a checkpoint has of them."""
        saved = self.start.saved
        if saved is None or not self.start.resumes:
            return
        states = saved.get(OURS, {}).get("determined_callbacks", {})
        for name, callback in callbacks.items():
            callback.on_checkpoint_load_start(saved)
            if name in states:
                callback.load_state_dict(states[name])

    def write_checkpoint(self, driver: Driver, callbacks: Mapping[str, pytorch.PyTorchCallback]) -> str:
        """Write a checkpoint, all ranks together.

        Returns:
            Its id.
        """
        uuid = self.checkpoints.write(driver, callbacks)
        self.checkpoint_owed = False
        return uuid

    def loads_foreign_weights(self, uuid: str, first_batch_idx: int) -> bool:
        """Determined loads no checkpoint here."""
        return False

    def state_of(self, parts: Components, state: dict[str, Any]) -> dict[str, Any]:
        """Checkpoints are written here, and hold it already."""
        return {}


def _tell_end(platform: FitPlatform, driver: Driver, seen: Mapping[str, str]) -> None:
    if platform.core.distributed.rank != 0:
        return
    if driver.finished:
        tell_end(driver.parts, platform.max_batches, seen)
    elif platform.stop_reason is not None:
        tell_pause(driver.parts, platform.stop_reason, platform.checkpoints.uuid, seen)
