"""At which step and in which epoch do loggers have values that are measured when training is over?"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_adapter.monkey_patch import replaced
from lightning_adapter.versions.types import Logger


@dataclass(frozen=True)
class Position:
    """Where training stood when a checkpoint was written, in the numbers that it gave its loggers.

    Attributes:
        step: batches after which an optimizer had stepped.
        epoch: the running one.
    """

    step: int
    epoch: int

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Position | None:
        """What a checkpoint says; None for weights alone."""
        try:
            step = saved["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"]
            return cls(int(step), int(saved["epoch"]))
        except (KeyError, TypeError, ValueError):
            return None


@contextlib.contextmanager
def told_at(loggers: Iterable[Logger], position: Position | None) -> Iterator[None]:
    """Within the block, loggers have values where training stood; Lightning's Trainer is a new one, at epoch and step 0.

    What its batches log has no epoch, and keeps its step. Hyperparameters and the graph are known from training.
    """
    with contextlib.ExitStack() as stack:
        for logger in loggers:
            log = functools.partial(_log, logger.log_metrics, position)
            stack.enter_context(replaced(logger, log_metrics=log, log_hyperparams=_nothing, log_graph=_nothing))
        yield


def _log(
    log: Callable[..., None], position: Position | None, metrics: Mapping[str, Any], step: int | None = None
) -> None:
    if position is not None and step == 0 and metrics.get("epoch") == 0:
        metrics, step = {**metrics, "epoch": position.epoch}, position.step
    log(metrics=metrics, step=step)


def _nothing(*args: object, **kwargs: object) -> None:
    """In the place of what the training has told."""
