"""How does a list stand in hyperparameters where one of its values is a range?

Determined draws values of groups, and takes a list as one value. So a list with a range inside is written as a group whose
names are "0", "1" and so on.
"""

from __future__ import annotations

from collections.abc import Mapping

from lightning_adapter.configs.parts import Tree


def lists(values: Mapping[str, object]) -> Tree:
    """Copy a tree, with lists in the place of groups that stand for them; names at the top are names."""
    return {key: _value(value) for key, value in values.items()}


def _value(value: object) -> object:
    if isinstance(value, Mapping):
        made = {key: _value(item) for key, item in value.items()}
        names = [str(index) for index in range(len(made))]
        return [made[name] for name in names] if names and set(made) == set(names) else made
    return [_value(item) for item in value] if isinstance(value, list) else value
