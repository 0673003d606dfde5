"""Which study of Optuna's does a search have: a new one, or that which an earlier process has left?"""

from __future__ import annotations

from typing import Literal

import optuna
import sqlalchemy.exc

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.words import counted
from lightning_adapter.tuning.directory import SearchDirectory


def study_of(
    directory: SearchDirectory,
    direction: Literal["minimize", "maximize"],
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
) -> optuna.Study:
    """Return the study in the directory of a search.

    Raises:
        ConfigurationError: it cannot be read or written, or knows nothing of trials that are there.
    """
    try:
        storage = optuna.storages.RDBStorage(directory.url)
        # a directory may have been renamed since, and the study keeps its name
        names = optuna.get_all_study_names(storage)
        study = optuna.create_study(
            storage=storage,
            study_name=names[0] if names else directory.path.name,
            load_if_exists=True,
            direction=direction,
            sampler=sampler,
            pruner=pruner,
        )
        known = len(study.get_trials(deepcopy=False))
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise ConfigurationError(
            f"{directory.study} cannot be used: {reason}. All that a search knows of its trials stands there. Put a copy of it "
            "back, or begin a new search."
        ) from error
    unknown = directory.trials_from(known)
    if unknown:
        raise ConfigurationError(
            f"{directory.study} knows {counted(known, 'trial')}, and not {unknown[0].name}, which is there: "
            "it is not the study that the search has written last, so that trials would be made again. Put that one back, or "
            "begin a new search."
        )
    return study
