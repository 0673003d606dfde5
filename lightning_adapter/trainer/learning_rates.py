"""Which learning rates is a batch trained with, under the names of Lightning's `LearningRateMonitor`?"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.versions.types import LRSchedulerConfig


class LearningRates:
    """Notes the rates of the batches after which values are logged; others cost a comparison.

    Args:
        optimizers: the present ones.
        schedulers: their configurations, filled in when the optimizers are made.
        progress: where the run stands.
        every: of how many batches that step one is logged; 0 for none.
    """

    def __init__(
        self,
        optimizers: Callable[[], Sequence[Optimizer]],
        schedulers: Sequence[LRSchedulerConfig],
        progress: TrainingProgress,
        every: int,
    ) -> None:
        self._optimizers = optimizers
        self._schedulers = schedulers
        self._progress = progress
        self._every = every or sys.maxsize
        self._batches = -1
        self._noted: dict[str, Any] = {}

    def batch_starts(self) -> None:
        """A batch goes into the step. Schedulers step before it is logged, so its rates are noted now."""
        progress = self._progress
        if progress.batch.is_last_batch or (progress.batches_that_stepped + 1) % self._every == 0:
            self._batches, self._noted = progress.total_batches, self._now()

    def of_batch(self) -> dict[str, float]:
        """The rates that the batch just trained was trained with, by name; where none were noted, the present ones."""
        rates = self._noted if self._batches == self._progress.total_batches else self._now()
        numbers = ((name, _number(rate)) for name, rate in rates.items())
        return {name: number for name, number in numbers if number is not None}

    def _now(self) -> dict[str, Any]:
        # a rate may be a tensor, which schedulers change in place
        return {
            name: rate.clone() if isinstance(rate, Tensor) else rate
            for name, group in named_groups(self._optimizers(), self._schedulers)
            if (rate := group.get("lr")) is not None
        }


def _number(rate: Any) -> float | None:
    """A rate as a number; None where an optimizer of the user's own keeps something else under its name."""
    try:
        return float(rate)
    except (TypeError, ValueError):
        return None


def named_groups(
    optimizers: Sequence[Optimizer], schedulers: Sequence[LRSchedulerConfig]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each group of parameters with its name, as `LearningRateMonitor._extract_stats` finds them.

    Those of schedulers come first, under the names of their configurations where they have one. Groups of one optimizer that
    were given the same name, with which that callback refuses to run, have their numbers instead.
    """
    kinds: Counter[type] = Counter()
    scheduled: list[object] = []
    for config in schedulers:
        optimizer = getattr(config.scheduler, "optimizer", None)
        if optimizer is None:  # a scheduler of any class, that has none
            continue
        scheduled.append(optimizer)
        kinds[type(optimizer)] += config.name is None
        yield from _of_optimizer(optimizer, config.name, kinds)
    for optimizer in optimizers:
        if not any(optimizer is each for each in scheduled):
            kinds[type(optimizer)] += 1
            yield from _of_optimizer(optimizer, None, kinds)


def _of_optimizer(optimizer: Optimizer, name: str | None, kinds: Counter[type]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = f"lr-{type(optimizer).__name__}" if name is None else name
    seen = kinds[type(optimizer)]
    if seen > 1:
        name = f"{name}-{seen - 1}"
    groups = optimizer.param_groups
    own = [group.get("name") for group in groups]
    if len(groups) == 1:
        yield (f"{name}/{own[0]}" if own[0] else name), groups[0]
        return
    for number, (group, given) in enumerate(zip(groups, own, strict=True), start=1):
        unique = given is not None and own.count(given) == 1
        yield f"{name}/{given if unique else f'pg{number}'}", group
