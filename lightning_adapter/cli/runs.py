"""`lightning-adapter runs`: what can be typed, and what is said of the runs that were made here?"""

from __future__ import annotations

import argparse
import datetime
import os
import pathlib
import shlex
import signal
import sys
from collections.abc import Sequence

DESCRIPTION = (
    "List the runs below a directory, the newest last; show one, compare several, or delete what is no longer needed."
)

_ROOT = "runs"
_LIST = "list"
_SUBCOMMANDS = ("show", "compare", "prune", _LIST)


def with_subcommand(words: Sequence[str]) -> list[str]:
    """Put `list` where only `runs` was typed, or `runs DIR`.

    Args:
        words: the command line, from the command on.
    """
    rest = list(words[1:])
    if rest[:1] and (rest[0] in _SUBCOMMANDS or rest[0] in ("-h", "--help")):
        return list(words)
    return [*words[:1], _LIST, *rest]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    parser.usage = (
        "lightning-adapter runs [DIR] [options of the table]\n"
        "       lightning-adapter runs show RUN [--pictures]\n"
        "       lightning-adapter runs compare RUN RUN ... [--out FILE]\n"
        "       lightning-adapter runs prune [DIR] [--keep-best K] [--keep-last N] [--yes]"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        f"{DESCRIPTION}\n\n"
        "The options of the table: lightning-adapter runs list --help\n"
        "RUN is the path of a run directory, name/date_time, a part of it that only one run has, or latest.\n"
        "A directory that is called like a sub-command is typed as ./show."
    )
    kinds = parser.add_subparsers(
        title="sub-commands", dest="subcommand", metavar="SUBCOMMAND", prog="lightning-adapter runs"
    )
    _add_list(kinds.add_parser(_LIST, help="the table of runs; this word can be left out", allow_abbrev=False))
    _add_show(kinds.add_parser("show", help="all that is known of one run", allow_abbrev=False))
    _add_compare(kinds.add_parser("compare", help="curves over each other, and what differs", allow_abbrev=False))
    _add_prune(kinds.add_parser("prune", help="what may be deleted, and how much room that gives", allow_abbrev=False))


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "List the runs below a directory with the hyperparameters in which they differ, the newest last."
    )
    parser.add_argument("directory", nargs="?", default=_ROOT, metavar="DIR", help=f"default {_ROOT}")
    _add_selection(parser)
    parser.add_argument("--last", type=_count, metavar="N", help="the newest N of them")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        type=_condition,
        metavar="CONDITION",
        help="only runs of which it holds: 'lr>0.01', 'val_acc>=0.9', 'optimizer.name=adam', 'age<2h'; may be repeated",
    )
    parser.add_argument(
        "--sort",
        metavar="KEY",
        help="a hyperparameter, a metric, or one of age, status, name, epochs, best: the smallest first, of what ranks the "
        "checkpoints the best",
    )
    parser.add_argument("--reverse", action="store_true", help="in the other order")
    parser.add_argument("--json", action="store_true", help="all that is known of each, as JSON")


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.description = "Show all that is known of one run; of a failed one its error and the end of its log."
    parser.add_argument("run", metavar="RUN", help="a path, name/date_time, a part of it, or latest")
    _add_root(parser)
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="draw what was logged to TensorBoard, scalars and images, into RUN/pictures/",
    )
    parser.add_argument("--json", action="store_true", help="all of run.json, and where the run lies, as JSON")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.description = "Draw the curves of runs over each other into a picture, and print in what they differ."
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="two or more: paths, name/date_time, parts of it, or latest"
    )
    _add_root(parser)
    parser.add_argument("--out", metavar="FILE", help="the picture, a PNG; default DIR/compare_<date_time>.png")
    parser.add_argument("--x", choices=("batches", "epoch"), default="batches", help="what the curves go over")


def _add_prune(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Say which runs may be deleted, and how much room that gives; with --yes delete them. Of each name the best and the "
        "newest stay; so does whatever runs, cannot be read, is needed by a run that stays, or holds what no run has written."
    )
    parser.add_argument("directory", nargs="?", default=_ROOT, metavar="DIR", help=f"default {_ROOT}")
    parser.add_argument(
        "--keep-best", type=_count, default=1, metavar="K", help="how many of the best of each name; default 1"
    )
    parser.add_argument("--keep-last", type=_count, default=1, metavar="N", help="how many of the newest; default 1")
    _add_selection(parser)
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="FILE",
        help="a file or folder in a run directory that does not keep the run; * and ? stand for any characters; may be repeated",
    )
    parser.add_argument("--yes", action="store_true", help="delete them")


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", default=_ROOT, metavar="DIR", help=f"where runs are looked for; default {_ROOT}")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        help="only of this trial; * and ? stand for any characters; may be repeated",
    )
    parser.add_argument(
        "--status",
        action="append",
        default=[],
        type=_status,
        help="only of this status: running, finished, interrupted, pruned, failed, killed; may be repeated",
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs: write 0, 1, 2 ...")
    return int(text)


def _status(text: str) -> str:
    from lightning_adapter.errors import guess
    from lightning_adapter.runs.listing import STATUSES

    if text not in STATUSES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no status{guess(text, STATUSES) or '.'} There are {', '.join(STATUSES)}."
        )
    return text


def _condition(text: str) -> object:
    from lightning_adapter.runs.selection import condition

    try:
        return condition(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(arguments: argparse.Namespace) -> int:
    """Run the sub-command that was typed; return the exit status.

    Raises:
        ConfigurationError: what was typed cannot be used.
    """
    subcommands = {_LIST: _list, "show": _show, "compare": _compare, "prune": _prune}
    try:
        return subcommands[arguments.subcommand](arguments)
    except BrokenPipeError:
        # whoever read has gone, as behind `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _list(arguments: argparse.Namespace) -> int:
    from lightning_adapter.cli import runs_text
    from lightning_adapter.cli.tables import lines, terminal_width
    from lightning_adapter.runs import json_file, selection
    from lightning_adapter.runs.listing import runs_below

    root = _existing(arguments.directory)
    runs = runs_below(root)
    found = selection.select(
        runs, names=arguments.name, statuses=arguments.status, conditions=arguments.filter, last=arguments.last
    )
    if arguments.sort is not None:
        found = selection.ordered(found, arguments.sort, arguments.reverse)
    elif arguments.reverse:
        found.reverse()
    if arguments.json:
        print(json_file.text([runs_text.as_json(one) for one in found]), flush=True)
        return 0
    if not found:
        print(
            f"No runs below {root}." if not runs else f"None of the {len(runs)} runs below {root} is one of those.",
            flush=True,
        )
        return 0
    width = terminal_width()
    table = runs_text.listing(found, width, datetime.datetime.now().astimezone())
    print(table.text, flush=True)
    if table.left_out:
        more = (
            f"no room for {len(table.left_out)} more in which they differ: {', '.join(table.left_out)} (--json has all)"
        )
        print(f"\n{lines(more, width)}", flush=True)
    for one in found:
        if one.problem is not None:
            print(f"\n{one.problem}", file=sys.stderr)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from lightning_adapter.cli import runs_show, runs_text
    from lightning_adapter.cli.tables import terminal_width
    from lightning_adapter.runs import json_file
    from lightning_adapter.runs.naming import find

    found = find(arguments.run, pathlib.Path(arguments.root))
    if found.problem is not None:
        from lightning_adapter.errors import RunRecordError

        raise RunRecordError(found.problem)
    if arguments.json:
        print(json_file.text(runs_text.as_json(found)), flush=True)
    else:
        print(runs_show.text(found, terminal_width(), datetime.datetime.now().astimezone()), flush=True)
    if arguments.pictures:
        print(runs_show.pictures(found), flush=True)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from lightning_adapter.cli import runs_compare

    return runs_compare.run(arguments.runs, pathlib.Path(arguments.root), arguments.out, arguments.x)


def _prune(arguments: argparse.Namespace) -> int:
    from lightning_adapter.cli import runs_prune
    from lightning_adapter.runs import pruning

    root = _existing(arguments.directory)
    plan = pruning.plan(
        root, arguments.keep_best, arguments.keep_last, arguments.name, arguments.status, arguments.also
    )
    return runs_prune.run(plan, root, arguments.yes)


def _existing(text: str) -> pathlib.Path:
    from lightning_adapter.errors import ConfigurationError

    path = pathlib.Path(text).expanduser()
    if not path.is_dir():
        what = "is no directory" if path.exists() else "is not there"
        hint = (
            "no run was made here yet, or another directory is meant"
            if text == _ROOT
            else "give the directory that runs lie in"
        )
        raise ConfigurationError(f"{shlex.quote(text)} {what}: {hint}: lightning-adapter runs DIR.")
    return path
