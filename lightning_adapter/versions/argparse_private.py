"""Which arguments does an ArgumentParser take? Python's has no public way to ask."""

from __future__ import annotations

import argparse
from collections.abc import Iterator


def arguments_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser, in the order in which they were added, those of its groups among them."""
    yield from parser._actions


def has_subcommands(action: argparse.Action) -> bool:
    """Tell whether an argument chooses a parser of its own."""
    return isinstance(action, argparse._SubParsersAction)


def is_required(action: argparse.Action) -> bool:
    """Tell whether a command without it is refused."""
    return action.required and action.default is None


def is_question(action: argparse.Action) -> bool:
    """Tell whether it prints something and ends the program."""
    return isinstance(action, (argparse._HelpAction, argparse._VersionAction))
