"""How does each system train a task for one epoch and validate it once?

Each is what a person would write for it. What is written differs only where the systems differ: there is no logger and
no progress bar anywhere; reports to Determined stay on in the two systems that have them.
"""

from __future__ import annotations

import collections
import gc
import logging
import pathlib
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from determined import pytorch
from torch import Tensor
from torchmetrics import Metric

from benchmarks.names import ADAPTER, BARE_LOOP, KEEPING_LOOP, LIGHTNING, PYTORCH_TRIAL
from benchmarks.tasks import Clock, Task, loader
from lightning_adapter import DETLM, LightningAdapter, fit
from lightning_adapter.platform.launch import join_job


@dataclass
class Measurement:
    """One training of one epoch and its validation.

    Attributes:
        checkpoint_every: batches between checkpoints, None for none while it is measured.
        exchange: how the processes of this job exchange gradients, "ddp" or "horovod"; None in a single process.
        device: "cpu", or "cuda" for the first GPU, where Determined and the adapter go by themselves if they see one.
    """

    model: str
    logging: str
    steps: int
    validation_steps: int = 1
    checkpoint_every: int | None = None
    exchange: str | None = None
    device: str = "cpu"
    training: Clock = field(default_factory=Clock)
    validation: Clock = field(default_factory=Clock)

    def task(self) -> Task:
        """The model, the same parameters for all systems."""
        torch.manual_seed(1)
        return Task(self.model, self.logging)

    def training_loader(self) -> Any:
        """The loader that the training clock is in."""
        return loader(self.model, self.steps, self.training)

    def validation_loader(self) -> Any:
        """The loader that the validation clock is in."""
        return loader(self.model, self.validation_steps, self.validation)


def bare_loop(what: Measurement, directory: pathlib.Path) -> None:
    """PyTorch alone; in training, the values that others log are computed and not kept."""
    task = what.task().to(what.device)
    optimizer = task.optimizer()
    model: Any = task
    moves = what.device != "cpu"
    if what.exchange == "ddp":
        model = torch.nn.parallel.DistributedDataParallel(task)
    elif what.exchange == "horovod":
        import horovod.torch as hvd

        optimizer = hvd.DistributedOptimizer(optimizer, named_parameters=task.named_parameters())
    for index, batch in enumerate(what.training_loader(), start=1):
        loss, _ = model([part.to(what.device) for part in batch] if moves else batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if what.checkpoint_every is not None and index % what.checkpoint_every == 0:
            state = {"model": task.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state, directory / f"{index}.pt")
    validate_bare(what, task)


def validate_bare(what: Measurement, task: Task) -> dict[str, Tensor]:
    """Means of all values over the validation's samples, and the metric."""
    moves = what.device != "cpu"
    task.eval()
    totals: collections.defaultdict[str, Tensor] = collections.defaultdict(lambda: torch.zeros((), device=what.device))
    count = 0
    with torch.no_grad():
        for batch in what.validation_loader():
            _, values = task([part.to(what.device) for part in batch] if moves else batch)
            size = len(batch[0])
            for name, value in values.items():
                totals[name] += value * size
            count += size
        found = {name: total / count for name, total in totals.items()}
        if task.validation_accuracy is not None:
            found["validation_accuracy"] = task.validation_accuracy.compute()
    return found


def keeping_loop(what: Measurement, directory: pathlib.Path) -> None:
    """A bare training loop that hands the optimizer a closure, and has copies of the values when the step is done.

    Every Trainer does both: an optimizer may call the closure several times, and a step may change a logged tensor in place.
    """
    task = what.task()
    optimizer = task.optimizer()
    kept: dict[str, Tensor] = {}
    for batch in what.training_loader():

        def closure(batch: Any = batch) -> Any:
            loss, values = task(batch)
            for name, value in values.items():
                kept[name] = value.detach().clone()
            optimizer.zero_grad()
            loss.backward()
            return loss

        optimizer.step(closure)


class OfEpoch(pytorch.MetricReducer):
    """A metric of torchmetrics as Determined takes one; a single process has the value of all."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric

    def reset(self) -> None:
        """Before an epoch of validation."""
        self.metric.reset()

    def per_slot_reduce(self) -> float:
        """The value of this process."""
        return float(self.metric.compute())

    def cross_slot_reduce(self, per_slot_metrics: list[float]) -> float:
        """The value of the job."""
        return sum(per_slot_metrics) / len(per_slot_metrics)


class HandWritten(pytorch.PyTorchTrial):
    """What Determined's documentation teaches, in its default settings."""

    def __init__(self, context: pytorch.PyTorchTrialContext, what: Measurement) -> None:
        self.context = context
        self.what = what
        task = what.task()
        self.model = context.wrap_model(task)
        self.optimizer = context.wrap_optimizer(task.optimizer())
        if task.validation_accuracy is not None:
            context.wrap_reducer(OfEpoch(task.validation_accuracy), "validation_accuracy", for_training=False)
        context.experimental.disable_dataset_reproducibility_checks()

    def build_training_data_loader(self) -> Any:
        """The loader of all systems."""
        return self.what.training_loader()

    def build_validation_data_loader(self) -> Any:
        """The loader of all systems."""
        return self.what.validation_loader()

    def train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> dict[str, Any]:
        """One step; the values returned are Determined's to average."""
        values: dict[str, Any]
        loss, values = self.model(batch)
        self.context.backward(loss)
        self.context.step_optimizer(self.optimizer)
        return values

    def evaluate_batch(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """One step of validation."""
        values: dict[str, Any]
        _, values = self.model(batch)
        return values


def hand_written_trial(what: Measurement, directory: pathlib.Path) -> None:
    """A PyTorchTrial under Determined's own Trainer."""
    with join_job(managed=False) as distributed, pytorch.init(distributed=distributed) as context:
        trainer = pytorch.Trainer(HandWritten(context, what), context)
        every = what.checkpoint_every
        trainer.fit(
            max_length=pytorch.Batch(what.steps),
            checkpoint_period=None if every is None else pytorch.Batch(every),
            validation_period=pytorch.Epoch(1),
        )


class Steps:
    """The body of a LightningModule, the same for both base classes."""

    task: Task
    log: Callable[..., None]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One step."""
        loss: Tensor
        loss, logged = self.task(batch)
        for name, value in logged.items():
            self.log(name, value)
        if self.task.accuracy is not None:
            self.log("accuracy", self.task.accuracy)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """One step of validation."""
        _, logged = self.task(batch)
        for name, value in logged.items():
            self.log(name, value)
        if self.task.validation_accuracy is not None:
            self.log("validation_accuracy", self.task.validation_accuracy)

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """One batch, with what `evaluate` compares it to."""
        x, y = batch
        return {"preds": self.task.network(x), "target": y}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return self.task.optimizer()


class Original(Steps, pl.LightningModule):
    """The module for Lightning's Trainer."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task


class Adapted(Steps, DETLM):
    """The module for the adapter."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task


class Data(pl.LightningDataModule):
    """The loaders, for both."""

    def __init__(self, what: Measurement) -> None:
        super().__init__()
        self.what = what

    def train_dataloader(self) -> Any:
        """The loader of all systems."""
        return self.what.training_loader()

    def val_dataloader(self) -> Any:
        """The loader of all systems."""
        return self.what.validation_loader()


def lightning_trainer(what: Measurement, directory: pathlib.Path) -> None:
    """Lightning's Trainer, for one epoch."""
    every = what.checkpoint_every
    callbacks: list[pl.Callback] = []
    if every is not None:
        callbacks.append(pl.callbacks.ModelCheckpoint(directory, every_n_train_steps=every, save_top_k=-1))
    trainer = pl.Trainer(
        accelerator=what.device,
        devices=1 if what.exchange is None else 2,
        strategy="auto" if what.exchange is None else what.exchange,
        max_epochs=1,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=every is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=directory,
    )
    trainer.fit(Original(what.task()), datamodule=Data(what))


def trial_of(what: Measurement) -> type[LightningAdapter]:
    """What a person writes for the adapter."""

    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            super().__init__(
                context,
                Adapted(what.task()),
                Data(what),
                strategy=what.exchange or "auto",
                use_distributed_sampler=False,
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )

    return Trial


def adapter(what: Measurement, directory: pathlib.Path) -> None:
    """The adapter, through its `fit`."""
    every = what.checkpoint_every
    checkpoint_period = None if every is None else pytorch.Batch(every)
    fit(trial_of(what), max_epochs=1, checkpoint_period=checkpoint_period, run_dir=directory / "run")


SYSTEMS: dict[str, Callable[[Measurement, pathlib.Path], None]] = {
    BARE_LOOP: bare_loop,
    PYTORCH_TRIAL: hand_written_trial,
    LIGHTNING: lightning_trainer,
    ADAPTER: adapter,
    KEEPING_LOOP: keeping_loop,
}


def measure(system: str, what: Measurement) -> Measurement:
    """Train once; the clocks in `what` hold the outcome."""
    gc.collect()  # what another system has left is not collected in the time of this one
    with tempfile.TemporaryDirectory() as directory:
        SYSTEMS[system](what, pathlib.Path(directory))
    return what


def keep_quiet() -> None:
    """Nothing of what the systems say belongs into a measurement's output."""
    warnings.simplefilter("ignore")
    for name in ("determined", "pytorch_lightning", "lightning_adapter"):
        logging.getLogger(name).setLevel(logging.ERROR)
