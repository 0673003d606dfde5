"""How do an experiment's ranges stand in an Optuna study?

A range in a group has a dotted name there. Values of any kind may stand in a list of choices, and Optuna keeps numbers, text
and true/false: others stand there as their JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import experiment
from lightning_adapter.tuning.go_numbers import told
from lightning_adapter.tuning.settings import searched

#: Optuna keeps whole numbers in floating point.
_EXACT = 2**53


def ranges(hyperparameters: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the ranges of an experiment, by their dotted names, in the file's order.

    Raises:
        ConfigurationError: two of them would have the same name.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for route, spec in searched(hyperparameters):
        name = ".".join(route)
        if name in found:
            raise ConfigurationError(
                f"hyperparameters: two ranges have the name {name}, one of them in a group. Rename one of the two."
            )
        found[name] = spec
    return found


def value_at(values: Mapping[str, Any], name: str) -> Any:
    """Return the value that a dotted name stands for.

    Raises:
        KeyError: there is none.
    """
    if name in values:
        return values[name]
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        group = values.get(".".join(parts[:length]))
        if isinstance(group, Mapping):
            try:
                return value_at(group, ".".join(parts[length:]))
            except KeyError:
                continue
    raise KeyError(name)


class Space:
    """What Optuna is told of an experiment's ranges.

    Args:
        hyperparameters: of the experiment, well formed.

    Attributes:
        distributions: name -> Optuna's word for the range.

    Raises:
        ConfigurationError: Optuna cannot hold one of them; all faults in one message.
    """

    def __init__(self, hyperparameters: Mapping[str, Any]) -> None:
        self._hyperparameters = hyperparameters
        self._ranges = ranges(hyperparameters)
        faults = [fault for name, spec in self._ranges.items() if (fault := _fault(name, spec)) is not None]
        if faults:
            raise ConfigurationError("\n".join(faults))
        self.distributions = {name: _distribution(spec) for name, spec in self._ranges.items()}

    def params(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return how the study names a trial's values."""
        return {name: _param(spec, value_at(values, name)) for name, spec in self._ranges.items()}

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return all hyperparameters of a trial whose searched ones Optuna has chosen, nested as in the file."""
        return self._values(self._hyperparameters, (), params)

    def searched(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of a trial's hyperparameters that are searched, by dotted names."""
        return {name: value_at(values, name) for name in self._ranges}

    def _values(self, group: Mapping[str, Any], path: tuple[str, ...], params: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in group.items():
            if experiment.is_range(value):
                found[name] = _value(value, params[".".join((*path, name))])
            elif isinstance(value, Mapping) and value.get("type") == "const":
                found[name] = value["val"]
            elif isinstance(value, Mapping):
                found[name] = self._values(value, (*path, name), params)
            else:
                found[name] = value
        return found


def _fault(name: str, spec: Mapping[str, Any]) -> str | None:
    """Why Optuna cannot hold a range that the master can draw of; None where it can."""
    if spec["type"] == "int" and max(abs(spec["minval"]), abs(spec["maxval"])) > _EXACT:
        return (
            f"hyperparameters.{name} reaches from {spec['minval']} to {spec['maxval']}, and Optuna holds whole numbers up to "
            f"2**53 alone. Give smaller limits, or draw an exponent: {{type: log, base: 10, minval: 0, maxval: 18}}."
        )
    return None


def _limits(spec: Mapping[str, Any]) -> tuple[float, float]:
    """A log range's limits; a base below 1 turns them round."""
    low, high = sorted((math.pow(spec["base"], spec["minval"]), math.pow(spec["base"], spec["maxval"])))
    return low, high


def _distribution(spec: Mapping[str, Any]) -> BaseDistribution:
    kind = spec["type"]
    if kind == "categorical":
        return CategoricalDistribution(_choices(spec["vals"]))
    if kind == "log":
        return FloatDistribution(*_limits(spec), log=True)
    if kind == "int":
        return IntDistribution(spec["minval"], spec["maxval"])
    return FloatDistribution(float(spec["minval"]), float(spec["maxval"]))


def _choices(vals: list[Any]) -> list[Any]:
    """What stands for values in a study: themselves, or their JSON where Optuna would take one of them for another.

    It compares with ==, by which 1, 1.0 and True are one.
    """
    texts = _texts(vals)
    plain = [json.loads(text) for text in texts]
    holds = all(value is None or isinstance(value, (bool, int, float, str)) for value in plain)
    if holds and all(plain.index(value) == index for index, value in enumerate(plain)):
        return plain
    return texts


def _texts(vals: list[Any]) -> list[str]:
    """The JSON of each value that a trial can be given, once."""
    return list(dict.fromkeys(json.dumps(told(value)) for value in vals))


def _param(spec: Mapping[str, Any], value: Any) -> Any:
    if spec["type"] == "categorical":
        texts = _texts(spec["vals"])
        return _choices(spec["vals"])[texts.index(json.dumps(told(value)))]
    if spec["type"] == "log":
        low, high = _limits(spec)  # a power may lie a rounding beside its limit
        return min(max(float(value), low), high)
    return int(value) if spec["type"] == "int" else float(value)


def _value(spec: Mapping[str, Any], param: Any) -> Any:
    if spec["type"] != "categorical":
        return param
    return json.loads(_texts(spec["vals"])[_choices(spec["vals"]).index(param)])
