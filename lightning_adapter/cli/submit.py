"""`lightning-adapter submit`: what can be typed, and how does it become an experiment on a cluster?"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

import lightning_adapter
from lightning_adapter.platform import fit_words
from lightning_adapter.platform.typed_hparams import hyperparameters
from lightning_adapter.runs.summary import say

if TYPE_CHECKING:
    from lightning_adapter.submission.checks import Typed
    from lightning_adapter.submission.master import Master
    from lightning_adapter.submission.prepare import Submission

DESCRIPTION = (
    "Check an experiment on this machine and with the master, create it, and follow it to its end. The package itself and what "
    "the project requires go along. Exit status: 0 completed, 1 failed or cancelled, 2 refused before it was created. Which "
    "cluster, and who asks, is Determined's own affair: DET_MASTER, det user login."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    parser.add_argument("config", type=pathlib.Path, metavar="EXPERIMENT.yaml", help="the experiment")
    parser.add_argument(
        "context",
        nargs="?",
        default=".",
        type=pathlib.Path,
        metavar="CONTEXT",
        help="the directory that holds the trial's files, which becomes the container's; default: this one",
    )
    parser.add_argument("--name", help="name the experiment; default: what the YAML says")
    parser.add_argument(
        "--project",
        type=_project,
        metavar="WORKSPACE/PROJECT",
        help="where the experiment goes; default: what the YAML says",
    )
    parser.add_argument("--detach", action="store_true", help="do not follow the experiment")
    parser.add_argument("--logs", action="store_true", help="while following, print the log of the first trial")


def run(arguments: argparse.Namespace) -> int:
    """Submit; return the exit status.

    Raises:
        SubmissionError: something stands against the experiment; nothing was created.
    """
    from lightning_adapter.cli import follow

    try:
        master, submission = _checked(arguments)
    except KeyboardInterrupt:
        print("nothing was submitted", file=sys.stderr)
        raise
    number = _created(submission, master)
    # nobody may be left without its number
    say(f"{'created':8} experiment {number} as {master.user}: {master.page(number)}")
    if arguments.detach:
        say(f"{'follow':8} lightning-adapter follow {number}")
        return 0
    return follow.followed(master, number, logs=arguments.logs)


def _checked(arguments: argparse.Namespace) -> tuple[Master, Submission]:
    """Ask everything that can be asked before there is an experiment, here and of the master."""
    from lightning_adapter.submission import master as masters

    submission = _prepared(arguments)
    for word, line in (*submission.summary, *(("note", line) for line in submission.advice)):
        say(f"{word:8} {line}")
    master = masters.connect()
    if arguments.project is not None:
        master.check_project(*arguments.project)
    master.validate(submission.text)
    return master, submission


def _prepared(arguments: argparse.Namespace) -> Submission:
    from lightning_adapter.cli import trial_report
    from lightning_adapter.platform.login import find_master
    from lightning_adapter.submission.prepare import Preparing
    from lightning_adapter.submission.wheel import Package

    package = Package(lightning_adapter.__version__, pathlib.Path(lightning_adapter.__file__).parent)
    preparing = Preparing(arguments.config, arguments.context, package)
    preparing.check(find_master)
    return preparing.submission(arguments.name, arguments.project, _read_fit, trial_report.look)


def _created(submission: Submission, master: Master) -> int:
    from lightning_adapter.submission.staging import staged

    with tempfile.TemporaryDirectory(prefix="lightning_adapter_") as folder:
        config = pathlib.Path(folder) / "experiment.yaml"
        config.write_text(submission.text, encoding="utf-8")
        with staged(submission.context, submission.made) as directory:
            return master.create(config, directory)


def _read_fit(words: Sequence[str]) -> Typed:
    """What the entrypoint's command says that the YAML may contradict.

    Raises:
        ConfigurationError: `fit` would refuse it.
    """
    from lightning_adapter.submission.checks import Typed

    read = fit_words.read(words)
    return Typed(read.max_epochs, hyperparameters(read))


def _project(text: str) -> tuple[str, str]:
    workspace, slash, project = text.partition("/")
    if not (workspace.strip() and slash and project.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is no WORKSPACE/PROJECT, such as Uncategorized/Uncategorized")
    return workspace.strip(), project.strip()
