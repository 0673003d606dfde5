"""Can a trial that names a dataclass be made of each value that an experiment's ranges may draw?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_adapter.configs import typed
from lightning_adapter.errors import shown
from lightning_adapter.platform.experiment.faults import dotted, raise_all
from lightning_adapter.platform.experiment.ranges import Choice, LinearRange, LogRange, Range, is_range, range_of

Name = tuple[str, ...]


def check(trial_class: type, hyperparameters: Mapping[str, Any]) -> None:
    """Refuse values and ranges that do not fit the types of the trial's dataclass.

    What the class says of values together is asked only where there are no ranges: those that are looked at may never be
    drawn together.

    Args:
        trial_class: the trial.
        hyperparameters: as in an experiment YAML, well formed.

    Raises:
        ConfigurationError: all that is wrong with them.
    """
    structure = typed.structure_of(trial_class)
    if structure is None:
        return
    ranges: dict[Name, Range] = {}
    first = _first(hyperparameters, (), ranges)
    _, faults = typed.made_or_faults(structure, typed.completed(trial_class, first), refuses=not ranges)
    texts = {place: text for place, text in faults.items() if not any(_is_below(place, name) for name in ranges)}
    drawn: list[str] = []
    for name, allowed in ranges.items():
        for value in _samples(allowed):
            values = _replaced(first, name, value)
            _, faults = typed.made_or_faults(structure, typed.completed(trial_class, values), refuses=False)
            found = next((text for place, text in faults.items() if _is_below(place, name)), None)
            if found is not None:
                drawn.append(f"{dotted(name)} is a range ({allowed}), which may give {shown(value)}: {found}")
                break
    raise_all(typed.source_of(trial_class, structure), [*texts.values(), *drawn])


def _first(spec: Mapping[str, Any], path: Name, ranges: dict[Name, Range]) -> dict[str, Any]:
    """The values, the first that each range may give among them; ranges are noted."""
    found: dict[str, Any] = {}
    for name, value in spec.items():
        place = (*path, name)
        if is_range(value):
            ranges[place] = range_of(value)
            found[name] = next(_samples(ranges[place]))
        elif isinstance(value, Mapping) and value.get("type") == "const":
            found[name] = value.get("val")
        else:
            found[name] = _first(value, place, ranges) if isinstance(value, Mapping) else value
    return found


def _samples(allowed: Range) -> Iterator[object]:
    """Values that a range may give: one in its middle, and its limits; of a choice all."""
    if isinstance(allowed, Choice):
        yield from allowed.vals
    elif isinstance(allowed, LinearRange) and allowed.kind == "int":
        yield from (int(allowed.minval), int(allowed.maxval))
    elif isinstance(allowed, LinearRange):
        yield from ((allowed.minval + allowed.maxval) / 2, float(allowed.minval), float(allowed.maxval))
    elif isinstance(allowed, LogRange):
        middle = (allowed.minval + allowed.maxval) / 2
        yield from (float(allowed.base) ** exponent for exponent in (middle, allowed.minval, allowed.maxval))


def _replaced(values: Mapping[str, Any], name: Name, value: object) -> dict[str, Any]:
    first, *rest = name
    return {**values, first: _replaced(values[first], tuple(rest), value) if rest else value}


def _is_below(place: tuple[object, ...], name: Name) -> bool:
    return place[: len(name)] == name
