"""Can a trial that names a dataclass be made of each value that an experiment's ranges may draw?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_adapter.configs import typed
from lightning_adapter.configs.drawn import Name, first, replaced, samples
from lightning_adapter.errors import shown
from lightning_adapter.platform.experiment.faults import dotted, raise_all
from lightning_adapter.platform.experiment.ranges import Range


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
    values = first(hyperparameters, (), ranges)
    _, faults = typed.made_or_faults(structure, typed.completed(trial_class, values), refuses=not ranges)
    texts = {place: text for place, text in faults.items() if not any(_is_below(place, name) for name in ranges)}
    drawn: list[str] = []
    for name, allowed in ranges.items():
        for value in samples(allowed):
            other = replaced(values, name, value)
            _, faults = typed.made_or_faults(structure, typed.completed(trial_class, other), refuses=False)
            found = next((text for place, text in faults.items() if _is_below(place, name)), None)
            if found is not None:
                drawn.append(f"{dotted(name)} is a range ({allowed}), which may give {shown(value)}: {found}")
                break
    raise_all(typed.source_of(trial_class, structure), [*texts.values(), *drawn])


def _is_below(place: tuple[object, ...], name: Name) -> bool:
    return place[: len(name)] == name
