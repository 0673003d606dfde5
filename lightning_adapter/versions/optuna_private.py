"""Which private names of Optuna's are used, and why?

Seen in optuna 4.2 to 5.0.
"""

from __future__ import annotations

from typing import Any

import optuna


def set_trial_attr(study: optuna.Study, trial: optuna.trial.FrozenTrial, name: str, value: Any) -> None:
    """Let a pruner note something of a trial.

    `BasePruner.prune` is given a copy that writes nothing; Optuna's own `SuccessiveHalvingPruner` notes its rungs so.
    """
    study._storage.set_trial_system_attr(trial._trial_id, name, value)


def running_trial(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> optuna.Trial:
    """Return a trial that an earlier process has begun, to go on with it: `Study.ask` makes new ones alone."""
    return optuna.Trial(study, trial._trial_id)
