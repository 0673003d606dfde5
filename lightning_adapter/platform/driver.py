"""How do Determined's callbacks become Lightning's moments?

Determined's loop                         Lightning's moment
    build_callbacks                           everything up to configure_optimizers
    on_training_start                         on_fit_start ... on_train_start, where a checkpoint was loaded before
    train_batch, evaluate_batch               in `adapter`
    on_validation_end                         what follows a validation: plateau schedulers, the epoch's end
    on_trial_shutdown                         on_fit_end, teardown; on_exception where there was one
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import determined as det
import torch
from determined import pytorch
from torch.utils.data import DataLoader

from lightning_adapter import monkey_patch
from lightning_adapter.checkpoints import content as checkpoint
from lightning_adapter.loop.build import Run
from lightning_adapter.loop.strategies import Processes
from lightning_adapter.versions import determined_private

logger = logging.getLogger("lightning_adapter")

if TYPE_CHECKING:
    from lightning_adapter.adapter import LightningAdapter


class TicketLoader(DataLoader[None]):
    """What Determined iterates in place of data: None, `count` times, or for ever.

    Determined wants a torch DataLoader for validation; an iterator of its own draws no random number.
    """

    def __init__(self, count: int | None) -> None:
        super().__init__([None])  # type: ignore[arg-type]
        self.count = count

    def __iter__(self) -> Iterator[None]:  # type: ignore[override]
        return itertools.repeat(None) if self.count is None else itertools.repeat(None, self.count)

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError("tickets for training never end")
        return self.count


class Moments(pytorch.PyTorchCallback):
    """Carries Lightning's moments for one trial, and its state into Determined's checkpoints.

    Attributes:
        session: who owns periods and checkpoints: that of `runner.fit`, or None under Determined's own Trainer, whose
            periods decide then.
        epoch_starts: told the number of an epoch when it begins.
        has_company: whether the trial has Determined callbacks of its own, which are told of each workload.
        run: what is being trained, from `set_up` on.
    """

    run: Run

    def __init__(self, adapter: LightningAdapter) -> None:
        self.adapter = adapter
        self.session: Any = None
        self.epoch_starts: Callable[[int], None] = lambda epoch: None
        self.has_company = False
        self._unsettled = False
        self._position: dict[str, Any] | None = None
        self._loading = contextlib.ExitStack()
        self._weights_only = False
        self._started = False
        self._ended = False
        self._loaded: dict[str, Any] | None = None
        self._reported: dict[str, tuple[int, set[str]]] = {"training": (-1, set()), "validation": (-1, set())}

    # --- set up ---------------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Make the run ready, once."""
        adapter, session = self.adapter, self.session
        if adapter._run is not None:
            return
        self.run = adapter._run = Run(
            adapter.context,
            adapter.lightning_module,
            adapter.datamodule,
            adapter.arguments,
            adapter._own_loaders,
            self.report,
            validation_period=None if session is None else session.validation_period,
            checkpoint_period=None if session is None else session.checkpoint_period,
            tensorboard=None if session is None else session.tensorboard,
        )
        self.run.trainer.save = self._save_file
        if session is not None:
            self.run.trainer.default_root_dir = session.root_dir
        self.run.set_up(self._restore_weights)

    def _saved(self) -> dict[str, Any] | None:
        """The checkpoint that this run continues from, or takes its weights from."""
        return None if self.session is None else self.session.saved

    def _resumes(self) -> bool:
        return self._saved() is not None and not self.session.weights_only

    def _restore_weights(self) -> None:
        saved = self._saved()
        if saved is not None:
            checkpoint.restore_weights(self.run, saved, self.session.weights_only)

    def _restore_state(self) -> None:
        run, saved = self.run, self._saved()
        if saved is not None and self._resumes():
            checkpoint.restore_optimizers(run, saved)
            if checkpoint.OURS in saved:
                checkpoint.restore_progress(run, saved[checkpoint.OURS])
            else:
                checkpoint.restore_lightning_progress(run, saved)
        elif self._loaded is not None:
            checkpoint.restore_progress(run, self._loaded)
            checkpoint.restore_callbacks(run, self._loaded["callbacks"])

    def _save_file(self, path: Any, weights_only: bool = False) -> None:
        content = checkpoint.lightning_checkpoint(self.run, weights_only)
        if self.run.context.distributed.rank == 0:
            checkpoint.save(checkpoint.pathlib.Path(path), content)
        self.run.strategy.barrier("save_checkpoint")

    # --- Determined's callbacks -----------------------------------------------------------------------------------

    def on_trial_startup(self, first_batch_idx: int, checkpoint_uuid: str | None) -> None:
        """Determined goes on to load a checkpoint, where it was given one."""
        if checkpoint_uuid is not None:
            with determined_private.core_context(self.adapter.context).checkpoint.restore_path(checkpoint_uuid) as path:
                checkpoint.check_host_files(checkpoint.pathlib.Path(path))
            self._loading.enter_context(determined_private.loads_own_checkpoints())
            info = det.get_cluster_info()
            self._weights_only = info is not None and info.task_type == "TRIAL" and first_batch_idx == 0

    def on_checkpoint_load_start(self, checkpoint: dict[str, Any]) -> None:
        """Of a checkpoint of another trial leave the weights alone: all else would stand in the middle of that trial."""
        if self.session is None and self._weights_only:
            optimizers = self.adapter.context.optimizers
            checkpoint["optimizers_state_dict"] = [optimizer.state_dict() for optimizer in optimizers]
            checkpoint["rng_state"] = determined_private.determined_random_state()
            checkpoint["callbacks"].pop("lightning_adapter", None)

    def on_training_start(self) -> None:
        """Determined has loaded what it loads; training begins."""
        self._loading.close()
        run, adapter = self.run, self.adapter
        resumed = self._resumes() or self._loaded is not None
        self._started = True
        adapter.start_training(run, resumed, self._restore_state)
        batches = run.trainer.num_training_batches
        if batches != float("inf"):
            determined_private.set_epoch_length(adapter.context, int(batches))
        state = self._loaded if self._loaded is not None else (self._saved() or {}).get(checkpoint.OURS)
        if resumed and state is not None:
            checkpoint.restore_position(run, state, state["random"])
        elif resumed:
            checkpoint.restore_lightning_position(run)
        if resumed and run.boundaries.finished:
            logger.warning(
                "The run that the checkpoint is of was over: it has %d epochs and %d optimizer steps%s. To train on, raise "
                "max_epochs or max_steps; to train on from its weights alone, use warm_start_from.",
                run.trainer.current_epoch,
                run.trainer.global_step,
                ", and a callback had asked to stop" if run.trainer.should_stop else "",
            )
        if run.boundaries.finished:
            self._finish()

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        """A validation is over; its values are not reported yet."""
        if self.session is not None:
            self.session.validated(self.batches, self.run.trainer.current_epoch, metrics)
        elif isinstance(self.run.strategy, Processes):  # its checkpoints are written by the chief alone
            self.run.strategy.check_parameters(self.batches)
        with torch.enable_grad():  # Determined validates, and tells of its end, under no_grad
            self.settle()

    def on_trial_shutdown(self) -> None:
        """Training has ended, was interrupted, or failed."""
        self._loading.close()
        error = sys.exc_info()[1]
        run = self.adapter._run
        if run is None or self._ended:
            return
        self._ended = True
        if error is not None:
            self._failed(run, error)
            return
        self.settle()
        if run.boundaries.finished:
            run.hooks.call("on_fit_end")
        run.tear_down("success")
        monkey_patch.detach(run.module)

    def state_dict(self) -> dict[str, Any]:
        """For Determined's own checkpoints, where its Trainer writes them."""
        if self.session is not None or not self._started:
            return {}
        self.settle()
        run = self.run
        callbacks = {c.state_key: state for c in run.trainer.callbacks if (state := c.state_dict())}
        schedulers = [config.scheduler.state_dict() for config in run.trainer.lr_scheduler_configs]
        return {**self.saved_state(), "callbacks": {"states": callbacks, "schedulers": schedulers}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What `state_dict` returned; it is put in place when training starts."""
        self._loaded = state_dict or None

    def keep_position(self) -> None:
        """A limit is about to end the epoch before its last batch: with a higher one the run goes on from here."""
        self._position = copy.deepcopy(checkpoint.adapter_state(self.run))

    def saved_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside what Lightning saves."""
        if self._position is not None and self.finished:
            state = dict(self._position)
        else:
            state = checkpoint.adapter_state(self.run)
        limit = None if self.session is None else self.session.max_batches
        if limit is not None and self.batches >= limit:
            state["should_stop"] = False  # the limit is this call's: one that resumes brings its own
        return state

    # --- between batches ------------------------------------------------------------------------------------------

    def after_batch(self) -> None:
        """Decide what Determined is to do after the batch just trained; settle at once if it is not to validate."""
        run, session = self.run, self.session
        boundaries, trainer = run.boundaries, run.trainer
        progress = trainer.fit_loop.epoch_loop.batch_progress
        self._unsettled = True
        if session is not None and session.max_batches is not None and progress.total.ready >= session.max_batches:
            trainer.should_stop = trainer.stops = True  # all processes count alike
        stepped = not trainer.should_accumulate()
        reports = stepped and trainer.should_log
        if reports or progress.is_last_batch or run.watch.is_full:
            run.watch.check()
        if run.rank_check_period is not None and run.ends(run.rank_check_period):
            run.strategy.check_parameters(progress.total.ready)
        if session is None:
            return
        boundaries.validate = self.adapter.validation_due(run)
        boundaries.report = reports and (session.on_cluster or self.has_company)
        boundaries.look = stepped and (boundaries.pace.batches >= boundaries.pace.agreed or session.stops_now)
        ends_unsaved = progress.is_last_batch and not boundaries.validate and session.checkpoint_each_epoch
        if ends_unsaved or (run.checkpoint_period is not None and run.ends(run.checkpoint_period)):
            session.checkpoint_owed = True
        boundaries.checkpoint = stepped and session.checkpoint_owed
        if not boundaries.validate:
            self.settle()

    def settle(self) -> None:
        """Do what follows the last batch and its validation, if that is still to be done."""
        if not self._unsettled:
            return
        self._unsettled = False
        self.adapter.settle(self.run)
        if self.run.boundaries.finished:
            self._finish()

    def _finish(self) -> None:
        if self.session is None:
            self.adapter.context.set_stop_requested(True)

    @property
    def validation_pending(self) -> bool:
        """True from the decision to validate until it is done."""
        return self._unsettled and self.run.boundaries.validate

    @property
    def progress_due(self) -> bool:
        """True if the batch just trained is one after which progress is reported."""
        return self.run.boundaries.report or self.finished

    @property
    def finished(self) -> bool:
        """True if no further batch is to be trained."""
        return self.run.boundaries.finished

    @property
    def mid_accumulation(self) -> bool:
        """True while gradients are being accumulated, which a checkpoint would lose."""
        run = self.run
        return run.in_epoch and run.trainer.should_accumulate()

    @property
    def batches(self) -> int:
        """Batches trained so far, as Determined counts them."""
        return self.run.trainer.fit_loop.epoch_loop.batch_progress.total.ready

    def position(self) -> tuple[int, int]:
        """Batches and whole epochs trained so far; the epoch that the last batch ends counts."""
        run = self.run
        epochs = run.trainer.fit_loop.epoch_progress.current
        ends = run.in_epoch and epochs.ready > epochs.processed and run.trainer.last_batch_reached()
        return self.batches, epochs.processed + int(ends)

    def fraction(self) -> float:
        """How much of the run is done, from 0 to 1."""
        trainer = self.run.trainer
        if self.finished:
            return 1.0
        parts = [0.0]
        if trainer.max_steps > 0:
            parts.append(trainer.global_step / trainer.max_steps)
        if self.session.max_batches is not None:
            parts.append(self.batches / self.session.max_batches)
        if trainer.max_epochs > 0:
            done = float(trainer.fit_loop.epoch_progress.current.processed)
            length = trainer.num_training_batches
            if self.run.in_epoch and length not in (0, float("inf")):
                done += trainer.fit_loop.epoch_loop.batch_progress.current.ready / length
            parts.append(done / trainer.max_epochs)
        return min(1.0, max(parts))

    # --- metrics --------------------------------------------------------------------------------------------------

    def report(self, group: str, metrics: dict[str, float]) -> None:
        """Tell Determined of training metrics, each name once per batch: what it has must not be sent again."""
        context = self.adapter.context
        if context.distributed.rank != 0:
            return
        batch = self.batches
        at, known = self._reported[group]
        if at != batch:
            known = set()
            self._reported[group] = (batch, known)
        fresh = {name: value for name, value in metrics.items() if name not in known}
        if not known and self.session is not None:  # Determined's own Trainer reports the two itself
            fresh = {"batches": batch, "epochs": self.position()[1], **fresh}
        known.update(fresh)
        if not metrics:
            return
        if self.session is not None:
            self.session.record("train", batch, self.run.trainer.current_epoch, metrics)
        determined_private.report_training_metrics(context, batch, fresh)

    # --- failures -------------------------------------------------------------------------------------------------

    def _failed(self, run: Run, error: BaseException) -> None:
        """Tell callbacks and datamodule, as Lightning does, and let go of everything. The error itself goes on."""
        if self._started:
            run.hooks.call_callbacks("on_exception", error)
            if run.hooks.overridden_in_data("on_exception"):
                run.hooks.call_data("on_exception", error)
        if run.trainer.training_data is not None:
            run.trainer.training_data.stop()
        for logger in run.trainer.loggers:
            logger.finalize("failed")
        monkey_patch.detach(run.module)
