"""How does Determined's loop drive Lightning's?

Determined's loop              what happens
build_callbacks                everything up to configure_optimizers
on_training_start              on_fit_start ... on_train_start
train_batch(None), advance()   the fit loop goes on to its next event: a batch is trained
evaluate_batch(None)           a whole validation
on_validation_end              the fit loop goes on from there: plateau schedulers, the epoch's end
the end                        on_fit_end, teardown; on_exception where there was an exception
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pathlib
from collections.abc import Generator, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from determined import pytorch

from lightning_adapter.arguments import Arguments
from lightning_adapter.checkpoints.content import check_states, lightning_checkpoint
from lightning_adapter.checkpoints.file import check_host_files
from lightning_adapter.loop.build import Surroundings, build
from lightning_adapter.loop.components import Components
from lightning_adapter.loop.fit_loop import Event
from lightning_adapter.loop.progress import Phase
from lightning_adapter.loop.set_up import set_up
from lightning_adapter.loop.sources import Source
from lightning_adapter.loop.start import Training, start
from lightning_adapter.platform.boundaries import Boundaries
from lightning_adapter.platform.data_random import DataRandom
from lightning_adapter.platform.decisions import Decisions
from lightning_adapter.platform.fraction import fraction_done
from lightning_adapter.platform.lifetime import Lifetime
from lightning_adapter.platform.platform import Platform
from lightning_adapter.platform.reports import TrainingReports
from lightning_adapter.platform.resume import (
    restore_after_fit_start,
    restore_before_optimizers,
    restore_position,
    show_path,
    state_of,
    warn_of_finished_run,
)
from lightning_adapter.versions import determined_private, lightning_private
from lightning_adapter.versions.determined_controller import EpochListener
from lightning_adapter.versions.types import LightningDataModule, LightningModule


class Driver(pytorch.PyTorchCallback):
    """Drives Lightning's loop for one trial, and carries its state into Determined's checkpoints.

    Args:
        context: Determined's context.
        module: the LightningModule.
        datamodule: the LightningDataModule, or None.
        arguments: the trainer arguments.
        loaders: the trial's own builders of training and validation loaders, where it overrides them.
        platform: who owns periods and checkpoints.
        log: of the run.

    Attributes:
        parts: what the run consists of.
        lifetime: its beginning and its end.
        boundaries: what Determined is asked to do after the batch just trained.
        data_random: the random state in which the data was set up.
    """

    def __init__(
        self,
        context: pytorch.PyTorchTrialContext,
        module: LightningModule,
        datamodule: LightningDataModule | None,
        arguments: Arguments,
        loaders: tuple[Source | None, Source | None],
        platform: Platform,
        log: logging.Logger,
    ) -> None:
        self.platform = platform
        self._context = context
        around = Surroundings(
            device=context.device,
            distributed=context.distributed,
            hyperparameters=determined_private.hyperparameters(context),
            training_loaders=loaders[0],
            validation_loaders=loaders[1],
            report=lambda metrics: self._reports.report(metrics),
            save_checkpoint=self._save_checkpoint,
            dump_checkpoint=lambda weights_only: lightning_checkpoint(self.parts, weights_only),
            root_dir=platform.root_dir,
            table=platform.table,
            tensorboard=platform.tensorboard,
            received_sigterm=lambda: platform.received_sigterm,
            fraction=self.fraction,
            log=log,
        )
        self.parts = build(module, datamodule, arguments, around)
        self.lifetime = Lifetime(self.parts, self.settle)
        self.boundaries = Boundaries()
        self.data_random = DataRandom(platform.start)
        self._reports = TrainingReports(context, platform, self.parts.progress)
        self._loading = contextlib.ExitStack()
        self._epoch_listener: EpochListener | None = None
        self._has_callbacks = False
        self._loaded: dict[str, Any] | None = None
        self._weights_only = False
        self._training: Training | None = None
        self._decisions: Decisions | None = None
        self._events: Generator[Event, None, None] = _no_events()
        self._event: Event | None = None
        self._stopped: StopIteration | None = None

    # --- set up ---------------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Make the user's objects ready, once."""
        if self.parts.host.quirks.knows_checkpoint_early:
            show_path(self.parts, self.platform.start)
        self.lifetime.begin(lambda: _make_ready(self.parts, self._context, self.platform, self.data_random))

    def trial_has_callbacks(self, own: bool) -> None:
        """Whether the trial of any rank has Determined callbacks of its own, which are told of each workload."""
        self._has_callbacks = own

    def _save_checkpoint(self, filepath: str | os.PathLike[str], weights_only: bool) -> None:
        """`trainer.save_checkpoint`, on all ranks together."""
        strategy = self.parts.strategy
        strategy.save_checkpoint(lightning_checkpoint(self.parts, weights_only), filepath)
        strategy.barrier("save_checkpoint")

    # --- Determined's callbacks -----------------------------------------------------------------------------------

    def on_trial_startup(self, first_batch_idx: int, checkpoint_uuid: str | None) -> None:
        """Determined goes on to load a checkpoint, where it was given one."""
        if checkpoint_uuid is not None:
            self._weights_only = self.platform.loads_foreign_weights(checkpoint_uuid, first_batch_idx)
            _look_into(checkpoint_uuid, self._context, self.platform, self._weights_only)
            self._loading.enter_context(determined_private.loads_own_checkpoints())

    def on_checkpoint_load_start(self, checkpoint: dict[str, Any]) -> None:
        """Of a checkpoint of another trial leave the weights alone: all else would stand in the middle of that trial."""
        if self._weights_only:
            checkpoint["optimizers_state_dict"] = [optimizer.state_dict() for optimizer in self._context.optimizers]
            checkpoint["rng_state"] = determined_private.determined_random_state()
            checkpoint["callbacks"]["lightning_adapter"] = {}  # Determined warns where a callback finds nothing

    def on_training_start(self) -> None:
        """Determined has loaded what it loads; training begins."""
        self._loading.close()
        parts, begun, ended = self.parts, self.platform.start, self.platform.ended_in_validation
        resumed = begun.resumes or self._loaded is not None
        self._training = training = start(
            parts, resumed, lambda: restore_after_fit_start(parts, begun, self._loaded), self._epoch_starts, ended
        )
        if self.platform.owns_loop:
            check_states(parts)
        self._events = training.fit_loop.events()
        self._decisions = Decisions(parts, self.platform, training.schedule, self.boundaries, self._has_callbacks)
        batches = parts.progress.num_training_batches
        if batches != float("inf"):
            determined_private.set_epoch_length(self._context, int(batches))
        if resumed:
            restore_position(parts, training.state, begun, self._loaded, self._decisions.validation_is_due)
        self.platform.training_starts(parts, training.sanity_checked)
        self._loaded = None
        if parts.progress.is_finished:
            if resumed:
                warn_of_finished_run(parts)
            self._run_is_over()

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        """A validation is over; its values are not reported yet."""
        progress = self.parts.progress
        # Determined has made numbers of numpy of them, and reports and logs what stands here
        metrics.update({name: value.item() for name, value in metrics.items() if isinstance(value, np.generic)})
        if self._stopped is None:
            best = self.platform.validated(progress.total_batches, progress.current_epoch, metrics)
            assert self._training is not None
            self._training.display.validated(metrics, best)
        if not self.platform.owns_loop:  # its checkpoints are written by the chief alone, so this is the moment
            self.parts.strategy.check_parameters(progress.total_batches)
        with torch.enable_grad():  # Determined validates, and tells of its end, under no_grad
            self.settle()

    def on_trial_shutdown(self) -> None:
        """Determined's loop has ended; `fit`, which has called it, sees better how."""
        self._loading.close()
        if not self.platform.owns_loop:
            self.display_ends()
            self.lifetime.host_has_ended()

    def state_dict(self) -> dict[str, Any]:
        """For Determined's own checkpoints, where its Trainer writes them."""
        if self._training is None or self.platform.owns_loop:
            return {}
        self.settle()
        return self.platform.state_of(self.parts, self.saved_state())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What `state_dict` returned; it is put in place when training starts."""
        self._loaded = state_dict or None

    def saved_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside what Lightning saves."""
        assert self._training is not None
        return state_of(self._training, self.parts.progress, self.platform.max_batches)

    # --- the loop -------------------------------------------------------------------------------------------------

    def train_batch(self, batch: object, epoch_idx: int, batch_idx: int) -> dict[str, Any]:
        """As `advance`; `batch` is a placeholder. Nothing is returned: metrics are reported when they are logged."""
        self.advance()
        return {}

    def advance(self) -> None:
        """Train on the next batch, and go on to where Determined has something to do.

        What follows a validation is done here too, unless Determined is to validate; under its own Trainer, which does not
        tell, it is done when the next batch is asked for.
        """
        decisions, trained = self._decisions, False
        assert decisions is not None
        try:
            for event in self._events:
                self._event = event
                if event is Event.MAY_VALIDATE:
                    if decisions.after_batch():
                        return
                    trained = True
                elif trained or decisions.after_empty_epoch():
                    if self.parts.progress.phase is not Phase.IN_EPOCH:
                        self._tell_of_ended_epoch()
                    return
                # otherwise an epoch has ended without a further batch
        except BaseException as error:
            self._fail(error)
        if not trained:
            self.boundaries.decide(report=False, look=False, validate=False, checkpoint=False)
        self._run_is_over()
        self._tell_of_ended_epoch()

    def evaluate(self) -> dict[str, Any]:
        """Run a whole validation.

        Returns:
            Name to number of what was logged for the epoch; nothing where a hook has ended validation and epoch.
        """
        training = self._training
        assert training is not None
        # Determined's initial validation is to change no number of the training
        initial = self.parts.progress.total_batches == 0
        metrics = {}
        with lightning_private.isolate_rng(self.parts.host) if initial else contextlib.nullcontext():
            try:
                metrics = training.validation_loop.run()
            except StopIteration as error:
                self._stopped = error
        training.schedule.validated()
        return metrics

    def settle(self) -> None:
        """Do what follows the last batch and its validation, if that is still to be done."""
        if self._event is Event.MAY_VALIDATE:
            try:
                stopped, self._stopped = self._stopped, None
                # in the generator it ends the epoch, as in `_TrainingEpochLoop.run`
                self._event = next(self._events, None) if stopped is None else self._events.throw(stopped)
            except StopIteration:  # the generator has returned: the run is over
                self._event = None
            except BaseException as error:
                self._fail(error)
            if self._event is None:
                self._run_is_over()

    def _fail(self, error: BaseException) -> NoReturn:
        """An error has ended the generator: a trial that survives it goes on with the next batch.

        Raises:
            BaseException: the error as user code raised it.
        """
        assert self._training is not None
        self._events, self._event = self._training.fit_loop.events(), None
        self.boundaries.decide(report=False, look=False, validate=False, checkpoint=False)
        _raise_as_raised(error)

    def _run_is_over(self) -> None:
        self._event = None
        self.boundaries.run_is_over()
        self.platform.run_is_over(self.parts)

    def display_ends(self) -> None:
        """No batch follows, however the run has ended: leave no bar half drawn."""
        if self._training is not None:
            self._training.display.run_ends()

    # --- what the controller asks ---------------------------------------------------------------------------------

    def tell_epochs_to(self, listener: EpochListener) -> None:
        """Tell `listener` of epochs."""
        self._epoch_listener = listener

    def returned_unreported(self, names: Sequence[str]) -> None:
        """Warn that metrics which the trial's own `train_batch` returned are not reported."""
        self.parts.host.warn(_unreported(names))

    def _epoch_starts(self, epoch: int) -> None:
        if self._epoch_listener is not None:
            self._epoch_listener.epoch_starts(epoch)

    def _tell_of_ended_epoch(self) -> None:
        if self._epoch_listener is not None:
            self._epoch_listener.epoch_ended()

    @property
    def training(self) -> Training | None:
        """What trains and validates; None until training starts."""
        return self._training

    @property
    def finished(self) -> bool:
        """True if no further batch is to be trained."""
        return self.parts.progress.is_finished

    @property
    def validation_pending(self) -> bool:
        """True from the decision to validate until it is done."""
        return self._event is Event.MAY_VALIDATE and self.boundaries.validate

    @property
    def progress_due(self) -> bool:
        """True if the batch just trained is one after which progress is reported."""
        return self.boundaries.reports_progress or self.finished

    @property
    def mid_accumulation(self) -> bool:
        """True while gradients are being accumulated, which a checkpoint would lose."""
        progress = self.parts.progress
        return progress.in_epoch and progress.accumulates

    def position(self) -> tuple[int, int]:
        """Batches and whole epochs trained so far; the epoch that the last batch ends counts."""
        progress = self.parts.progress
        return progress.total_batches, progress.whole_epochs

    def fraction(self) -> float:
        """How much of the run is done, from 0 to 1."""
        return fraction_done(self.parts.progress, self.parts.settings, self.platform.max_batches)


def _make_ready(
    parts: Components, context: pytorch.PyTorchTrialContext, platform: Platform, data_random: DataRandom
) -> None:
    """Set up, with the weights of the checkpoint that the run begins with."""
    restore = functools.partial(restore_before_optimizers, parts, platform.start)
    set_up(parts, context, platform.data_is_prepared, data_random.before_setup, restore)


def _look_into(uuid: str, context: pytorch.PyTorchTrialContext, platform: Platform, foreign: bool) -> None:
    """Look at a checkpoint's files before Determined loads them, and take from it what Determined does not."""
    with determined_private.core_context(context).checkpoint.restore_path(uuid) as path:
        check_host_files(pathlib.Path(path))
        if not foreign:
            platform.goes_on_from(pathlib.Path(path))


def _raise_as_raised(error: BaseException) -> NoReturn:
    """Raise what user code has raised: a StopIteration of its own reaches us as the cause of the generator's RuntimeError."""
    stopped, traceback = error.__cause__, error.__traceback__
    # raised by the generator itself, when it was left, and not by one of the user's further down
    at_the_generator = traceback is not None and traceback.tb_next is None
    if isinstance(stopped, StopIteration) and at_the_generator:
        raise stopped from stopped.__cause__
    raise error


def _unreported(names: Sequence[str]) -> str:
    return (
        f"train_batch returns {', '.join(names)}, which is not reported: training metrics are those that are logged. "
        f'To report a value, write self.log("{names[0]}", ...) in the module, or in on_train_batch_end of a Callback.'
    )


def _no_events() -> Generator[Event, None, None]:
    """Of a run that has not started."""
    yield from ()
