"""What does one run consist of, before its optimizers are made and its first batch is trained?"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lightning_adapter.arguments import Arguments
from lightning_adapter.loop.gradient_steps import GradientSteps
from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.loop.precision import Precision
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.loop.sources import LoaderSources
from lightning_adapter.loop.strategies.base import SingleDeviceStrategy
from lightning_adapter.trainer.callback_list import CallbackList
from lightning_adapter.trainer.data_connector import DataConnector
from lightning_adapter.trainer.learning_rates import LearningRates
from lightning_adapter.trainer.logger_connector import LoggerConnector
from lightning_adapter.trainer.loggers import LoggerDispatcher
from lightning_adapter.trainer.loop_views import ValidationRuns
from lightning_adapter.trainer.nonfinite import NonFiniteCheck
from lightning_adapter.trainer.settings import Settings
from lightning_adapter.trainer.stop_request import StopRequest
from lightning_adapter.trainer.view import Trainer
from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.lightning_1x import Signatures
from lightning_adapter.versions.types import LightningDataModule, LightningModule, LRSchedulerConfig


@dataclass(frozen=True)
class Components:
    """The parts of one run, each finished; `build` makes them.

    Attributes:
        lr_schedulers: filled in when `configure_optimizers` has run; callbacks add to it.
        fraction: how much of the run is done, from 0 to 1.
        table: name of the file that keeps all values; None where there is none.
        log: of the run.
        rates: learning rates for that file; None where there is none, or another process writes it.
        frequencies: batches that each optimizer has in turn (Lightning 1.x), filled in likewise.
    """

    host: Host
    module: LightningModule
    datamodule: LightningDataModule | None
    arguments: Arguments
    device: torch.device
    settings: Settings
    callbacks: CallbackList
    hooks: Hooks
    signatures: Signatures
    precision: Precision
    steps: GradientSteps
    strategy: SingleDeviceStrategy
    progress: TrainingProgress
    stop: StopRequest
    connector: LoggerConnector
    dispatcher: LoggerDispatcher
    non_finite: NonFiniteCheck
    sources: LoaderSources
    data: DataConnector
    validation_runs: ValidationRuns
    lr_schedulers: list[LRSchedulerConfig]
    frequencies: list[int]
    trainer: Trainer
    fraction: Callable[[], float]
    table: str | None
    log: logging.Logger
    rates: LearningRates | None

    @property
    def is_distributed(self) -> bool:
        """Whether there are several processes."""
        return self.strategy.is_distributed
