"""Which study of Optuna's does a search have: a new one, or that which an earlier process has left?"""

from __future__ import annotations

from typing import Literal

import optuna
import sqlalchemy.exc
from optuna.trial import FrozenTrial, TrialState

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.atomic import replacing
from lightning_adapter.runs.words import counted
from lightning_adapter.tuning.directory import SearchDirectory, url_of
from lightning_adapter.tuning.pruner import BRACKET, OUTCOME
from lightning_adapter.tuning.storage import EventStorage


def study_of(
    directory: SearchDirectory,
    direction: Literal["minimize", "maximize"],
    sampler: optuna.samplers.BaseSampler,
    pruner: optuna.pruners.BasePruner,
) -> tuple[optuna.Study, EventStorage]:
    """Return the study in the directory of a search, and its storage.

    Raises:
        ConfigurationError: it cannot be read or written, knows nothing of trials that are there, or has others.
    """
    try:
        _make(directory)
        storage = EventStorage(directory.url)
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
        trials = study.get_trials(deepcopy=False)
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise ConfigurationError(
            f"{directory.study} cannot be used: {reason}. All that a search knows of its trials stands there. Put a copy of it "
            "back, or begin a new search."
        ) from error
    _check_origin(directory, trials)
    known = len(trials)
    unknown = directory.trials_from(known)
    if unknown:
        raise ConfigurationError(
            f"{directory.study} knows {counted(known, 'trial')}, and not {unknown[0].name}, which is there: "
            "it is not the study that the search has written last, so that trials would be made again. Put that one back, or "
            "begin a new search."
        )
    return study, storage


def _make(directory: SearchDirectory) -> None:
    """Let the file appear with its tables: Optuna lets whoever looks into one without them make them, at the same time as we."""
    if not directory.study.exists():
        with replacing(directory.study) as aside:
            optuna.storages.RDBStorage(url_of(aside)).engine.dispose()


def _check_origin(directory: SearchDirectory, trials: list[FrozenTrial]) -> None:
    """Refuse a study with trials of somebody else's.

    Raises:
        ConfigurationError: there are some.
    """
    others = [
        str(trial.number)
        for trial in trials
        # a search that ends while it begins a trial leaves it running
        if trial.state is not TrialState.RUNNING and BRACKET not in trial.user_attrs and OUTCOME not in trial.user_attrs
    ]
    if others:
        raise ConfigurationError(
            f"{directory.study} has trial{'s' if len(others) > 1 else ''} {', '.join(others)}, which the search has not made: "
            "study.optimize(), enqueue_trial() or add_trial() has written there. To go on in Optuna, copy the trials to a study "
            "of your own with add_trials(); to go on with the search, put a copy of the file from before back, or begin a new one."
        )
