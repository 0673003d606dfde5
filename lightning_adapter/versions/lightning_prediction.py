"""Where in Lightning's prediction does a writer stand, and how are batches left out that were predicted before?

`Strategy.process_dataloader` is the last to get a loader before it is iterated, in each version; what is set there, and on
the loop, is set on the instances of one Trainer, until it has predicted.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import Callback, LightningModule


class Writing(Protocol):
    """What is called in the course of a prediction, in this order."""

    def begin(self, trainer: Any, module: LightningModule) -> None:
        """Before loaders are made; the processes know each other."""

    def batch_begins(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        """On the device, before predict_step has it."""

    def batch_ends(self, prediction: Any, indices: list[int] | None, batch: Any, batch_idx: int, loader: int) -> None:
        """With what predict_step returned."""

    def finish(self) -> None:
        """When all batches are predicted."""

    def keep(self) -> None:
        """When an exception ends the prediction."""

    def end(self) -> None:
        """However it ended."""


def writer(host: Host, writing: Writing) -> Callback:
    """A BasePredictionWriter of the host's, which a Trainer gives the indices of each batch."""
    base: Any = host.load("callbacks").BasePredictionWriter

    class PredictionWriter(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__("batch")

        def setup(self, trainer: Any, pl_module: Any, stage: str | None = None) -> None:
            if "dataloader_iter" in inspect.signature(pl_module.predict_step).parameters:
                raise ConfigurationError(
                    f"{type(pl_module).__name__}.predict_step() takes dataloader_iter, and Lightning tells nobody which batches "
                    "it has taken, so that its predictions cannot be stored. Write `def predict_step(self, batch, batch_idx):`."
                )
            super().setup(trainer, pl_module, stage)
            writing.begin(trainer, pl_module)

        def on_predict_batch_start(
            self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
        ) -> None:
            writing.batch_begins(batch, batch_idx, dataloader_idx)

        def write_on_batch_end(
            self,
            trainer: Any,
            pl_module: Any,
            prediction: Any,
            batch_indices: Any,
            batch: Any,
            batch_idx: int,
            dataloader_idx: int,
        ) -> None:
            writing.batch_ends(prediction, batch_indices, batch, batch_idx, dataloader_idx)

        def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
            writing.finish()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            writing.keep()

        def teardown(self, trainer: Any, pl_module: Any, stage: str | None = None) -> None:
            writing.end()

    made: Callback = PredictionWriter()
    return made


def has_indices(host: Host, loader: object) -> bool:
    """Whether Lightning notes which samples a loader gives."""
    overrides = host.load("overrides.distributed")
    name = (
        "_IndexBatchSamplerWrapper" if hasattr(overrides, "_IndexBatchSamplerWrapper") else "IndexBatchSamplerWrapper"
    )
    return isinstance(getattr(loader, "batch_sampler", None), getattr(overrides, name))


def intercept(trainer: Any, loader: Callable[[Any], Any], left_out: object) -> Callable[[], None]:
    """Let a function have each loader before it is iterated, and the loop take no notice of batches that are `left_out`.

    Returns:
        What makes the Trainer as it was.
    """
    strategy = trainer.strategy
    process = strategy.process_dataloader
    had: list[Any] = []

    def process_once(given: Any) -> Any:
        # 1.9 asks for each loader when they are made, and again when its turn comes
        if not any(given is one for one in had):
            had.append(loader(process(given)))
            return had[-1]
        return process(given)

    vars(strategy)["process_dataloader"] = process_once
    loop = trainer.predict_loop
    if hasattr(loop, "epoch_loop"):
        owner, name, replacement = loop.epoch_loop, "advance", _advance_of_1x(loop.epoch_loop, left_out)
    else:
        owner, name, replacement = loop, "_predict_step", _predict_step(loop, left_out)
    vars(owner)[name] = replacement

    def undo() -> None:
        vars(strategy).pop("process_dataloader", None)
        vars(owner).pop(name, None)

    return undo


def _predict_step(loop: Any, left_out: object) -> Callable[..., None]:
    """In the place of `_PredictionLoop._predict_step` (2.0 to 2.6), which moves the batch and calls all hooks."""
    usual = loop._predict_step

    def predict_step(batch: Any, *args: Any, **kwargs: Any) -> None:
        if batch is not left_out:
            usual(batch, *args, **kwargs)

    return predict_step


def _advance_of_1x(loop: Any, left_out: object) -> Callable[..., None]:
    """In the place of `PredictionEpochLoop.advance` (1.9), which fetches the batch as well, and counts up to its limit."""
    usual = loop.advance

    def advance(batches: Iterator[tuple[int, Any]], *args: Any, **kwargs: Any) -> None:
        first = next(batches)
        if first[1] is not left_out:
            usual(itertools.chain([first], batches), *args, **kwargs)
            return
        progress = loop.batch_progress
        for count in ("ready", "started", "processed", "completed"):
            getattr(progress, f"increment_{count}")()

    return advance
