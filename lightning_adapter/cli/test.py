"""`lightning-adapter test`: what can be typed, and what is printed?"""

from __future__ import annotations

import argparse

from lightning_adapter.cli import evaluation

DESCRIPTION = (
    "Test the best checkpoint of a run, or one that is named, with Lightning's own Trainer, on the test data of "
    "the trial. The values go to the terminal, to test.json beside the checkpoint, and to the loggers of the "
    "training. Several processes: torchrun --nproc_per_node N -m lightning_adapter test ..."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    evaluation.add_arguments(parser, splits=("train", "val", "test"))


def run(arguments: argparse.Namespace) -> int:
    """Test; return the exit status.

    Raises:
        LightningAdapterError: what was typed cannot be used, or the model cannot be measured.
    """
    return evaluation.measure(arguments, "test")
