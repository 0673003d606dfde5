"""What does a person read when a run has ended: what it has come to, how long it took, and what can be typed next?"""

from __future__ import annotations

import pathlib
import shlex
import shutil
from collections.abc import Iterator

from lightning_adapter.errors import ConfigurationError, RunRecordError
from lightning_adapter.loop.hooks import is_overridden
from lightning_adapter.platform.driver import Driver
from lightning_adapter.platform.final_test import check_testable
from lightning_adapter.platform.training_time import TrainingTime
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.runs import console, provenance, record
from lightning_adapter.runs.summary import shown
from lightning_adapter.runs.words import counted, in_clock, per_second
from lightning_adapter.versions import hosts

#: Commands that are named; who reads more of them reads none.
_MOST_COMMANDS = 3
#: What there may be to predict on, as `--split` takes them.
_SPLITS = ("predict", "test", "val")


def trained(driver: Driver, time: TrainingTime, batches_before: int) -> str:
    """How long a run has trained, how far it came, and how fast.

    Args:
        driver: of the run, whose loop has ended.
        time: that it has trained.
        batches_before: that were trained before this process.
    """
    progress, settings = driver.parts.progress, driver.parts.settings
    took = _clock(time.here)
    if batches_before and time.in_all is not None:
        took += f", {_clock(time.in_all)} with the runs before"
    if driver.finished and progress.last_batch_reached:
        far = counted(progress.whole_epochs, "epoch")
    else:
        far = f"epoch {progress.epoch_in_words(settings.max_epochs)}"
    parts = [f"{took}: {far}", counted(progress.total_batches, "batch", "batches")]
    here = progress.total_batches - batches_before
    if here > 0 and time.here > 0:
        parts.append(per_second(here / time.here))
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    return in_clock(seconds) if seconds >= 1 else "less than 1s"


def to_go_on(driver: Driver, stopped_by: str, latest: pathlib.Path | None) -> str:
    """How a run that has stopped before its end is gone on with.

    Args:
        driver: of the run.
        stopped_by: who has asked for it.
        latest: its last checkpoint; None where it has none.
    """
    said = f"{stopped_by} has stopped the run after batch {driver.parts.progress.total_batches}."
    if latest is None:
        return said
    place = shown(latest)
    if provenance.was_typed():
        return f"{said} To go on, type the same command with\n    --resume-from {shlex.quote(place)}"
    return f"{said} To go on, call fit() with\n    resume_from={place!r}"


def after_failure(latest: pathlib.Path) -> str:
    """How a run that an error has ended is gone on with, from its last checkpoint."""
    place = shown(latest)
    if provenance.was_typed():
        return f"The run can go on from its last checkpoint. Type the same command with\n    --resume-from {shlex.quote(place)}"
    return f"The run can go on from its last checkpoint. Call fit() with\n    resume_from={place!r}"


def commands(
    trial: LightningTrial, run: pathlib.Path, tensorboard: pathlib.Path, is_tested: bool, is_returned: bool
) -> list[str]:
    """What can be typed next, at most three of it, the most likely first.

    Args:
        trial: that was trained.
        run: its directory.
        tensorboard: where its default logger writes.
        is_tested: whether it was tested at the end.
        is_returned: whether `fit` gives it back.
    """
    return list(_commands(trial, run, tensorboard, is_tested, is_returned))[:_MOST_COMMANDS]


def _commands(
    trial: LightningTrial, run: pathlib.Path, tensorboard: pathlib.Path, is_tested: bool, is_returned: bool
) -> Iterator[str]:
    here = shlex.quote(shown(run))
    # in a notebook the trial is at hand, and a command is one of the shell's
    in_notebook = console.place() is console.Place.NOTEBOOK
    command = "!" if in_notebook else ""
    # a class of a function is found by nobody else
    is_found = type(trial).recorded_as() is not None
    typed = is_found and not (in_notebook and is_returned)
    if trial.latest_checkpoint is not None and (typed or is_returned):
        if not is_tested and _can_test(trial):
            yield f"{command}lightning-adapter test {here}" if typed else "trial.test()"
        split = _predicts_on(trial)
        if split == "predict":
            yield f"{command}lightning-adapter predict {here}" if typed else "trial.predict()"
        elif split is not None:
            call = f"trial.predict(split={split!r})"
            yield f"{command}lightning-adapter predict {here} --split {split}" if typed else call
    other = _run_before(run, type(trial).__name__)
    if other is not None:
        yield f"{command}lightning-adapter runs compare {shlex.quote(shown(other))} {here}"
    if shutil.which("tensorboard") and trial.callback_metrics and any(tensorboard.rglob("events.out.tfevents*")):
        yield f"{command}tensorboard --logdir {shlex.quote(shown(tensorboard))}"


def _can_test(trial: LightningTrial) -> bool:
    try:
        check_testable(trial.lightning_module, trial.datamodule)
    except ConfigurationError:
        return False
    return True


def _predicts_on(trial: LightningTrial) -> str | None:
    """Which loaders there are to predict on; None where the module has no step for it, or nobody makes loaders."""
    module, datamodule = trial.lightning_module, trial.datamodule
    pl = hosts.host_of(module).pl
    owner = module if datamodule is None else datamodule
    base = pl.LightningModule if datamodule is None else pl.LightningDataModule
    if not is_overridden("predict_step", module, pl.LightningModule):
        return None
    return next((name for name in _SPLITS if is_overridden(f"{name}_dataloader", owner, base)), None)


def _run_before(run: pathlib.Path, trial: str) -> pathlib.Path | None:
    """The newest other run of a trial that lies beside this one; None where there is none."""
    try:
        beside = [path for path in run.parent.iterdir() if not path.is_symlink() and path.name != run.name]
        records = [path / record.RUN for path in beside if (path / record.RUN).is_file()]
        newest_first = sorted(records, key=lambda file: file.stat().st_mtime, reverse=True)
    except OSError:
        return None
    return next((file.parent for file in newest_first if _is_of(file.parent, trial)), None)


def _is_of(run: pathlib.Path, trial: str) -> bool:
    try:
        return (record.read(run) or {}).get("trial") == trial
    except RunRecordError:
        return False
