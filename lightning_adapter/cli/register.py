"""`lightning-adapter register`: what can be typed, and what is said of the version that a checkpoint has become?"""

from __future__ import annotations

import argparse
import pathlib

DESCRIPTION = (
    "Make a checkpoint a version of a model in the registry of the master: one that is named by its id, the best of an "
    "experiment, or one that was fetched. A checkpoint that is a version already stays that one. The login is Determined's."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    parser.add_argument(
        "what",
        metavar="WHAT",
        help="the id of a checkpoint, the number of an experiment, or the directory of a run that was fetched",
    )
    parser.add_argument("name", metavar="NAME", help="of the model, which is made where there is none of this name")
    parser.add_argument(
        "--description", metavar="TEXT", help="of a new model; of one that is there, the notes of the version"
    )
    parser.add_argument("--last", action="store_true", help="the last checkpoint, and not the best")


def run(arguments: argparse.Namespace) -> int:
    """Register; return the exit status.

    Raises:
        LightningAdapterError: what was typed cannot be used, or the master does not take it.
    """
    from lightning_adapter.evaluation.registry import check_name, register, uuid_of
    from lightning_adapter.evaluation.source import find
    from lightning_adapter.fetching.choice import choose
    from lightning_adapter.platform.login import address, connect
    from lightning_adapter.runs.summary import say

    check_name(arguments.name)
    wanted, last = arguments.what, arguments.last
    if pathlib.Path(wanted).expanduser().exists():
        wanted, last = uuid_of(find(wanted, last=last)), False
    client = connect()
    choice = choose(client, wanted, last=last, of_trial=False)
    made = register(client, choice.checkpoint.uuid, arguments.name, arguments.description)
    which = f"checkpoint {choice.checkpoint.uuid} of batch {choice.steps} (trial {choice.trial.id}, {choice.why})"
    if not made.is_new:
        say(f"{which} is version {made.version} of {arguments.name} already")
        return 0
    model = f"the new model {arguments.name}" if made.is_new_model else arguments.name
    say(f"{which} is version {made.version} of {model}: {address()}/det/models/{arguments.name}")
    return 0
