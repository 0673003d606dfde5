"""Which names were logged in a loop, and what can be seen of them now?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_adapter.trainer.logged_values import Loggable
from lightning_adapter.trainer.metadata import LogArguments, Metadata, MetadataParser
from lightning_adapter.trainer.result_metric import (
    Key,
    ResultMetric,
    SavedResult,
    StepSync,
    TensorResult,
    TorchmetricsResult,
)
from lightning_adapter.versions import lightning_private


class Metrics(NamedTuple):
    """Values by name for callbacks, for loggers and for the progress bar: Lightning's `_METRICS`."""

    callback: dict[str, Tensor]
    log: dict[str, Tensor]
    pbar: dict[str, Any]  # tensors, which are numbers once they were read

    def update(self, newer: Metrics) -> None:
        """Take over newer values, and keep those of other names."""
        self.callback.update(newer.callback)
        self.log.update(newer.log)
        self.pbar.update(newer.pbar)


class ResultCollection:
    """All names of the training loop, or of the validation loop: Lightning's `_ResultCollection`.

    Args:
        training: whether it is the training loop's.
        module: where the Metrics that are logged live.
        device: where restored values go.
        parser: finds what the arguments of `self.log` mean.
        step_sync: from what a name means to how the value of its step is reduced over all ranks; None in one process.

    Attributes:
        metrics: one object per hook, name and loader, in the order of their first logging.
        dataloader_idx: the validation loader that is being run, None where there are not several.
        has_step_values: whether the step's value of any name was asked for.
    """

    def __init__(
        self,
        training: bool,
        module: torch.nn.Module,
        device: torch.device,
        parser: MetadataParser,
        step_sync: Callable[[Metadata], StepSync | None] | None,
    ) -> None:
        self.training = training
        self.metrics: dict[Key, ResultMetric] = {}
        self.dataloader_idx: int | None = None
        self.has_step_values = False
        self._module = module
        self._device = device
        self._parser = parser
        self._step_sync = step_sync

    def check_size_can_be_inferred(self) -> None:
        """Refuse to weight a value of a training step that fetches its batches itself: nobody knows how large they are.

        Raises:
            MisconfigurationException: as `LightningModule.log`, which asks in training alone.
        """
        step = getattr(self._module, "training_step", None)
        if self.training and step is not None and lightning_private.has_parameter(step, "dataloader_iter"):
            raise self._parser.host.misconfiguration(
                "With `def training_step(self, dataloader_iter)`, `self.log(..., batch_size=...)` should be provided."
            )

    def register(
        self, hook: str, name: str, value: Loggable, arguments: LogArguments, known: ResultMetric | None
    ) -> ResultMetric:
        """A name is logged for the first time, or with other words than before, which have to mean the same.

        Raises:
            MisconfigurationException: they do not, or they are not allowed; and what `MetadataParser.parse` raises.
        """
        meta = self._parser.parse(hook, name, value, arguments, self.dataloader_idx)
        if known is None:
            known = self._keep(hook, name, meta, value if isinstance(value, Metric) else None)
        elif known.meta != meta:
            raise self._parser.host.misconfiguration(
                f"You called `self.log({name}, ...)` twice in `{known.fx}` with different arguments. This is not allowed"
            )
        known.logged_with(arguments)
        return known

    def _keep(self, hook: str, name: str, meta: Metadata, metric: Metric | None) -> ResultMetric:
        """Begin to keep a name; `metric` is None where numbers or tensors are logged under it."""
        shared = self._step_sync is not None and not meta.rank_zero_only
        made: ResultMetric
        if metric is None:
            step_sync = None if self._step_sync is None else self._step_sync(meta)
            made = TensorResult(hook, name, meta, shared, step_sync)
        else:
            made = TorchmetricsResult(hook, name, meta, shared, metric)
        self.metrics[made.key] = made
        self.has_step_values |= made.on_step
        return made

    def loader_starts(self, dataloader_idx: int | None) -> None:
        """Another validation loader is run; None after the last one, and where there is only one."""
        self.dataloader_idx = dataloader_idx

    def visible(self) -> list[ResultMetric]:
        """Names that were logged since the last reset, for the loader that is being run."""
        return [m for m in self.metrics.values() if not m.has_reset and m.dataloader_idx == self.dataloader_idx]

    def collect(self, on_step: bool) -> Metrics:
        """The step's or the epoch's values by name, as `_ResultCollection.metrics` does."""
        callback: dict[str, Tensor] = {}
        log: dict[str, Tensor] = {}
        pbar: dict[str, Any] = {}
        for metric in self.visible():
            value = metric.current(on_step)
            if value is None:
                continue
            forked = metric.forked_names[on_step]
            if metric.logger:
                log[forked] = value
            # Validation's step values are no monitor: callbacks see epoch values only.
            if self.training or (metric.on_epoch and not on_step):
                callback[metric.public_name] = value
                callback[forked] = value
            if metric.prog_bar:
                pbar[forked] = value
        return Metrics(callback, log, pbar)

    def reset(self, tensors_of: str | None = None) -> None:
        """Reset everything, or only the tensors that hook `tensors_of` logged."""
        for metric in self.metrics.values():
            if tensors_of is None or (metric.is_tensor and metric.fx == tensors_of):
                metric.reset()

    def state_dict(self) -> list[SavedResult]:
        """All names, to be saved."""
        return [metric.state_dict() for metric in self.metrics.values()]

    def load_state_dict(self, state: list[SavedResult]) -> None:
        """Keep the names of `state`, and no others."""
        self.metrics = {}
        self.has_step_values = False
        places = dict(self._module.named_modules())
        for saved in state:
            # a metric that training had made is not there: its name begins anew when it is logged
            if saved["metric"] is None or saved["metric"] in places:
                self.restore(saved)

    def restore(self, saved: SavedResult) -> ResultMetric:
        """Keep one name, by what a checkpoint or another rank has of it."""
        place = saved["metric"]
        metric: Any = None if place is None else self._module.get_submodule(place)
        restored = self._keep(saved["hook"], saved["name"], Metadata(*saved["meta"]), metric)
        restored.load_state_dict(saved, self._device)
        return restored
