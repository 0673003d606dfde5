"""Which of the typed words are a command's own, and which change values of a configuration?

A configuration's words are whatever its library takes: `--model.lr 0.1`, `model.lr=0.1`, `~callbacks`. So they are all those
that the command does not know.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def parse(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read a command line, and keep the words that no command knows as `overrides`, in their order.

    Raises:
        SystemExit: as argparse does.
    """
    arguments, rest = parser.parse_known_args(words)
    arguments.overrides = rest
    return arguments


def target_first(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Take the target from the words after `fit`: with a configuration it stands before all else, or is left out."""
    if words and not words[0].startswith("-"):
        return words[0], list(words[1:])
    return None, list(words)
