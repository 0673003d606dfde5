"""Does a training step wait for the device, and does memory grow with the number of steps?"""

from __future__ import annotations

import collections
import gc
import inspect
import itertools
import statistics
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from determined import pytorch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics import MeanMetric

from lightning_adapter import DETLM, LightningAdapter, fit
from lightning_adapter.runs import live_curves, table_epochs

STEPS = 12
EVERY = 5
#: Reads a number out of a tensor: `.item()`, `float()`, `bool()` and `if tensor:` all come here, on a GPU they wait.
READS = torch.ops.aten._local_scalar_dense.default
#: `.cpu()`, `.to()` and the like.
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class Calls(TorchDispatchMode):
    """Counts in which batch numbers are read out of tensors, or tensors are copied."""

    def __init__(self) -> None:
        super().__init__()
        self.batch = 0
        self.found: collections.Counter[int] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is READS or func in COPIES:
            self.found[self.batch] += 1
        return func(*args, **(kwargs or {}))


class Body:
    """SGD, since Adam reads its step counters on the CPU."""

    def make(self) -> None:
        self.layer = torch.nn.Linear(4, 1)
        self.mean = MeanMetric(nan_strategy="disable")  # the others look for NaN
        self.calls: Calls | None = None
        self.objects: list[int] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if self.calls is not None:
            self.calls.batch = batch_idx + 1
        loss = self.layer(batch).mean()
        self.mean.update(loss.detach())
        self.log("loss", loss, prog_bar=True)
        self.log("both", loss, on_step=True, on_epoch=True)
        self.log("epoch", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("number", 0.5)
        self.log("mean", self.mean)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader([torch.ones(4) * i for i in range(2 * STEPS)], batch_size=2)


class Adapted(Body, DETLM):
    def __init__(self) -> None:
        super().__init__()
        self.make()


class Original(Body, pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.make()


def reads_under_the_adapter(tmp_path: Path, **arguments: Any) -> collections.Counter[int]:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, Adapted(), logger=False, enable_progress_bar=False, **arguments)
            self.lightning_module.calls = calls

    calls = Calls()
    with calls:
        fit(Trial, max_epochs=1, run_dir=tmp_path / "run")
    return calls.found


@pytest.mark.parametrize("accumulate", [1, 2])
def test_only_reporting_steps_read_from_the_device(tmp_path: Path, accumulate: int) -> None:
    found = reads_under_the_adapter(tmp_path, log_every_n_steps=EVERY, accumulate_grad_batches=accumulate)
    # what happens before the first batch is counted as batch 0, what happens after the last as the last
    reporting = {step for step in range(1, STEPS) if step % (EVERY * accumulate) == 0}
    assert {step for step in found if 0 < step < STEPS} == reporting


def test_clipping_and_schedulers_read_nothing(tmp_path: Path) -> None:
    found = reads_under_the_adapter(tmp_path, log_every_n_steps=0, gradient_clip_val=0.5)
    assert not [step for step in found if 0 < step < STEPS]


def test_lightning_reads_no_less_than_the_adapter(tmp_path: Path) -> None:
    module = Original()
    module.calls = Calls()
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=EVERY,
        default_root_dir=tmp_path,
    )
    with module.calls:
        trainer.fit(module)
    ours = reads_under_the_adapter(tmp_path, log_every_n_steps=EVERY)
    assert sum(ours[step] for step in range(1, STEPS)) <= sum(module.calls.found[step] for step in range(1, STEPS))


def test_no_object_is_kept_per_step(tmp_path: Path) -> None:
    counted: dict[int, int] = {}

    class Counting(Adapted):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            if batch_idx in (200, 800):
                gc.collect()
                counted[batch_idx] = sum(isinstance(thing, Tensor) for thing in gc.get_objects())
            return super().training_step(batch, batch_idx)

        def train_dataloader(self) -> DataLoader[Any]:
            return DataLoader(torch.ones(900, 4), batch_size=1)

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, Counting(), logger=False, enable_progress_bar=False)

    fit(Trial, max_epochs=1, run_dir=tmp_path / "run")
    assert counted[800] - counted[200] <= 2


class Growing(DataLoader[Any]):
    """Epochs of different lengths that nobody knows."""

    epochs = 0

    def __init__(self) -> None:
        super().__init__(Stream())

    def __iter__(self) -> Any:
        self.epochs += 1
        return iter([torch.ones(1, 4)] * (2 + self.epochs * self.epochs % 3))


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        return iter(())


def test_a_run_of_many_epochs_keeps_nothing_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a long run writes is on but Lightning's CSVLogger, which keeps all rows in older Lightnings."""
    blocks: dict[int, int] = {}
    looked_at = range(100, 501, 100)
    monkeypatch.setattr(table_epochs, "_MOST_KNOTS", 64)  # the room that a long run has, filled sooner
    monkeypatch.setattr(live_curves, "_SECONDS", 1e6)  # a slow machine would draw in between, for the first time
    monkeypatch.setenv("LIGHTNING_ADAPTER_CHECKPOINTS", "wait")  # the content of one that is being written would count

    class Counting(Adapted):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch in looked_at:
                gc.collect()
                blocks[self.current_epoch] = sys.getallocatedblocks()

        def train_dataloader(self) -> DataLoader[Any]:
            return Growing()

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("val_loss", batch.mean())

        def val_dataloader(self) -> DataLoader[Any]:
            return DataLoader(torch.ones(2, 4))

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(
                context,
                Counting(),
                logger=pl.loggers.TensorBoardLogger(tmp_path),
                callbacks=[
                    pl.callbacks.EarlyStopping("both_epoch", patience=2 * looked_at[-1]),
                    pl.callbacks.LearningRateMonitor(),
                ],
                log_every_n_steps=4,
                check_val_every_n_epoch=50,
            )

    fit(Trial, max_epochs=looked_at[-1] + 1, checkpoint_period=pytorch.Batch(10**6), run_dir=tmp_path / "run")
    # not objects, since numbers are none for the collector; some are records that pytest keeps
    grown = [later - sooner for sooner, later in itertools.pairwise(blocks.values())]
    # what comes once may do so at any time, as with the first line of the log that is due: in one of the four
    assert statistics.median(grown) < 2 * looked_at.step


class CallsInThePackage:
    """Counts the calls of this package's functions between two marks, of which there is one in each step."""

    def __init__(self) -> None:
        self.counted: list[int] = []
        self._package = str(Path(inspect.getfile(LightningAdapter)).parent)

    def mark(self, goes_on: bool) -> None:
        self.counted.append(0)
        sys.setprofile(self._profile if goes_on else None)

    def _profile(self, frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(self._package):
            self.counted[-1] += 1

    def of_quiet_steps(self, module: DETLM, tmp_path: Path) -> list[int]:
        class Trial(LightningAdapter):
            def __init__(self, context: Any) -> None:
                super().__init__(context, module, logger=False, enable_progress_bar=False)

        try:
            fit(Trial, max_epochs=1, run_dir=tmp_path / "run")
        finally:
            sys.setprofile(None)
        return self.counted[2:-1]  # the first batches end a workload, and the last one the epoch


def test_calls_per_step_stay_few(tmp_path: Path) -> None:
    """Time cannot be tested on a machine that others use; the calls that a step makes in this package can be counted."""
    calls = CallsInThePackage()

    class OneValue(DETLM):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            calls.mark(batch_idx < STEPS - 1)
            loss = self.layer(batch).mean()
            self.log("loss", loss)
            return loss

        configure_optimizers = Body.configure_optimizers
        train_dataloader = Body.train_dataloader

    counted = calls.of_quiet_steps(OneValue(), tmp_path)
    assert max(counted) <= 41, counted


def test_calls_per_validation_batch_stay_few(tmp_path: Path) -> None:
    calls = CallsInThePackage()

    class OneValue(DETLM):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return self.layer(batch).mean()

        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            calls.mark(batch_idx < STEPS - 1)
            self.log("loss", self.layer(batch).mean())

        configure_optimizers = Body.configure_optimizers
        train_dataloader = val_dataloader = Body.train_dataloader

    counted = calls.of_quiet_steps(OneValue(), tmp_path)
    assert max(counted) <= 20, counted
