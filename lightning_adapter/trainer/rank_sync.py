"""How does what each rank logged become one value of all ranks?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from lightning_adapter.trainer.metadata import Metadata
from lightning_adapter.trainer.result_metric import Key, ResultMetric, SavedResult, StepSync, TensorResult
from lightning_adapter.trainer.results import ResultCollection

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

#: Reduces a tensor over all ranks: (value, group, operation) -> value; it may write into the value that it is given.
Reduce: TypeAlias = Callable[[Tensor, "ProcessGroup | None", str], Tensor]


class Described(SavedResult):
    """What another rank needs to keep the same name, empty: values stay where they are."""

    dtype: torch.dtype | None


#: What each rank has of an object, rank by rank.
Gather: TypeAlias = Callable[[list[Described]], list[list[Described]]]


class RankSync:
    """Reduces logged values over all ranks; there is none where there is one process.

    Epoch values are reduced at moments at which all ranks come by, step values when they are logged with
    `sync_dist=True`.

    Args:
        reduce: reduces a tensor over all ranks.
        gather: exchanges small objects.
        device: where tensors are reduced.
    """

    def __init__(self, reduce: Reduce, gather: Gather, device: torch.device) -> None:
        self._reduce = reduce
        self._gather = gather
        self._device = device
        self._validates_together = True

    def validation_loaded(self, in_step: bool) -> None:
        """The validation data are there; `in_step` says whether all ranks have the same known number of batches."""
        self._validates_together = in_step

    def of_training_step(self, meta: Metadata) -> StepSync | None:
        """How a value of a training step is reduced at once; None where `self.log` did not ask for it."""
        if not meta.sync_dist or meta.rank_zero_only:
            return None
        reduce, group, operation = self._reduce, meta.sync_dist_group, meta.reduction
        return lambda value: reduce(value, group, operation)

    def of_validation_step(self, meta: Metadata) -> StepSync | None:
        """The same for a validation step, which need not have a counterpart on every rank: no sample is repeated."""
        sync = self.of_training_step(meta)
        if sync is None:
            return None
        return lambda value: sync(value) if self._validates_together else value

    def meet(self, results: ResultCollection) -> None:
        """Reduce what was logged for the epoch, at a moment at which all ranks come by.

        A rank that had no batch logged nothing, and takes part with nothing. Values that are read before this moment
        are not there yet, so that a rank that reads alone does not wait for the others.
        """
        own = [_described(metric) for metric in results.visible() if metric.awaits_ranks()]
        wanted = {_key(described): described for of_rank in self._gather(own) for described in of_rank}
        # by reduction, group and type: they travel together
        together: dict[tuple[str, int, torch.dtype], list[TensorResult]] = {}
        # every rank goes through the names in the same order: that in which the ranks, one after the other, named them
        for key, described in wanted.items():
            metric = results.metrics.get(key) or results.restore(described)
            metric.logged_by_others(described["dtype"], self._device)
            if isinstance(metric, TensorResult):
                assert metric.value is not None
                travels_with = (metric.reduction, id(metric.meta.sync_dist_group), metric.value.dtype)
                together.setdefault(travels_with, []).append(metric)
            else:
                metric.compute()  # the Metric gathers its own states
        for metrics in together.values():
            self._reduce_together(metrics)

    def _reduce_together(self, metrics: list[TensorResult]) -> None:
        reduction, group = metrics[0].reduction, metrics[0].meta.sync_dist_group
        values = [metric.value.to(self._device) for metric in metrics if metric.value is not None]
        if reduction == "mean":
            values += [torch.as_tensor(m.batch_size, dtype=values[0].dtype, device=self._device) for m in metrics]
        total = self._reduce(torch.stack(values), group, "sum" if reduction == "mean" else reduction)
        for index, metric in enumerate(metrics):
            metric.ranks_reduced(total[index] / total[index + len(metrics)] if reduction == "mean" else total[index])


def _key(described: Described) -> Key:
    return described["hook"], described["name"], described["key_idx"]


def _described(metric: ResultMetric) -> Described:
    value = metric.value if isinstance(metric, TensorResult) else None
    return {
        **metric.state_dict(),
        "meta": metric.meta._replace(sync_dist_group=None)[:],  # a group cannot be sent
        "value": None,
        "batch_size": 0,
        "step": None,
        "has_reset": False,
        "dtype": None if value is None else value.dtype,
    }
