"""What can be typed after `fit`, in a shell and in an experiment's entrypoint?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import typed_overrides
from lightning_adapter.platform.target import CONFIGURED, names_a_configuration
from lightning_adapter.platform.typed_hparams import add_hparam
from lightning_adapter.platform.typed_period import parse_period


def add_target(parser: argparse.ArgumentParser) -> None:
    """Say that a target can be typed."""
    parser.add_argument("target", metavar="FILE_OR_MODULE:TrialClass", help="for example model_def.py:MNISTTrial")


def add_periods(parser: argparse.ArgumentParser) -> None:
    """Say that periods can be typed."""
    save = "in place of a checkpoint after each validation, save one"
    for name, what in (("validation", "validate"), ("checkpoint", save)):
        parser.add_argument(
            f"--{name}-period",
            type=parse_period,
            metavar="PERIOD",
            help=f'{what} every 100, "100 batches" or "2 epochs"',
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say which options there are."""
    configuration = parser.add_mutually_exclusive_group()
    configuration.add_argument(
        "--cli",
        action="append",
        metavar="FILE",
        help="in place of a target: train what a LightningCLI configuration describes; overrides follow: --model.lr 0.01",
    )
    configuration.add_argument(
        "--hydra",
        metavar="DIR[/NAME]",
        help="likewise a configuration of Hydra's; overrides follow: experiment=x model.lr=0.01",
    )
    parser.add_argument("--config", metavar="FILE", help="an experiment YAML; on a cluster the cluster's own is used")
    parser.add_argument("--max-epochs", type=int, metavar="N", help="stop after N epochs")
    parser.add_argument("--max-steps", type=int, metavar="N", help="stop after N optimizer steps")
    add_hparam(parser)
    add_periods(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--resume-from", metavar="PATH", help="continue: a checkpoint, a directory of them, or a Lightning .ckpt"
    )
    start.add_argument("--warm-start-from", metavar="PATH", help="take the weights only, and start from the beginning")
    parser.add_argument("--seed", type=int, metavar="N", help="as seed_everything(N)")
    parser.add_argument("--run-dir", metavar="DIR", help="where a local run writes; default runs/<name>/<date-time>")
    parser.add_argument(
        "--name", metavar="NAME", help="folder below runs/ for local runs of a kind; default the trial's class"
    )
    parser.add_argument(
        "--master-timeout",
        type=float,
        metavar="SECONDS",
        help="on a cluster, for how long a request is repeated that the master does not answer; default 600",
    )
    parser.add_argument(
        "--test",
        action="store_true",
        help="when training is complete, test the best checkpoint with Lightning's own Trainer",
    )
    parser.add_argument(
        "--package",
        metavar="FILE",
        help="off a cluster, write the best model with its source when training is complete",
    )


class _Parser(argparse.ArgumentParser):
    """Reads the words of an entrypoint; a wrong one is told with everything else."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"fit would not take it: {message}")


def read(words: Sequence[str]) -> argparse.Namespace:
    """Read the words after `fit` in an entrypoint.

    Returns:
        What `add_options` says, with `target`, and `overrides` of a configuration.

    Raises:
        ConfigurationError: `fit` would refuse them.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    if names_a_configuration(words):
        add_options(parser)
        target, options = typed_overrides.target_first(words)
        arguments = typed_overrides.parse(parser, options)
        arguments.target = target or CONFIGURED
        return arguments
    add_target(parser)
    add_options(parser)
    arguments = parser.parse_args(words)
    arguments.overrides = []
    return arguments
