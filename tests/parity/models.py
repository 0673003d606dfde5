"""Which modules and datamodules do the parity cases train? Small ones, on the base classes of the chosen package.

The bodies know no base class; `flavour` puts one below them, so that the same body is a plain LightningModule of either
package or a DETLM. The names at the end are those of the package under test (`PARITY_PACKAGE`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from .harness import PACKAGE, host_version, package_of

pl = importlib.import_module(PACKAGE)
IS_LIGHTNING_1 = host_version().startswith("1.")


def samples(count: int, seed: int = 0) -> TensorDataset:
    """`count` pairs of four inputs and one target, the same for every call; the global generator is left alone."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 4, generator=generator)
    return TensorDataset(inputs, inputs.sum(1, keepdim=True).sin())


class Stream(IterableDataset):
    """An iterable dataset of `count` pairs, with a length if asked for."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.data = samples(count, seed)

    def __iter__(self) -> Iterator:
        return iter([self.data[index] for index in range(len(self.data))])


class SizedStream(Stream):
    def __len__(self) -> int:
        return len(self.data)


class StatefulStream:
    """No DataLoader: says where it stands, and orders its batches by a count that only its state holds."""

    batches = 6
    at = count = 0

    def __iter__(self) -> Iterator:
        order = torch.randperm(self.batches, generator=torch.Generator().manual_seed(self.count)).tolist()
        while self.at < self.batches:
            self.at += 1
            yield self.batch(order[self.at - 1])
        self.at, self.count = 0, self.count + 1

    def batch(self, index: int) -> Any:
        return samples(4, index)[:]

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at, self.count = state["at"], state["count"]


class SizedStatefulStream(StatefulStream):
    def __len__(self) -> int:
        return self.batches


class NoisySamples(torch.utils.data.Dataset):
    """Draws augmentation from the global generator of the process that loads the sample."""

    def __init__(self, count: int, seed: int = 0) -> None:
        self.data = samples(count, seed)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = self.data[index]
        return x + 0.1 * torch.randn(4), y


SCHEDULERS = {
    "step": lambda optimizer, trainer: torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.8),
    "cosine": lambda optimizer, trainer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10),
    "lambda": lambda optimizer, trainer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 / (1 + n)),
    "sequential": lambda optimizer, trainer: torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3),
            torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
        ],
        milestones=[3],
    ),
    "chained": lambda optimizer, trainer: torch.optim.lr_scheduler.ChainedScheduler(
        [
            torch.optim.lr_scheduler.ConstantLR(optimizer, 0.5, total_iters=4),
            torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
        ]
    ),
    "onecycle": lambda optimizer, trainer: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.2, total_steps=int(trainer.estimated_stepping_batches)
    ),
    "plateau": lambda optimizer, trainer: torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=0, threshold=0.5
    ),
}
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.05),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, lr=0.5, max_iter=4),
}


class NetBody:
    """A small regression with everything that has state: batch norm, dropout, an optimizer, perhaps a scheduler."""

    def __init__(
        self, optimizer: str = "sgd", scheduler: str | None = None, dropout: float = 0.2, **lr_options: Any
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.lr_options = lr_options
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def loss(self, batch: Any) -> torch.Tensor:
        x, y = batch
        return functional.mse_loss(self(x), y)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("val_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = OPTIMIZERS[self.optimizer](self.parameters())
        if self.scheduler is None:
            return optimizer
        scheduler = SCHEDULERS[self.scheduler](optimizer, self.trainer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **self.lr_options}}


class DataBody:
    """Six training batches of four, the last of two; three validation batches, the last of two."""

    def __init__(
        self, count: int = 22, val_count: int = 10, batch_size: int = 4, shuffle: bool = True, noisy: bool = False,
        **loader_options: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.count, self.val_count, self.batch_size, self.shuffle = count, val_count, batch_size, shuffle
        self.noisy = noisy
        self.loader_options = loader_options

    def setup(self, stage: str | None = None) -> None:
        self.train_set = (NoisySamples if self.noisy else samples)(self.count)
        self.val_set = samples(self.val_count, seed=1)

    def train_dataloader(self) -> Any:
        return DataLoader(self.train_set, self.batch_size, shuffle=self.shuffle, **self.loader_options)

    def val_dataloader(self) -> Any:
        return DataLoader(self.val_set, self.batch_size)


class OwnLoadersBody(NetBody):
    """A module with loaders of its own, without a datamodule."""

    def train_dataloader(self) -> Any:
        return DataLoader(samples(14), 4, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(samples(6, seed=1), 4)


class ManualBody(NetBody):
    """Manual optimization with one optimizer and a scheduler stepped by hand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = self.loss(batch)
        self.manual_backward(loss)
        self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
        optimizer.step()
        schedulers = self.lr_schedulers()
        if schedulers is not None:
            schedulers.step()
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss


class GANBody:
    """Two networks, two optimizers, manual optimization, as GANs are written for Lightning 2.x."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Linear(4, 4)
        self.discriminator = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1), nn.Linear(4, 1))

    def adversarial(self, x: torch.Tensor, is_real: bool) -> torch.Tensor:
        target = torch.full((len(x), 1), float(is_real))
        return functional.binary_cross_entropy_with_logits(self.discriminator(x), target)

    def generator_loss(self, x: torch.Tensor) -> torch.Tensor:
        return self.adversarial(self.generator(torch.randn_like(x)), True)

    def discriminator_loss(self, x: torch.Tensor) -> torch.Tensor:
        fake = self.generator(torch.randn_like(x)).detach()
        return (self.adversarial(x, True) + self.adversarial(fake, False)) / 2

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, _ = batch
        first, second = self.optimizers()
        for name, optimizer, loss_of in (
            ("g_loss", first, self.generator_loss),
            ("d_loss", second, self.discriminator_loss),
        ):
            self.step_alone(name, optimizer, loss_of, x)

    def step_alone(self, name: str, optimizer: Any, loss_of: Callable, x: torch.Tensor) -> None:
        """One step of one optimizer, the other one's parameters kept out of it."""
        index = [item is optimizer for item in self.optimizers()].index(True)
        # the index was an argument until Lightning 2.0
        is_lightning_1 = host_version(package_of(self)).startswith("1.")
        self.toggle_optimizer(optimizer, *([index] if is_lightning_1 else []))
        loss = loss_of(x)
        self.log(name, loss, prog_bar=True)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.untoggle_optimizer(index if is_lightning_1 else optimizer)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val_d_loss", self.discriminator_loss(batch[0]))

    def configure_optimizers(self) -> Any:
        return [
            torch.optim.Adam(self.generator.parameters(), lr=0.02),
            torch.optim.Adam(self.discriminator.parameters(), lr=0.01),
        ]


def flavour(package: str = PACKAGE, ours: bool = False) -> SimpleNamespace:
    """The models on the base classes of one package.

    Args:
        package: `pytorch_lightning` or `lightning.pytorch`.
        ours: put DETLM and DETDM below them instead of LightningModule and LightningDataModule.
    """
    if ours:
        face = importlib.import_module(
            "lightning_adapter.lightning" if package == "lightning.pytorch" else "lightning_adapter"
        )
        module_base, data_base = face.DETLM, face.DETDM
    else:
        host = importlib.import_module(package)
        module_base, data_base = host.LightningModule, host.LightningDataModule
    made = {
        body.__name__.removesuffix("Body"): type(body.__name__.removesuffix("Body"), (body, base), {})
        for body, base in (
            (NetBody, module_base),
            (OwnLoadersBody, module_base),
            (ManualBody, module_base),
            (GANBody, module_base),
            (DataBody, data_base),
        )
    }
    return SimpleNamespace(**made)


_models = flavour()
Net: Any = _models.Net
OwnLoaders: Any = _models.OwnLoaders
Manual: Any = _models.Manual
GAN: Any = _models.GAN
Data: Any = _models.Data
