"""How are hyperparameters typed: `--hparam NAME=VALUE`?"""

from __future__ import annotations

import argparse
from typing import Any


def add_hparam(parser: argparse.ArgumentParser) -> None:
    """Let hyperparameters be typed."""
    parser.add_argument(
        "--hparam",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="set a hyperparameter, read as YAML; dots nest: optimizer.lr=1e-3; may be repeated",
    )


def hyperparameters(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Return what was typed, nested; None where nothing was.

    Raises:
        ConfigurationError: a value is no YAML, or two names contradict each other.
    """
    from lightning_adapter.platform import experiment

    return experiment.nest({name: experiment.parse_value(name, text) for name, text in arguments.hparam}) or None


def _assignment(text: str) -> tuple[str, str]:
    """Split `name=value`; the value is read later, as YAML."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is no assignment: write name=value, for example learning_rate=0.01")
    return name, value
