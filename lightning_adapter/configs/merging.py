"""Which of two trees wins, and where does one take the place of the other as a whole?"""

from __future__ import annotations

from collections.abc import Mapping

from lightning_adapter.configs.parts import CLASS_KEYS, Tree


def merged(tree: Mapping[str, object], winning: Mapping[str, object]) -> Tree:
    """Put the values of a tree into the places of another's.

    A group that names another class takes the place of a whole group: arguments of one class are none of another's.
    Groups "0", "1" and so on reach into a list.

    Args:
        tree: the values that are kept where nothing else is said.
        winning: those that win.
    """
    return {**tree, **{key: _value(tree.get(key), value) for key, value in winning.items()}}


def _value(below: object, above: object) -> object:
    if isinstance(below, list) and isinstance(above, Mapping):
        below = {str(index): item for index, item in enumerate(below)}
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)) or _other_class(below, above):
        return above
    return merged(below, above)


def _other_class(below: Mapping[str, object], above: Mapping[str, object]) -> bool:
    return any(name in above and above[name] != below.get(name) for name in CLASS_KEYS)
