"""Which entry of a configuration is jsonargparse's message about?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_adapter.errors import ConfigurationError

#: How jsonargparse names an entry, in the order in which a message about nested classes goes inwards.
_NAMED = re.compile(
    r"Parser key \"(?P<key>[^\"]+)\""
    r"|Problem with given class_path '(?P<class_path>[^']+)'"
    r"|(?:does not accept option|Option) '(?P<option>[^']+)'"
    r"|Group '(?P<group>[^']+)' does not accept option"
    r"|given value: (?P<end>)",
    re.IGNORECASE,
)
_REQUIRED = re.compile(r"(the following arguments are required: )(.+)")


class ConfigurationFault(ConfigurationError):
    """An entry of a configuration cannot be used.

    Attributes:
        keys: the way to the entry; empty where it is not known, or the whole is meant.
    """

    def __init__(self, message: str, keys: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.keys = tuple(keys)


def fault_of(error: Exception, tree: Mapping[str, Any], subcommand: str = "fit") -> ConfigurationFault:
    """Return jsonargparse's error as one of ours, in its own words.

    Args:
        error: what a parser has raised.
        tree: what it was given.
        subcommand: whose section the tree is; names of entries begin with it, which the tree does not have.
    """
    text = str(error)
    text = _REQUIRED.sub(lambda found: found[1] + found[2].replace(f"{subcommand}.", ""), text)
    text = text.replace(f"Subcommand '{subcommand}' does not accept option", "There is no option")
    return ConfigurationFault(text, _entry(str(error), tree, subcommand))


def _entry(text: str, tree: Mapping[str, Any], subcommand: str) -> list[str]:
    """The way to the entry that a message is about, as far as it goes."""
    keys: list[str] = []
    for found in _NAMED.finditer(text):
        if found["end"] is not None:
            break  # what follows is the value as it was given, and what is said of other alternatives
        if found["class_path"]:
            node = at(tree, keys)
            if isinstance(node, list):
                keys += _item(node, found["class_path"])
            continue
        named = found["key"] or found["option"]
        if named is None:
            continue
        if keys and isinstance(at(tree, keys), Mapping):
            keys.append("init_args")
        keys += named.removeprefix(f"{subcommand}.").split(".")
    return keys


def _item(items: list[Any], class_path: str) -> list[str]:
    """The place in a list of the first item of this class, which may be given by its short name."""
    name = class_path.rpartition(".")[2]
    for index, item in enumerate(items):
        given = item.get("class_path") if isinstance(item, Mapping) else item
        if isinstance(given, str) and given.rpartition(".")[2] == name:
            return [str(index)]
    return []


def at(tree: Any, keys: Sequence[str]) -> Any:
    """Return what stands at the end of a way through groups and lists; None where it leads nowhere."""
    node = tree
    for key in keys:
        if isinstance(node, Mapping) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        else:
            return None
    return node
