"""Which hyperparameters are the arguments of a script's ArgumentParser, with which values and comments?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lightning_adapter.configs.parts import Tree
from lightning_adapter.configs.tree_paths import Path, at
from lightning_adapter.errors import ConfigurationError, LightningAdapterError, shown
from lightning_adapter.platform import experiment
from lightning_adapter.platform.experiment.values import check_json
from lightning_adapter.versions import argparse_private

_MISSING = "it has to be given"


@dataclass(frozen=True)
class Arguments:
    """What a parser takes.

    Attributes:
        tree: name -> default; names with dots are groups, as jsonargparse has them.
        comments: what each is for.
        asks: those that have to be given.
        aliases: how one is typed -> its name.
        flags: those that are typed without a value -> the value that they give.
        actions: the parser's own, by name.
    """

    tree: Tree
    comments: dict[Path, str]
    asks: dict[Path, str]
    aliases: dict[str, str]
    flags: dict[str, Any]
    actions: dict[str, argparse.Action]

    def check(self, tree: Tree) -> None:
        """Refuse values that the parser would; its defaults are its own affair.

        Raises:
            ConfigurationError: all of them are told.
        """
        faults = []
        for name, action in self.actions.items():
            path = tuple(name.split("."))
            value = at(tree, path)
            if value is not None and value != at(self.tree, path):
                faults += [
                    fault
                    for each in (value if isinstance(value, list) else [value])
                    for fault in _faults(action, name, each)
                ]
        if faults:
            raise ConfigurationError("\n".join(faults))


def arguments_of(parser: argparse.ArgumentParser, name: str) -> Arguments:
    """Return what a parser takes, in its order.

    Args:
        parser: of a script.
        name: of the parser, for messages.

    Raises:
        ConfigurationError: it has subcommands, or defaults that no YAML can hold.
    """
    values: dict[str, Any] = {}
    comments: dict[Path, str] = {}
    asks: dict[Path, str] = {}
    aliases: dict[str, str] = {}
    actions: dict[str, argparse.Action] = {}
    flags: dict[str, Any] = {}
    faults: list[str] = []
    for action in argparse_private.arguments_of(parser):
        if argparse_private.has_subcommands(action):
            names = ", ".join(map(str, action.choices or ()))
            faults.append(
                f"{name} has the subcommands {names}. To fix, name a parser of one, or a function that returns it: "
                "train.py:make_parser"
            )
            continue
        if argparse_private.is_question(action) or action.dest == argparse.SUPPRESS:
            continue
        default = _default(action)
        values[action.dest] = default
        check_json(default, (action.dest,), faults)
        place = tuple(action.dest.split("."))
        comments[place] = _comment(action)
        if argparse_private.is_required(action):
            asks[place] = _MISSING
        actions[action.dest] = action
        aliases |= {option: action.dest for option in action.option_strings}
        if action.nargs == 0:
            flags |= dict.fromkeys(action.option_strings, action.const)
    if not values and not faults:
        faults.append(f"{name} takes no arguments, so that there is nothing to tune")
    if faults:
        raise ConfigurationError("\n".join(faults))
    return Arguments(experiment.nest(values), comments, asks, aliases, flags, actions)


def _faults(action: argparse.Action, name: str, value: object) -> Iterator[str]:
    """What the parser would say of a value, as its `_get_value` and `_check_value` do."""
    read = value
    if callable(action.type):
        try:
            read = action.type(value if isinstance(value, str) else json.dumps(value))
        except (argparse.ArgumentTypeError, TypeError, ValueError) as error:
            yield f"{name} is {shown(value)}, which the script does not take: {error}"
            return
    if action.choices is not None and read not in action.choices:
        yield f"{name} is {shown(value)}, and has to be one of {', '.join(map(str, action.choices))}"


def _default(action: argparse.Action) -> Any:
    """The value where nothing is typed; a text is read as if it was, as `ArgumentParser.parse_known_args` does."""
    default = None if action.default is argparse.SUPPRESS else action.default
    if isinstance(default, str) and callable(action.type):
        try:
            default = action.type(default)
        except (argparse.ArgumentTypeError, TypeError, ValueError):
            return default  # which the script would refuse, too
    try:
        return experiment.plain(default)
    except LightningAdapterError:
        return shown(default)


def _comment(action: argparse.Action) -> str:
    parts = []
    if action.help and action.help is not argparse.SUPPRESS:
        parts.append(action.help.replace("%(default)s", str(action.default)).replace("%%", "%"))
    if action.choices is not None:
        parts.append(f"one of {', '.join(map(str, action.choices))}")
    return "; ".join(parts)
