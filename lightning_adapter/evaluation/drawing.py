"""Which pictures are drawn of a trial's batches: before it is trained, or with what its trained model predicts?

The loaders are those of training, and a batch goes through the transfer hooks as it does there, in the stage of its split:
what they do to training batches alone is seen too.
"""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch

from lightning_adapter.data.collections import Collection, flatten, is_loader
from lightning_adapter.data.combining import CombinedIterator
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.loading import LoadedTrial
from lightning_adapter.loop.hooks import is_overridden
from lightning_adapter.loop.precision import Precision, select_precision
from lightning_adapter.pictures import page
from lightning_adapter.pictures.batch_page import Style, all_values, draw
from lightning_adapter.pictures.predictions import Prediction, predict
from lightning_adapter.versions import hosts, lightning_private
from lightning_adapter.versions.types import Batch, LightningDataModule, LightningModule

Split: TypeAlias = Literal["train", "val", "test"]


class DrawnBatch(NamedTuple):
    """A picture.

    Attributes:
        title: what it shows.
        path: where it lies.
        table: of all values, as text.
        note: why nothing is predicted; empty where something is, or was not asked for.
    """

    title: str
    path: pathlib.Path
    table: str
    note: str


def draw_batches(
    trial: LoadedTrial, split: Split, batches: int, directory: pathlib.Path, samples: int = 16
) -> Iterator[DrawnBatch]:
    """Draw the first batches of each loader; with what the model predicts, where it has the weights of a checkpoint.

    Args:
        trial: fresh, or loaded.
        split: whose loaders.
        batches: of each loader.
        directory: where the pictures go; other files in it stay.
        samples: of a batch, how many are drawn.

    Yields:
        Each picture as soon as it is there.

    Raises:
        ConfigurationError: there is no such loader, or no batch in any.
    """
    loaders = trial.dataloaders(split)
    module = _ready_module(trial, split)
    trial.attach_trainer(split)  # one that has loaded weights stands elsewhere
    transfer = _Transfer(module, trial)
    style = Style(samples, _classes(loaders), _decoder(module, trial.datamodule))
    name = type(trial.trial).__name__
    found = False
    for batch, batch_idx, loader in _batches(loaders, split, batches):
        found = True
        of_loader = f" of loader {loader}" if loader else ""
        title = f"{split} batch {batch_idx}{of_loader} · {name}"
        given, prediction = transfer(batch, loader), None
        if trial.source is not None:
            title = f"{title} · checkpoint {pathlib.Path(trial.source.checkpoint).name}"
            prediction = transfer.predict(given)
        file = f"{split}{f'-loader-{loader}' if loader else ''}-batch-{batch_idx}.png"
        path = page.write(draw(given, title, style, prediction), directory / file)
        table = "\n".join(all_values(given, prediction).lines)
        yield DrawnBatch(title, path, table, prediction.note if prediction is not None else "")
    if not found:
        raise ConfigurationError(f"The {split} loaders of {name} give no batch.")


def _ready_module(trial: LoadedTrial, split: Split) -> LightningModule:
    """The module in the mode and on the device of its split."""
    module = trial.trial.lightning_module
    base = hosts.host_of(module).pl.LightningModule
    if trial.source is not None:
        module = trial.lightning_module
    elif trial.datamodule is not None and is_overridden("setup", module, base):
        module.setup(stage="fit" if split == "train" else "validate" if split == "val" else "test")
    module.to(trial.trial.context.device)
    return module.train(split == "train")


class _Transfer:
    """Brings batches to the device as training does.

    Args:
        module: on its device.
        trial: of which it is.
    """

    def __init__(self, module: LightningModule, trial: LoadedTrial) -> None:
        self._module = module
        self._device: torch.device = trial.trial.context.device
        precision = trial.trial.arguments.precision
        self._precision: Precision = select_precision(precision, self._device, hosts.host_of(module), None)
        self._precision.convert_module(module)

    def __call__(self, batch: Batch, loader: int) -> Batch:
        return lightning_private.transfer_batch(
            self._module, self._precision.convert_input(batch), self._device, loader
        )

    def predict(self, batch: Batch) -> Prediction:
        """What the module makes of a batch that is on the device."""
        with self._precision.context():
            return predict(self._module, batch)


def _batches(loaders: Collection, split: Split, batches: int) -> Iterator[tuple[Batch, int, int]]:
    """The first batches, each with its index and that of its loader: together for training, else one after the other."""
    mode, collection = lightning_private.uncombined(loaders, "max_size_cycle" if split == "train" else "sequential")
    if mode != "sequential" and not is_loader(collection):
        together = CombinedIterator(flatten(collection), collection, mode)
        for batch_idx, batch in enumerate(itertools.islice(together, batches)):
            yield batch, batch_idx, 0
        together.stop()
        return
    for number, loader in enumerate(flatten(collection)):
        for batch_idx, batch in enumerate(itertools.islice(loader, batches)):
            yield batch, batch_idx, number


def _classes(loaders: Collection) -> Sequence[str] | None:
    """Names of the classes, where the dataset of a loader has a list of them, as torchvision's have."""
    _, collection = lightning_private.uncombined(loaders, "sequential")
    for loader in flatten(collection):
        dataset = getattr(loader, "dataset", None)
        while dataset is not None:
            classes = getattr(dataset, "classes", None)
            if isinstance(classes, (list, tuple)) and classes and all(isinstance(name, str) for name in classes):
                return classes
            dataset = getattr(dataset, "dataset", None)  # of a Subset
    return None


def _decoder(module: LightningModule, datamodule: LightningDataModule | None) -> Callable[[list[int]], str] | None:
    """From ids to text, where datamodule or module has a tokenizer."""
    owners: Iterable[object] = (datamodule, module)
    decoders = (getattr(getattr(owner, "tokenizer", None), "decode", None) for owner in owners)
    decode = next((found for found in decoders if callable(found)), None)
    return None if decode is None else lambda ids: str(decode(ids))
