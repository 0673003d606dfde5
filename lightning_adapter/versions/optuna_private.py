"""Which private names of Optuna's are used, and why?

Seen in optuna 4.2 to 5.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution


def set_trial_attr(study: optuna.Study, trial: optuna.trial.FrozenTrial, name: str, value: Any) -> None:
    """Let a pruner note something of a trial.

    `BasePruner.prune` is given a copy that writes nothing; Optuna's own `SuccessiveHalvingPruner` notes its rungs so.
    """
    study._storage.set_trial_system_attr(trial._trial_id, name, value)


def running_trial(
    study: optuna.Study, trial: optuna.trial.FrozenTrial, distributions: Mapping[str, BaseDistribution]
) -> optuna.Trial:
    """Return a trial that an earlier process has begun, to go on with it: `Study.ask` makes new ones alone.

    As there, it gets those of its values that were enqueued and that the earlier process had no time to write.
    """
    found = optuna.Trial(study, trial._trial_id)
    for name, distribution in distributions.items():
        found._suggest(name, distribution)
    return found
