"""Which private names of torchmetrics are touched, why, and in which versions were they seen?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torchmetrics import Metric, MetricCollection, MetricTracker


class MetricState(TypedDict):
    """What one Metric has accumulated: number of updates, and its states by name, tensors or lists of anything."""

    updates: int
    values: dict[str, Any]


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
    predictions holds their graph, which neither a copy nor a file can: what is returned is detached. Of a MetricTracker,
    which makes a metric at each `increment()`, the number of them is kept.
    """
    states: dict[str, MetricState] = {}
    for name, child in module.named_modules():
        if isinstance(child, MetricTracker):
            states[name] = {"updates": child.n_steps, "values": {}}
        elif isinstance(child, Metric) and child._update_count:
            values = apply_to_collection({key: getattr(child, key) for key in child._defaults}, Tensor, Tensor.detach)
            states[name] = {"updates": child._update_count, "values": values}
    return states


def load_metric_states(module: torch.nn.Module, states: Mapping[str, MetricState], device: torch.device) -> None:
    """Put back what `metric_states` returned, into the metrics that are there."""
    for name, state in states.items():
        # a tracker comes before the metrics that it makes
        metric = _submodule(module, name)
        if isinstance(metric, MetricTracker):
            while metric.n_steps < state["updates"]:
                metric.increment()
        elif isinstance(metric, Metric):
            _load(metric, state, device)


def load_late_metric_states(
    module: torch.nn.Module, states: Mapping[str, MetricState], device: torch.device
) -> list[str]:
    """Put states back into metrics that were made since `load_metric_states`.

    Returns:
        The places at which there still is none.
    """
    found = {name: _submodule(module, name) for name in states}
    for name, metric in found.items():
        if isinstance(metric, Metric) and not metric._update_count:
            _load(metric, states[name], device)
    return [name for name, metric in found.items() if not isinstance(metric, (Metric, MetricTracker))]


def _submodule(module: torch.nn.Module, name: str) -> torch.nn.Module | None:
    try:
        return module.get_submodule(name)
    except AttributeError:
        return None


def _load(metric: Any, state: MetricState, device: torch.device) -> None:
    for key, value in state["values"].items():
        if isinstance(metric._defaults[key], Tensor) and not isinstance(value, Tensor):
            raise TypeError(f"{key} of {type(metric).__name__} is of type {type(value).__name__}, not a tensor")
        setattr(metric, key, apply_to_collection(value, Tensor, lambda tensor: tensor.to(device)))
    metric._update_count = state["updates"]
    metric._computed = None
