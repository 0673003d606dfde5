"""Which command was typed, and with which status does the program end?

    lightning-adapter fit   FILE_OR_MODULE:TrialClass --config experiment.yaml --max-epochs 3
    lightning-adapter check FILE_OR_MODULE:Class

Exit status: 0 done; 1 the training could not go on, or `check` found something that is rejected; 2 the command, the
target or the configuration is wrong. An error of this package is one message without a traceback; an exception from
user code keeps its own. Torch is imported when a command runs, not by these modules, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lightning_adapter.cli import check, fit
from lightning_adapter.errors import ConfigurationError, LightningAdapterError, TargetError

_PROGRAM = "lightning-adapter"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    Args:
        argv: the words after the program's name; those of this process when None.

    Raises:
        SystemExit: `--help`, or a wrong command line (status 2), as argparse does.
    """
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.command(arguments)
    except LightningAdapterError as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, (ConfigurationError, TargetError)) else 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="Train a PyTorch Lightning module as a Determined PyTorchTrial."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in {"fit": fit, "check": check}.items():
        typed = commands.add_parser(
            name,
            allow_abbrev=False,  # an entrypoint must mean the same when a later version has more options
            help=command.HELP,
            description=command.DESCRIPTION,
        )
        typed.set_defaults(command=command.run)
        command.add_arguments(typed)
    return parser
