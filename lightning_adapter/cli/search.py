"""`lightning-adapter search`: what can be typed, and what does somebody see of a search?"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lightning_adapter.platform.fit_words import add_periods
from lightning_adapter.platform.typed_hparams import add_hparam
from lightning_adapter.tuning.extra import check_installed

if TYPE_CHECKING:
    from lightning_adapter.cli.search_request import Asked
    from lightning_adapter.tuning.request import SearchRequest
    from lightning_adapter.tuning.view import Watcher

DESCRIPTION = (
    "Draw and train the trials of an experiment's searcher on this machine, as the master of a cluster would: the same "
    "hyperparameters, stopped at the same lengths. TARGET is model_def.py:MNISTTrial; without it the entrypoint of the "
    "experiment says which trial. What the entrypoint types after fit, --max-epochs for one, counts where nothing is typed here. "
    "With --cli or --hydra, overrides follow; without --config the experiment is what init makes of them, sweeps and all. "
    "Exit status: 0 with at least one complete trial, or when the time is over; 1 where none is complete; 2 for bad input; 130 "
    "or 143 after a signal."
)
#: What the extra [search] installs.
_NEEDED = ("optuna", "rich")
#: Terminals that cannot go back to a line.
_NO_TABLE = ("", "dumb", "unknown")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    parser.add_argument(
        "target", nargs="?", metavar="TARGET", help="for example model_def.py:MNISTTrial; default: the entrypoint's"
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say which options there are."""
    parser.usage = (
        "lightning-adapter search [TARGET] --config EXPERIMENT.yaml [options]\n"
        "       lightning-adapter search [TARGET] --cli FILE | --hydra DIR[/NAME] [--config EXPERIMENT.yaml] [OVERRIDES ...]\n"
        "       lightning-adapter search --resume-from DIR [--jobs K] [--timeout TIME] [--trials N]"
    )
    parser.add_argument("--config", metavar="FILE", help="an experiment YAML with a searcher, and ranges")
    configuration = parser.add_mutually_exclusive_group()
    configuration.add_argument(
        "--cli", action="append", metavar="FILE", help="what is searched is a LightningCLI configuration"
    )
    configuration.add_argument("--hydra", metavar="DIR[/NAME]", help="likewise a configuration of Hydra's")
    parser.add_argument("--trials", type=_count, metavar="N", help="in place of the searcher's max_trials")
    parser.add_argument("--jobs", type=_count, metavar="K", help="trials that train at the same time; default 1")
    parser.add_argument(
        "--timeout", type=_timeout, metavar="TIME", help="stop after 90s, 30m, 2h, 1h30m or 1d, to be resumed"
    )
    parser.add_argument("--preview", action="store_true", help="say how long the search would be, and train nothing")
    parser.add_argument("--max-epochs", type=int, metavar="N", help="stop each trial after N epochs")
    parser.add_argument("--max-steps", type=int, metavar="N", help="stop each trial after N optimizer steps")
    add_hparam(parser)
    add_periods(parser)
    parser.add_argument(
        "--seed", type=int, metavar="N", help="in place of reproducibility.experiment_seed, by which all is drawn"
    )
    parser.add_argument(
        "--search-dir", metavar="DIR", help="where the search writes; default runs/<name>/search-<date-time>"
    )
    parser.add_argument("--name", metavar="NAME", help="folder below runs/; default the trial's class")
    parser.add_argument("--resume-from", metavar="DIR", help="go on with the search that this directory holds")


def run(arguments: argparse.Namespace) -> int:
    """Search; return the exit status.

    Raises:
        LightningAdapterError: what was typed cannot be used, or the search cannot go on.
    """
    from lightning_adapter.cli import search_request

    if not arguments.preview:
        check_installed(*_NEEDED)
    # what user code prints while it is imported is no preview
    with contextlib.redirect_stdout(sys.stderr):
        asked = search_request.asked(arguments)
    if arguments.preview:
        print(_preview(asked), flush=True)
        return 0
    return _search(asked)


def _search(asked: Asked) -> int:
    from lightning_adapter.cli import search_report
    from lightning_adapter.cli.output import telling
    from lightning_adapter.cli.tables import terminal_width
    from lightning_adapter.runs.summary import say
    from lightning_adapter.tuning.run import run_search

    for notice in asked.notices:
        print(f"note: {notice}", file=sys.stderr, flush=True)
    if sys.stdout.isatty():
        # importing the trial, and torch with it, takes seconds in which nothing else is seen
        say(_beginning(asked.request))
    with _watching() as watcher, telling():
        result = run_search(asked.request, watcher)
    say(f"\n{search_report.text(result, terminal_width())}")
    return search_report.exit_status(result)


def _beginning(request: SearchRequest) -> str:
    if request.resume_from is not None:
        return f"going on with {request.resume_from}"
    source = "what is typed" if request.text is not None else request.config
    return f"searching {request.target}, as {source} says"


def _preview(asked: Asked) -> str:
    from lightning_adapter.tuning import preview
    from lightning_adapter.tuning.settings import searcher_settings

    given = asked.request.config
    source = os.fspath(given) if isinstance(given, (str, os.PathLike)) else "the experiment config"
    settings = searcher_settings(asked.config, asked.request.trials, source)
    seed = asked.request.seed
    if seed is None:
        seed = (asked.config.get("reproducibility") or {}).get("experiment_seed")
    text = preview.text(settings, asked.config["hyperparameters"], seed)
    return "\n\n".join([text.rstrip("\n"), *(f"note: {notice}" for notice in asked.notices)])


@contextlib.contextmanager
def _watching() -> Iterator[Watcher]:
    """A table on a terminal; lines in a file, in a pipe, and on a terminal that cannot show a table."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "") in _NO_TABLE:
        from lightning_adapter.tuning.lines import EventLines

        yield EventLines(_line)
        return
    from rich.console import Console

    from lightning_adapter.cli.search_table import LiveTable

    with LiveTable(Console(file=sys.stdout, highlight=False)) as table:
        yield table


def _line(text: str) -> None:
    """Write a line, with the time in a file; a reader that has gone, as behind `| head`, does not end the search."""
    try:
        print(text if sys.stdout.isatty() else f"{time.strftime('%H:%M:%S')} {text}", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of them: write 1 or more")
    return int(text)


def _timeout(text: str) -> float:
    from lightning_adapter.runs.words import seconds

    try:
        found = seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} leaves no time for a trial: write more, or leave it out")
    return found
