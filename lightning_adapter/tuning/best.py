"""best.yaml: which experiment trains the best trial of a search once more?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def best_yaml(text: str, hyperparameters: Mapping[str, Any], seed: int, note: str, variables: Mapping[str, str]) -> str:
    """Return an experiment YAML with the values of one trial as constants, and a single search.

    Args:
        text: the searched YAML; what it says besides stays, comments too.
        hyperparameters: all of the trial's, nested; in the file they replace ranges, and what was typed beside it.
        seed: becomes `reproducibility.experiment_seed`.
        note: a first comment, of one or more lines.
        variables: environment variables that the run needs to give the very same numbers; added to
            `environment.environment_variables` where they are not set there.
    """
    raise NotImplementedError
