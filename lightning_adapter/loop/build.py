"""In which order are module, data, callbacks, loggers and optimizers made ready, and what holds them together?

The order is Lightning's: configure_callbacks, prepare_data, setup, configure_model, move to the device,
configure_optimizers; loaders when they are first needed. All of it happens once, before Determined's loop starts.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import torch
from determined import pytorch

from lightning_adapter import monkey_patch
from lightning_adapter.arguments import Arguments
from lightning_adapter.data.loaders import (
    INFINITE,
    Shards,
    TrainingData,
    ValidationData,
    WorkerSeeds,
    check_batch_size,
    check_loaders,
    flatten,
    is_shuffled,
    seed_each_sample,
    sequential,
    set_epoch,
    unflatten,
)
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.loop.nonfinite import Watch
from lightning_adapter.loop.optimizers import NoOptimizer, Optimization, normalize, optimizers_to_device
from lightning_adapter.loop.precision import Precision, apex_amp
from lightning_adapter.loop.strategies import Processes, strategy_of
from lightning_adapter.module import supply_steps
from lightning_adapter.platform.boundaries import Boundaries, Period
from lightning_adapter.trainer.loggers import LoggerHub, ProgressBar, determined_logger
from lightning_adapter.trainer.metrics import Metrics
from lightning_adapter.trainer.view import trainer_class
from lightning_adapter.versions import determined_private, hosts, lightning_private
from lightning_adapter.versions import lightning_1x as legacy

_TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Held(torch.nn.Module):
    """What Determined's context holds in place of the module: its parameters to save, but not its modes to change.

    Determined calls `train()` on every model at the start of each workload, which would thaw what the user froze with
    `eval()`. The module is not registered as a child, so those calls end here.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self._module = (module,)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The module's state."""
        return self._module[0].state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """Restore the module's state."""
        return self._module[0].load_state_dict(state_dict, *args, **kwargs)


class Run:
    """Everything that one run of one trial consists of.

    Args:
        context: Determined's context.
        module: the LightningModule.
        datamodule: the LightningDataModule, or None.
        arguments: the trainer arguments.
        loaders: the trial's own loader builders where it overrides them: (training, validation).
        report: where metrics for Determined go: (group, metrics).
        validation_period: overrides Lightning's arguments on when to validate.
        checkpoint_period: when to write checkpoints besides those that follow validations.
        tensorboard: where the default logger writes; None for the place that Determined's context names.
    """

    def __init__(
        self,
        context: pytorch.PyTorchTrialContext,
        module: Any,
        datamodule: Any,
        arguments: Arguments,
        loaders: tuple[Callable[[], Any] | None, Callable[[], Any] | None],
        report: Callable[[str, dict[str, float]], None],
        validation_period: pytorch.TrainUnit | None = None,
        checkpoint_period: pytorch.TrainUnit | None = None,
        tensorboard: Callable[[], os.PathLike[str]] | None = None,
    ) -> None:
        self.context = context
        self.module = module
        self.datamodule = datamodule
        self.arguments = arguments
        self.host = hosts.host_of(module)
        self.own_loaders = loaders
        self._tensorboard = tensorboard
        self.device: torch.device = context.device
        self.trainer = trainer_class(self.host)(arguments, self.host, module, datamodule)
        self.hooks = Hooks(module, datamodule, self.host, self.trainer)
        self.signatures = legacy.Signatures(self.host, lambda: self.strategy.optimizers)
        self.hooks.adapt = self.signatures.adapt
        self.hooks.is_hook = legacy.is_hook
        self.hooks.before, self.hooks.after = legacy.CALLED_BEFORE, legacy.CALLED_AFTER
        self.precision = Precision(
            arguments.precision,
            self.device,
            late=self.host.quirks.converts_late,
            apex=self._apex_amp(),
            caches_casts=self.host.quirks.caches_casts,
        )
        if arguments.precision == "16-mixed" and self.precision.precision == "bf16-mixed":
            self.host.warn(
                "precision='16-mixed' was asked for, but AMP with fp16 is not supported on CPU. Using"
                " precision='bf16-mixed' instead."
            )
        self.strategy = strategy_of(
            arguments.strategy,
            module,
            self.device,
            self.precision,
            self.host,
            context.distributed,
            arguments.fp16_compression,
            arguments.sync_batchnorm,
        )
        self.trainer.strategy = self.strategy
        self.metrics = Metrics(self.hooks, lambda: self.device)
        self.trainer.metrics = self.metrics
        if isinstance(self.strategy, Processes):
            self.trainer.several = True
            self.metrics.reduce = self.strategy.reduce_metric
            self.metrics.gather = context.distributed.allgather
        self.boundaries = Boundaries()
        self.validation_period = None if validation_period is None else Period(validation_period)
        self.checkpoint_period = None if checkpoint_period is None else Period(checkpoint_period)
        self.rank_check_period = None if arguments.check_ranks_every is None else Period(arguments.check_ranks_every)
        self.watch = Watch(arguments.on_nan)
        self.hub = LoggerHub(self.trainer, report, self.watch)
        self.trainer.send_to_loggers = lambda metrics, step: self.hub.log_metrics(metrics, step, report=False)
        self.bar = ProgressBar(self.trainer, arguments.enable_progress_bar and context.distributed.rank == 0)
        self.optimization = Optimization([])
        self.accumulation: Any = None
        self.trainer.load_training_data = self.load_training_data
        self.in_epoch = False
        self.goes_on = False  # True once it is known that the epoch has a further batch
        self._warned: set[str] = set()
        self.stepped = True
        self.resumes_lightning = False
        self.outputs: legacy.EpochOutputs | None = None
        self.training_data_epoch = float("-inf")
        self.validation_data_epoch = float("-inf")

    def ends(self, period: Period) -> bool:
        """Whether a period ends with the batch just trained."""
        loop = self.trainer.fit_loop
        batches = loop.epoch_loop.batch_progress
        return period.reached(batches.total.ready, loop.epoch_progress.current.processed + 1, batches.is_last_batch)

    # --- before training ------------------------------------------------------------------------------------------

    def set_up(self, restore: Callable[[], None]) -> None:
        """Make everything ready up to the optimizers, in Lightning's order.

        Args:
            restore: called when the module has its parameters and its optimizers are not yet made: the moment at which
                Lightning restores weights and callbacks from a checkpoint.

        Raises:
            ConfigurationError: the module, its data or its optimizers cannot be used.
            UnsupportedError: the run asks for what is rejected.
        """
        module, trainer, hooks = self.module, self.trainer, self.hooks
        self._set_flags()
        self._set_limits()
        supply_steps(module, hooks.overridden)
        self._verify()
        module.trainer = trainer
        if self.datamodule is not None:
            self.datamodule.trainer = trainer
        monkey_patch.attach(module, self.metrics, self.arguments.barebones)
        legacy.accept_indices(module, hooks)
        self._attach_callbacks()
        self._attach_loggers()
        if hasattr(module, "hparams"):
            self.host.load("utilities.parsing").clean_namespace(module.hparams)
        trainer.can_validate = self.validation_source() is not None and hooks.overridden("validation_step")
        if self.host.quirks.joins_after_data:
            self._prepare_data()
        if isinstance(self.strategy, Processes):
            lightning_private.reset_seed(self.host)
        if not self.host.quirks.joins_after_data:
            self._prepare_data()
        self._setup()
        if hooks.overridden("configure_model"):
            with self.precision.module_init_context():
                hooks.call_module("configure_model")
        if not self.precision.late:
            self.precision.convert_module(module)  # before weights of this precision are restored
        restore()
        if self.arguments.sync_batchnorm and isinstance(self.strategy, Processes):
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)
        module.to(self.device)
        self._configure_optimizers()
        if self.precision.late:
            self.precision.convert_module(module)
        hooks.forget()

    def _set_flags(self) -> None:
        arguments = self.arguments
        if arguments.deterministic is not None:
            warn_only = arguments.deterministic == "warn"
            torch.use_deterministic_algorithms(bool(arguments.deterministic), warn_only=warn_only)
            if arguments.deterministic:
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        if arguments.benchmark is not None:
            torch.backends.cudnn.benchmark = arguments.benchmark

    def _set_limits(self) -> None:
        """Defaults of the limits depend on each other, as in Lightning."""
        arguments, loop = self.arguments, self.trainer.fit_loop
        if arguments.max_epochs is None:
            timer = any(isinstance(c, self.host.pl.callbacks.Timer) for c in self.trainer.callbacks)
            endless = arguments.max_steps != -1 or timer or arguments.max_time is not None
            loop.max_epochs = -1 if endless else 1000
        else:
            loop.max_epochs = arguments.max_epochs
        loop.min_epochs = arguments.min_epochs or (
            1 if arguments.min_epochs is None and arguments.min_steps is not None else 0
        )

    def _verify(self) -> None:
        """Refuse at once what cannot train, all faults in one message."""
        hooks, name = self.hooks, type(self.module).__name__
        faults = []
        if not hooks.overridden("training_step"):
            faults.append(
                f"{name} has no training_step(). Define one; a DETLM with a `forward` can have a `loss_fn` instead."
            )
        if not hooks.overridden("configure_optimizers"):
            faults.append(
                f"{name} has no configure_optimizers(). Define one; it may return None to train without optimizer."
            )
        if self.training_source() is None:
            where = type(self.datamodule).__name__ if self.datamodule is not None else name
            faults.append(
                f"{where} has no train_dataloader(). Define one there, or build_training_data_loader() in the trial."
            )
        if not self.module.automatic_optimization:
            if self.arguments.gradient_clip_val:
                faults.append(
                    "Automatic gradient clipping is not supported for manual optimization. Remove gradient_clip_val="
                    f"{self.arguments.gradient_clip_val} or switch to automatic optimization."
                )
            if self.arguments.accumulate_grad_batches != 1:
                faults.append(
                    "Automatic gradient accumulation is not supported for manual optimization. Remove "
                    f"accumulate_grad_batches={self.arguments.accumulate_grad_batches} or switch to automatic optimization."
                )
        if faults:
            raise ConfigurationError("\n".join(faults))

    def _attach_callbacks(self) -> None:
        trainer, arguments, callbacks = self.trainer, self.arguments, self.host.pl.callbacks
        if arguments.max_time is not None and not any(isinstance(c, callbacks.Timer) for c in trainer.callbacks):
            trainer.callbacks.append(callbacks.Timer(duration=arguments.max_time, interval="step"))
        summary = any(isinstance(c, callbacks.ModelSummary) for c in trainer.callbacks)
        if arguments.enable_model_summary and not summary and self.context.distributed.rank == 0:
            trainer.callbacks.append(callbacks.ModelSummary())
        for callback in trainer.callbacks:
            if isinstance(callback, callbacks.ModelCheckpoint) and isinstance(callback.dirpath, os.PathLike):
                # as text it can be saved; Lightning means to do the same
                callback.dirpath = os.fspath(callback.dirpath)
        self.accumulation = legacy.attach_accumulation(self.host, trainer)
        trainer.callbacks = _checkpoints_last(trainer.callbacks, callbacks.Checkpoint)
        more = self.hooks.call_module("configure_callbacks") or []
        more = list(more) if isinstance(more, (list, tuple)) else [more]
        if more:
            replaced = {type(callback) for callback in more}
            trainer.callbacks = _checkpoints_last(
                [c for c in trainer.callbacks if type(c) not in replaced] + more, callbacks.Checkpoint
            )
        monkey_patch.reject_callbacks(trainer.callbacks, self.host)
        for callback in trainer.callbacks:
            callback.log = self.metrics.log
            callback.log_dict = self.metrics.log_dict
        self.hooks.forget()

    def _attach_loggers(self) -> None:
        logger = self.arguments.logger
        if logger is False:
            self.trainer.loggers = []
        elif logger is None or logger is True:
            directory = self._tensorboard or functools.cache(lambda: determined_private.tensorboard_path(self.context))
            root = lambda: self.trainer.default_root_dir  # noqa: E731
            self.trainer.loggers = [determined_logger(self.host, lambda: os.fspath(directory()), root)]
        else:
            self.trainer.loggers = list(logger) if isinstance(logger, (list, tuple)) else [logger]
        if self.arguments.fast_dev_run and self.trainer.loggers:
            self.trainer.loggers = [self.host.load("loggers.logger").DummyLogger()]

    def _prepare_data(self) -> None:
        """Once per node, or once in all where `prepare_data_per_node` is False."""
        distributed = self.context.distributed
        for owner, overridden, call in (
            (self.datamodule, self.hooks.overridden_in_data("prepare_data"), self.hooks.call_data),
            (self.module, self.hooks.overridden("prepare_data"), self.hooks.call_module),
        ):
            if not overridden:
                continue
            mine = distributed.local_rank == 0 if owner.prepare_data_per_node else distributed.rank == 0
            if mine:
                call("prepare_data")
            distributed.allgather(None)  # the others wait, however long it takes

    def _setup(self) -> None:
        stage = self.trainer.state.fn
        lightning_private.set_device(self.module, self.device)
        for logger in self.trainer.loggers:
            getattr(logger, "experiment", None)  # made now, so that hooks find its files
        if self.datamodule is not None:
            self.hooks.call_data("setup", stage=stage)
        self.hooks.call_callbacks("setup", stage=stage)
        self.hooks.call_module("setup", stage=stage)
        self.hooks.forget()

    def _configure_optimizers(self) -> None:
        hooks, module = self.hooks, self.module
        returned = hooks.call_module("configure_optimizers")
        automatic = module.automatic_optimization
        optimization = normalize(returned, self.host, module, automatic, hooks.overridden("lr_scheduler_step"))
        indexed = lightning_private.has_parameter(module.training_step, "optimizer_idx")
        if automatic and len(optimization.optimizers) > 1 and not indexed:
            raise self.host.misconfiguration(
                f"{type(module).__name__} has {len(optimization.optimizers)} optimizers, so its training_step needs the"
                " parameter `optimizer_idx`, or set `self.automatic_optimization = False` and step them there with"
                " `opt1, opt2, ... = self.optimizers()`."
            )
        self.optimization = optimization
        optimizers_to_device(optimization.optimizers, self.device)
        if self.precision.apex is not None:
            self._configure_apex(optimization)
        self.strategy.optimizers = optimization.optimizers
        self.trainer.lr_scheduler_configs = optimization.schedulers
        self.trainer.optimizer_frequencies = optimization.frequencies
        self._register(Held(module), optimization.optimizers or [NoOptimizer()])
        single = automatic and len(optimization.optimizers) < 2
        unused = self.arguments.strategy == "ddp_find_unused_parameters_true" or self.host.legacy
        self.strategy.connect(single, unused)

    def _apex_amp(self) -> Any:
        arguments = self.arguments
        if arguments.amp_backend != "apex":
            return None
        return apex_amp(arguments.amp_level or "O2", arguments.precision, self.context.distributed.size)

    def _configure_apex(self, optimization: Optimization) -> None:
        """Let Determined's context initialise apex: models first, then optimizers, then apex, and schedulers last.

        What the context holds of them is given up again: it would set a module's modes at each workload, and with several
        processes it has wrapped the module, which the strategy does.
        """
        context, optimizers = self.context, optimization.optimizers
        model = context.wrap_model(self.module)
        wrapped = [context.wrap_optimizer(optimizer) for optimizer in optimizers]
        _, configured = context.configure_apex_amp(model, wrapped, opt_level=self.arguments.amp_level or "O2")
        for config in optimization.schedulers:
            for before, after in zip(optimizers, configured, strict=True):
                if config.scheduler.optimizer is before:
                    config.scheduler.optimizer = after
        optimization.optimizers = list(configured)
        context.models.clear()
        context.optimizers.clear()

    def _register(self, held: torch.nn.Module, optimizers: list[Any]) -> None:
        """Show Determined's context what it saves.

        With several processes it would wrap both, to exchange gradients in the loops that call its own `backward` and
        `step_optimizer`; the strategy does that here.
        """
        if isinstance(self.strategy, Processes) or self.precision.apex is not None:
            self.context.models.append(held)
            self.context.optimizers.extend(optimizers)
            return
        self.context.wrap_model(held)
        for optimizer in optimizers:
            self.context.wrap_optimizer(optimizer)

    # --- data -----------------------------------------------------------------------------------------------------

    def training_source(self) -> Callable[[], Any] | None:
        """What makes the training loaders: the trial, the datamodule, or the module; None if nobody does."""
        return self._source(self.own_loaders[0], "train")

    def validation_source(self) -> Callable[[], Any] | None:
        """What makes the validation loaders; None if nobody does."""
        return self._source(self.own_loaders[1], "val")

    def _source(self, own: Callable[[], Any] | None, prefix: str) -> Callable[[], Any] | None:
        if own is not None:
            return own
        name = f"{prefix}_dataloader"
        if self.datamodule is not None:
            determined_name = f"{prefix}_det_dataloader"
            if hasattr(self.datamodule, determined_name):
                return lambda: self.hooks.call_data(determined_name)
            return (lambda: self.hooks.call_data(name)) if self.hooks.overridden_in_data(name) else None
        return (lambda: self.hooks.call_module(name)) if self.hooks.overridden(name) else None

    def _request(self, source: Callable[[], Any], name: str) -> Any:
        loaders = source()
        faults = check_loaders(loaders, name, optional=name == "val_dataloader")
        if faults:
            raise ConfigurationError("\n".join(faults))

        def own(loader: Any) -> Any:
            if isinstance(loader, pytorch.DataLoader):
                return loader.get_data_loader(repeat=False, skip=0, num_replicas=1, rank=0)  # sharded like any other
            return loader

        return self._each(loaders, own)

    @staticmethod
    def _each(loaders: Any, change: Callable[[Any], Any]) -> Any:
        """Change each loader of a collection; a collection in which nothing changed stays the same object."""
        if lightning_private.is_combined(loaders):
            return loaders
        leaves = flatten(loaders)
        changed = [change(leaf) for leaf in leaves]
        if all(a is b for a, b in zip(leaves, changed, strict=True)):
            return loaders
        return unflatten(loaders, iter(changed))

    def load_training_data(self) -> None:
        """Ask for the training loaders if they are not there, or are due to be asked for again; begin a pass."""
        trainer = self.trainer
        every = trainer.reload_dataloaders_every_n_epochs
        due = every and trainer.current_epoch - self.training_data_epoch >= every
        if (trainer.training_data is not None and not due) or trainer.limit_train_batches == 0:
            return
        source = self.training_source()
        assert source is not None
        loaders = self._request(source, "train_dataloader")
        self._check_batch_size(loaders)
        if trainer.overfit_batches:
            loaders = self._each(loaders, sequential)
        loaders = self._sharded(loaders, training=True)
        loaders = self._each(loaders, WorkerSeeds(self.host, trainer.global_rank))
        if self.arguments.worker_seeds:
            loaders = self._each(loaders, seed_each_sample)
        data = TrainingData(
            loaders,
            lambda length: self._limit(length, trainer.limit_train_batches, "train"),
            ahead=not lightning_private.has_parameter(self.module.training_step, "dataloader_iter"),
            limits_outside=self.host.quirks.limits_outside,
            waits_within_limits=self.host.quirks.waits_within_limits,
        )
        trainer.training_data = data
        if not self.host.quirks.iterates_in_epoch:
            data.start()
        if data.num_batches == 0:
            raise ConfigurationError(
                "The training data is empty: train_dataloader() returned a loader without batches. Check the dataset, "
                "drop_last and limit_train_batches."
            )
        if isinstance(self.strategy, Processes):
            self.strategy.check_lengths(data.num_batches)
        self.training_data_epoch = trainer.current_epoch
        self._set_validation_interval(data.num_batches)
        if trainer.loggers and data.num_batches < trainer.log_every_n_steps and not trainer.fast_dev_run:
            self.host.warn(
                f"The number of training batches ({data.num_batches}) is smaller than the logging interval"
                f" log_every_n_steps={trainer.log_every_n_steps}. Set a lower value for log_every_n_steps if"
                " you want to see logs for the training epoch."
            )

    def load_validation_data(self) -> None:
        """Ask for the validation loaders if they are not there, or are due to be asked for again."""
        trainer = self.trainer
        every = trainer.reload_dataloaders_every_n_epochs
        due = every and trainer.current_epoch - self.validation_data_epoch >= every
        if (trainer.validation_data is not None and not due) or not trainer.enable_validation:
            return
        if not trainer.sanity_checking or trainer.validates_in_epoch():
            self.validation_data_epoch = trainer.current_epoch
        source = self.validation_source()
        assert source is not None
        loaders = self._request(source, "val_dataloader")
        if trainer.overfit_batches:
            loaders = self._each(loaders, sequential)
        for loader in flatten(loaders):
            if is_shuffled(loader):
                self.host.warn(
                    "Your `val_dataloader`'s sampler has shuffling enabled,"
                    " it is strongly recommended that you turn shuffling off for val/test dataloaders."
                )
        loaders = self._sharded(loaders, training=False)
        loaders = self._each(loaders, WorkerSeeds(self.host, trainer.global_rank))
        data = ValidationData(loaders, lambda length: self._limit(length, trainer.limit_val_batches, "val"))
        trainer.validation_data = data
        if isinstance(self.strategy, Processes):
            lengths = self.strategy.control.allgather(data.max_batches)
            data.longest = [max(batches) for batches in zip(*lengths, strict=True)]
            self.metrics.steps_together = (
                all(batches == lengths[0] for batches in lengths) and INFINITE not in data.longest
            )

    def _sharded(self, loaders: Any, training: bool) -> Any:
        """The loaders of this process."""
        if not isinstance(self.strategy, Processes) or not self.arguments.use_distributed_sampler:
            return loaders
        shards = Shards(
            self.host,
            self.strategy.world_size,
            self.strategy.global_rank,
            training,
            shuffle=not self.trainer.overfit_batches,
            iterable=self.arguments.shard_iterable,
        )
        return self._each(loaders, shards)

    def _check_batch_size(self, loaders: Any) -> None:
        wanted = determined_private.hyperparameters(self.context).get("global_batch_size")
        if isinstance(wanted, int):
            check_batch_size(loaders, wanted, self.trainer.world_size, self.trainer.accumulate_grad_batches)

    def _limit(self, length: float, limit: Any, stage: str) -> float:
        """Number of batches that `limit_<stage>_batches` leaves of a loader's length."""
        if length == 0:
            return 0
        if isinstance(limit, int):
            return min(length, limit)
        if length == INFINITE:
            if limit == 1.0:
                return INFINITE
            raise self.host.misconfiguration(
                f"When using an `IterableDataset`, limit_{stage}_batches={limit} must be `1.0` or an int. An int specifies"
                f" `num_{stage}_batches` to use."
            )
        batches = int(length * limit)
        if batches == 0 and limit > 0.0:
            raise self.host.misconfiguration(
                f"You requested to check {limit} of the `{stage}_dataloader` but {limit} * {length} < 1. Please increase"
                f" the `limit_{stage}_batches` argument. Try at least `limit_{stage}_batches={1.0 / length}`"
            )
        return batches

    def _set_validation_interval(self, batches: float) -> None:
        trainer = self.trainer
        interval = trainer.val_check_interval
        if self.arguments.val_check_time_interval is not None:
            trainer.val_check_batch = None
        elif isinstance(interval, int):
            if interval == 0 and trainer.enable_validation:
                raise ConfigurationError(
                    "val_check_interval=0 names no batch. Give a number of batches from 1, a fraction of an epoch, or "
                    "limit_val_batches=0 to validate not at all."
                )
            trainer.val_check_batch = interval or INFINITE
            if interval > batches and trainer.check_val_every_n_epoch is not None and trainer.limit_val_batches:
                raise ConfigurationError(
                    f"`val_check_interval` ({interval}) must be less than or equal to the number of the training batches"
                    f" ({batches}). If you want to disable validation set `limit_val_batches` to 0.0 instead. If you want"
                    " to validate based on the total training batches, set `check_val_every_n_epoch=None`."
                )
        elif batches == INFINITE:
            if interval != 1.0:
                raise self.host.misconfiguration(
                    "When using an IterableDataset for `train_dataloader`, `val_check_interval` must be time based, `1.0`"
                    " or an int. An int k specifies checking validation every k training batches."
                )
            trainer.val_check_batch = INFINITE
        else:
            trainer.val_check_batch = max(1, int(batches * interval))

    def set_epoch(self, loaders: list[Any]) -> None:
        """Tell samplers that shuffle by epoch which one it is."""
        set_epoch(loaders, self.trainer.fit_loop.epoch_progress.current.processed)

    def warn_once(self, message: str) -> None:
        """Warn the first time."""
        if message not in self._warned:
            self._warned.add(message)
            self.host.warn(message)

    def transfer(self) -> Callable[[Any, int], Any] | None:
        """What brings a batch to the device, through the hooks that anybody overrides; None if there is nothing to do.

        Where both override one of the three hooks, the datamodule's is called, as in Lightning.
        """
        owners = [self.datamodule if self.hooks.overridden_in_data(name) else self.module for name in _TRANSFER_HOOKS]
        overridden = any(self.hooks.overridden(name) or self.hooks.overridden_in_data(name) for name in _TRANSFER_HOOKS)
        precision, device, run = self.precision, self.device, self.hooks.run
        if not overridden:
            if device.type == "cpu":
                return None if precision.dtype is None else lambda batch, _: precision.convert_input(batch)
            return lambda batch, _: lightning_private.move_data_to_device(
                self.host, precision.convert_input(batch), device
            )
        before, move, after = (getattr(owner, name) for owner, name in zip(owners, _TRANSFER_HOOKS, strict=True))

        def transfer(batch: Any, dataloader_idx: int) -> Any:
            batch = precision.convert_input(batch)
            batch = run(_TRANSFER_HOOKS[0], before, batch, dataloader_idx)
            batch = run(_TRANSFER_HOOKS[1], move, batch, device, dataloader_idx)
            return run(_TRANSFER_HOOKS[2], after, batch, dataloader_idx)

        return transfer

    def tear_down(self, status: str) -> None:
        """Run the `teardown` hooks and let go of worker processes and loggers.

        Args:
            status: what the loggers are told: "success" or "failed".
        """
        trainer, hooks = self.trainer, self.hooks
        if trainer.training_data is not None:
            trainer.training_data.stop()
        stage = trainer.state.fn
        if self.datamodule is not None:
            hooks.call_data("teardown", stage=stage)
        hooks.call_callbacks("teardown", stage=stage)
        hooks.call_module("teardown", stage=stage)
        lightning_private.forget_metric_attributes(self.module)
        self.strategy.disconnect()
        for logger in trainer.loggers:
            logger.finalize(status)


def _checkpoints_last(callbacks: list[Any], kind: type) -> list[Any]:
    return [c for c in callbacks if not isinstance(c, kind)] + [c for c in callbacks if isinstance(c, kind)]
