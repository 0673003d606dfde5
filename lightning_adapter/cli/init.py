"""`lightning-adapter init`: what can be typed, and where does the experiment YAML go?"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import signal
import sys

from lightning_adapter.errors import ConfigurationError

DESCRIPTION = (
    "Print an experiment YAML for Determined. SOURCE is LightningCLI's YAML, a directory of Hydra's or DIR/NAME, a trial "
    "(model_def.py:Trial), a script's ArgumentParser (train.py:parser), or a LightningCLI or ConfiguredTrial of your own with "
    "--cli or --hydra. Overrides follow, sweeps among them: model.lr=0.1,0.01 'model.lr=tag(log,interval(1e-4,1e-1))' model=a,b."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    parser.usage = "%(prog)s SOURCE [OVERRIDES ...] [--slots N] [--requirements] > experiment.yaml"
    parser.add_argument(
        "source", metavar="SOURCE", help="config.yaml, configs/train, model_def.py:Trial, train.py:parser"
    )
    parser.add_argument(
        "--slots", type=_slots, metavar="N", help="GPUs of a trial; default what the configuration asks for"
    )
    parser.add_argument(
        "--requirements",
        action="store_true",
        help="write requirements.txt too: what the project imports beyond the cluster's image, at the versions of this environment",
    )
    configuration = parser.add_mutually_exclusive_group()
    configuration.add_argument(
        "--cli", action="append", default=[], metavar="FILE", help="the configuration of a class of your own"
    )
    configuration.add_argument("--hydra", metavar="DIR[/NAME]", help="likewise, of Hydra's")


def run(arguments: argparse.Namespace) -> int:
    """Print the YAML; return the exit status.

    Raises:
        LightningAdapterError: no YAML can be made of what was typed; nothing is printed or written.
    """
    # what user code prints while it is imported is no YAML
    with contextlib.redirect_stdout(sys.stderr):
        from lightning_adapter.configs import requirements
        from lightning_adapter.configs.experiment_yaml import experiment_yaml
        from lightning_adapter.configs.source_kind import read_source

        here = pathlib.Path.cwd()
        if arguments.requirements:
            requirements.check_may_write(here)
        origin = read_source(arguments.source, arguments.cli, arguments.hydra)
        made = experiment_yaml(origin, arguments.overrides, arguments.slots, arguments.requirements)
        if arguments.requirements:
            frozen = requirements.freeze(
                here, origin.dialect, made.hyperparameters, _code(origin.target, arguments.source)
            )
            requirements.write(here, frozen)
            print(frozen.summary)
    return _print(made.text)


def _print(text: str) -> int:
    """Write it out; return the exit status.

    Raises:
        ConfigurationError: not all of it can be written.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # whoever read has gone, as behind `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise ConfigurationError(
            f"the experiment YAML cannot be written: {error.strerror}. What is there of it is cut off; delete it, make room, and "
            "type the command again."
        ) from None
    return 0


def _code(target: str | None, source: str) -> str | None:
    """Where the trial's own code begins; None where it is this package's."""
    from lightning_adapter.platform.target import CONFIGURED

    begin = target or source
    return None if begin == CONFIGURED else begin


def _slots(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of GPUs; give 1 or more")
    return int(text)
