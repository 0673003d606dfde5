"""Which hyperparameters, and which seed, does the master of a cluster give the trials of a search?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_adapter.tuning.settings import SearcherSettings


@dataclass(frozen=True)
class Draw:
    """What a trial is made of.

    Attributes:
        hyperparameters: name -> value, nested as in the file, as they come through the master's JSON.
        seed: of the trial.
    """

    hyperparameters: dict[str, Any]
    seed: int


def draws(settings: SearcherSettings, hyperparameters: Mapping[str, Any], seed: int) -> Iterator[Draw]:
    """Yield what the first, second ... trial is made of; without end, except of a grid.

    Args:
        settings: of the search.
        hyperparameters: of the experiment, with ranges.
        seed: `reproducibility.experiment_seed`.
    """
    raise NotImplementedError
