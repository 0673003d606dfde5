"""What does the log say of a run's course: with what it began, what a validation gave, why it ended?

The same words here, on a cluster and under Determined's own Trainer.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import determined as det

from lightning_adapter.checkpoints.restore import position_of
from lightning_adapter.loop.components import Components
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.runs.console import ALWAYS, FILE_ONLY
from lightning_adapter.runs.metrics_table import plain
from lightning_adapter.runs.words import counted, position
from lightning_adapter.trainer.stop_request import Asker
from lightning_adapter.versions.callbacks import reason_of_early_stopping
from lightning_adapter.versions.hosts import Host

logger = logging.getLogger("lightning_adapter")


def note_begin(log: logging.Logger, start: StartingPoint, source: object) -> None:
    """Note in a run's file which checkpoint it begins with, if with one; a person reads it in the block before the first batch.

    Args:
        log: of the run.
        start: the checkpoint.
        source: where it lies, as a person knows it.
    """
    if start.saved is None:
        return
    begun = "" if start.resumes else "; optimizers, schedulers and counters begin anew"
    how = "resuming from" if start.resumes else "taking the weights of"
    log.info("%s %s, %s%s", how, source, position_of(start.saved), begun, extra=FILE_ONLY)


def tell_test(parts: Components, checkpoint: str | None, batches: int, metrics: Mapping[str, Any]) -> None:
    """Say what the test at the end has logged, and of which checkpoint; None where there is none."""
    of = "" if checkpoint is None else f" of checkpoint {checkpoint}"
    said = _listed(metrics) or "nothing was logged"
    parts.log.info("test%s, trained on %s: %s", of, counted(batches, "batch", "batches"), said, extra=ALWAYS)


def _listed(metrics: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{plain(name)} {value:.6g}" if isinstance(value, float) else f"{plain(name)} {value}"
        for name, value in metrics.items()
    )


def tell_end(parts: Components, max_batches: int | None, seen: Mapping[str, str] | None = None) -> None:
    """Say why no further batch is trained.

    Args:
        parts: the run.
        max_batches: batches after which it was to end; None where Lightning's limits decide.
        seen: `extra=` of the record: who sees it.
    """
    parts.log.info("training has ended at %s: %s", _position(parts), why_it_ended(parts, max_batches), extra=seen)


def tell_pause(parts: Components, reason: str, checkpoint: str | None, seen: Mapping[str, str] | None = None) -> None:
    """Say why training stops before its end.

    Args:
        parts: the run.
        reason: who has asked for it.
        checkpoint: from which it would go on; None where there is none.
        seen: `extra=` of the record: who sees it.
    """
    on = f"; it can go on from checkpoint {checkpoint}" if checkpoint is not None else ""
    parts.log.info("training stops at %s: %s%s", _position(parts), reason, on, extra=seen)


def _position(parts: Components) -> str:
    """The epoch of the batch that was trained last, and how many batches there were."""
    progress = parts.progress
    return position(progress.epoch_in_words(parts.settings.max_epochs), progress.total_batches)


@contextlib.contextmanager
def refusal_told() -> Iterator[None]:
    """Say it where user code refuses its hyperparameters: Determined ends a managed trial with status 0 then."""
    try:
        yield
    except det.InvalidHP as error:
        logger.warning("the trial refuses its hyperparameters, and the searcher is told so: InvalidHP: %s", error)
        raise


def why_it_ended(parts: Components, max_batches: int | None) -> str:
    """Which limit is reached, or who has asked for the end, in the order in which `_FitLoop.done` asks.

    A length in batches comes first: it may have been given to Lightning as a number of steps as well.
    """
    settings, progress, stop = parts.settings, parts.progress, parts.stop
    if stop.ordered is not None:
        return stop.ordered
    if max_batches is not None and progress.total_batches >= max_batches:
        return f"the length of {max_batches} batches in the experiment config is reached"
    if progress.max_steps_reached:
        return f"max_steps={settings.max_steps} reached"
    if progress.max_epochs_reached:
        return f"max_epochs={settings.max_epochs} reached"
    if stop.agreed:
        return _who_asked(parts.host, stop.asker, parts.arguments.max_time)
    if settings.limit_train_batches == 0:
        return "limit_train_batches=0"
    return "a hook around an epoch has raised StopIteration"


def _who_asked(host: Host, asker: Asker | None, max_time: object) -> str:
    if asker is None:
        return "trainer.should_stop was set, by another process or before the checkpoint that it resumed from"
    owner, kinds = asker.owner, host.pl.callbacks
    if isinstance(owner, kinds.EarlyStopping):
        return f"{type(owner).__name__}: {reason_of_early_stopping(owner)}"
    if isinstance(owner, kinds.Timer):
        limit = f"max_time={max_time} reached" if max_time is not None else "its time limit is reached"
        return f"{type(owner).__name__}: {limit}, {owner.time_elapsed():.0f} seconds trained"
    name = asker.function if owner is None else f"{type(owner).__name__}.{asker.function}"
    return f"{name} has set trainer.should_stop ({asker.place})"
