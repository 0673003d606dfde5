"""Which metrics does an object of the user's stand for: a torchmetrics Metric, several, or functions?"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torchmetrics import Metric, MetricCollection

from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.evaluation.metric_inputs import positional

#: Of all predictions and all targets a number, or a dict of numbers.
Function: TypeAlias = Callable[..., Any]

EXPECTED = (
    "a torchmetrics Metric, a MetricCollection, a list or a dict of metrics, a function without arguments that returns one of "
    "these, or a function (predictions, targets) that returns a number or a dict of numbers"
)


@dataclass(frozen=True)
class MetricObjects:
    """What is to be evaluated.

    Attributes:
        collection: the metrics, which are updated chunk by chunk; None where there are functions alone.
        functions: by name; each is called once, with everything.
    """

    collection: MetricCollection | None
    functions: dict[str, Function]


def metric_objects(found: object, target: str) -> MetricObjects:
    """Sort out what a user has named.

    Args:
        found: a Metric, a MetricCollection, a list or a dict of metrics, a function of nothing that returns one of these, or
            a function of predictions and targets. A class stands for a function that makes an instance. Functions are told
            apart by the arguments that they have to be given: none, or two.
        target: `FILE_OR_MODULE:NAME`, for messages.

    Raises:
        ConfigurationError: it is nothing of that kind, two metrics have one name, or the function that makes metrics fails.
    """
    name = target.rpartition(":")[2]
    if callable(found) and not isinstance(found, (Metric, MetricCollection)) and not required(found):
        found = _made(found, f"{name}()")
        target = f"{target}()"
    parts = _parts(found, name)
    faults = [f"{where} is {fault}" for where, fault in _faults(parts, target)]
    if faults:
        raise ConfigurationError("; ".join(faults) + f". To fix, let {target} be {EXPECTED}")
    metrics = {key: one for key, one in parts.items() if isinstance(one, (Metric, MetricCollection))}
    functions: dict[str, Function] = {key: one for key, one in parts.items() if key not in metrics and callable(one)}
    try:
        collection = _collection(found, metrics)
    except ValueError as error:
        raise ConfigurationError(f"{target}: {error}. To fix, name them in a dict: {{'name': metric}}") from error
    return MetricObjects(collection, functions)


def required(function: Callable[..., object]) -> list[str]:
    """The arguments that a function has to be given by position."""
    return [one.name for one in positional(function) if one.default is one.empty]


def where_it_failed(error: BaseException) -> str:
    """The line of the user's code, outside of installed packages, that an error comes from."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not {"site-packages", "lightning_adapter"} & set(frame.filename.split("/"))
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _made(function: Callable[[], object], name: str) -> object:
    try:
        return function()
    except Exception as error:  # the user's function may do anything
        raise ConfigurationError(
            f"{name} was called for metrics and failed: {type(error).__name__}: {error}{where_it_failed(error)}"
        ) from error


def _parts(found: object, name: str) -> dict[str, object]:
    """Metrics and functions by name, a list's and a single one by that of its class or function."""
    if isinstance(found, Mapping):
        return {str(key): one for key, one in found.items()}
    if isinstance(found, (list, tuple)):
        names = [getattr(one, "__name__", None) or f"{name}[{index}]" for index, one in enumerate(found)]
        return dict(zip(names, found, strict=True)) if len(set(names)) == len(names) else dict(_counted(names, found))
    return {name: found}


def _counted(names: list[str], found: list[object] | tuple[object, ...]) -> list[tuple[str, object]]:
    return [(f"{name}-{index}", one) for index, (name, one) in enumerate(zip(names, found, strict=True))]


def _faults(parts: Mapping[str, object], target: str) -> list[tuple[str, str]]:
    faults = [] if parts else [(target, "empty")]
    for key, one in parts.items():
        where = target if len(parts) == 1 else f"{target}: {key!r}"
        if isinstance(one, (Metric, MetricCollection)):
            continue
        if not callable(one):
            faults.append((where, f"{shown(one)} of type {type(one).__name__}"))
            continue
        needed = required(one)
        if isinstance(one, type) and issubclass(one, (Metric, MetricCollection)):
            faults.append((where, f"a class that wants {', '.join(needed)}: write NAME = {one.__name__}(...)"))
        elif len(needed) != 2:
            wants = (
                f"with {len(needed)} arguments that it needs ({', '.join(needed)})" if needed else "without arguments"
            )
            faults.append((where, f"a function {wants}, where functools.partial could fill in what is fixed"))
    return faults


def _collection(found: object, metrics: dict[str, Any]) -> MetricCollection | None:
    """All metrics in one collection, which knows how results are named."""
    if isinstance(found, MetricCollection):
        return found
    if not metrics:
        return None
    # a list and a single metric have the names of their classes, as torchmetrics gives them
    named = isinstance(found, Mapping)
    return MetricCollection(dict(metrics) if named else list(metrics.values()))
