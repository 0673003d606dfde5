"""`lightning-adapter draw`: what can be typed, and what is printed?"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lightning_adapter.cli import evaluation
from lightning_adapter.cli.output import telling
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.typed_hparams import add_hparam, hyperparameters

if TYPE_CHECKING:
    from lightning_adapter.evaluation.drawing import Split
    from lightning_adapter.evaluation.loading import LoadedTrial

DESCRIPTION = (
    "Draw the first batches of a trial's loaders, as the model sees them: images in a grid with their targets, masks over "
    "images, series as lines, token ids and numbers as rows, and of all values shape, type and range. Of a run with what "
    "its best model predicts, wrong predictions in red. One PNG file for each batch."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    parser.add_argument(
        "what",
        metavar="TARGET_OR_RUN",
        help=f"a trial, FILE_OR_MODULE:TrialClass, or what was trained: {evaluation.WHAT}",
    )
    parser.add_argument(
        "target",
        nargs="?",
        metavar="FILE_OR_MODULE:TrialClass",
        help="the trial of what was trained; by default the one that the run was made with",
    )
    parser.add_argument("--batches", type=_number, default=1, metavar="N", help="of each loader; default 1")
    parser.add_argument(
        "--split",
        choices=("train", "val", "test"),
        help="the loaders; default train, and val of what was trained",
    )
    parser.add_argument("--out", metavar="DIR", help="default pictures/batches in the run directory, else pictures")
    parser.add_argument("--samples", type=_number, default=16, metavar="N", help="drawn of each batch; default 16")
    parser.add_argument("--last", action="store_true", help="the newest checkpoint of the run, and not the best")
    add_hparam(parser)
    parser.add_argument(
        "--config", metavar="FILE", help="an experiment YAML; of a run, one that wins over what it used"
    )
    evaluation.add_trust_code(parser)
    parser.add_argument("--seed", type=int, metavar="N", help="of a trial that is not trained: as seed_everything(N)")


def run(arguments: argparse.Namespace) -> int:
    """Draw; return the exit status.

    Raises:
        LightningAdapterError: what was typed cannot be used, or there is nothing to draw.
    """
    given = None if arguments.out is None else pathlib.Path(arguments.out).expanduser()
    if given is not None:
        _check(given)
    with _made(arguments) as trial:
        from lightning_adapter.evaluation.drawing import draw_batches
        from lightning_adapter.pictures.callback import PLACE
        from lightning_adapter.runs.summary import say, shown

        if not trial.is_chief:
            return 0
        split: Split = arguments.split or ("train" if trial.source is None else "val")
        here = pathlib.Path("pictures") if trial.run_dir is None else trial.run_dir / PLACE
        if given is None:
            _check(here)
        directory = (given or here).absolute()
        for drawn in draw_batches(trial, split, arguments.batches, directory, arguments.samples):
            note = f"\n{drawn.note}" if drawn.note else ""
            say(f"\n{drawn.title}\n\n{drawn.table}{note}\n\npicture  {shown(drawn.path)}")
    return 0


@contextlib.contextmanager
def _made(arguments: argparse.Namespace) -> Iterator[LoadedTrial]:
    """The trial that is meant; the environment variables of its configuration are set until the block ends."""
    if not _is_target(arguments.what):
        if arguments.seed is not None:
            raise ConfigurationError("--seed is for a trial that is not trained; a run has its own. Leave it out.")
        with evaluation.loaded(arguments) as loaded:
            yield loaded
        return
    wrong = [word for word, given in (("--last", arguments.last), (arguments.target, arguments.target)) if given]
    if wrong:
        raise ConfigurationError(
            f"{' and '.join(wrong)} with the trial {arguments.what}, which is not trained: leave "
            f"{'it' if len(wrong) == 1 else 'them'} out, or name a run first."
        )
    from lightning_adapter.platform import experiment
    from lightning_adapter.platform.environment import device_kind, variables_set

    hparams = hyperparameters(arguments)
    config = None if arguments.config is None else experiment.read(arguments.config)
    with telling(), variables_set(experiment.environment_variables(config or {}, device_kind)):
        from lightning_adapter.evaluation.loading import fresh_trial
        from lightning_adapter.platform.construct import check_trial_class
        from lightning_adapter.platform.target import load_target

        trial_class = load_target(arguments.what)
        check_trial_class(trial_class, "draw")
        yield fresh_trial(trial_class, config=config, hparams=hparams, seed=arguments.seed)


def _is_target(what: str) -> bool:
    """Whether this names a class, and nothing that was trained."""
    place, colon, name = what.rpartition(":")
    return bool(place and colon) and name.isidentifier() and not os.path.lexists(what) and "://" not in what


def _check(directory: pathlib.Path) -> None:
    """Refuse a place that is none, before anything is made.

    Raises:
        ConfigurationError: there is a file of that name, or on the way to it.
    """
    there = next(place for place in (directory, *directory.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise ConfigurationError(
            f"Pictures cannot lie in {directory}: {there} is no directory. Name another one with --out."
        )
    if not os.access(there, os.W_OK):
        raise ConfigurationError(
            f"Pictures cannot lie in {directory}: {there} may not be written to. Name another directory with --out."
        )


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of them: give 1 or more")
    return int(text)
