"""Does somebody say after each validation of a local run whether it goes on: a search on this machine?

As a cluster's searcher, which marks a trial in the master, a judge ends a run for good: `SearcherStop` in `searcher` does the
same there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TypeAlias

#: From batches, whole epochs and the values of a validation to the reason why the run ends; None where it goes on.
RunJudge: TypeAlias = Callable[[int, int, Mapping[str, float]], "str | None"]

_JUDGE: ContextVar[RunJudge | None] = ContextVar("judge_of_run", default=None)


@contextlib.contextmanager
def judged_by(judge: RunJudge) -> Iterator[None]:
    """Within the block a local run of `fit` is judged; its metric has to be logged."""
    token = _JUDGE.set(judge)
    try:
        yield
    finally:
        _JUDGE.reset(token)


def judge_of_run() -> RunJudge | None:
    """Return who judges the run that begins now; None where nobody does."""
    return _JUDGE.get()
