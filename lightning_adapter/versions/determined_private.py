"""Which private names of Determined are touched, why, and in which versions were they seen?"""

from __future__ import annotations

import contextlib
import logging
import pathlib
import random
import sys
from collections.abc import Iterator
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


def upload_last_tensorboard_files(core: Any) -> None:
    """Upload what was written since the last upload.

    The public `upload_tensorboard_files` does nothing within a second of the one before; `_tensorboard_manager._sync`
    (determined 0.38.1) is what it calls otherwise.
    """
    core.train._tensorboard_manager._sync()


#: Determined counts the placeholders that the adapter gives it in place of batches ("validated: 1 records in 0.01s").
_UNTRUE = ("validated: ", "disabled ")
#: `fit()` has the values in lines of its own, and the master in its table.
_REPEATED = ("report_training_metrics(", "report_validation_metrics(")
#: Off a cluster `DummyTrainContext` (determined 0.38.1) logs in place of the master that it has not, with each workload.
_OFF_CLUSTER = ("status: ", "report_progress with ", "upload_tensorboard_files(")


def without_chatter(local: bool) -> contextlib.AbstractContextManager[None]:
    """Keep lines of Determined's out of the logs of `fit()` that are not true, or say nothing to a person.

    Args:
        local: whether this is off a cluster.
    """
    return _without((*_UNTRUE, *_REPEATED, *(_OFF_CLUSTER if local else ())))


def without_untrue_lines() -> contextlib.AbstractContextManager[None]:
    """Keep lines out of the logs under Determined's own Trainer that speak of placeholders."""
    return _without(_UNTRUE)


@contextlib.contextmanager
def _without(unwanted: tuple[str, ...]) -> Iterator[None]:
    def wanted(record: logging.LogRecord) -> bool:
        return record.levelno != logging.INFO or not str(record.msg).startswith(unwanted)

    loggers = [logging.getLogger(name) for name in ("determined.core", "determined.pytorch")]
    for logger in loggers:
        logger.addFilter(wanted)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(wanted)


def cluster_settings(info: Any) -> dict[str, Any]:
    """The experiment config and the position of a managed trial.

    `trial._config` and `trial._steps_completed` (determined 0.38.1) are what `pytorch.Trainer.fit` itself reads; there
    is no public reader.
    """
    return {"config": info.trial._config, "steps_completed": int(info.trial._steps_completed)}


def user_code_directory() -> pathlib.Path:
    """The copy of the experiment's context that Determined makes for checkpoints (`determined.constants`, 0.38.1)."""
    from determined import constants

    return pathlib.Path(constants.MANAGED_TRAINING_MODEL_COPY)


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


def has_hyperparameters(context: Any) -> bool:
    """Whether a context was given hyperparameters, be it an empty dict (`_hparams`, 0.38.1, as above)."""
    return context._hparams is not None


def is_entrypoint_for_a_class() -> bool:
    """Whether this process is what Determined makes of `model_def:TrialClass` (`determined.exec.harness`, 0.38.1)."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return getattr(spec, "name", None) == "determined.exec.harness"


def core_context(context: Any) -> Any:
    """The core context below a trial's context (`_core`, determined 0.38.1, as above)."""
    return context._core
