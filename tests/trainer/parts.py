"""Small parts of a run for the tests of what user code finds at `self.trainer`."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils.data import DataLoader

from data.parts import Numbers, Stream
from lightning_adapter.arguments import Arguments
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.data_connector import DataConnector, LoaderOptions
from lightning_adapter.trainer.settings import Settings
from lightning_adapter.versions import hosts

HOST = hosts.host("pytorch_lightning")
LEGACY = HOST.version.major < 2
Misconfiguration = HOST.load("utilities.exceptions").MisconfigurationException


def arguments(**given: Any) -> Arguments:
    return Arguments(**{"enable_model_summary": False, **given})


def settings(**given: Any) -> Settings:
    return Settings(arguments(**given), HOST, has_timer=False)


def loader_of(batches: float, **options: Any) -> DataLoader:
    """A loader of that many batches; infinite for a length that is unknown."""
    return DataLoader(Stream() if batches == float("inf") else Numbers(int(batches)), **options)


class Alone:
    """The only process, or one of several that a test makes up."""

    def __init__(self, size: int = 1, nodes: int = 1) -> None:
        self.is_distributed = size > 1
        self.world_size = size
        self.num_processes = size // nodes
        self.global_rank = 0
        self.checked: list[float] = []

    def check_lengths(self, batches: float) -> None:
        self.checked.append(batches)


class Data:
    """A data connector over loaders that a test sets, with what it asks for."""

    def __init__(
        self,
        training: Callable[[], Any] = lambda: loader_of(4),
        validation: Callable[[], Any] = lambda: loader_of(2),
        size: int = 1,
        nodes: int = 1,
        has_loggers: bool = False,
        options: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        self.settings = settings(**given)
        self.progress = TrainingProgress(self.settings)
        self.ranks = Alone(size, nodes)
        self.asked = {"train": 0, "val": 0}
        self._make = {"train": training, "val": validation}
        chosen = {
            "shards": True,
            "shards_iterable": False,
            "seeds_each_sample": False,
            "global_batch_size": None,
            "training_fetches_itself": lambda: False,
            "can_validate": True,
            "allgather": None,
            "validation_loaded": None,
            **(options or {}),
        }
        sources = SimpleNamespace(training=lambda: self._source("train"), validation=lambda: self._source("val"))
        self.connector = DataConnector(
            HOST,
            self.settings,
            self.progress,
            sources,  # type: ignore[arg-type]
            self.ranks,
            LoaderOptions(**chosen),
            lambda: has_loggers,
        )

    def _source(self, kind: str) -> Callable[[], Any]:
        def make() -> Any:
            self.asked[kind] += 1
            return self._make[kind]()

        return make

    def epoch_passes(self) -> None:
        self.progress.advance_epoch_ready()
        self.progress.advance_epoch_started()
        self.progress.advance_epoch_processed()
        self.progress.advance_epoch_completed()


class Strategy:
    """What a trainer shows of a strategy, in one process on the CPU."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.model = module
        self.optimizers: list[torch.optim.Optimizer] = []
        self.precision_plugin = SimpleNamespace(precision="32-true", scaler=None)
        self.root_device = torch.device("cpu")
        self.world_size = self.num_processes = self.num_nodes = 1
        self.global_rank = self.local_rank = self.node_rank = 0
        self.is_global_zero = True
