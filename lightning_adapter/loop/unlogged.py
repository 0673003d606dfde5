"""Which numbers did a step return that nobody logged, so that nobody will be told of them?

Determined's own LightningAdapter, which its releases had until 0.23, reported what steps returned. Lightning reports what
is logged, and so does this package; code that was written for the other would train on without a metric and without a word.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import TypeAlias

from torch import Tensor

from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.trainer.results import ResultCollection
from lightning_adapter.versions.types import StepOutput

#: A number, on whichever device it is.
Scalar: TypeAlias = Tensor | float

_LOSS = "loss"
_NAMED = 8
# A value may have been logged in another precision than it was returned in.
_TOLERANCE = 1e-3


class UnloggedReturns:
    """Looks at what a step returned for its first batch, and warns once, when values of its loop are reported.

    A value counts as logged under its name, or under any name that has the same value. A loss is returned because it has to
    be, so it is missed only where nothing at all is logged. Where another hook logs too, it may log what the step returned
    in a form of its own, a mean for one, so nothing is said.

    Args:
        step: "training_step" or "validation_step".
        hooks: of the run.
        logged: what the step's loop has logged.
        at_epoch_end: hooks that log when the epoch is over; where the module has one of them its end is waited for.
    """

    def __init__(self, step: str, hooks: Hooks, logged: ResultCollection, at_epoch_end: tuple[str, ...] = ()) -> None:
        self._step = step
        self._hooks = hooks
        self._logged = logged
        self._waits = any(hooks.overridden(name) for name in at_epoch_end)
        self._returned: dict[str, Scalar] | None = None  # by the first batch; nothing once it was reported
        self._logged_then: list[Tensor] = []

    def look(self, output: StepOutput) -> None:
        """The first batch of an epoch or a loader is through; only the first of all is looked at.

        Values are kept, and compared when others are reported: the device is waited for then anyway.

        Args:
            output: what the step returned, or what `on_train_batch_end` gets, which has it by optimizer.
        """
        if self._returned is None:
            self._returned = dict(_numbers(output))
            self._logged_then = [value for metric in self._logged.visible() if (value := metric.latest()) is not None]

    def reported(self, epoch_over: bool) -> None:
        """Values are reported, or would be if there were any: say which are missing, once.

        Args:
            epoch_over: whether all hooks of the epoch have run.
        """
        if not self._returned or (self._waits and not epoch_over):
            return
        returned, self._returned = self._returned, {}
        logged, self._logged_then = [float(value) for value in self._logged_then], []
        metrics = self._logged.metrics.values()
        if any(metric.hook != self._step for metric in metrics):
            return
        known = {metric.name for metric in metrics} | ({_LOSS} if metrics else set())
        missing = [name for name in returned if name not in known and not _is_among(float(returned[name]), logged)]
        if missing:
            self._hooks.host.warn(self._message(missing))

    def _message(self, names: list[str]) -> str:
        shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        return (
            f"{self._step} returns {shown} without logging {'it' if len(names) == 1 else 'them'}. As in Lightning, loggers, "
            "callbacks and Determined are told what is logged, not what is returned. To report a value, write "
            f'self.log("{names[0]}", ...) in {self._step}.'
        )


def _is_among(value: float, logged: list[float]) -> bool:
    return any(math.isclose(value, other, rel_tol=_TOLERANCE) or value != value for other in logged)


def _numbers(output: StepOutput) -> Iterator[tuple[str, Scalar]]:
    """Name and value of each number that a step returned."""
    if isinstance(output, list):  # by optimizer, in Lightning 1.x
        for each in output:
            if isinstance(each, Mapping):
                yield from _numbers(each)
        return
    for name, value in (output if isinstance(output, Mapping) else {_LOSS: output}).items():
        if isinstance(value, Tensor):
            if value.numel() == 1 and not value.is_complex():
                yield str(name), value.detach().clone()  # user code may go on with it
        elif isinstance(value, Real) and not isinstance(value, bool):
            yield str(name), float(value)
