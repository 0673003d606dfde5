"""Which hyperparameters does the master of a cluster make of an experiment YAML?

Written after its sources: `HyperparameterV0.UnmarshalJSON`, `newHyperparameterGrid`, `sampleOne`, and the schemas
`hyperparameter.json` and `check-grid-hyperparameter.json`. Numbers go through JSON as Go reads and writes it.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML

_KEYS = {
    "const": {"val"},
    "categorical": {"vals"},
    "int": {"minval", "maxval", "count"},
    "double": {"minval", "maxval", "count"},
    "log": {"minval", "maxval", "base", "count"},
}


def grid(text: str) -> list[dict[str, Any]]:
    """All trials of a grid search."""
    config = _read(text)
    assert config["searcher"]["name"] == "grid"
    axes = list(_axes((), config["hyperparameters"], is_top=True))
    trials = []
    for values in itertools.product(*(values for _, values in axes)):
        sample: dict[str, Any] = {}
        for (route, _), value in zip(axes, values, strict=True):
            group = sample
            for step in route[:-1]:
                group = group.setdefault(step, {})
            group[route[-1]] = value
        trials.append(sample)
    return trials


def samples(text: str, seed: int = 0) -> list[dict[str, Any]]:
    """The trials of a random search, or the one of a single search."""
    config, source = _read(text), random.Random(seed)
    most = config["searcher"]["max_trials"] if config["searcher"]["name"] == "random" else 1
    return [{name: _sample(value, source) for name, value in config["hyperparameters"].items()} for _ in range(most)]


def _read(text: str) -> Any:
    """What the master takes.

    Raises:
        ValueError: it refuses the YAML.
    """
    config = through_json(YAML(typ="safe", pure=True).load(text))
    for value in config["hyperparameters"].values():
        _check(value)
        if config["searcher"]["name"] == "grid":
            _check_grid(value)
    return config


def through_json(value: Any) -> Any:
    """What comes of a value on its way through the master: Go knows floating point alone, and writes 1.0 as 1."""
    if isinstance(value, dict):
        return {str(key): through_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [through_json(item) for item in value]
    if isinstance(value, float):
        assert math.isfinite(value), "JSON has no such number"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(float(value)) if float(value).is_integer() else value
    return value


def _check(value: Any) -> None:
    if not isinstance(value, Mapping):
        return
    if "type" not in value:
        for item in value.values():
            _check(item)
        return
    kind = value["type"]
    if not isinstance(kind, str) or kind not in _KEYS or not value.keys() <= {"type"} | _KEYS[kind]:
        raise ValueError(f"no hyperparameter: {value}")
    if value.keys() != {"type"} | _KEYS[kind] - ({"count"} - value.keys()):
        raise ValueError(f"lacks keys: {value}")
    if "minval" in value and not value["minval"] < value["maxval"]:
        raise ValueError(f"minval is not less: {value}")


def _check_grid(value: Any) -> None:
    if isinstance(value, list) or (isinstance(value, Mapping) and "type" not in value):
        for item in value if isinstance(value, list) else value.values():
            _check_grid(item)
    elif isinstance(value, Mapping):
        if not isinstance(value["type"], str):
            raise ValueError(f"type is no text: {value}")
        if value["type"] in ("int", "double", "log") and value.get("count") is None:
            raise ValueError(f"grid search is in use but count was not provided: {value}")


def _axes(route: tuple[str, ...], value: Any, is_top: bool = False) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    if not isinstance(value, Mapping):
        yield route, [value]
    elif "type" not in value or is_top:
        if not value:
            yield route, [{}]
        for name in sorted(value):
            yield from _axes((*route, name), value[name])
    elif value["type"] == "const":
        yield route, [value["val"]]
    elif value["type"] == "categorical":
        yield route, value["vals"]
    else:
        yield route, list(_points(value))


def _points(spec: Mapping[str, Any]) -> Iterator[float]:
    low, high, count = spec["minval"], spec["maxval"], spec["count"]
    if spec["type"] == "int":
        count = min(count, high - low + 1)
    for index in range(count):
        point = (low + high) / 2 if count == 1 else low + index * (high - low) / (count - 1)
        yield round(point) if spec["type"] == "int" else spec["base"] ** point if spec["type"] == "log" else point


def _sample(value: Any, source: random.Random) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "type" not in value:
        return {name: _sample(item, source) for name, item in value.items()}
    kind = value["type"]
    if kind == "const":
        return value["val"]
    if kind == "categorical":
        return source.choice(value["vals"])
    if kind == "int":
        return source.randint(value["minval"], value["maxval"])
    drawn = source.uniform(value["minval"], value["maxval"])
    return value["base"] ** drawn if kind == "log" else drawn
