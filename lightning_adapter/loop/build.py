"""Which objects make a run, and in which order are they made, each with what it needs?

Nothing of the user's runs here; what does is in `set_up` and `start`. Two circles cannot be cut, since user code walks
them: callbacks are given the trainer, and `manual_backward` and `optimizer.step()` come back through the strategy. There
an object is given a function that returns the later one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from determined.core import DistributedContext

from lightning_adapter.arguments import Arguments
from lightning_adapter.loop.apex import apex_amp
from lightning_adapter.loop.components import Components
from lightning_adapter.loop.gradient_steps import GradientSteps
from lightning_adapter.loop.hooks import Hooks, is_overridden
from lightning_adapter.loop.precision import select_precision
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.loop.sources import LoaderSources, Source
from lightning_adapter.loop.strategies.base import SingleDeviceStrategy
from lightning_adapter.loop.strategies.select import select_strategy
from lightning_adapter.module import supply_steps
from lightning_adapter.trainer.callback_list import CallbackList
from lightning_adapter.trainer.data_connector import DataConnector, LoaderOptions
from lightning_adapter.trainer.learning_rates import LearningRates
from lightning_adapter.trainer.logger_connector import LoggerConnector
from lightning_adapter.trainer.loggers import LoggerDispatcher, Report, loggers_of
from lightning_adapter.trainer.loop_views import ValidationRuns
from lightning_adapter.trainer.metadata import MetadataParser
from lightning_adapter.trainer.nonfinite import NonFiniteCheck
from lightning_adapter.trainer.rank_sync import RankSync
from lightning_adapter.trainer.running_hook import RunningHook
from lightning_adapter.trainer.settings import Settings
from lightning_adapter.trainer.stop_request import StopRequest
from lightning_adapter.trainer.view import SaveCheckpoint, Trainer, TrainerParts, trainer_class
from lightning_adapter.versions import hosts, lightning_private
from lightning_adapter.versions.lightning_1x import Signatures
from lightning_adapter.versions.types import LightningDataModule, LightningModule, LRSchedulerConfig


@dataclass(frozen=True)
class Surroundings:
    """What a run is told of the place that it runs in.

    Attributes:
        device: where it trains.
        distributed: the processes of the job.
        hyperparameters: the trial's.
        training_loaders: the trial's own builder of training loaders, where it overrides it.
        validation_loaders: the same for validation.
        report: told of training metrics.
        save_checkpoint: writes a Lightning checkpoint file of the present state.
        dump_checkpoint: what it would hold.
        root_dir: where callbacks and loggers write what they are given no other place for, unless `default_root_dir` says.
        table: name of the file in it that keeps all values; None where there is none.
        tensorboard: where the default logger writes; asked for on the chief when it first does.
        received_sigterm: whether this process was told to end.
        fraction: how much of the run is done, from 0 to 1.
        log: of the run.
    """

    device: torch.device
    distributed: DistributedContext
    hyperparameters: Mapping[str, Any]
    training_loaders: Source | None
    validation_loaders: Source | None
    report: Report
    save_checkpoint: SaveCheckpoint
    dump_checkpoint: Callable[[bool], dict[str, Any]]
    root_dir: str
    table: str | None
    tensorboard: Callable[[], str]
    received_sigterm: Callable[[], bool]
    fraction: Callable[[], float]
    log: logging.Logger


def build(
    module: LightningModule, datamodule: LightningDataModule | None, arguments: Arguments, around: Surroundings
) -> Components:
    """Make the parts of a run.

    Args:
        module: the LightningModule.
        datamodule: the LightningDataModule, or None.
        arguments: the trainer arguments.
        around: the place that it runs in.

    Raises:
        ConfigurationError: precision or strategy cannot be used here.
    """
    host = hosts.host_of(module)
    # before anybody asks what the module overrides
    supply_steps(module, lambda name: is_overridden(name, module, host.pl.LightningModule))
    # limits depend on whether a Timer ends the run, so callbacks come before settings
    callbacks = CallbackList(arguments, host, shows_summary=around.distributed.rank == 0)
    settings = Settings(arguments, host, callbacks.has_timer)
    progress = TrainingProgress(settings)
    running = RunningHook()
    # from here to the strategy the circles: functions stand for what is made further down
    signatures = Signatures(host, lambda: strategy.optimizers)
    hooks = Hooks(module, datamodule, host, callbacks, running, signatures, lambda: trainer)
    apex = None
    if arguments.amp_backend == "apex":
        apex = apex_amp(arguments.amp_level or "O2", arguments.precision, around.distributed.size)
    precision = select_precision(arguments.precision, around.device, host, apex)
    steps = GradientSteps(hooks, precision, settings, progress, signatures, lambda: strategy)
    strategy: SingleDeviceStrategy = select_strategy(
        arguments, module, around.device, precision, host, steps, around.distributed
    )
    stop = StopRequest(strategy.is_distributed)
    sync = None
    if strategy.is_distributed:
        sync = RankSync(strategy.reduce, around.distributed.allgather, around.device)
    parser = MetadataParser(host, module, lambda: bool(dispatcher.loggers))
    connector = LoggerConnector(running, parser, around.device, sync)
    non_finite = NonFiniteCheck(arguments.on_nan)
    loggers = loggers_of(arguments, host, around.tensorboard, lambda: trainer.default_root_dir)
    dispatcher = LoggerDispatcher(loggers, progress, connector, host, around.report, non_finite)
    sources = LoaderSources(hooks, around.training_loaders, around.validation_loaders)
    data = DataConnector(
        host,
        settings,
        progress,
        sources,
        strategy,
        _loader_options(arguments, around, hooks, sources, sync),
        lambda: bool(dispatcher.loggers),
    )
    lr_schedulers: list[LRSchedulerConfig] = []
    frequencies: list[int] = []
    runs = ValidationRuns()
    trainer: Trainer = trainer_class(host)(
        TrainerParts(
            host,
            module,
            datamodule,
            arguments,
            settings,
            callbacks,
            progress,
            stop,
            connector,
            dispatcher,
            data,
            strategy,
            runs,
            lr_schedulers,
            frequencies,
            around.root_dir if arguments.default_root_dir is None else os.fspath(arguments.default_root_dir),
            around.save_checkpoint,
            around.dump_checkpoint,
            around.received_sigterm,
        )
    )
    rates = None
    if around.table is not None and around.distributed.rank == 0:
        rates = LearningRates(lambda: strategy.optimizers, lr_schedulers, progress, settings.log_every_n_steps)
    return Components(
        host, module, datamodule, arguments, around.device, settings, callbacks, hooks, signatures, precision, steps,
        strategy, progress, stop, connector, dispatcher, non_finite, sources, data, runs, lr_schedulers, frequencies,
        trainer, around.fraction, around.table, around.log, rates,
    )  # fmt: skip


def _loader_options(
    arguments: Arguments, around: Surroundings, hooks: Hooks, sources: LoaderSources, sync: RankSync | None
) -> LoaderOptions:
    size = around.hyperparameters.get("global_batch_size")
    module = hooks.module
    return LoaderOptions(
        shards=arguments.use_distributed_sampler,
        shards_iterable=arguments.shard_iterable,
        seeds_each_sample=arguments.worker_seeds,
        global_batch_size=size if isinstance(size, int) else None,
        training_fetches_itself=lambda: lightning_private.has_parameter(module.training_step, "dataloader_iter"),
        can_validate=sources.validation() is not None and hooks.overridden("validation_step"),
        allgather=None if sync is None else around.distributed.allgather,
        validation_loaded=None if sync is None else sync.validation_loaded,
    )
