"""What does user code find at `self.trainer`: the facts of the run, and the few things that real code may write?"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from lightning_adapter.arguments import Arguments
from lightning_adapter.data.loaders import INFINITE, TrainingData, ValidationData
from lightning_adapter.trainer.metrics import Metrics
from lightning_adapter.versions import hosts, lightning_private


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


@dataclass
class Progress:
    """A counter of the present run of a loop, and one of all runs.

    Attributes:
        is_last_batch: whether the batch in work is the last of its epoch.
    """

    current: Counter = field(default_factory=Counter)
    total: Counter = field(default_factory=Counter)
    is_last_batch: bool = False


@dataclass
class OptimizerProgress:
    """Optimizer steps, all optimizers together."""

    optimizer_steps: int = 0


class EvaluationLoopFacts(lightning_private.EvaluationLoopPrivates):
    """`trainer.fit_loop.epoch_loop.val_loop`."""

    def __init__(self) -> None:
        self.batch_progress = Progress()
        self.has_run = False


class EpochLoopFacts(lightning_private.EpochLoopPrivates):
    """`trainer.fit_loop.epoch_loop`: the batches of one epoch."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.batch_progress = Progress()
        self.optim_progress = OptimizerProgress()
        self.val_loop = EvaluationLoopFacts()
        self.batches_that_stepped = 0

    @property
    def batch_idx(self) -> int:
        """Index of the batch in work, within its epoch."""
        return self.batch_progress.current.ready - 1

    @property
    def total_batch_idx(self) -> int:
        """Index of the batch in work, over all epochs."""
        return self.batch_progress.total.ready - 1

    @property
    def global_step(self) -> int:
        """Optimizer steps so far."""
        return self.optim_progress.optimizer_steps

    @property
    def min_steps(self) -> int | None:
        """Least number of optimizer steps before an early stop."""
        return self.trainer.min_steps

    @property
    def max_steps(self) -> int:
        """Number of optimizer steps after which training ends, -1 for no such end."""
        return self.trainer.max_steps

    @max_steps.setter
    def max_steps(self, value: int) -> None:
        self.trainer.max_steps = value


class FitLoopFacts(lightning_private.FitLoopPrivates):
    """`trainer.fit_loop`: the epochs of the run."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.epoch_loop = EpochLoopFacts(trainer)
        self.epoch_progress = Progress()
        self.min_epochs = 0
        self.max_epochs: int = -1
        self.skip_backward = False

    @property
    def total_batch_idx(self) -> int:
        """Index of the batch in work, over all epochs."""
        return self.epoch_loop.total_batch_idx

    @property
    def batch_idx(self) -> int:
        """Index of the batch in work, within its epoch."""
        return self.epoch_loop.batch_idx

    @property
    def min_steps(self) -> int | None:
        """Least number of optimizer steps before an early stop."""
        return self.trainer.min_steps

    @property
    def max_steps(self) -> int:
        """Number of optimizer steps after which training ends, -1 for no such end."""
        return self.trainer.max_steps

    @property
    def max_batches(self) -> float:
        """Batches of an epoch."""
        return self.trainer.num_training_batches

    @max_batches.setter
    def max_batches(self, value: float) -> None:
        data = self.trainer.training_data
        if data is not None:
            data.num_batches = value

    def setup_data(self) -> None:
        """Ask for the training loaders now."""
        self.trainer.load_training_data()


class Trainer(lightning_private.PrivateFacts):
    """The facts of a run under the names of Lightning's Trainer, for modules, datamodules, callbacks and loggers.

    What real code writes is honoured: `should_stop`, `accumulate_grad_batches`, `fit_loop.max_epochs`, `max_steps`,
    `callbacks`, `strategy.optimizers`. Any other public name of Lightning's class, and its other loops, raise an
    AttributeError that says what there is instead.
    """

    def __init__(self, arguments: Arguments, host: hosts.Host, module: Any, datamodule: Any) -> None:
        self.arguments = arguments
        self.host = host
        self.lightning_module = module
        self.datamodule = datamodule
        self.metrics: Metrics
        self.strategy: Any
        states = host.load("trainer.states")
        self.state = states.TrainerState(
            status=states.TrainerStatus.RUNNING, fn=states.TrainerFn.FITTING, stage=states.RunningStage.TRAINING
        )
        self._stages = states.RunningStage
        self.several = False
        self.stops = False
        self._wants_to_stop = False
        self.accumulate_grad_batches = arguments.accumulate_grad_batches
        self.gradient_clip_val = arguments.gradient_clip_val
        algorithm = arguments.gradient_clip_algorithm
        kinds = host.load("utilities.enums").GradClipAlgorithmType
        self.gradient_clip_algorithm: Any = None if algorithm is None else kinds(algorithm)
        self.min_steps = arguments.min_steps
        self.max_steps = arguments.max_steps
        self.fast_dev_run = arguments.fast_dev_run
        self.overfit_batches = arguments.overfit_batches
        self.limit_train_batches = arguments.limit_train_batches
        self.limit_val_batches = arguments.limit_val_batches
        self.limit_test_batches = 1.0
        self.limit_predict_batches = 1.0
        self.val_check_interval = arguments.val_check_interval
        self.val_check_batch: float | None = None
        self.check_val_every_n_epoch = arguments.check_val_every_n_epoch
        self.num_sanity_val_steps = arguments.num_sanity_val_steps
        self.reload_dataloaders_every_n_epochs = arguments.reload_dataloaders_every_n_epochs
        self.log_every_n_steps = arguments.log_every_n_steps
        self.barebones = arguments.barebones
        self.benchmark = arguments.benchmark
        self.enable_progress_bar = arguments.enable_progress_bar
        callbacks = arguments.callbacks
        self.callbacks: list[Any] = (
            [callbacks] if isinstance(callbacks, host.pl.Callback) else list(callbacks) if callbacks else []
        )
        self.loggers: list[Any] = []
        self.lr_scheduler_configs: list[Any] = []
        self.optimizer_frequencies: list[int] = []
        self.accumulation_scheduler: Any = None
        self.fit_loop = FitLoopFacts(self)
        self.training_data: TrainingData | None = None
        self.validation_data: ValidationData | None = None
        self.load_training_data: Callable[[], None] = lambda: None
        self.can_validate = False
        self.received_sigterm = False
        self.ckpt_path: str | None = None
        self.default_root_dir = os.getcwd()
        self.save: Callable[..., None] | None = None
        self.send_to_loggers: Callable[[dict[str, Any], int | None], None] = lambda metrics, step: None
        lightning_private.PrivateFacts.__init__(self, host)

    # --- the end --------------------------------------------------------------------------------------------------

    @property
    def should_stop(self) -> bool:
        """Whether training is to end after the batch in work, as far as this process knows.

        The loops follow `stops`, which is the same on all processes: it becomes True when they have agreed.
        """
        return self._wants_to_stop

    @should_stop.setter
    def should_stop(self, value: bool) -> None:
        self._wants_to_stop = value
        if not self.several:
            self.stops = value

    def agree_to_stop(self, wanted: Callable[[bool], list[bool]]) -> None:
        """End training on all processes if one of them wants to.

        Args:
            wanted: from what this process wants to what any of them wants.
        """
        if not self.stops:
            (self.stops,) = wanted(self._wants_to_stop)
            self._wants_to_stop = self.stops

    # --- progress -------------------------------------------------------------------------------------------------

    @property
    def current_epoch(self) -> int:
        """Epochs completed so far."""
        return self.fit_loop.epoch_progress.current.completed

    @property
    def global_step(self) -> int:
        """Optimizer steps so far, over all optimizers."""
        return self.fit_loop.epoch_loop.optim_progress.optimizer_steps

    @property
    def max_epochs(self) -> int:
        """Epochs after which training ends, -1 for no such end."""
        return self.fit_loop.max_epochs

    @property
    def min_epochs(self) -> int:
        """Epochs before which nothing stops training early."""
        return self.fit_loop.min_epochs

    @property
    def is_last_batch(self) -> bool:
        """True while the last batch of an epoch is in work."""
        return self.fit_loop.epoch_loop.batch_progress.is_last_batch

    @property
    def num_training_batches(self) -> float:
        """Batches of an epoch; infinite where the loader does not know."""
        return self.training_data.num_batches if self.training_data is not None else INFINITE

    @num_training_batches.setter
    def num_training_batches(self, value: float) -> None:
        if self.training_data is not None:
            self.training_data.num_batches = value

    @property
    def num_val_batches(self) -> list[float]:
        """Batches of each validation loader."""
        return self.validation_data.max_batches if self.validation_data is not None else []

    @property
    def num_sanity_val_batches(self) -> list[float]:
        """Batches of each validation loader in the sanity check."""
        return [min(self.num_sanity_val_steps, batches) for batches in self.num_val_batches]

    @property
    def estimated_stepping_batches(self) -> float:
        """Batches that will step an optimizer over the whole run; loads the training data if need be."""
        scheduler = self.accumulation_scheduler
        if scheduler is not None and scheduler.epochs != [0]:
            raise self.host.misconfiguration(
                "Estimated stepping batches cannot be computed with different `accumulate_grad_batches` at different epochs."
            )
        if self.max_epochs == -1:
            return INFINITE if self.max_steps == -1 else self.max_steps
        if self.training_data is None:
            self.load_training_data()
        batches = self.num_training_batches
        if batches == INFINITE:
            return self.max_steps
        steps = math.ceil(batches / self.accumulate_grad_batches) * max(self.max_epochs, 1)
        return min(steps, self.max_steps) if self.max_steps != -1 else steps

    def accumulation_done(self) -> bool:
        """Whether the batch in work completes a group of accumulated batches."""
        return self.fit_loop.epoch_loop.batch_progress.current.ready % self.accumulate_grad_batches == 0

    def last_batch_reached(self) -> bool:
        """Whether the batch in work is the epoch's last, as far as can be known."""
        progress = self.fit_loop.epoch_loop.batch_progress
        return progress.is_last_batch or progress.current.ready == self.num_training_batches

    def should_accumulate(self) -> bool:
        """Whether gradients are only accumulated with the batch in work."""
        if self.accumulate_grad_batches == 1:
            return False
        return not self.accumulation_done() and not self.last_batch_reached()

    def can_stop_early(self) -> bool:
        """Whether `min_epochs` and `min_steps` are reached."""
        epochs = (
            self.fit_loop.epoch_progress.current.processed >= self.fit_loop.min_epochs
            if self.fit_loop.min_epochs
            else True
        )
        steps = self.global_step >= self.min_steps if self.min_steps else True
        return epochs and steps

    @property
    def enable_validation(self) -> bool:
        """Whether there is anything to validate."""
        return self.can_validate and self.limit_val_batches > 0  # type: ignore[operator]

    def validates_in_epoch(self) -> bool:
        """Whether the present epoch validates."""
        every = self.check_val_every_n_epoch
        return self.enable_validation and (every is None or (self.current_epoch + 1) % every == 0)

    # --- stage ----------------------------------------------------------------------------------------------------

    @property
    def training(self) -> bool:
        """True outside of validation."""
        return self.state.stage is self._stages.TRAINING

    @training.setter
    def training(self, value: bool) -> None:
        self.state.stage = self._stages.TRAINING if value else None

    @property
    def validating(self) -> bool:
        """True in validation."""
        return self.state.stage is self._stages.VALIDATING

    @validating.setter
    def validating(self, value: bool) -> None:
        self.state.stage = self._stages.VALIDATING if value else None

    @property
    def sanity_checking(self) -> bool:
        """True in the validation before training."""
        return self.state.stage is self._stages.SANITY_CHECKING

    @sanity_checking.setter
    def sanity_checking(self, value: bool) -> None:
        self.state.stage = self._stages.SANITY_CHECKING if value else None

    @property
    def evaluating(self) -> bool:
        """False: `Trainer.validate` and `Trainer.test` are not run by a trial."""
        return False

    testing = predicting = evaluating
    tuning = evaluating

    @property
    def interrupted(self) -> bool:
        """True after an exception."""
        return bool(self.state.status == type(self.state.status).INTERRUPTED)

    # --- metrics --------------------------------------------------------------------------------------------------

    @property
    def callback_metrics(self) -> dict[str, torch.Tensor]:
        """What monitors read."""
        return self.metrics.callback_metrics

    @property
    def logged_metrics(self) -> dict[str, torch.Tensor]:
        """What loggers were or will be given."""
        return self.metrics.logged_metrics

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """What was logged with `prog_bar=True`."""
        return self.metrics.progress_bar_metrics

    @property
    def should_log(self) -> bool:
        """Whether loggers and Determined are told of the batch in work."""
        if self.log_every_n_steps == 0:
            return False
        loop = self.fit_loop.epoch_loop
        training = self.state.stage is self._stages.TRAINING
        step = loop.batches_that_stepped + 1 if training else loop.val_loop.batch_progress.current.ready
        return step % self.log_every_n_steps == 0 or self.stops

    @property
    def logger(self) -> Any:
        """The first logger, None without any."""
        return self.loggers[0] if self.loggers else None

    @logger.setter
    def logger(self, logger: Any) -> None:
        self.loggers = [logger] if logger else []

    @property
    def log_dir(self) -> str | None:
        """Directory of the first logger's files, else `default_root_dir`."""
        if not self.loggers:
            return self.default_root_dir
        first = self.loggers[0]
        directory = getattr(first, "log_dir", None)
        return directory if directory is not None else first.save_dir

    # --- data -----------------------------------------------------------------------------------------------------

    @property
    def train_dataloader(self) -> Any:
        """The training loader or collection of loaders; None until it is asked for."""
        data = self.training_data
        return None if data is None else lightning_private.shown_training_loader(self.host, data.collection)

    @property
    def val_dataloaders(self) -> Any:
        """The validation loader or collection of loaders; None until it is asked for."""
        data = self.validation_data
        return (
            None
            if data is None
            else lightning_private.shown_validation_loaders(self.host, data.collection, data.loaders)
        )

    # --- processes and devices ------------------------------------------------------------------------------------

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return int(self.strategy.world_size)

    @property
    def global_rank(self) -> int:
        """This process among all."""
        return int(self.strategy.global_rank)

    @property
    def local_rank(self) -> int:
        """This process among those of its node."""
        return int(self.strategy.local_rank)

    @property
    def node_rank(self) -> int:
        """This node among all."""
        return int(self.strategy.node_rank)

    @property
    def num_devices(self) -> int:
        """Devices per node."""
        return int(self.strategy.num_processes)

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return int(self.strategy.num_nodes)

    @property
    def device_ids(self) -> list[int]:
        """Indices of this node's devices."""
        return list(range(self.num_devices))

    @property
    def is_global_zero(self) -> bool:
        """True on the chief."""
        return bool(self.strategy.is_global_zero)

    @property
    def precision(self) -> Any:
        """Lightning's name of the number format."""
        return lightning_private.precision_name(self.host, self.strategy.precision_plugin.precision)

    @property
    def accelerator(self) -> Any:
        """Lightning's object for the kind of device."""
        return lightning_private.accelerator(self.host, self.strategy.root_device)

    @property
    def precision_plugin(self) -> Any:
        """The number format's object."""
        return lightning_private.as_precision_plugin(self.host, self.strategy.precision_plugin)

    @property
    def scaler(self) -> Any:
        """The GradScaler of "16-mixed", else None."""
        return self.strategy.precision_plugin.scaler

    @property
    def model(self) -> Any:
        """The module, wrapped where several processes exchange gradients through a wrapper."""
        return self.strategy.model

    @property
    def optimizers(self) -> list[Any]:
        """The user's optimizers."""
        optimizers: list[Any] = self.strategy.optimizers
        return optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Any]) -> None:
        self.strategy.optimizers = optimizers

    @property
    def distributed_sampler_kwargs(self) -> dict[str, int] | None:
        """What a DistributedSampler needs here; None in one process."""
        if self.world_size == 1:
            return None
        return {"num_replicas": self.world_size, "rank": self.global_rank}

    # --- callbacks ------------------------------------------------------------------------------------------------

    def _of_kind(self, kind: type) -> list[Any]:
        return [callback for callback in self.callbacks if isinstance(callback, kind)]

    @property
    def early_stopping_callbacks(self) -> list[Any]:
        """All EarlyStopping callbacks."""
        return self._of_kind(self.host.pl.callbacks.EarlyStopping)

    @property
    def early_stopping_callback(self) -> Any:
        """The first EarlyStopping callback, or None."""
        return next(iter(self.early_stopping_callbacks), None)

    @property
    def checkpoint_callbacks(self) -> list[Any]:
        """All Checkpoint callbacks."""
        return self._of_kind(self.host.pl.callbacks.Checkpoint)

    @property
    def checkpoint_callback(self) -> Any:
        """The first Checkpoint callback, or None."""
        return next(iter(self.checkpoint_callbacks), None)

    @property
    def progress_bar_callback(self) -> Any:
        """The progress bar that was passed in `callbacks`, or None."""
        return next(iter(self._of_kind(self.host.load("callbacks.progress").ProgressBar)), None)

    @property
    def progress_bar_dict(self) -> dict[str, float]:
        """Lightning 1.x's name of `progress_bar_metrics`."""
        return self.progress_bar_metrics

    @property
    def profiler(self) -> Any:
        """Takes `with trainer.profiler.profile(name)` and measures nothing: Determined profiles the trial."""
        return _NoProfiler()

    # --- what can be done -----------------------------------------------------------------------------------------

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print on the chief alone."""
        if self.is_global_zero:
            print(*args, **kwargs)

    def save_checkpoint(self, filepath: Any, weights_only: bool | None = False, storage_options: Any = None) -> None:
        """Write a Lightning checkpoint file besides those that Determined keeps."""
        assert self.save is not None
        self.save(filepath, weights_only=bool(weights_only))


class _Absent:
    """A name of Lightning's Trainer that is not there: reading it says why, and what there is.

    Not `__getattr__`: a class that has one is slow in all that it has.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, trainer: Trainer | None, owner: type) -> Any:
        if trainer is None:
            return self
        own = {name for name in dir(Trainer) if not name.startswith("_")}
        own.update(name for name in vars(trainer) if not name.startswith("_"))
        raise AttributeError(
            f"self.trainer.{self.name} is part of Lightning's Trainer, but Determined runs the loop here and has no such"
            f" thing. Use one of: {', '.join(sorted(own))}."
        )


@functools.cache
def trainer_class(host: hosts.Host) -> type[Trainer]:
    """`Trainer`, with an explanation for each public name of Lightning's that it lacks."""
    loops = ["validate_loop", "test_loop", "predict_loop"]  # which its instances have, not the class
    theirs = [name for name in [*dir(host.pl.Trainer), *loops] if not name.startswith("_")]
    lacking = [name for name in theirs if not hasattr(Trainer, name)]
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
