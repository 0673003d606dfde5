"""Interrupted at any batch, and resumed, a run gives what the uninterrupted one gave, whatever it is that has state."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics
from determined import pytorch
from torch.optim.lr_scheduler import LinearLR, StepLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, Sampler, WeightedRandomSampler

from parity.harness import Case, differences
from parity.models import GAN, Data, Manual, Net, SizedStatefulStream, SizedStream, StatefulStream, Stream, samples

from .interrupting import assert_resumes, case_of, follow, pl, train

POINTS_PER_CASE = 2


class Loaders(Data):
    """A datamodule whose training loader is made by a function."""

    def __init__(self, make: Callable[[], Any], **options: Any) -> None:
        super().__init__(**options)
        self.make = make

    def train_dataloader(self) -> Any:
        return self.make()


class EverySecond(Sampler):
    """Every second sample, in an order drawn from the global generators of torch, numpy and python."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.count // 2).tolist()
        for index in order:
            yield 2 * ((index + random.randint(0, 3) + int(np.random.randint(3))) % (self.count // 2))

    def __len__(self) -> int:
        return self.count // 2


class DrawingStream(IterableDataset):
    """Draws what it yields while it yields it."""

    def __iter__(self) -> Iterator:
        for _ in range(18):
            x = torch.randn(4) + float(np.random.rand()) + random.random()
            yield x, x.sum(0, keepdim=True)


class EpochBatches(BatchSampler):
    """Shuffles by epoch, as DistributedSampler does."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.epoch)
        order = torch.randperm(self.count, generator=generator).tolist()
        for start in range(0, self.count, 4):
            yield order[start : start + 4]

    def __len__(self) -> int:
        return (self.count + 3) // 4


class Batches:
    """No DataLoader at all: an iterable of batches."""

    def __iter__(self) -> Iterator:
        return iter(DataLoader(samples(20), 4, shuffle=True))

    def __len__(self) -> int:
        return 5


class Reversed(DataLoader):
    """Its iterator is a generator: nothing happens before the first batch is asked for."""

    def __iter__(self) -> Iterator:
        for x, y in super().__iter__():
            yield x.flip(0), y.flip(0)


class TakesTwo(Net):
    """Joins two batches in each step."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.indices: list[Any] = []

    def training_step(self, dataloader_iter: Any) -> Any:
        (first, *_), (second, *indices) = next(dataloader_iter), next(dataloader_iter)
        self.indices.append(indices)
        loss = self.loss(first) + self.loss(second)
        self.log("index", float(indices[0]), on_step=True, batch_size=1)
        return loss


class Metrics(Net):
    """Everything that accumulates within an epoch: logged means, torchmetrics, a collection, user lists."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.error = torchmetrics.MeanSquaredError()
        self.largest = torchmetrics.MaxMetric()
        self.unlogged = torchmetrics.CatMetric()
        self.both = torchmetrics.MetricCollection([torchmetrics.MeanAbsoluteError(), torchmetrics.R2Score()])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        output = self(x)
        loss = torch.nn.functional.mse_loss(output, y)
        self.error(output, y)
        self.largest.update(loss)
        self.unlogged.update(loss.detach())
        self.both.update(output, y)
        self.log("error", self.error, on_step=True, on_epoch=True)
        self.log("largest", self.largest, on_step=False, on_epoch=True)
        self.log("smallest", loss, reduce_fx="min", on_step=False, on_epoch=True)
        self.log("total", float(loss), reduce_fx="sum", on_step=True, on_epoch=True, prog_bar=True)
        self.log_dict({"a": loss, "b": loss * 2}, on_step=False, on_epoch=True, batch_size=3)
        if batch_idx % 2:
            self.log("odd", loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("unlogged", self.unlogged.compute().sum())
        self.unlogged.reset()
        self.log_dict(self.both.compute())
        self.both.reset()


class Remembering(pl.Callback):
    """A callback with a state of its own."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.seen = torch.zeros(3)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]))
        self.seen += torch.rand(3)

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses, self.seen = state["losses"], state["seen"]


class StatefulData(Data):
    """Counts what it handed out; its state changes the data."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.handed = 0

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.handed += 1
        x, y = batch
        return x + 0.01 * self.handed, y

    def state_dict(self) -> dict[str, Any]:
        return {"handed": self.handed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.handed = state["handed"]


class ManualAccumulation(Manual):
    """Steps every third batch by hand: between the steps gradients carry what was trained."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        loss = self.loss(batch)
        self.manual_backward(loss)
        if batch_idx % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()
        self.log("train_loss", loss, on_epoch=True)


class Averaging(Net):
    """Stochastic weight averaging by hand, in a submodule that belongs to the state."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.averaged = AveragedModel(self.net)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.averaged.update_parameters(self.net)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val_loss", torch.nn.functional.mse_loss(self.averaged(batch[0]), batch[1]))


class Frozen(Net):
    """Its user puts a part into evaluation mode and sets what the trainer lets him set."""

    def on_train_epoch_start(self) -> None:
        self.net[1].eval()
        if self.current_epoch == 1:
            self.net[3].eval()


class Unfinished(Net):
    """Skips batches, and ends an epoch early."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None if batch_idx == 2 else super().training_step(batch, batch_idx)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if self.current_epoch == 1 and batch_idx == 4 else None


class TwoSchedules(Net):
    """A list of schedulers on one optimizer, one by step, one by epoch."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        return [optimizer], [
            {"scheduler": LinearLR(optimizer, 0.1, total_iters=5), "interval": "step"},
            {"scheduler": StepLR(optimizer, 1, gamma=0.5), "interval": "epoch"},
        ]


class OldOutputs(Net):
    """Keeps every output of the epoch for a hook of Lightning 1.x."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": super().training_step(batch, batch_idx), "index": batch_idx}

    def training_epoch_end(self, outputs: list[Any]) -> None:
        self.log("weighted", sum(output["loss"] * (1 + output["index"]) for output in outputs))


class SmallSteps(Net):
    """An optimizer that runs its closure several times."""

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.05, max_iter=3)


class Unbatched(Net):
    """Its loader does not batch."""

    def loss(self, batch: Any) -> Any:
        x, y = batch
        return super().loss((x.reshape(-1, 4).repeat(2, 1), y.reshape(-1, 1).repeat(2, 1)))


class TwoLoaders(Net):
    """Trains on a dictionary of loaders."""

    def loss(self, batch: Any) -> Any:
        return sum(Net.loss(self, item) for item in batch.values()) if isinstance(batch, dict) else super().loss(batch)


def own_generator_loader(**options: Any) -> Any:
    generator = torch.Generator().manual_seed(5)
    return DataLoader(samples(22), 4, shuffle=True, generator=generator, **options)


def weighted_loader() -> Any:
    sampler = WeightedRandomSampler([1.0, 2.0] * 11, 22, generator=torch.Generator().manual_seed(3))
    return DataLoader(samples(22), 4, sampler=sampler)


def inner_generator_loader() -> Any:
    order = RandomSampler(range(22), generator=torch.Generator().manual_seed(7))
    return DataLoader(samples(22), batch_sampler=BatchSampler(order, 4, False))


def net(**options: Any) -> Callable[[], Any]:
    return lambda: Net(**options)


def data(**options: Any) -> Callable[[], Any]:
    return lambda: Data(**options)


def loader(make: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: Loaders(make)


def callbacks(name: str, **options: Any) -> Callable[[], list[Any]]:
    return lambda: [getattr(pl.callbacks, name)(**options)]


def swa() -> list[Any]:
    return [pl.callbacks.StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1, annealing_epochs=1)]


PLATEAU = {"scheduler": "plateau", "monitor": "val_loss"}

#: name -> (a fresh case, what `fit` is given besides)
CASES: dict[str, tuple[Callable[[], Case], dict[str, Any]]] = {}


def add(name: str, build: Callable[[], Any], make_data: Callable[[], Any] | None = None, **arguments: Any) -> None:
    options = arguments.pop("fit", {})
    arguments.setdefault("max_epochs", 2)
    make_data = make_data or data()
    CASES[name] = (lambda: case_of(build, make_data, **arguments), options)


add("shuffle and dropout", net())
add("cosine schedule by step", net(scheduler="cosine", interval="step"))
add("one cycle schedule, Adam", net(optimizer="adam", scheduler="onecycle", interval="step"))
add("chained and sequential schedules", net(scheduler="sequential"), max_epochs=3)
add("two schedules", TwoSchedules)
add("LBFGS", SmallSteps)
add("plateau by epoch", net(**PLATEAU), max_epochs=3)
add("plateau by step", net(**PLATEAU, interval="step", strict=False), val_check_interval=2)
add("accumulation", net(), accumulate_grad_batches=4, max_epochs=3)
add("clipping", net(), gradient_clip_val=0.3)
add("early stopping", net(), callbacks=callbacks("EarlyStopping", monitor="val_loss", patience=1), max_epochs=6)
add(
    "early stopping on the training loss",
    net(),
    callbacks=callbacks("EarlyStopping", monitor="train_loss", patience=1, check_on_train_epoch_end=True),
    max_epochs=6,
)
add("stateful callback", net(), callbacks=lambda: [Remembering()])
add("stochastic weight averaging", net(), callbacks=swa, max_epochs=4)
add("weight averaging in the module", Averaging)
add("stateful datamodule", net(), lambda: StatefulData())
add("metrics", Metrics, max_epochs=2)
add("validation in mid epoch", net(), val_check_interval=0.5)
add("validation over epochs", net(), val_check_interval=4, check_val_every_n_epoch=None)
add("validation every other epoch", net(), check_val_every_n_epoch=2, max_epochs=3)
add("two optimizers by hand", GAN)
add("one optimizer by hand", lambda: Manual(scheduler="step"))
add("accumulation by hand", ManualAccumulation)
add("16 bit with a scaler", net(), precision="16-mixed")
add("bfloat16", net(), precision="bf16-mixed")
add("double precision", net(), precision="64-true")
add("augmentation without workers", net(), data(noisy=True))
add("one worker", net(), data(num_workers=1))
add("augmentation, seeds, no worker", net(), data(noisy=True), worker_seeds=True)
add("augmentation, seeds, one worker", net(), data(noisy=True, num_workers=1), worker_seeds=True)
add("augmentation, seeds, two workers", net(), data(noisy=True, num_workers=2), worker_seeds=True)
add("augmentation, seeds, persistent workers", net(),
    data(noisy=True, num_workers=2, persistent_workers=True), worker_seeds=True)  # fmt: skip
add("outputs of Lightning 1.x", OldOutputs)
add("two workers", net(), data(num_workers=2))
add("persistent workers", net(), data(num_workers=2, persistent_workers=True))
add("generator of the loader", net(), loader(own_generator_loader))
add("generator of the loader, worker", net(), loader(lambda: own_generator_loader(num_workers=1)))
add("generator of the sampler", net(), loader(weighted_loader))
add("custom sampler", net(), loader(lambda: DataLoader(samples(40), 4, sampler=EverySecond(40))))
add("custom batch sampler", net(), loader(lambda: DataLoader(samples(22), batch_sampler=EpochBatches(22))))
add("generator in a batch sampler", net(), loader(inner_generator_loader))
add("loader that is a generator", net(), loader(lambda: Reversed(samples(22), 4, shuffle=True)))
add("loader that is a generator, persistent workers", net(),
    loader(lambda: Reversed(samples(22), 4, shuffle=True, num_workers=1, persistent_workers=True)))  # fmt: skip
add("loader with a state", net(), loader(SizedStatefulStream), max_epochs=3)
add("loader with a state and no length", net(), loader(StatefulStream), max_epochs=3)
add("loader with a state, limited", net(), loader(SizedStatefulStream), max_epochs=3, limit_train_batches=4)
add("loader with a state beside another", lambda: TwoLoaders(),
    loader(lambda: {"a": SizedStatefulStream(), "b": DataLoader(samples(12), 4, shuffle=True)}))  # fmt: skip
add("steps that take two batches", TakesTwo, loader(lambda: DataLoader(samples(22), 2, shuffle=True)), trace=False)
add("no batching", Unbatched, loader(lambda: DataLoader(samples(6), batch_size=None, shuffle=True)))
add("iterable dataset", net(), loader(lambda: DataLoader(Stream(22), 4)))
add("iterable dataset with length", net(), loader(lambda: DataLoader(SizedStream(22), 4)))
add("iterable dataset that draws", net(), loader(lambda: DataLoader(DrawingStream(), 4)))
add("iterable dataset, worker", net(), loader(lambda: DataLoader(Stream(22), 4, num_workers=1)))
add(
    "several loaders",
    lambda: TwoLoaders(),
    loader(lambda: {"a": own_generator_loader(), "b": DataLoader(samples(12), 4, shuffle=True)}),
)
add("iterable of batches", net(), loader(Batches))
add("limited batches", net(), limit_train_batches=4, limit_val_batches=1)
add("reloaded loaders", net(), reload_dataloaders_every_n_epochs=1, max_epochs=3)
add("steps as the end", net(), max_epochs=None, max_steps=9)
add("frozen parts", Frozen)
add("skipped batches", Unfinished, max_epochs=3)
add("sanity check before", net(), num_sanity_val_steps=2)
add("no validation", net(), limit_val_batches=0)


@pytest.mark.parametrize("name", CASES)
def test_interrupted_at_random_batches_goes_on_as_if_nothing_had_been(name: str, tmp_path: Path) -> None:
    make, options = CASES[name]
    reference = follow(make(), tmp_path, **options)
    points = reference.interruption_points
    for batches in sorted(random.Random(f"{name} 5").sample(points, POINTS_PER_CASE)):
        assert_resumes(make(), reference, batches, **options)


def test_the_matrix_has_more_than_fifty_points() -> None:
    assert len(CASES) * POINTS_PER_CASE > 50


@pytest.mark.parametrize("name", ["shuffle and dropout", "metrics", "iterable dataset that draws", "accumulation"])
def test_checkpoints_change_nothing_in_the_run_that_writes_them(name: str, tmp_path: Path) -> None:
    make, options = CASES[name]
    followed = follow(make(), tmp_path, **options)
    rare = train(make(), tmp_path / "rare", checkpoint_period=pytorch.Epoch(1), **options)
    text = differences(rare.run, followed.run)
    assert not text, text


def test_checkpoints_wait_for_the_end_of_accumulation(tmp_path: Path) -> None:
    make, _ = CASES["accumulation"]
    assert follow(make(), tmp_path).interruption_points == [4, 6, 10, 12, 16, 18]


class Fails(Net):
    """Its process ends in the middle of an epoch."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.current_epoch == 1 and batch_idx == 2:
            raise ConnectionError("the machine is gone")


def test_failed_run_resumes_from_its_newest_checkpoint(tmp_path: Path) -> None:
    reference = follow(case_of(Net, data(), max_epochs=2), tmp_path)
    with pytest.raises(ConnectionError, match="the machine is gone"):
        train(case_of(Fails, data(), max_epochs=2), tmp_path / "failed", checkpoint_period=pytorch.Batch(3))
    assert_resumes(case_of(Net, data(), max_epochs=2), reference, 6, resume_from=tmp_path / "failed" / "checkpoints")
    (log,) = (reference.folder.with_name("resumed-at-6")).rglob("train.log")
    assert re.search("resuming from .*failed/checkpoints/", log.read_text())
