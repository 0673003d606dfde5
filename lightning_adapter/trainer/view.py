"""What does user code find at `self.trainer`: the facts of the run, and the few things that real code may write?"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from lightning_adapter import monkey_patch
from lightning_adapter.arguments import Arguments
from lightning_adapter.data.collections import Collection
from lightning_adapter.errors import shown
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.callback_list import CallbackList
from lightning_adapter.trainer.callbacks_view import CallbacksView
from lightning_adapter.trainer.copies import FACTS, TrainerCopy
from lightning_adapter.trainer.data_connector import DataConnector
from lightning_adapter.trainer.end_view import EndView
from lightning_adapter.trainer.logger_connector import LoggerConnector
from lightning_adapter.trainer.loggers import LoggerDispatcher
from lightning_adapter.trainer.loop_views import FitLoopView, ValidationRuns
from lightning_adapter.trainer.settings import Setting, Settings
from lightning_adapter.trainer.stage_view import StageView
from lightning_adapter.trainer.stop_request import StopRequest
from lightning_adapter.trainer.strategy_view import Strategy, StrategyView
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.trainer_private import TrainerPrivates
from lightning_adapter.versions.types import (
    LightningDataModule,
    LightningModule,
    Logger,
    LRSchedulerConfig,
)


class SaveCheckpoint(Protocol):
    """Writes a Lightning checkpoint file."""

    def __call__(self, filepath: str | os.PathLike[str], weights_only: bool) -> None:
        """Write it."""


@dataclass(frozen=True)
class TrainerParts:
    """What a trainer shows.

    Attributes:
        schedulers: the schedulers' configurations, filled in when the optimizers are made.
        frequencies: batches that each optimizer has in turn (Lightning 1.x), filled in likewise.
        default_root_dir: where callbacks and loggers write what they are given no other place for.
        save_checkpoint: writes a Lightning checkpoint of the present state.
        dump_checkpoint: its content, or that without what a resume needs.
        received_sigterm: whether this process was told to end.
    """

    host: Host
    module: LightningModule
    datamodule: LightningDataModule | None
    arguments: Arguments
    settings: Settings
    callbacks: CallbackList
    progress: TrainingProgress
    stop: StopRequest
    connector: LoggerConnector
    dispatcher: LoggerDispatcher
    data: DataConnector
    strategy: Strategy
    validation_runs: ValidationRuns
    schedulers: list[LRSchedulerConfig]
    frequencies: list[int]
    default_root_dir: str
    save_checkpoint: SaveCheckpoint
    dump_checkpoint: Callable[[bool], dict[str, Any]]
    received_sigterm: Callable[[], bool]


class Trainer(StrategyView, CallbacksView, StageView, EndView, TrainerPrivates):
    """The facts of a run under the names of Lightning's Trainer, for modules, datamodules, callbacks and loggers.

    What real code writes is honoured: `should_stop`, `accumulate_grad_batches` and the other settings,
    `fit_loop.max_epochs`, `callbacks`, `loggers`, `strategy.optimizers`. Any other public name of Lightning's class, and
    its other loops, raise an AttributeError that says what there is instead, where they are read and where they are set.
    """

    accumulate_grad_batches = Setting[int]()
    gradient_clip_val = Setting["float | None"]()
    gradient_clip_algorithm = Setting["Any"]()
    min_steps = Setting["int | None"]()
    max_steps = Setting[int]()
    min_epochs = Setting[int]()
    max_epochs = Setting[int]()
    fast_dev_run = Setting["int | bool"]()
    overfit_batches = Setting[float]()
    limit_train_batches = Setting[float]()
    limit_val_batches = Setting[float]()
    limit_test_batches = Setting[float]()
    limit_predict_batches = Setting[float]()
    val_check_interval = Setting[float]()
    check_val_every_n_epoch = Setting["int | None"]()
    num_sanity_val_steps = Setting[float]()
    reload_dataloaders_every_n_epochs = Setting[int]()
    log_every_n_steps = Setting[int]()
    barebones = Setting[bool]()
    benchmark = Setting["bool | None"]()
    enable_progress_bar = Setting[bool]()

    def __init__(self, parts: TrainerParts) -> None:
        StrategyView.__init__(self, parts.host, parts.strategy)
        CallbacksView.__init__(self, parts.host, parts.callbacks)
        StageView.__init__(self, parts.host)
        EndView.__init__(self, parts.stop, parts.received_sigterm)
        self._parts = parts
        self.arguments = parts.arguments
        self.lightning_module = parts.module
        self.datamodule = parts.datamodule
        self.settings = parts.settings
        self.fit_loop = FitLoopView(
            parts.progress,
            parts.settings,
            parts.data,
            parts.validation_runs,
            parts.datamodule or parts.module,
            lambda: parts.module.automatic_optimization,
        )
        self.ckpt_path: str | os.PathLike[str] | None = None
        self.default_root_dir = parts.default_root_dir
        self.enable_autolog_hparams = parts.arguments.enable_autolog_hparams
        TrainerPrivates.__init__(
            self,
            parts.host,
            parts.module,
            parts.datamodule,
            self.fit_loop,
            parts.arguments.use_distributed_sampler,
            parts.dump_checkpoint,
            parts.callbacks.with_checkpoints_last,
            self._attach_callbacks,
        )

    def _attach_callbacks(self) -> None:
        """Let callbacks that user code has added log values."""
        for callback in self.callbacks:
            monkey_patch.attach_callback(callback, self.lightning_module, self._parts.connector)

    def __reduce__(self) -> tuple[Any, ...]:
        facts = (*FACTS, *(name for name, value in vars(Trainer).items() if isinstance(value, Setting)))
        own = {name: getattr(self, name) for name in facts}
        return TrainerCopy, (), own

    # --- progress -------------------------------------------------------------------------------------------------

    @property
    def current_epoch(self) -> int:
        """Epochs completed so far."""
        return self._parts.progress.current_epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps so far, over all optimizers."""
        return self._parts.progress.optimizer_steps

    @property
    def is_last_batch(self) -> bool:
        """True while the last batch of an epoch is in work."""
        return self._parts.progress.batch.is_last_batch

    @property
    def num_training_batches(self) -> float:
        """Batches of an epoch; infinite where the loader does not know."""
        return self._parts.progress.num_training_batches

    @num_training_batches.setter
    def num_training_batches(self, value: float) -> None:
        self._parts.data.limit_epoch(value)

    @property
    def num_val_batches(self) -> list[float]:
        """Batches of each validation loader."""
        data = self._parts.data.validation
        return data.max_batches if data is not None else []

    @property
    def num_sanity_val_batches(self) -> list[float]:
        """Batches of each validation loader in the sanity check."""
        return self._parts.data.num_sanity_val_batches

    @property
    def val_check_batch(self) -> float | None:
        """Batches between two validations; infinite for the end of each epoch, None where time decides."""
        return self._parts.data.val_check_batch

    @val_check_batch.setter
    def val_check_batch(self, batches: float) -> None:
        self._parts.data.check_validation_every(batches)

    @property
    def estimated_stepping_batches(self) -> float:
        """Batches that will step an optimizer over the whole run; loads the training data if need be."""
        scheduler = self.accumulation_scheduler
        if scheduler is not None and scheduler.epochs != [0]:
            raise self.host.misconfiguration(
                "Estimated stepping batches cannot be computed with different `accumulate_grad_batches` at different epochs."
            )
        infinite = float("inf")
        if self.max_epochs == -1:
            return infinite if self.max_steps == -1 else self.max_steps
        if self._parts.data.training is None:
            self.host.inform("Loading `train_dataloader` to estimate number of stepping batches.")
            self._parts.data.load_training()
        batches = self.num_training_batches
        if batches == infinite:
            return self.max_steps
        steps = math.ceil(batches / self.accumulate_grad_batches) * max(self.max_epochs, 1)
        return min(steps, self.max_steps) if self.max_steps != -1 else steps

    @property
    def enable_validation(self) -> bool:
        """Whether there is anything to validate."""
        return self._parts.data.enable_validation

    @property
    def lr_scheduler_configs(self) -> list[LRSchedulerConfig]:
        """The schedulers' configurations."""
        return self._parts.schedulers

    @lr_scheduler_configs.setter
    def lr_scheduler_configs(self, configs: list[LRSchedulerConfig]) -> None:
        self._parts.schedulers[:] = configs

    @property
    def optimizer_frequencies(self) -> list[int]:
        """Batches that each optimizer has in turn (Lightning 1.x); empty where all step in each batch."""
        return self._parts.frequencies

    # --- metrics --------------------------------------------------------------------------------------------------

    @property
    def callback_metrics(self) -> dict[str, torch.Tensor]:
        """What monitors read."""
        return self._parts.connector.callback_metrics

    @property
    def logged_metrics(self) -> dict[str, torch.Tensor]:
        """What loggers were or will be given."""
        return self._parts.connector.logged_metrics

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """What was logged with `prog_bar=True`."""
        return self._parts.connector.progress_bar_metrics

    @property
    def progress_bar_dict(self) -> dict[str, float]:
        """Lightning 1.x's name of `progress_bar_metrics`."""
        return self.progress_bar_metrics

    @property
    def should_log(self) -> bool:
        """Whether loggers and Determined are told of the batch in work."""
        progress, stops = self._parts.progress, self._parts.stop.agreed
        if self.training:
            return progress.is_reported(stops)
        every = self.settings.log_every_n_steps
        return every != 0 and (stops or progress.validation.current.ready % every == 0)

    def send_to_loggers(self, metrics: dict[str, Any], step: int | None) -> None:
        """Send metrics of a callback to the loggers; Determined is not told."""
        self._parts.dispatcher.log_metrics(metrics, step)

    @property
    def loggers(self) -> list[Logger]:
        """All loggers."""
        return self._parts.dispatcher.loggers

    @loggers.setter
    def loggers(self, loggers: list[Logger] | None) -> None:
        self._parts.dispatcher.replace(loggers or [])

    @property
    def logger(self) -> Logger | None:
        """The first logger, None without any."""
        loggers = self.loggers
        return loggers[0] if loggers else None

    @logger.setter
    def logger(self, logger: Logger | None) -> None:
        self.loggers = [logger] if logger else []

    @property
    def log_dir(self) -> str | None:
        """Where the first logger writes, as Lightning asks each kind of logger; `default_root_dir` without one."""
        first = self.logger
        if first is None:
            return self.default_root_dir
        kinds = self.host.pl.loggers
        # any other one may answer to that name with whatever it likes
        named = isinstance(first, (kinds.TensorBoardLogger, kinds.CSVLogger))
        directory: str | None = first.log_dir if named else first.save_dir
        return directory

    # --- data -----------------------------------------------------------------------------------------------------

    @property
    def train_dataloader(self) -> Collection:
        """The training loader or collection of loaders; None until it is asked for."""
        data = self._parts.data.training
        return None if data is None else lightning_private.shown_training_loader(self.host, data.collection)

    @property
    def val_dataloaders(self) -> Collection:
        """The validation loader or collection of loaders; None until it is asked for."""
        data = self._parts.data.validation
        if data is None:
            return None
        return lightning_private.shown_validation_loaders(self.host, data.collection, data.loaders)

    @property
    def profiler(self) -> _NoProfiler:
        """Takes `with trainer.profiler.profile(name)` and measures nothing: Determined profiles the trial."""
        return _NoProfiler()

    # --- what can be done -----------------------------------------------------------------------------------------

    def print(self, *args: object, **kwargs: Any) -> None:
        """Print on the chief alone."""
        if self.is_global_zero:
            print(*args, **kwargs)

    def save_checkpoint(
        self, filepath: str | os.PathLike[str], weights_only: bool | None = False, storage_options: object = None
    ) -> None:
        """Write a Lightning checkpoint file besides those that Determined keeps."""
        _refuse_storage_options(storage_options)
        self._parts.save_checkpoint(filepath, bool(weights_only))


def _refuse_storage_options(options: object) -> None:
    """As `TorchCheckpointIO.save_checkpoint`.

    Raises:
        TypeError: there are any.
    """
    if options is not None:
        raise TypeError(
            "`Trainer.save_checkpoint(..., storage_options=...)` with `storage_options` arg is not supported: "
            f"{shown(options)} would be read by nobody. Leave it out, and give a storage its options in fsspec's own "
            "configuration (~/.config/fsspec/conf.json), which holds for its URLs."
        )


class _Absent:
    """A name of Lightning's Trainer that is not there: reading it says why, and what there is.

    Not `__getattr__`: a class that has one is slow in all that it has.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, trainer: Trainer | None, owner: type) -> _Absent:
        if trainer is None:
            return self
        raise self._error(trainer)

    def __set__(self, trainer: Trainer, value: object) -> None:
        raise self._error(trainer)

    def _error(self, trainer: Trainer) -> AttributeError:
        own = {name for name in dir(Trainer) if not name.startswith("_")}
        own.update(name for name in vars(trainer) if not name.startswith("_"))
        return AttributeError(
            f"self.trainer.{self.name} is part of Lightning's Trainer, but Determined runs the loop here and has no such"
            f" thing. Use one of: {', '.join(sorted(own))}."
        )


#: What a Trainer holds itself, and Lightning's has properties for, in one version or another.
_HELD = (
    *("ckpt_path", "datamodule", "default_root_dir", "enable_autolog_hparams", "fit_loop", "host", "lightning_module"),
    *("settings", "state", "strategy"),
)


@functools.cache
def trainer_class(host: Host) -> type[Trainer]:
    """`Trainer`, with an explanation for each public name of Lightning's that it lacks."""
    loops = ["validate_loop", "test_loop", "predict_loop"]  # which its instances have, not the class
    theirs = [name for name in [*dir(host.pl.Trainer), *loops] if not name.startswith("_")]
    lacking = [name for name in theirs if not hasattr(Trainer, name) and name not in _HELD]
    return type("Trainer", (Trainer,), {"__module__": __name__, **{name: _Absent(name) for name in lacking}})


class _NoProfiler:
    def profile(self, action_name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def start(self, action_name: str) -> None:
        pass

    def stop(self, action_name: str) -> None:
        pass

    def describe(self) -> None:
        pass
