"""Which rungs does a validated trial enter, and does it go on?"""

from __future__ import annotations

import bisect
import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

#: The entry of a trial that failed, in the rung at which it stood.
FAILED = sys.float_info.max


class Verdict(NamedTuple):
    """What follows from a validation.

    Attributes:
        entered: numbers of the rungs that the trial enters with its value, the lowest first.
        rung: the number of the rung at which it stands now.
        stops: whether it is over.
        at_top: whether that is since it has its whole length.
    """

    entered: tuple[int, ...]
    rung: int
    stops: bool
    at_top: bool


def ranked(value: float, smaller_is_better: bool) -> float:
    """Return a value as rungs hold it: the smaller the better, and the worst one of all where it is not finite."""
    if not math.isfinite(value):
        return math.inf
    return value if smaller_is_better else -value


def judge(
    rungs: Sequence[int], divisor: float, entries: Sequence[Sequence[float]], rung: int, time: float, value: float
) -> Verdict:
    """Say what becomes of a trial that was validated: `doEarlyStopping` of the master.

    Args:
        rungs: lengths of the bracket.
        divisor: of the search.
        entries: for each rung the values that have entered it, in any order: those of trials that turned out to have invalid
            hyperparameters are left out, a failed trial has `FAILED` at the rung at which it stood.
        rung: the number of the rung at which the trial stands: 0 at first.
        time: how far it is trained, in the unit of the rungs.
        value: of the validation, as `ranked` returns it.
    """
    entered: list[int] = []
    for number in range(rung, len(rungs)):
        if time < rungs[number]:
            return Verdict(tuple(entered), number, stops=False, at_top=False)
        entered.append(number)
        if number == len(rungs) - 1:
            return Verdict(tuple(entered), number, stops=True, at_top=True)
        others = sorted(entries[number])
        # before its equals; what is not finite comes after all
        place = len(others) if value == math.inf else bisect.bisect_left(others, value)
        go_on = max(int((len(others) + 1) / divisor), 1)
        if place >= go_on:
            return Verdict(tuple(entered), number, stops=True, at_top=False)
    return Verdict((), rung, stops=False, at_top=False)
