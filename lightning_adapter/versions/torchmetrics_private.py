"""Which private names of torchmetrics are touched, why, and in which versions were they seen?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torchmetrics import Metric, MetricCollection


class MetricState(TypedDict):
    """What one Metric has accumulated: number of updates, and its states by name, tensors or lists of tensors."""

    updates: int
    values: dict[str, Tensor | list[Tensor]]


def step_value(metric: Metric) -> Tensor | None:
    """The value of the last batch of a torchmetrics Metric; None where it was only updated, not called.

    `_forward_cache` (torchmetrics 0.7 to 1.9) is where `metric(...)` leaves it; there is no public reader.
    """
    value: Tensor | None = metric._forward_cache
    return value


def collection_items(collection: MetricCollection) -> Iterable[tuple[str, Metric]]:
    """Name and metric pairs of a MetricCollection, its states not copied.

    `_enable_compute_groups` (torchmetrics 0.9 to 1.9) says whether `items(copy_state=False)` exists, as Lightning asks.
    """
    if getattr(collection, "_enable_compute_groups", False):
        return collection.items(keep_base=False, copy_state=False)
    return collection.items(keep_base=False)


def metric_states(module: torch.nn.Module) -> dict[str, MetricState]:
    """What the torchmetrics objects of a module have accumulated, by their place in the module.

    `_defaults` names a metric's states and `_update_count` says whether it was updated (torchmetrics 0.11 to 1.9);
    `state_dict()` leaves out states that are not persistent, and by default none is. A list state that was updated with
    predictions holds their graph, which neither a copy nor a file can: what is returned is detached.
    """
    states: dict[str, MetricState] = {}
    for name, child in module.named_modules():
        if isinstance(child, Metric) and child._update_count:
            values = apply_to_collection({key: getattr(child, key) for key in child._defaults}, Tensor, Tensor.detach)
            states[name] = {"updates": child._update_count, "values": values}
    return states


def load_metric_states(module: torch.nn.Module, states: dict[str, MetricState], device: torch.device) -> None:
    """Put back what `metric_states` returned."""
    for name, state in states.items():
        metric: Any = module.get_submodule(name)
        for key, value in state["values"].items():
            moved = [v.to(device) for v in value] if isinstance(value, list) else value.to(device)
            setattr(metric, key, moved)
        metric._update_count = state["updates"]
        metric._computed = None
