"""What is promised of the adapter, and do the measurements keep it?

The results are those of `benchmarks.measurements`: by part, then by what was measured, then by system, with one number for
each repetition.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from benchmarks.names import (
    ADAPTER,
    BARE_LOOP,
    CNN,
    HELP,
    LIGHTNING,
    NOTHING,
    ONE_VALUE,
    PERCEPTRON,
    PYTORCH_TRIAL,
    SEVERAL,
)

Results: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Promise:
    """One number that must not be larger than a limit.

    Attributes:
        part: of the measurements, that measures it.
        what: in words.
        limit: the largest median that keeps it.
        measured: its value in each repetition; None where the results lack it.
        digits: with which it is shown. It is judged as it was measured.
    """

    part: str
    what: str
    limit: float
    measured: Callable[[Results], list[float] | None]
    digits: int = 3

    def is_kept(self, results: Results) -> bool | None:
        """Whether the median is within the limit; None where it was not measured."""
        values = self.measured(results)
        return None if values is None else statistics.median(values) <= self.limit

    def row(self, results: Results) -> list[str]:
        """What, limit, measured, and whether it is met."""
        values, kept = self.measured(results), self.is_kept(results)
        met = {True: "yes", False: "no", None: ""}[kept]
        shown = "not measured" if values is None else spread(values, self.digits)
        return [self.what, f"{self.limit:.{min(self.digits, 2)}f}", shown, met]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median, and the smallest and the largest; one number alone where there is one."""
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def ratios(measured: Sequence[float], reference: Sequence[float]) -> list[float]:
    """One for each repetition: what ran next to each other is compared."""
    return [a / b for a, b in zip(measured, reference, strict=True)]


def differences(measured: Sequence[float], reference: Sequence[float]) -> list[float]:
    """One for each repetition, as `ratios`."""
    return [a - b for a, b in zip(measured, reference, strict=True)]


def found_at(results: Results, *path: str) -> Any:
    """What lies there in the results; None where nothing does."""
    found: Any = results
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found or None


Comparison: TypeAlias = Callable[[Sequence[float], Sequence[float]], list[float]]


def _beside(
    reference: str,
    path: Sequence[str],
    what: str,
    limit: float,
    *,
    key: str | None = None,
    compare: Comparison = ratios,
    digits: int = 3,
) -> Promise:
    """The adapter beside another system; the numbers of both lie at a path that begins with the part, under a key."""
    below = () if key is None else (key,)

    def measured(results: Results) -> list[float] | None:
        own, other = (found_at(results, *path, system, *below) for system in (ADAPTER, reference))
        return None if own is None or other is None else compare(own, other)

    return Promise(path[0], what, limit, measured, digits)


def _step(phase: str, model: str, logging: str, reference: str, limit: float) -> Promise:
    what = f"{phase}, {model}, {logging}: adapter / {reference}"
    return _beside(reference, ("steps", model, logging), what, limit, key=phase)


def _after_training(key: str, what: str, reference: str, limit: float) -> Promise:
    return _beside(reference, ("evaluation",), f"{what}: adapter / {reference}", limit, key=key)


def _growth(results: Results) -> list[float] | None:
    memory = found_at(results, "length", ADAPTER, "memory")
    return None if memory is None else [memory[-1] / memory[0]]


PROMISES = (
    _step("training", PERCEPTRON, NOTHING, BARE_LOOP, 1.05),
    _step("training", PERCEPTRON, NOTHING, PYTORCH_TRIAL, 0.98),
    _step("training", PERCEPTRON, ONE_VALUE, BARE_LOOP, 1.08),
    _step("training", PERCEPTRON, ONE_VALUE, PYTORCH_TRIAL, 0.82),
    _step("training", PERCEPTRON, ONE_VALUE, LIGHTNING, 0.46),
    _step("training", PERCEPTRON, SEVERAL, BARE_LOOP, 1.08),
    _step("training", CNN, ONE_VALUE, BARE_LOOP, 1.05),
    _step("validation", PERCEPTRON, ONE_VALUE, BARE_LOOP, 1.06),
    _step("validation", PERCEPTRON, ONE_VALUE, LIGHTNING, 0.35),
    _step("validation", PERCEPTRON, SEVERAL, BARE_LOOP, 1.06),
    _step("validation", PERCEPTRON, SEVERAL, LIGHTNING, 0.35),
    _step("validation", CNN, ONE_VALUE, BARE_LOOP, 1.05),
    _after_training("validate", f"trial.validate(), {PERCEPTRON}, {SEVERAL}", LIGHTNING, 1.05),
    _after_training("evaluate", "evaluate, five metrics", BARE_LOOP, 1.06),
    _after_training("evaluate", "evaluate, five metrics", LIGHTNING, 0.35),
    _beside(
        BARE_LOOP,
        ("parallel", "horovod"),
        f"two processes, Horovod, {CNN}, {ONE_VALUE}: adapter / {BARE_LOOP}",
        1.15,
    ),
    _beside(
        BARE_LOOP,
        ("checkpoints",),
        f"checkpoint, {CNN}: ms by which the adapter's delays the step more than the bare loop's",
        2.0,
        key="delay",
        compare=differences,
        digits=1,
    ),
    _beside(LIGHTNING, ("start",), f"interpreter to first batch, CPU seconds: adapter / {LIGHTNING}", 1.0, key="cpu"),
    _beside(LIGHTNING, ("start",), f"call to first batch, CPU seconds: adapter / {LIGHTNING}", 1.0, key="call cpu"),
    Promise("start", f"`{HELP}`, seconds", 0.3, lambda results: found_at(results, "help", HELP, "wall"), 2),
    Promise("length", "a long run, adapter: peak memory after all batches / after 1,000", 1.01, _growth),
)


def table_of(results: Results, parts: Collection[str]) -> list[list[str]]:
    """All promises of these parts, those that were not measured included."""
    return [promise.row(results) for promise in PROMISES if promise.part in parts]


def broken(results: Results) -> list[str]:
    """What is measured and not met."""
    return [promise.what for promise in PROMISES if promise.is_kept(results) is False]
