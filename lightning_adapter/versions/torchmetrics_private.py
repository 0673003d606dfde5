"""Which private names of torchmetrics are touched, why, and in which versions were they seen?"""

from __future__ import annotations

from typing import Any

import torch
from torchmetrics import Metric


def step_value(metric: Any) -> Any:
    """The value of the last batch of a torchmetrics Metric.

    `_forward_cache` (torchmetrics 0.7 to 1.9) is where `metric(...)` leaves it; there is no public reader.
    """
    return metric._forward_cache


def collection_items(collection: Any) -> Any:
    """Name and metric pairs of a MetricCollection, its states not copied.

    `_enable_compute_groups` (torchmetrics 0.9 to 1.9) says whether `items(copy_state=False)` exists, as Lightning asks.
    """
    if getattr(collection, "_enable_compute_groups", False):
        return collection.items(keep_base=False, copy_state=False)
    return collection.items(keep_base=False)


def metric_states(module: torch.nn.Module) -> dict[str, Any]:
    """What the torchmetrics objects of a module have accumulated, by their place in the module.

    `_defaults` names a metric's states and `_update_count` says whether it was updated (torchmetrics 0.11 to 1.9);
    `state_dict()` leaves out states that are not persistent, and by default none is.
    """
    states = {}
    for name, child in module.named_modules():
        if isinstance(child, Metric) and child._update_count:
            values = {key: getattr(child, key) for key in child._defaults}
            states[name] = {"updates": child._update_count, "values": values}
    return states


def load_metric_states(module: torch.nn.Module, states: dict[str, Any], device: torch.device) -> None:
    """Put back what `metric_states` returned."""
    for name, state in states.items():
        metric: Any = module.get_submodule(name)
        for key, value in state["values"].items():
            moved = [v.to(device) for v in value] if isinstance(value, list) else value.to(device)
            setattr(metric, key, moved)
        metric._update_count = state["updates"]
        metric._computed = None
