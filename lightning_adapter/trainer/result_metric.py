"""What was logged under one name: the step's value, and the epoch's value so far?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias, TypedDict

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_adapter.trainer.logged_values import accumulation_dtype
from lightning_adapter.trainer.metadata import Metadata, Reduction, SavedMetadata
from lightning_adapter.versions import torchmetrics_private

#: Hook, name, and validation loader where the name tells loaders apart.
Key: TypeAlias = tuple[str, str, int | None]
#: The value of a step, reduced over all ranks.
StepSync: TypeAlias = Callable[[Tensor], Tensor]
#: A Tensor or a Metric, as `ResultMetric.is_tensor` says.
Logged: TypeAlias = Any

_INITIAL: dict[Reduction, float] = {"mean": 0.0, "sum": 0.0, "max": float("-inf"), "min": float("inf")}


class SavedResult(TypedDict):
    """One logged name in a checkpoint."""

    hook: str
    name: str
    dataloader_idx: int | None
    key_idx: int | None
    meta: SavedMetadata
    metric: str | None
    value: Tensor | None
    batch_size: int
    step: Tensor | None
    has_reset: bool


class ResultMetric(ABC):
    """One logged name in one hook (and one validation loader): Lightning's `_ResultMetric`.

    Attributes:
        arguments: those of `self.log` that were looked at last.
        step: the value of the last batch.
        computed: the value of the epoch so far, None until somebody asks for it.
        shared: whether the epoch's value is that of all ranks, there once they have met.
        weighted: whether batch sizes matter.
        keeps_step: whether what was logged for a batch is kept itself, so that it has to be a copy: user code may change it.
        fx: the hook as `reset` compares it: with the loader's index where names have it, as in Lightning.
    """

    __slots__ = (
        "arguments",
        "computed",
        "dataloader_idx",
        "forked_names",
        "fx",
        "has_reset",
        "hook",
        "keeps_step",
        "key",
        "logger",
        "meta",
        "name",
        "on_epoch",
        "on_step",
        "prog_bar",
        "public_name",
        "shared",
        "step",
        "weighted",
    )

    is_tensor: bool

    def __init__(self, hook: str, name: str, meta: Metadata, shared: bool) -> None:
        self.hook = hook
        self.name = name
        self.meta = meta
        self.arguments: tuple[object, ...] = ()
        # read for each value, and therefore not through `meta`
        self.prog_bar, self.logger, self.on_step, self.on_epoch = meta[:4]
        self.dataloader_idx = meta.dataloader_idx
        self.shared = shared
        self.weighted = self.is_tensor and meta.on_epoch and meta.reduction == "mean"
        self.keeps_step = meta.on_step or not self.is_tensor
        suffixed = meta.add_dataloader_idx and meta.dataloader_idx is not None
        self.key: Key = (hook, name, meta.dataloader_idx if suffixed else None)
        suffix = f"/dataloader_idx_{meta.dataloader_idx}" if suffixed else ""
        self.fx = f"{hook}.{meta.dataloader_idx}" if suffixed else hook
        self.public_name = name + suffix
        forked = meta.on_step and meta.on_epoch
        self.forked_names = (
            f"{name}_epoch{suffix}" if forked else self.public_name,
            f"{name}_step{suffix}" if forked else self.public_name,
        )
        self.step: Tensor | None = None
        self.computed: Tensor | None = None
        self.has_reset = False

    @abstractmethod
    def update(self, value: Logged, batch_size: int) -> None:
        """Take the value of one batch; `batch_size` is its weight in a mean."""

    @abstractmethod
    def compute(self) -> Tensor | None:
        """The value of the epoch so far, computed once until the next update."""

    @abstractmethod
    def reset(self) -> None:
        """Start over; the name stays out of sight until it is logged again."""

    def logged_with(self, arguments: tuple[object, ...]) -> None:
        """It was logged with these arguments; a call with the same ones need not be looked at again."""
        self.arguments = arguments

    def current(self, on_step: bool) -> Tensor | None:
        """The step's or the epoch's value; None where the arguments of `self.log` did not ask for it.

        Raises:
            ValueError: a Metric computes something other than a tensor.
        """
        if on_step:
            value = self.step if self.on_step else None
        elif self.shared:
            value = self.computed if self.on_epoch else None  # there since all ranks met
        else:
            value = self.compute() if self.on_epoch else None
        if value is None:
            return None
        if not isinstance(value, Tensor):
            raise ValueError(
                f"The `.compute()` return of the metric logged as {self.name!r} must be a tensor. Found {value}"
            )
        return value.detach()

    def latest(self) -> Tensor | None:
        """What this rank logged last, where that can be told: for an epoch's mean in its first batch alone."""
        return self.step if isinstance(self.step, Tensor) and self.step.numel() == 1 else None

    def awaits_ranks(self) -> bool:
        """Whether there is something for the epoch that the ranks have not reduced yet."""
        return self.shared and self.on_epoch and self.computed is None

    def logged_by_others(self, dtype: torch.dtype | None, device: torch.device) -> None:
        """Some rank logged it since the last reset, perhaps this one did not: take part with nothing."""
        if self.has_reset:
            self.has_reset = False
            self.computed = None

    def state_dict(self) -> SavedResult:
        """All that goes on after a checkpoint; a Metric keeps its own state and is named by its place in the module."""
        return {
            "hook": self.hook,
            "name": self.name,
            "dataloader_idx": self.dataloader_idx,
            "key_idx": self.key[2],
            "meta": self.meta[:],
            "metric": None if self.is_tensor else self.meta.metric_attribute,
            "value": None,
            "batch_size": 0,
            "step": self.step if isinstance(self.step, Tensor) else None,
            "has_reset": self.has_reset,
        }

    def load_state_dict(self, saved: SavedResult, device: torch.device) -> None:
        """Go on where `state_dict` was taken."""
        self.step = _to(saved["step"], device)
        self.has_reset = saved["has_reset"]


class TensorResult(ResultMetric):
    """A name under which numbers or tensors are logged; they stay on their device.

    Attributes:
        value: sum (weighted by batch size for a mean), greatest or smallest value of the epoch; None before the first.
        batch_size: sum of the batch sizes.
    """

    __slots__ = ("batch_size", "reduction", "step_sync", "value")

    is_tensor = True

    def __init__(self, hook: str, name: str, meta: Metadata, shared: bool, step_sync: StepSync | None) -> None:
        super().__init__(hook, name, meta, shared)
        self.reduction = meta.reduction
        self.step_sync = step_sync
        self.value: Tensor | None = None
        self.batch_size = 0

    def update(self, value: Tensor, batch_size: int) -> None:
        """Take the value of one batch, as `_ResultMetric.update` does."""
        self.computed = None
        self.has_reset = False
        if self.on_step:
            self.step = value if self.step_sync is None else self.step_sync(value.clone())
            if not self.on_epoch:
                self.value = self.step
                return
        total = self.value
        if total is None:
            total = torch.full((), _INITIAL[self.reduction], dtype=accumulation_dtype(), device=value.device)
        elif total.device != value.device:
            total = total.to(value.device)
        if self.reduction == "mean":
            self.value = total + value * batch_size  # not in place: the type may be promoted
            self.batch_size += batch_size
        elif self.reduction == "sum":
            self.value = total + value
        elif self.reduction == "max":
            self.value = torch.max(total, value)
        else:
            self.value = torch.min(total, value)

    def latest(self) -> Tensor | None:
        """What this rank logged last, where that can be told: for an epoch's mean in its first batch alone."""
        if self.step is not None or self.value is None:
            return self.step
        return self.value / self.batch_size if self.batch_size else self.value

    def compute(self) -> Tensor | None:
        """The value of the epoch so far; None where the only values so far were refused with an error."""
        if self.computed is None and self.value is not None:
            self.computed = self.value / self.batch_size if self.reduction == "mean" else self.value
        return self.computed

    def reset(self) -> None:
        """Start over; the name stays out of sight until it is logged again."""
        self.value = None
        self.batch_size = 0
        self.step = None
        self.computed = None
        self.has_reset = True

    def logged_by_others(self, dtype: torch.dtype | None, device: torch.device) -> None:
        """Some rank logged it since the last reset, perhaps this one did not: take part with nothing."""
        super().logged_by_others(dtype, device)
        if self.value is None:
            self.value = torch.full((), _INITIAL[self.reduction], dtype=dtype, device=device)

    def ranks_reduced(self, value: Tensor) -> None:
        """The ranks have met: `value` is the epoch's value of all of them."""
        self.computed = value

    def state_dict(self) -> SavedResult:
        """All that goes on after a checkpoint."""
        return {**super().state_dict(), "value": self.value, "batch_size": self.batch_size}

    def load_state_dict(self, saved: SavedResult, device: torch.device) -> None:
        """Go on where `state_dict` was taken."""
        super().load_state_dict(saved, device)
        self.value = _to(saved["value"], device)
        self.batch_size = saved["batch_size"]


class TorchmetricsResult(ResultMetric):
    """A name under which a torchmetrics Metric is logged, which accumulates by itself.

    Attributes:
        value: the Metric of the last call.
    """

    __slots__ = ("value",)

    is_tensor = False

    def __init__(self, hook: str, name: str, meta: Metadata, shared: bool, metric: Metric) -> None:
        super().__init__(hook, name, meta, shared)
        self.value = metric

    def update(self, value: Metric, batch_size: int) -> None:
        """Remember the Metric, and what it gave for the last batch."""
        self.computed = None
        self.has_reset = False
        self.value = value
        self.step = torchmetrics_private.step_value(value)

    def compute(self) -> Tensor:
        """The value of the epoch so far, computed once until the next update."""
        if self.computed is None:
            self.computed = self.value.compute()
        return self.computed

    def reset(self) -> None:
        """Start over; the name stays out of sight until it is logged again."""
        self.value.reset()
        self.has_reset = True


def _to(value: Tensor | None, device: torch.device) -> Tensor | None:
    return None if value is None else value.to(device)
