"""How are batches drawn while a module trains, as the module gets them?"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from lightning_adapter import notices
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.versions import hosts

if TYPE_CHECKING:
    from lightning_adapter.pictures.parts import Array, Batch

#: Of either Lightning package, or what stands in for its Trainer.
Trainer: TypeAlias = Any
Module: TypeAlias = Any

SPLITS = ("train", "val", "test")
#: Below the run directory.
PLACE = pathlib.PurePath("pictures", "batches")
#: Strategies that leave a process a part of the weights only, in one version of Lightning or another.
_SHARDED = (
    *("FSDPStrategy", "DDPFullyShardedNativeStrategy", "DDPFullyShardedStrategy", "DDPShardedStrategy"),
    *("DeepSpeedStrategy", "ModelParallelStrategy"),
)


class DrawBatchesMixin:
    """A Lightning callback that draws the first batches of an epoch, and so shows what the module sees.

    A batch is drawn on the chief alone, as it comes to the step: on its device, transfer hooks and augmentation done. One
    PNG file for each goes to `pictures/batches/` of the run directory (of the logger's directory under Lightning's own
    Trainer), and to the loggers that take images, TensorBoard's and W&B's. Neither the random state nor any number of the
    training is changed, and the device is waited for only where a batch is drawn.

    Args:
        batches: how many of an epoch, from its first one on.
        split: "train", "val" or "test".
        every_n_epochs: 1 for each epoch.
        samples: of a batch, how many are drawn.
        predictions: draw what the module predicts too, by its `predict_step` or else its `forward`, called once more, in
            evaluation mode, for each batch that is drawn. Class scores are drawn as the class of the largest one, beside
            the target, and in red where it is another.
        classes: names of the classes, in their order.
        decode: from a list of token ids to their text.
        dirpath: a directory in place of the one that is named above.

    Raises:
        ConfigurationError: an argument cannot be used; all of them are named.
    """

    def __init__(
        self,
        batches: int = 1,
        split: str = "train",
        every_n_epochs: int = 1,
        *,
        samples: int = 16,
        predictions: bool = False,
        classes: Sequence[str] | None = None,
        decode: Callable[[list[int]], str] | None = None,
        dirpath: str | pathlib.Path | None = None,
    ) -> None:
        from lightning_adapter.pictures.batch_page import Style  # all that draws, for who draws

        super().__init__()
        faults = [
            f"{name}={shown(value)} is no number of {what}: give 1 or more."
            for name, value, what in (
                ("batches", batches, "batches"),
                ("every_n_epochs", every_n_epochs, "epochs"),
                ("samples", samples, "samples"),
            )
            if not isinstance(value, int) or isinstance(value, bool) or value < 1
        ]
        if split not in SPLITS:
            faults.append(f'split={shown(split)} is none of "train", "val" and "test".')
        if decode is not None and not callable(decode):
            faults.append(f"decode={shown(decode)} cannot be called: give a function from a list of ids to a text.")
        if faults:
            raise ConfigurationError("DrawBatches cannot draw: " + " ".join(faults))
        self.batches = batches
        self.split = split
        self.every_n_epochs = every_n_epochs
        self.predictions = predictions
        self.style = Style(samples, classes, decode)
        self.dirpath = None if dirpath is None else pathlib.Path(dirpath)
        self._directory: pathlib.Path | None = None
        self._failure: Exception | None = None

    def setup(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        """All processes find out where pictures go, since Lightning's `log_dir` is asked for by all of them.

        Raises:
            ConfigurationError: predictions are asked for of a module whose weights are shared out.
        """
        host = hosts.host_of(pl_module)
        strategies = host.load("strategies")
        sharded = tuple(getattr(strategies, name) for name in _SHARDED if hasattr(strategies, name))
        if self.predictions and isinstance(trainer.strategy, sharded):
            raise ConfigurationError(
                f"DrawBatches(predictions=True) lets the first process alone predict, and under "
                f"{type(trainer.strategy).__name__} it has a part of the weights only. Leave predictions out."
            )
        root = trainer.default_root_dir
        if isinstance(trainer, host.pl.Trainer):  # where its root is the working directory, of all runs
            root = trainer.log_dir or root
        self._directory = self.dirpath or pathlib.Path(root) / PLACE

    def on_train_batch_start(self, trainer: Trainer, pl_module: Module, batch: Batch, batch_idx: int) -> None:
        """A batch is about to be trained on."""
        if batch_idx < self.batches and self.split == "train":
            self._draw(trainer, pl_module, batch, batch_idx, 0)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: Module, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A batch is about to be validated on."""
        if batch_idx < self.batches and self.split == "val" and not trainer.sanity_checking:
            self._draw(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: Module, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A batch is about to be tested on."""
        if batch_idx < self.batches and self.split == "test":
            self._draw(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def _draw(self, trainer: Trainer, module: Module, batch: Batch, batch_idx: int, loader: int) -> None:
        epoch = trainer.current_epoch
        if epoch % self.every_n_epochs or not trainer.is_global_zero or self._failure is not None:
            return
        from lightning_adapter.pictures import batch_page, page
        from lightning_adapter.pictures.predictions import predict

        state = RandomState.now()  # a logger may draw names of files
        of_loader = f" of loader {loader}" if loader else ""
        title = f"{self.split} batch {batch_idx}{of_loader}, epoch {epoch}, step {trainer.global_step}"
        try:
            pixels = batch_page.draw(batch, title, self.style, predict(module, batch) if self.predictions else None)
            assert self._directory is not None  # known since `setup`
            name = f"{self.split}-epoch-{epoch:04d}-step-{trainer.global_step:06d}"
            page.write(pixels, self._directory / f"{name}{f'-loader-{loader}' if loader else ''}-batch-{batch_idx}.png")
            _tell_loggers(trainer, pixels, f"batches/{self.split}/{f'{loader}/' if loader else ''}{batch_idx}")
        except Exception as error:  # whatever a batch is, and whatever a logger does: a picture ends no training
            self._failure = error
            notices.warn(
                f"DrawBatches could not draw {title}, and draws no more: {type(error).__name__}: {error}. Training goes on."
            )
        finally:
            state.restore()


def _tell_loggers(trainer: Trainer, pixels: Array, tag: str) -> None:
    """Give a picture to the loggers that take one."""
    for logger in trainer.loggers:
        if callable(getattr(logger, "log_image", None)):  # W&B's
            logger.log_image(key=tag, images=[pixels], step=trainer.global_step)
        elif hasattr(logger.experiment, "add_image"):  # TensorBoard's
            logger.experiment.add_image(tag, pixels, trainer.global_step, dataformats="HWC")
