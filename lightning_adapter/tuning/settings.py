"""What does an experiment's `searcher:` ask for, with the master's own defaults?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

SearcherName: TypeAlias = Literal["single", "random", "grid", "adaptive_asha", "async_halving"]


@dataclass(frozen=True)
class SearcherSettings:
    """A searcher, with the defaults of its schema.

    Attributes:
        name: which of Determined's.
        metric: what a validation logs, by which trials are ranked.
        smaller_is_better: the direction.
        max_trials: trials that are made; 1 of a single search; of a grid the points.
        max_concurrent_trials: trials that are asked for at once; 0 for all.
        time_metric: what a trial's length is counted in: batches, epochs, or the name of a metric; None where no trial is
            stopped.
        max_time: the whole length, in it.
        divisor: the share of trials that goes on from a rung is 1/divisor.
        max_rungs: of adaptive_asha.
        num_rungs: of async_halving.
        mode: of adaptive_asha.
        bracket_rungs: of adaptive_asha, rungs of each bracket; empty where mode and max_rungs say it.
    """

    name: SearcherName
    metric: str
    smaller_is_better: bool
    max_trials: int
    max_concurrent_trials: int
    time_metric: str | None = None
    max_time: int | None = None
    divisor: float = 4.0
    max_rungs: int = 5
    num_rungs: int = 5
    mode: str = "standard"
    bracket_rungs: tuple[int, ...] = ()


def searcher_settings(config: Mapping[str, Any], trials: int | None = None) -> SearcherSettings:
    """Read `searcher:` as the master does.

    Args:
        config: what `experiment.read` returned, ranges unresolved.
        trials: in place of `max_trials`.

    Raises:
        ConfigurationError: it is no search that can be made; all faults in one message.
    """
    raise NotImplementedError
