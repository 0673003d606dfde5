"""Which command was typed, and with which status does the program end?

    lightning-adapter fit      FILE_OR_MODULE:TrialClass --config experiment.yaml --max-epochs 3
    lightning-adapter fit      --cli FILE | --hydra DIR[/NAME] [OVERRIDES ...]
    lightning-adapter init     SOURCE [OVERRIDES ...] > experiment.yaml
    lightning-adapter check    FILE_OR_MODULE:Class
    lightning-adapter validate | test WHAT [TARGET]
    lightning-adapter predict  WHAT [TARGET] [--out DIR] [--format pt|csv|parquet]
    lightning-adapter evaluate PREDICTIONS --metrics FILE_OR_MODULE:NAME
    lightning-adapter export   WHAT [TARGET] --to onnx|torchscript|exported_program|package
    lightning-adapter register WHAT NAME
    lightning-adapter draw     TARGET_OR_RUN
    lightning-adapter runs     [DIR] | show RUN | compare RUN RUN ... | prune [DIR]
    lightning-adapter search   [TARGET] --config EXPERIMENT.yaml
    lightning-adapter submit   EXPERIMENT.yaml [CONTEXT]
    lightning-adapter follow   EXPERIMENT
    lightning-adapter fetch    EXPERIMENT_OR_TRIAL_OR_UUID [DIR]

Exit status: 0 done; 1 the training could not go on, here or on a cluster, or `check` found something that is rejected; 2
what was given is wrong: the command, the target, the configuration, the checkpoint, or what the trial brings. An error of
this package is one message without a traceback; an exception from user code keeps its own. What a command is made of is
imported when it is typed, and torch when it runs, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import NoReturn, TextIO

import lightning_adapter
from lightning_adapter.errors import LightningAdapterError
from lightning_adapter.notices import NOWHERE

_PROGRAM = "lightning-adapter"
#: What `--help` says of each command. The file of that name is imported when the command is typed, and no other is.
_COMMANDS = {
    "fit": "train a trial, here or on a cluster",
    "init": "write an experiment YAML from a configuration, a trial or a script's arguments",
    "check": "say what of a class runs, is warned about, is rejected",
    "validate": "validate the best checkpoint of a run with Lightning's own Trainer",
    "test": "test the best checkpoint of a run with Lightning's own Trainer",
    "predict": "predict with the best checkpoint of a run, into files",
    "evaluate": "compute metrics over stored predictions, without the model",
    "draw": "draw batches as the model sees them",
    "runs": "list, show, compare and prune the runs that were made here",
    "search": "try the searcher of an experiment on this machine",
    "export": "make a file of a trained model that runs without its project",
    "register": "put a checkpoint of a cluster into Determined's model registry",
    "submit": "train a trial on a Determined cluster, and follow it",
    "follow": "follow an experiment on a Determined cluster",
    "fetch": "bring a checkpoint of a cluster here, as a run directory",
}
#: What the numbers of a run depend on, and what a report of a fault should name.
_HOSTS = ("pytorch-lightning", "lightning", "determined", "torch")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    Args:
        argv: the words after the program's name; those of this process when None.

    Raises:
        SystemExit: `--help`, or a wrong command line (status 2), as argparse does.
        Exception: of user code; it is told when it ends the process.
    """
    _show_every_character()
    arguments = _parsed(list(sys.argv[1:] if argv is None else argv))
    # not before a command is to run: how a fault of it is told takes longer to import than `--help` takes to print
    from lightning_adapter.platform.failure import exit_status, tell
    from lightning_adapter.platform.folded import wants_all_frames
    from lightning_adapter.platform.uncaught import tell_at_exit

    try:
        wants_all_frames()
        with _warnings_without_a_line_of_ours():
            status: int = arguments.command(arguments)
    except LightningAdapterError as error:
        tell(error, _PROGRAM)
        return exit_status(error)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        tell_at_exit(error)
        raise
    return status


def _parsed(words: list[str]) -> argparse.Namespace:
    if words[:1] in (["fit"], ["search"]):
        from lightning_adapter.platform import typed_overrides
        from lightning_adapter.platform.target import names_a_configuration

        if names_a_configuration(words):
            target, options = typed_overrides.target_first(words[1:])
            arguments = typed_overrides.parse(_parser(words[0], with_target=False), [words[0], *options])
            arguments.target = target
            return arguments
    if words[:1] == ["init"]:
        from lightning_adapter.platform import typed_overrides

        return typed_overrides.parse(_parser("init"), words)
    if words[:1] == ["runs"]:
        from lightning_adapter.cli.runs import with_subcommand

        words = with_subcommand(words)
    command = next((word for word in words if not word.startswith("-")), "")
    parser = _parser(command)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{_hint(command, unknown)}")
    return arguments


def _hint(command: str, unknown: Sequence[str]) -> str:
    """What to type in place of words that a command does not know."""
    files = [word for word in unknown if word.endswith((".yaml", ".yml")) and not word.startswith("-")]
    if files and command in ("fit", "search"):
        return f". An experiment's YAML is typed after an option: --config {files[0]}"
    return f". All that it takes is told by {_PROGRAM} {command} --help"


def _show_every_character() -> None:
    """Escape characters that an output cannot show, names of files for one, instead of failing for them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _warnings_without_a_line_of_ours() -> Iterator[None]:
    """Print warnings that are about no line of the user's as this program's, until the block ends."""
    # not `formatwarning`, which Lightning replaces when it is imported
    usual = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if filename == NOWHERE:
            print(f"{_PROGRAM}: warning: {message}", file=file or sys.stderr)
        else:
            usual(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual


class _Version(argparse.Action):
    """Says which versions are installed; they are looked up when somebody asks."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> NoReturn:
        """Called by argparse."""
        import importlib.metadata

        found = []
        for name in _HOSTS:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found.append(f"{name} {importlib.metadata.version(name)}")
        python = ".".join(map(str, sys.version_info[:3]))
        print(f"{_PROGRAM} {lightning_adapter.__version__} (Python {python}, {', '.join(found)})")
        parser.exit()


def _parser(typed: str, with_target: bool = True) -> argparse.ArgumentParser:
    """What reads a command line.

    Args:
        typed: the command; the others are known by their names alone.
        with_target: whether its target is among the words that are read.
    """
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="Train a PyTorch Lightning module as a Determined PyTorchTrial."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say which versions are installed")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, what in _COMMANDS.items():
        added = commands.add_parser(
            name,
            add_help=name != "fit",  # whose help knows the target
            allow_abbrev=False,  # an entrypoint must mean the same when a later version has more options
            help=what,
        )
        if name == typed:
            command = import_module(f"lightning_adapter.cli.{name}")
            added.description = command.DESCRIPTION
            added.set_defaults(command=command.run)
            (command.add_arguments if with_target else command.add_options)(added)
    return parser
