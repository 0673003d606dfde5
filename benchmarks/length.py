"""What does a step cost, and how much memory is taken, as a run grows long?

The module computes nothing, so that a million steps of it are what a loop costs by itself. What a long run has besides is
there: files for TensorBoard, validations and checkpoints.
"""

from __future__ import annotations

import itertools
import pathlib
import resource
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from determined import pytorch
from torch import Tensor

from benchmarks.names import ADAPTER, LIGHTNING
from benchmarks.tasks import now
from lightning_adapter import DETLM, LightningAdapter, fit

#: The first number of batches after which is looked; what comes later is compared to it.
FIRST = 1_000
#: Validations and checkpoints of one run.
PERIODS = 10


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


class ReadyBatches:
    """One batch that is there already, served again and again: all that a step costs is what a loop takes for its own.

    Args:
        batches: of the one epoch.
        noted_at: numbers of batches before which time and peak memory are noted.

    Attributes:
        seconds: number of batches -> when so many had been trained.
        memory: number of batches -> peak memory then, in MiB.
    """

    def __init__(self, batches: int, noted_at: Collection[int] = ()) -> None:
        self.batches = batches
        self.noted_at = frozenset(noted_at)
        self.seconds: dict[int, float] = {}
        self.memory: dict[int, float] = {}

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Tensor]:
        batch = torch.zeros(1, 1)
        for index in range(self.batches):
            if index in self.noted_at:
                self.seconds[index] = now()
                self.memory[index] = peak_memory()
            yield batch


class Idle:
    """The body of a module that logs one value and computes none."""

    log: Callable[..., None]
    automatic_optimization = False

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.ready = torch.tensor(0.5)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """One step."""
        self.log("loss", self.ready)
        return self.ready

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """One step of validation."""
        self.log("validation_loss", self.ready)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Saved with each checkpoint; it never steps."""
        return torch.optim.SGD([self.weight], lr=0.1)


class IdleOriginal(Idle, pl.LightningModule):
    """The module for Lightning's Trainer."""


class IdleAdapted(Idle, DETLM):
    """The module for the adapter."""


def under_lightning(batches: ReadyBatches, directory: pathlib.Path) -> None:
    """One epoch with Lightning's TensorBoardLogger, validations and checkpoints."""
    every = max(1, len(batches) // PERIODS)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        num_sanity_val_steps=0,
        val_check_interval=every,
        logger=pl.loggers.TensorBoardLogger(directory),
        callbacks=[pl.callbacks.ModelCheckpoint(directory / "checkpoints", every_n_train_steps=every)],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=directory,
    )
    trainer.fit(IdleOriginal(), batches, ReadyBatches(1))


def under_the_adapter(batches: ReadyBatches, directory: pathlib.Path) -> None:
    """The same through `fit`, whose default logger is that; metrics.csv, curves.png and train.log are written besides."""
    every = max(1, len(batches) // PERIODS)

    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            super().__init__(context, IdleAdapted(), enable_progress_bar=False, enable_model_summary=False)

        def build_training_data_loader(self) -> Any:
            return batches

        def build_validation_data_loader(self) -> Any:
            return ReadyBatches(1)

    period = pytorch.Batch(every)
    fit(Trial, max_epochs=1, validation_period=period, checkpoint_period=period, run_dir=directory / "run")


#: How one trains, and of how many batches of the adapter it trains one: what takes many times as long has fewer of them.
SYSTEMS = {ADAPTER: (under_the_adapter, 1), LIGHTNING: (under_lightning, 20)}
#: The adapter's smallest number of batches, with which each system has `FIRST`.
FEWEST = FIRST * max(share for _, share in SYSTEMS.values())


def length(system: str, count: int) -> dict[str, Sequence[float]]:
    """Train one epoch.

    Args:
        system: of `SYSTEMS`.
        count: batches of the adapter, `FEWEST` or more; another system has its share.

    Returns:
        Lists of equal length: "batches", 1,000, 10,000 ... and all; "step", microseconds per step from the number of batches
        before it in that list to it (the first from 100 on); "memory", peak MiB after so many batches.
    """
    train, share = SYSTEMS[system]
    last = count // share
    marks = [*itertools.takewhile(lambda mark: mark < last, (10**power for power in itertools.count(2))), last]
    batches = ReadyBatches(last + 1, marks)
    with tempfile.TemporaryDirectory() as directory:
        train(batches, pathlib.Path(directory))
    times = batches.seconds
    return {
        "batches": marks[1:],
        "step": [(times[b] - times[a]) / (b - a) * 1e6 for a, b in itertools.pairwise(marks)],
        "memory": [batches.memory[mark] for mark in marks[1:]],
    }
