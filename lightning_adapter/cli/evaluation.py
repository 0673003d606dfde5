"""What can be typed in each command that uses a trained model, and how is that loaded?"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lightning_adapter.cli.output import telling
from lightning_adapter.errors import LightningAdapterError
from lightning_adapter.platform.typed_hparams import add_hparam, hyperparameters

if TYPE_CHECKING:
    from lightning_adapter.evaluation.loaders import Stage
    from lightning_adapter.evaluation.loading import LoadedTrial
    from lightning_adapter.evaluation.source import Source

WHAT = (
    "a run directory (runs/MNISTTrial/latest), a checkpoint directory, a .ckpt file, a URL, a package, or of a cluster the id of a "
    "checkpoint or the number of an experiment, which is fetched into runs/"
)


def add_arguments(parser: argparse.ArgumentParser, splits: Sequence[str] = ()) -> None:
    """Say what can be typed after the name of a command that loads a trained model.

    Args:
        parser: of the command.
        splits: what --split takes; none leaves it out.
    """
    parser.add_argument("what", metavar="WHAT", help=WHAT)
    parser.add_argument(
        "target",
        nargs="?",
        metavar="FILE_OR_MODULE:TrialClass",
        help="the trial; by default the one that the run was made with",
    )
    parser.add_argument("--last", action="store_true", help="the newest checkpoint of the run, and not the best")
    if splits:
        parser.add_argument("--split", choices=splits, help="take these loaders of the trial")
    add_hparam(parser)
    parser.add_argument("--config", metavar="FILE", help="an experiment YAML that wins over what the run used")
    add_trust_code(parser)


def add_trust_code(parser: argparse.ArgumentParser) -> None:
    """Let a package be opened; `loaded` asks for it."""
    parser.add_argument("--trust-code", action="store_true", help="open a package, whose code runs with your rights")


@contextlib.contextmanager
def loaded(arguments: argparse.Namespace) -> Iterator[LoadedTrial]:
    """Load what was typed; the environment variables of its configuration are set until the block ends.

    Raises:
        LightningAdapterError: something that was typed cannot be used; all of it is told.
    """
    from lightning_adapter.evaluation.wanted import Wanted
    from lightning_adapter.platform.environment import variables_set

    hparams, faults = None, []
    try:
        hparams = hyperparameters(arguments)
    except LightningAdapterError as error:
        faults.append(error)
    with telling():
        wanted = Wanted.of(arguments.what, arguments.last, hparams, arguments.config, faults, arguments.trust_code)
        with variables_set(wanted.variables()):
            from lightning_adapter.evaluation.loading import load
            from lightning_adapter.versions.lightning_chatter import without_chatter

            # Lightning's own bar goes to stdout, where no file wants it
            trial = load(wanted, arguments.target, progress_bar=sys.stdout.isatty())
            with without_chatter():
                yield trial


def measure(arguments: argparse.Namespace, stage: Stage) -> int:
    """Validate or test, print the values and keep them; return the exit status."""
    with loaded(arguments) as trial:
        found: Any = getattr(trial, stage)(split=arguments.split, verbose=False)
        if trial.is_chief:
            assert trial.source is not None
            _tell(trial.source, stage, arguments.split, found)
    return 0


def _tell(source: Source, stage: Stage, split: Any, found: list[dict[str, float]]) -> None:
    from lightning_adapter.evaluation.results import keep
    from lightning_adapter.runs.summary import say, shown

    of = f"{stage} of {shown(source.checkpoint)}{f' on the loaders of {split}' if split else ''}"
    say(f"\n{of}\n\n{_table(found)}\n")  # first: whatever the disk says, they were measured
    path = keep(source, stage, split, found)
    if path is not None:
        say(f"values  {shown(path)}")


def _table(found: Sequence[dict[str, float]]) -> str:
    """The values, with a column for each loader where there are several."""
    from lightning_adapter.cli.tables import Column, fitted, terminal_width
    from lightning_adapter.evaluation.results import by_metric

    rows = by_metric(found)
    if not rows:
        return "nothing was logged: call self.log(name, value) in the step"
    columns = [Column("metric", list(rows))]
    for number in range(len(found)):
        cells = [f"{values[number]:.6g}" if number in values else "" for values in rows.values()]
        columns.append(Column("value" if len(found) == 1 else f"loader {number}", cells, right=True))
    return fitted(columns, terminal_width()).text
