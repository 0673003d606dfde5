"""Which private names of Determined are touched, why, and in which versions were they seen?"""

from __future__ import annotations

import pathlib
import random
import sys
from datetime import datetime
from typing import Any

import appdirs
import numpy as np
import torch


def tensorboard_path(context: Any) -> Any:
    """Directory whose TensorBoard files Determined uploads; off a cluster, a new one beside its local checkpoints.

    `_core` (determined 0.38.1): the trial's context has no public way to the core context that it was made from.
    """
    path = context._core.train.get_tensorboard_path()
    if path is not None:
        return path
    return pathlib.Path(appdirs.user_data_dir("determined")) / "tensorboard" / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


def determined_random_state() -> dict[str, Any]:
    """The random state of this process as `state_dict.pth` has it (determined 0.38.1)."""
    state = {
        "cpu_rng_state": torch.random.get_rng_state(),
        "np_rng_state": np.random.get_state(),
        "random_rng_state": random.getstate(),
    }
    if torch.cuda.is_available():
        state["gpu_rng_state"] = torch.cuda.get_rng_state()
    return state


def loads_own_checkpoints() -> Any:
    """A context in which Determined can load what it saved: `state_dict.pth` holds numpy's random state.

    It calls `torch.load` with its defaults (determined 0.38.1), which refuse numpy's types since torch 2.6.
    """
    types: list[Any] = [np.zeros(0).__reduce__()[0], np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    return torch.serialization.safe_globals(types)


def set_epoch_length(context: Any, batches: int) -> None:
    """Tell Determined how many batches an epoch has.

    `_epoch_len` (determined 0.38.1) is set from `len(loader)` before a checkpoint is loaded; Lightning makes the loaders
    later.
    """
    context._epoch_len = batches


def report_training_metrics(context: Any, batches: int, metrics: dict[str, float]) -> None:
    """Report training metrics at the moment they are logged (`_core`, determined 0.38.1, as above)."""
    context._core.train.report_training_metrics(steps_completed=batches, metrics=metrics)


def controller(session: Any, moments: Any, **options: Any) -> Any:
    """Determined's loop, with the adapter's decisions in the places where its public API has none.

    `_PyTorchTrialController` and the methods overridden here are determined 0.38.1's. What changes: when the run is
    over, how far it is, whether a validation is due, which epoch begins or ends, that metrics were reported already,
    that a checkpoint is made on all ranks together instead of by the chief alone, and that a batch which ends no
    workload costs next to nothing.
    """
    from determined import InvalidHP, pytorch

    class Controller(pytorch._PyTorchTrialController):
        state: Any  # there from the moment at which training starts

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            # Horovod's broadcast of an optimizer's state steps the optimizer to create it; the adapter's own does not
            self.use_horovod = False

        def _set_data_loaders(self) -> None:
            super()._set_data_loaders()
            session.restore_callbacks(self.callbacks)  # Determined does it here, when it loads a checkpoint itself

        def _run(self) -> None:
            self._follow()
            self._epochs_told = self.state.epochs_trained
            moments.epoch_starts = self._epoch_starts
            if session.resumed:
                self.state.last_ckpt = self.state.last_val = self.state.batches_trained
            super()._run()

        def _follow(self) -> None:
            self.state.batches_trained, self.state.epochs_trained = moments.position()

        def _train_with_boundaries(
            self, training_enumerator: Any, train_boundaries: list[Any]
        ) -> tuple[list[Any], list[Any]]:
            # The host's own asks four periods after each batch, and keeps a record of each until the workload ends.
            context = self.context
            if self.is_chief:
                self.core_context.train.set_status("training")
            for model in context.models:
                model.train()
            context.reset_reducers()
            run, boundaries = moments.run, moments.run.boundaries
            boundaries.pace.workload_starts()
            bare = context.profiler is None and context._scaler is None and not context.lr_schedulers
            train = self.trial.train_batch if bare else self._train_batch
            for batch_idx, ticket in training_enumerator:
                context._current_batch_idx = batch_idx
                train(batch=ticket, epoch_idx=batch_idx // context._epoch_len, batch_idx=batch_idx)
                if not run.in_epoch:
                    self._step_batch()
                if boundaries.ends_workload:
                    break
            self._step_batch()
            for boundary in train_boundaries:
                unit = boundary.unit
                boundary.limit_reached = isinstance(unit, pytorch.Batch) and unit.should_stop(batch_idx + 1)
            return train_boundaries, []

        def _step_batch(self) -> None:
            self._follow()
            if self.state.epochs_trained != self._epochs_told:
                self._tell_ended(self.state.epochs_trained)

        def _on_epoch_start(self, epoch_idx: int) -> None:
            pass  # by a count of batches; Lightning's epochs may be shorter

        def _epoch_starts(self, epoch: int) -> None:
            self._tell_ended(epoch)
            super()._on_epoch_start(epoch)

        def _tell_ended(self, epochs: int) -> None:
            for epoch in range(self._epochs_told, epochs):
                self._on_epoch_end(epoch)
            self._epochs_told = max(epochs, self._epochs_told)

        def _steps_until_complete(self, train_unit: Any) -> int:
            return 0 if moments.finished else 1

        def _validation_is_current(self) -> bool:
            return not moments.validation_pending

        def _aggregate_training_metrics(self, training_metrics: list[Any]) -> dict[str, Any]:
            pace = moments.run.boundaries.pace
            pace.agreed = self.context.distributed.broadcast(pace.proposal())
            return {"avg_metrics": {}, "batch_metrics": []}

        def _report_training_progress(self) -> None:
            if moments.progress_due:
                self.core_context.train.report_progress(progress=moments.fraction())

        def _stop_requested(self) -> None:
            session.upload_tensorboard()
            if moments.mid_accumulation:
                return
            if session.asked_to_stop():
                raise pytorch._ShouldExit()
            super()._stop_requested()

        def _checkpoint(self, already_exiting: bool) -> None:
            if isinstance(sys.exc_info()[1], InvalidHP):
                return  # raised inside a step: there is nothing to go on from
            if moments.mid_accumulation:
                session.checkpoint_owed = True
                return
            if self.is_chief:
                self.core_context.train.set_status("checkpointing")
            self._follow()
            self.state.last_ckpt = self.state.batches_trained
            uuid = session.write_checkpoint(self.state.batches_trained, self.callbacks)
            for callback in self.callbacks.values():
                callback.on_checkpoint_upload_end(uuid=uuid)

    return Controller(**options)


def upload_last_tensorboard_files(core: Any) -> None:
    """Upload what was written since the last upload.

    The public `upload_tensorboard_files` does nothing within a second of the one before; `_tensorboard_manager._sync`
    (determined 0.38.1) is what it calls otherwise.
    """
    core.train._tensorboard_manager._sync()


def cluster_settings(info: Any) -> dict[str, Any]:
    """The experiment config and the position of a managed trial.

    `trial._config` and `trial._steps_completed` (determined 0.38.1) are what `pytorch.Trainer.fit` itself reads; there
    is no public reader.
    """
    return {"config": info.trial._config, "steps_completed": int(info.trial._steps_completed)}


def write_user_code(path: Any) -> None:
    """Put the trial's code into a checkpoint on a cluster, where Determined's export looks for it."""
    from determined import util

    util.write_user_code(path, True)


#: What Determined's controller and context read to know how processes were started (`_DistributedBackend`, 0.38.1).
HOROVOD_VARIABLE = "USE_HOROVOD"

TORCH_VARIABLE = "USE_TORCH_DISTRIBUTED"


def require_horovod() -> Any:
    """Determined's stand-in for Horovod, told that it is torch's (`determined.horovod.hvd`, 0.38.1)."""
    from determined import horovod

    horovod.hvd.require_horovod_type("torch", "lightning_adapter trains with torch")
    return horovod.hvd


def hyperparameters(context: Any) -> Any:
    """The hyperparameters of a trial, none where none were given (`_hparams`, 0.38.1; the public reader raises then)."""
    return context._hparams or {}


def core_context(context: Any) -> Any:
    """The core context below a trial's context (`_core`, determined 0.38.1, as above)."""
    return context._core
