"""Which entries of a configuration does jsonargparse refuse, and in which words?"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

from lightning_adapter.argument_values import LARGEST_SEED
from lightning_adapter.configs.ways import ABSENT, at
from lightning_adapter.errors import ConfigurationError, shown

#: How jsonargparse names an entry, in the order in which a message about nested classes goes inwards.
_NAMED = re.compile(
    r"Parser key \"(?P<key>[^\"]+)\""
    r"|Problem with given class_path '(?P<class_path>[^']+)'"
    r"|(?:accept option|Option) '(?P<option>[^']+)'"
    r"|(?P<end>Given value)"
)
_GROUP = re.compile(r"Group '(?P<group>[^']+)' does not accept option '(?P<option>[^']+)'")
_REQUIRED = re.compile(r"the following arguments are required: (?P<names>.+)")
#: How many faults are looked for: each costs one more reading of the whole.
_MOST = 20


class ConfigurationFault(ConfigurationError):
    """An entry of a configuration cannot be used.

    Attributes:
        keys: the way to the entry; empty where it is not known, or the whole is meant.
        faults: each entry that cannot be used, where the message tells of several; itself where it tells of one.
    """

    def __init__(self, message: str, keys: Sequence[str] = (), faults: Sequence[ConfigurationFault] = ()) -> None:
        super().__init__(message)
        self.keys = tuple(keys)
        self.faults: tuple[ConfigurationFault, ...] = tuple(faults) or (self,)

    @classmethod
    def of(cls, faults: Sequence[ConfigurationFault]) -> ConfigurationFault:
        """One error that tells of several."""
        return cls("\n".join(map(str, faults)), faults[0].keys, faults)


def fault_of(error: Exception, tree: Mapping[str, Any], subcommand: str) -> ConfigurationFault:
    """Return jsonargparse's error as one of ours, in its own words.

    Args:
        error: what a parser has raised.
        tree: what it was given.
        subcommand: whose section the tree is; messages name it, which the tree does not.
    """
    text = str(error)
    told = _REQUIRED.sub(lambda found: found[0].replace(f" {subcommand}.", " "), text)
    told = told.replace(f"Subcommand '{subcommand}' does not accept option", "There is no option")
    return ConfigurationFault(told, _way(text, tree, subcommand))


def all_faults(
    tree: Mapping[str, Any], refusal: Callable[[Mapping[str, Any]], ConfigurationFault | None]
) -> list[ConfigurationFault]:
    """Return everything that is refused in a tree: jsonargparse stops at the first fault.

    Args:
        tree: the configuration.
        refusal: gives the first fault of a tree.
    """
    rest: dict[str, Any] = copy.deepcopy(dict(tree))
    faults: list[ConfigurationFault] = []
    removed: set[tuple[str, ...]] = set()
    for _ in range(_MOST):
        fault = refusal(rest)
        if fault is None:
            break
        keys = _as_in_the_whole(fault.keys, removed)
        if not _lacks_what_was_removed(fault, removed):
            faults.append(ConfigurationFault(str(fault), keys))
        # a class that lacks an argument is taken out as a whole, since nothing can be put there
        if not fault.keys or not _remove(rest, fault.keys):
            break
        removed.add(keys)
    return faults


def unusable(section: Mapping[str, Any]) -> list[ConfigurationFault]:
    """Return what jsonargparse takes in a section, and LightningCLI fails at, without a word of where that stands."""
    faults = []
    trainer, seed = section.get("trainer", {}), section.get("seed_everything")
    if not isinstance(trainer, Mapping):
        found = "has nothing in it" if trainer is None else f"is {shown(trainer)}"
        faults.append(
            ConfigurationFault(f"trainer {found}: write arguments of the Trainer there, or leave it out", ["trainer"])
        )
    number = int(seed) if isinstance(seed, str) and seed.removeprefix("-").isdecimal() else seed
    if isinstance(number, int) and not 0 <= number <= LARGEST_SEED:
        faults.append(
            ConfigurationFault(
                f"seed_everything is {number}: give a whole number from 0 to {LARGEST_SEED}", ["seed_everything"]
            )
        )
    return faults


def _lacks_what_was_removed(fault: ConfigurationFault, removed: set[tuple[str, ...]]) -> bool:
    """Whether an argument is said to be missing that is there, and was refused before."""
    required = _REQUIRED.search(str(fault))
    names = set() if required is None else set(required["names"].split(", "))
    return bool(names & {name for keys in removed for name in (keys[-1], ".".join(keys))})


def _as_in_the_whole(keys: Sequence[str], removed: set[tuple[str, ...]]) -> tuple[str, ...]:
    """A way through a tree some of whose lists have lost items, as it is in the whole tree."""
    way: tuple[str, ...] = ()
    for key in keys:
        if key.isdigit():
            lost = sorted(int(each[-1]) for each in removed if each[:-1] == way and each[-1].isdigit())
            key = str(functools.reduce(lambda number, before: number + (before <= number), lost, int(key)))
        way = (*way, key)
    return way


def _remove(tree: MutableMapping[str, Any], keys: Sequence[str]) -> bool:
    """Take an entry out; whether it was there."""
    if at(tree, keys) is ABSENT:
        return False
    parent = at(tree, keys[:-1])
    del parent[int(keys[-1]) if isinstance(parent, list) else keys[-1]]
    return True


def _way(text: str, tree: Mapping[str, Any], subcommand: str) -> list[str]:
    """The way to the entry that a message is about, as far as it is told."""
    keys: list[str] = []
    text = _GROUP.sub(lambda found: f"Option '{found['group']}.{found['option']}'", text)
    for found in _NAMED.finditer(text):
        if found["end"]:
            break  # what follows is the value, and what is said of it as another type
        if found["class_path"]:
            node = at(tree, keys)
            keys += _item(node, found["class_path"]) if isinstance(node, list) else []
            continue
        for key in (found["key"] or found["option"]).removeprefix(f"{subcommand}.").split("."):
            # arguments of a class stand there, and messages leave it out
            below = at(tree, [*keys, key]) is ABSENT and isinstance(at(tree, [*keys, "init_args"]), Mapping)
            keys += ["init_args", key] if below else [key]
        if found["option"]:
            break
    return keys


def _item(items: Sequence[Any], class_path: str) -> list[str]:
    """The place in a list of the first item of this class, which may be given by its name alone."""
    name = class_path.rpartition(".")[2]
    for index, item in enumerate(items):
        given = item.get("class_path") if isinstance(item, Mapping) else item
        if isinstance(given, str) and given.rpartition(".")[2] == name:
            return [str(index)]
    return []
