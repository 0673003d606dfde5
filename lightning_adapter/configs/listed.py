"""How does a list stand in hyperparameters where one of its values is a range?

Determined draws values of groups, and takes a list as one value. So a list with a range inside is written as a group whose
names are "0", "1" and so on. A group that has these names of its own, as a table of classes may, says besides that it is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_adapter.configs.parts import Tree

#: Stands in a group that is no list, whatever the names of its other entries.
IS_GROUP = "_group_"


def lists(values: Mapping[str, object]) -> Tree:
    """Copy a tree, with lists in the place of groups that stand for them; names at the top are names."""
    return {key: _value(value) for key, value in values.items()}


def _value(value: object) -> object:
    if isinstance(value, Mapping):
        made = {key: _value(item) for key, item in value.items()}
        if _would_be_list({name for name in made if name != IS_GROUP}) and made.pop(IS_GROUP, None) is None:
            return [made[str(index)] for index in range(len(made))]
        return made
    return [_value(item) for item in value] if isinstance(value, list) else value


def groups(tree: Mapping[str, Any]) -> Tree:
    """Copy a tree, with a word in each group that `lists` would take for a list: it makes the same tree again."""
    return {key: _said(value) for key, value in tree.items()}


def marked(group: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a group, with the word that it is one where `lists` would take it for a list."""
    return {**group, **({IS_GROUP: True} if _would_be_list(set(group)) else {})}


def _said(value: Any) -> Any:
    if isinstance(value, Mapping):
        return marked(groups(value))
    return [_said(item) for item in value] if isinstance(value, list) else value


def _would_be_list(names: set[str]) -> bool:
    return bool(names) and names == {str(index) for index in range(len(names))}
