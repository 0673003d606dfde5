"""`lightning-adapter fetch`: what can be typed, and what is said of the run that was fetched?"""

from __future__ import annotations

import argparse
import pathlib
import shlex
from typing import TYPE_CHECKING

from lightning_adapter.cli.output import telling

if TYPE_CHECKING:
    from lightning_adapter.fetching.choice import Choice

DESCRIPTION = (
    "Bring the best checkpoint of an experiment or a trial here, or one that is named by its id, as a run directory: the "
    "checkpoint, its trial's metrics, curves, log and configuration, and TensorBoard files where their storage is in reach. "
    "fit --resume-from and load_from_checkpoint take it. The login is Determined's: DET_MASTER, det user login."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    parser.add_argument(
        "wanted",
        metavar="EXPERIMENT_OR_TRIAL_OR_UUID",
        help="the number of an experiment, that of a trial with --trial, or the id of a checkpoint",
    )
    parser.add_argument(
        "directory",
        nargs="?",
        metavar="DIR",
        help="a directory that is not there yet; default runs/experiment-E/trial-T-batch-B",
    )
    parser.add_argument("--trial", action="store_true", help="the number is that of a trial")
    parser.add_argument(
        "--last", action="store_true", help="the last checkpoint, and not the best; in a search that of the best trial"
    )


def run(arguments: argparse.Namespace) -> int:
    """Fetch; return the exit status.

    Raises:
        LightningAdapterError: what was typed cannot be used, or something cannot be had.
    """
    from lightning_adapter.fetching.choice import choose
    from lightning_adapter.fetching.fetch import check_absent, fetch
    from lightning_adapter.platform.login import connect
    from lightning_adapter.runs.summary import say, shown

    if arguments.directory is not None:
        check_absent(pathlib.Path(arguments.directory))
    client = connect()
    choice = choose(client, arguments.wanted, last=arguments.last, of_trial=arguments.trial)
    place = choice.run_directory
    directory = pathlib.Path(arguments.directory or place).expanduser().absolute()
    say(_found(choice))
    check_absent(pathlib.Path(arguments.directory or place).expanduser())
    say(f"fetching {_amount(choice)} to {shown(directory)}")
    with telling():
        has_tensorboard = fetch(client, choice, directory)
    say("\n" + _summary(choice, directory, has_tensorboard))
    return 0


def _found(choice: Choice) -> str:
    from lightning_adapter.fetching.choice import state_of

    experiment, trial = choice.experiment, choice.trial
    states = [state_of(experiment), state_of(trial)]
    return (
        f"experiment {experiment.id} ({experiment.name}, {states[0]}), trial {trial.id} ({states[1]}): checkpoint "
        f"{choice.checkpoint.uuid} of batch {choice.steps}, {choice.why}"
    )


def _amount(choice: Choice) -> str:
    sizes = [int(size) for name, size in (choice.checkpoint.resources or {}).items() if not name.endswith("/")]
    return f"{len(sizes)} file{'s' if len(sizes) != 1 else ''}, {sum(sizes) / 1e6:.3g} MB,"


def _summary(choice: Choice, directory: pathlib.Path, has_tensorboard: bool) -> str:
    import tabulate

    from lightning_adapter.checkpoints.file import FILE
    from lightning_adapter.fetching.target import target_of
    from lightning_adapter.runs.directory import RunDirectory
    from lightning_adapter.runs.metrics_table import plain
    from lightning_adapter.runs.summary import shown

    made = RunDirectory(directory)
    file = shown(made.checkpoints / choice.checkpoint.uuid / FILE)
    values = [(plain(name), f"{value:.6g}") for name, value in sorted(choice.validation.items())]
    table = tabulate.tabulate(values, headers=("metric", f"at batch {choice.steps}"), disable_numparse=True)
    nothing = (
        f"nothing in the storage as this machine sees it; det tensorboard start {choice.experiment.id} looks there"
    )
    rows = [
        ("checkpoint", file),
        *([("curves", shown(made.curves_file))] if made.curves_file.exists() else []),
        ("log", shown(made.log_file)),
        ("tensorboard", shown(made.tensorboard) if has_tensorboard else nothing),
        ("run directory", shown(directory)),
    ]
    target = target_of(choice.config.get("entrypoint")) or "FILE:TrialClass"
    before = (
        ("PYTHONPATH=src",) if _is_below_sources(target, made.checkpoints / choice.checkpoint.uuid / "code") else ()
    )
    typed = (*before, "lightning-adapter", "fit", target, "--config", shown(made.config_file))
    go_on = shlex.join([*typed, "--resume-from", shown(directory)])
    parts = [table] if values else []
    parts += [
        tabulate.tabulate(rows, tablefmt="plain", disable_numparse=True),
        f"go on:  {go_on} --max-epochs N\nload:   YourModule.load_from_checkpoint({file!r})",
    ]
    return "\n\n".join(parts)


def _is_below_sources(target: str, code: pathlib.Path) -> bool:
    """Whether a module is found in the `src/` of a project's code, and not beside it."""
    module = target.rpartition(":")[0].replace(".", "/")
    beside, below = ([root / f"{module}.py", root / module / "__init__.py"] for root in (code, code / "src"))
    return any(path.is_file() for path in below) and not any(path.is_file() for path in beside)
