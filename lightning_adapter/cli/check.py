"""`lightning-adapter check`: what of a class runs, is warned about, is rejected?"""

from __future__ import annotations

import argparse

from lightning_adapter.platform.target import load_target

DESCRIPTION = (
    "Look at a LightningModule, LightningDataModule, Callback or trial class without constructing it, and say what of it "
    "runs, what is warned about and what is rejected; of a trial that names a dataclass also its hyperparameters. Exit status "
    "1 if something is rejected."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    parser.add_argument("target", metavar="FILE_OR_MODULE:Class", help="for example model_def.py:LitMNIST")


def run(arguments: argparse.Namespace) -> int:
    """Print the report on a class; return the exit status, 1 where something of it is rejected.

    Raises:
        TargetError: the class cannot be imported, or is none that can be checked.
        ConfigurationError: what a trial names as its hyperparameters is no dataclass.
    """
    from lightning_adapter import monkey_patch, support
    from lightning_adapter.cli import fields

    cls = load_target(arguments.target)
    report = monkey_patch.report(cls)
    listed = fields.listed(cls)
    print(f"{report}\n\n{listed}" if listed else report)
    rejected = any(finding.support is support.Support.REJECTED for finding in monkey_patch.inspect_any(cls))
    return 1 if rejected else 0
