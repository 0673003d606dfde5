"""What do the jobs of several processes train? Small modules, and one entry per case: module, data, arguments."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
import torchmetrics
from determined.pytorch import Batch
from torch import nn
from torch.nn import functional
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

SEED = 11
IS_LIGHTNING_1 = pl.__version__.startswith("1.")


def samples(count: int, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 4, generator=generator)
    return TensorDataset(inputs, inputs.sum(1, keepdim=True).sin())


class Net(pl.LightningModule):
    """A regression; with batch norm and dropout unless it is to be equal to one process."""

    def __init__(self, plain: bool = False, sync: bool = False, unused: bool = False, lr: float = 0.05) -> None:
        super().__init__()
        self.plain, self.sync, self.lr = plain, sync, lr
        between = [nn.ReLU()] if plain else [nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2)]
        self.net = nn.Sequential(nn.Linear(4, 8), *between, nn.Linear(8, 1))
        if unused:
            self.unused = nn.Linear(2, 2)

    def loss(self, batch: Any) -> torch.Tensor:
        return functional.mse_loss(self.net(batch[0]), batch[1])

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, sync_dist=self.sync)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", self.loss(batch), sync_dist=self.sync)

    def configure_optimizers(self) -> Any:
        if self.plain:
            return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]


class Manual(Net):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        for part in (slice(0, 2), slice(2, None)):  # two backwards before a step
            if len(batch[0][part]) > 1:
                self.manual_backward(self.loss([tensor[part] for tensor in batch]))
        self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
        optimizer.step()


class GAN(pl.LightningModule):
    """Manual optimization with two optimizers, as in Lightning's own example."""

    def __init__(self, toggle: bool = True) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.toggle = toggle
        self.generator = nn.Linear(4, 4)
        self.discriminator = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))

    def adversarial(self, x: torch.Tensor, real: bool) -> torch.Tensor:
        target = torch.full((len(x), 1), float(real))
        return functional.binary_cross_entropy_with_logits(self.discriminator(x), target)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        x, _ = batch
        first, second = self.optimizers()
        steps: list[tuple[Any, Callable[[], torch.Tensor]]] = [
            (first, lambda: self.adversarial(self.generator(x), True)),
            (second, lambda: self.adversarial(x, True) + self.adversarial(self.generator(x).detach(), False)),
        ]
        for index, (optimizer, loss_of) in enumerate(steps):
            if self.toggle:
                self.toggle_optimizer(optimizer, *([index] if IS_LIGHTNING_1 else []))
            optimizer.zero_grad()
            self.manual_backward(loss_of())
            optimizer.step()
            if self.toggle:
                self.untoggle_optimizer(index if IS_LIGHTNING_1 else optimizer)

    def configure_optimizers(self) -> Any:
        return [
            torch.optim.SGD(self.generator.parameters(), lr=0.1, momentum=0.9),
            torch.optim.SGD(self.discriminator.parameters(), lr=0.1),
        ]


class Classes(pl.LightningModule):
    """Logs torchmetrics objects: one with sums as its state, one with lists."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 3)
        self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=3)
        self.area = torchmetrics.AUROC(task="multiclass", num_classes=3)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return functional.cross_entropy(self.net(batch[0]), self.labels(batch))

    def labels(self, batch: Any) -> torch.Tensor:
        return (batch[0].sum(1).abs() * 1.5).long().clamp(max=2)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        logits = self.net(batch[0])
        self.accuracy(logits, self.labels(batch))
        self.area.update(logits.softmax(1), self.labels(batch))
        self.log_dict({"accuracy": self.accuracy, "area": self.area})
        self.log("largest", logits.max(), reduce_fx="max", on_step=False, on_epoch=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Talking(Net):
    """Uses what a module finds at `self.trainer` to talk to its other processes."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        weight = self.net[0].weight
        gathered = self.all_gather(weight * (self.global_rank + 1), sync_grads=True)
        self.shape = tuple(gathered.shape)
        return super().training_step(batch, batch_idx) + 0.01 * gathered.pow(2).sum()

    def on_train_epoch_end(self) -> None:
        rank = torch.tensor(float(self.global_rank))
        strategy = self.trainer.strategy
        self.talked = {
            "mean": float(strategy.reduce(rank.clone(), reduce_op="mean")),
            "sum": float(strategy.reduce(rank.clone(), reduce_op="sum")),
            "first": strategy.broadcast({"rank": self.global_rank}),
            "last": strategy.broadcast({"rank": self.global_rank}, src=self.trainer.world_size - 1),
            "all": strategy.reduce_boolean_decision(self.global_rank == 0),
            "any": strategy.reduce_boolean_decision(self.global_rank == 0, all=False),
            "gathered": self.all_gather({"rank": rank, "two": torch.ones(2)})["rank"].tolist(),
            "shape": self.shape,
            "world": (
                self.trainer.world_size,
                self.trainer.global_rank,
                self.trainer.local_rank,
                self.trainer.node_rank,
            ),
            "zero": self.trainer.is_global_zero,
        }
        strategy.barrier("here")
        if self.trainer.is_global_zero:  # read by one rank alone: nobody waits
            self.read_alone = dict(self.trainer.callback_metrics)


class Drifting(Net):
    """One rank changes a parameter on its own in the fifth batch."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.trainer.fit_loop.total_batch_idx == 4 and self.global_rank == 1:
            with torch.no_grad():
                self.net[0].bias.add_(1e-3)
        return super().training_step(batch, batch_idx)


class Stream(IterableDataset):
    """Forty samples of its own for each process, ten fewer on each further rank; no length."""

    def __iter__(self) -> Iterator[Any]:
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        return iter([samples(40)[index] for index in range(40 - 10 * rank)])


class Rounds(BatchSampler):
    """Batches of one's own, of growing size up to a largest, which is computed when it is made."""

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool = False, *, largest: int = 1) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.sizes = [min(batch_size + place, largest) for place in range(len(sampler))]

    def __iter__(self) -> Iterator[list[int]]:
        indices = list(self.sampler)
        for size in self.sizes[: len(self)]:
            yield indices[:size]
            del indices[:size]

    def __len__(self) -> int:
        return 2


class Data(pl.LightningDataModule):
    """22 training samples: 11 on each of two ranks, three batches of which the last is short."""

    def __init__(self, count: int = 22, val: tuple[int, ...] = (16,), batch: int = 4, kind: str = "") -> None:
        super().__init__()
        self.count, self.val, self.batch, self.kind = count, val, batch, kind
        self.prepared = 0

    def prepare_data(self) -> None:
        self.prepared += 1

    @property
    def per_process(self) -> int:
        return self.batch // self.trainer.world_size

    def train_dataloader(self) -> Any:
        data = samples(self.count)
        if self.kind == "weighted":
            weights = torch.linspace(1, 2, self.count)
            return DataLoader(data, self.batch, sampler=WeightedRandomSampler(weights, self.count))
        if self.kind == "rounds":
            return DataLoader(data, batch_sampler=Rounds(RandomSampler(data), 3, largest=4))
        if self.kind == "combined":
            from pytorch_lightning.utilities.combined_loader import CombinedLoader

            return CombinedLoader(DataLoader(data, self.batch, shuffle=True), "min_size")
        if self.kind == "stream":
            return DataLoader(Stream(), self.batch)
        if self.kind == "sharded":
            sampler = DistributedSampler(data, self.trainer.world_size, self.trainer.global_rank, shuffle=False)
            return DataLoader(data, self.batch, sampler=sampler)
        if self.kind == "uneven":
            return DataLoader(samples(8 + 4 * self.trainer.global_rank), self.batch)
        if self.kind == "global":  # the same global batches for any number of processes
            if self.trainer.world_size > 1:
                return DataLoader(data, self.per_process, shuffle=True)
            return DataLoader(data, self.batch, sampler=DistributedSampler(data, 1, 0, seed=SEED))
        return DataLoader(data, self.batch, shuffle=True)

    def val_dataloader(self) -> Any:
        batch = self.per_process if self.kind == "global" else self.batch
        loaders = [DataLoader(samples(count, seed=index + 1), batch) for index, count in enumerate(self.val)]
        return loaders[0] if len(loaders) == 1 else loaders


class DrawnData(Data):
    """`prepare_data` draws a random number, on the one rank that it runs on."""

    def prepare_data(self) -> None:
        super().prepare_data()
        torch.rand(1)


class Stopper(pl.Callback):
    """Sets `should_stop` on one rank alone, in a batch of the second epoch."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 1 and batch_idx == 1 and trainer.global_rank == trainer.world_size - 1:
            trainer.should_stop = True


@dataclass
class Case:
    """What one run trains.

    Attributes:
        lightning: also run with Lightning's own DDP Trainer, or its arguments where they have to differ.
        single: also run in one process, on the same global batches.
        see: reads more from a trained module, as plain data.
        resume: train again from the checkpoint of this batch, and note how that ends.
        refused: all processes raise an error at the same moment, whose text is noted.
        chief_callbacks: the first process alone has a Determined callback of its own.
    """

    build: Callable[[], Any]
    data: Callable[[], Any] = Data
    arguments: dict[str, Any] = field(default_factory=dict)
    lightning: bool | dict[str, Any] = False
    single: bool = False
    backends: tuple[str, ...] = ("torch", "horovod")
    see: Callable[[Any], Any] | None = None
    resume: int | None = None
    refused: bool = False
    chief_callbacks: bool = False


def _global(**options: Any) -> Callable[[], Data]:
    return lambda: Data(kind="global", **options)


# Lightning 1.x looks for unused parameters always, and has no name for it.
UNUSED = {"strategy": "ddp" if IS_LIGHTNING_1 else "ddp_find_unused_parameters_true"}
CASES: dict[str, Case] = {
    "net": Case(Net, arguments={"max_epochs": 3}, lightning=True),
    "chief_callbacks": Case(Net, chief_callbacks=True, lightning=True, backends=("torch",)),
    "accumulated": Case(
        Net,
        lambda: Data(40),
        {"accumulate_grad_batches": 2, "gradient_clip_val": 0.3, "max_epochs": 2},
        lightning=True,
        backends=("torch",),
    ),
    "sync_dist": Case(lambda: Net(sync=True), lightning=True, backends=("torch",)),
    "unused": Case(lambda: Net(unused=True), arguments=UNUSED, lightning=True, backends=("torch",)),
    "manual": Case(Manual, lightning=True),
    "gan": Case(GAN, lightning=UNUSED, backends=("torch",)),
    "weighted": Case(Net, lambda: Data(kind="weighted"), lightning=True, backends=("torch",)),
    "rounds": Case(Net, lambda: Data(kind="rounds"), lightning=True, backends=("torch",)),
    **(
        {}
        if IS_LIGHTNING_1
        else {"combined": Case(Net, lambda: Data(kind="combined"), lightning=True, backends=("torch",))}
    ),
    "overfitted": Case(Net, arguments={"overfit_batches": 2}, lightning=True, backends=("torch",)),
    "sharded": Case(Net, lambda: Data(kind="sharded"), lightning=True, backends=("torch",)),
    "limited": Case(
        Net, lambda: Data(40), {"limit_train_batches": 3, "val_check_interval": 2}, lightning=True, backends=("torch",)
    ),
    "double": Case(Net, arguments={"precision": 64}, lightning=True, backends=("torch",)),
    "bf16": Case(Net, arguments={"precision": "bf16"}, lightning=True, backends=("torch",)),
    "same": Case(lambda: Net(plain=True), _global(count=24, val=(10,)), {"max_epochs": 3}, single=True),
    "same_accumulated": Case(
        lambda: Net(plain=True),
        _global(count=32),
        {"accumulate_grad_batches": 2, "gradient_clip_val": 0.2},
        single=True,
    ),
    "same_gan": Case(GAN, _global(count=24), {"max_epochs": 3}, single=True),
    "same_gan_untoggled": Case(lambda: GAN(toggle=False), _global(count=24), {"max_epochs": 3}, single=True),
    "few": Case(lambda: Net(plain=True), _global(count=8, val=(1,)), single=True),
    "loaders": Case(lambda: Net(plain=True), _global(count=8, val=(5, 1, 7)), single=True),
    "classes": Case(Classes, _global(count=16, val=(9,)), single=True),
    "classes_few": Case(Classes, _global(count=16, val=(1,)), single=True),
    "stopped": Case(Net, lambda: Data(40), {"callbacks": lambda: [Stopper()], "max_epochs": 4}),
    "patience": Case(
        lambda: Net(sync=True, lr=0.0),
        arguments={"callbacks": lambda: [pl.callbacks.EarlyStopping("val_loss", patience=1)], "max_epochs": 9},
        lightning=True,
    ),
    "talking": Case(Talking, see=lambda module: module.talked, lightning=UNUSED, arguments=UNUSED, backends=("torch",)),
    "talking_horovod": Case(Talking, see=lambda module: module.talked, backends=("horovod",)),
    "stream": Case(Net, lambda: Data(kind="stream"), backends=("torch",)),
    "dealt_out": Case(Net, lambda: Data(kind="stream"), {"shard_iterable": True}, backends=("torch",)),
    "prepared": Case(Net, see=lambda module: module.trainer.datamodule.prepared),
    "prepared_at_random": Case(Net, DrawnData, lightning=True, backends=("torch",)),
    "resumed": Case(Net, lambda: Data(40), {"max_epochs": 3}, resume=7),
    "compressed": Case(
        lambda: Net(plain=True), _global(count=24), {"fp16_compression": True, "max_epochs": 3}, backends=("horovod",)
    ),
    "drifted": Case(Drifting, lambda: Data(24), refused=True),
    "drifted_early": Case(Drifting, lambda: Data(24), {"check_ranks_every": Batch(1)}, refused=True),
    "uneven": Case(
        Net, lambda: Data(kind="uneven"), {"use_distributed_sampler": False}, refused=True, backends=("torch",)
    ),
    "not_horovod": Case(Net, arguments={"strategy": "horovod"}, refused=True, backends=("torch",)),
    "not_ddp": Case(Net, arguments={"strategy": "ddp"}, refused=True, backends=("horovod",)),
    "not_all_used": Case(
        lambda: Net(unused=True), lightning=IS_LIGHTNING_1, refused=not IS_LIGHTNING_1, backends=("torch",)
    ),
    "synchronised": Case(Net, arguments={"sync_batchnorm": True}, refused=True, backends=("torch",)),
    "wrong_batch": Case(Net, lambda: Data(batch=3), refused=True, backends=("torch",)),
}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    import logging
    import warnings

    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning.fabric")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
