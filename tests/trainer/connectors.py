"""A logger connector with a module of its own, for tests that log without a run."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torchmetrics import MeanMetric

from lightning_adapter.trainer.logger_connector import LoggerConnector
from lightning_adapter.trainer.metadata import MetadataParser
from lightning_adapter.trainer.rank_sync import RankSync
from lightning_adapter.trainer.running_hook import RunningHook
from lightning_adapter.versions import hosts

HOST = hosts.host("pytorch_lightning")
CPU = torch.device("cpu")


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.mean = MeanMetric()


class Logs:
    """A connector whose running hook is set by `log_in`."""

    def __init__(self, sync: RankSync | None = None) -> None:
        self.module = Module()
        self.running = RunningHook()
        self.connector = LoggerConnector(self.running, MetadataParser(HOST, self.module, lambda: True), CPU, sync)

    def log_in(self, hook: str, name: str, value: Any, **options: Any) -> None:
        """Log as user code in `hook` does."""
        self.running.name = hook
        try:
            self.connector.log(name, value, **options)
        finally:
            self.running.name = None

    def batch(self, size: int, hook: str, value: Any, loader: int | None = None, **options: Any) -> None:
        """One batch of `size` samples in which `hook` logs "x"."""
        self.connector.on_batch_start(torch.zeros(size, 2), loader)
        self.log_in(hook, "x", value, **options)
        self.connector.on_batch_end()

    def validate(self, *values: float, sizes: tuple[int, ...] = (), loader: int | None = None) -> None:
        """Validation batches in which "x" is logged."""
        for value, size in zip(values, sizes or (1,) * len(values), strict=True):
            self.batch(size, "validation_step", value, loader)


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Names to numbers."""
    return {name: float(value) for name, value in metrics.items()}
