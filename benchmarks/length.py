"""Does a step cost the same after a million of them, and how much memory do they take?

The module computes nothing, so that a million steps take less than a minute and all of it is the loop's. What a long run has
is on: TensorBoard's files, validations, checkpoints.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from determined import pytorch
from torch import Tensor

from benchmarks.names import ADAPTER, LIGHTNING
from benchmarks.tasks import now, peak_memory
from lightning_adapter import DETLM, LightningAdapter, fit

#: Validations and checkpoints of a run.
PERIODS = 10


class ReadyBatches:
    """One batch that is there already, served again and again.

    Args:
        batches: of the one epoch.
        noted_at: numbers of trained batches at which time and memory are noted.

    Attributes:
        seconds: number of batches -> when so many had been trained.
        memory: number of batches -> peak memory until then, in MiB.
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
    """The body of a module that computes nothing and logs one value."""

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


def _lightning(batches: ReadyBatches, directory: pathlib.Path) -> None:
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


def _adapter(batches: ReadyBatches, directory: pathlib.Path) -> None:
    """The default logger writes TensorBoard's files; metrics.csv, curves.png and train.log are written besides."""

    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            super().__init__(context, IdleAdapted(), enable_progress_bar=False, enable_model_summary=False)

        def build_training_data_loader(self) -> Any:
            return batches

        def build_validation_data_loader(self) -> Any:
            return ReadyBatches(1)

    period = pytorch.Batch(max(1, len(batches) // PERIODS))
    fit(Trial, max_epochs=1, validation_period=period, checkpoint_period=period, run_dir=directory / "run")


#: Those that train for long, and for how many batches; Lightning's Trainer takes many times as long.
LONG: dict[str, tuple[Callable[[ReadyBatches, pathlib.Path], None], int]] = {
    LIGHTNING: (_lightning, 100_000),
    ADAPTER: (_adapter, 1_000_000),
}


def train_for_long(system: str, directory: pathlib.Path, count: int | None = None) -> dict[str, dict[int, float]]:
    """Train, and note how it goes at 1,000, 10,000 ... batches.

    Args:
        system: of those in `LONG`.
        directory: that it may write to.
        count: batches; None for as many as are said there.

    Returns:
        `step`, mean microseconds of a step from a tenth of the batches on; `memory`, peak MiB until then.
    """
    train, usual = LONG[system]
    last = usual if count is None else count
    marks = [mark for mark in (10**power for power in range(2, 9)) if mark <= last]
    batches = ReadyBatches(last + 1, marks)
    train(batches, directory)
    times = batches.seconds
    steps = {to: (times[to] - times[begin]) / (to - begin) * 1e6 for begin, to in itertools.pairwise(marks)}
    return {"step": steps, "memory": {mark: batches.memory[mark] for mark in marks[1:]}}
