"""search(): what does the searcher of an experiment find, tried on this machine?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from determined import pytorch

from lightning_adapter import notices
from lightning_adapter.argument_values import LARGEST, integer
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import experiment, given
from lightning_adapter.platform.experiment import Hyperparameters
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.runs.summary import say
from lightning_adapter.submission.checks import with_typed
from lightning_adapter.submission.typed_in_entrypoint import typed_in_entrypoint
from lightning_adapter.tuning.extra import check_installed
from lightning_adapter.tuning.lines import EventLines
from lightning_adapter.tuning.request import SearchRequest, SearchResult
from lightning_adapter.tuning.training import options_of

if TYPE_CHECKING:
    import optuna


def search(
    trial_class: type[LightningTrial],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    hparams: Hyperparameters | None = None,
    trials: int | None = None,
    jobs: int | None = None,
    timeout: float | timedelta | None = None,
    max_epochs: int | None = None,
    max_steps: int | None = None,
    validation_period: pytorch.TrainUnit | None = None,
    checkpoint_period: pytorch.TrainUnit | None = None,
    warm_start_from: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    search_dir: str | os.PathLike[str] | None = None,
    name: str | None = None,
    resume_from: str | os.PathLike[str] | None = None,
    sampler: optuna.samplers.BaseSampler | None = None,
) -> SearchResult:
    """Search on this machine as the experiment's searcher does on a cluster: the same draws, the same rungs.

    Each trial is trained as `fit` trains it, in a run directory of its own below that of the search. All that is known lies there
    too, in Optuna's study, so that a search that was killed goes on.

    Args:
        trial_class: a subclass of LightningAdapter.
        config: an experiment YAML's path, or its content: its ranges are searched by its searcher.
        hparams: hyperparameters that win over `config`; a range that is given a value is not searched.
        trials: in place of `searcher.max_trials`.
        jobs: trials that train at the same time; by default one, or as many as a search had that goes on. One trains in this
            process, where what user code leaves in its modules is there for the next trial; several in processes of their own,
            begun for each trial, which import the class, each on its GPU where there are several.
        timeout: seconds (or a timedelta) after which trials that train are interrupted; the search can go on later.
        max_epochs, max_steps, validation_period, checkpoint_period, warm_start_from: of each trial, as of `fit`. What the
            experiment's entrypoint types after `fit` counts where nothing is given.
        seed: in place of `reproducibility.experiment_seed`, of which a cluster's draws depend too.
        search_dir: directory of the search; by default `runs/<name>/search-<date-time>`.
        name: of the folder below `runs/`; by default the trial's class.
        resume_from: the directory of a search that goes on, as it was begun.
        sampler: one of Optuna's, which chooses hyperparameters in place of a cluster's draws.

    Returns:
        `study` is Optuna's, `best_run` the run directory of the best complete trial, None where none is complete.

    Raises:
        ConfigurationError: something given cannot be used.
        SearchError: the first trials fail, all of them.
        SystemExit: a signal has stopped the search, with the status of that signal.
    """
    check_installed("optuna")
    from optuna.samplers import BaseSampler

    from lightning_adapter.tuning.run import run_search

    faults: list[str] = []
    if sampler is not None and not isinstance(sampler, BaseSampler):
        faults.append(f"sampler={sampler!r} is none of Optuna's: give one such as optuna.samplers.TPESampler(seed=1).")
    several = None if jobs is None else integer("jobs", jobs, 1, LARGEST, ", 1 or more", faults)
    request = SearchRequest(
        trial_class=trial_class,
        config=config,
        hparams=_plain(given.hyperparameters(hparams, faults)),
        trials=None if trials is None else integer("trials", trials, 1, LARGEST, ", 1 or more", faults),
        jobs=several,
        timeout_s=_seconds(timeout, faults),
        options=options_of(
            {
                "max_epochs": given.limit("max_epochs", max_epochs, faults),
                "max_steps": given.limit("max_steps", max_steps, faults),
                "validation_period": given.period("validation_period", validation_period, faults),
                "checkpoint_period": given.period("checkpoint_period", checkpoint_period, faults),
                "warm_start_from": given.path("warm_start_from", warm_start_from, faults),
            }
        ),
        seed=given.seed(seed, faults),
        search_dir=given.path("search_dir", search_dir, faults),
        name=given.run_name(name, faults),
        resume_from=given.path("resume_from", resume_from, faults),
        in_this_process=several in (None, 1),
        sampler=sampler,
    )
    if faults:
        raise ConfigurationError("\n".join(faults))
    result = run_search(_as_the_entrypoint_says(request), EventLines(say))
    if result.signal is not None:
        raise SystemExit(128 + result.signal)
    return result


def _as_the_entrypoint_says(request: SearchRequest) -> SearchRequest:
    """What the experiment's entrypoint types after `fit` counts where nothing is given."""
    if request.config is None:
        return request
    typed = typed_in_entrypoint(experiment.checked(request.config)[1])
    if typed.notice is not None:
        notices.warn(typed.notice)
    hparams = with_typed(typed.hparams, experiment.nest(request.hparams or {}))
    return replace(request, hparams=hparams, options={**typed.options, **request.options})


def _plain(hparams: Hyperparameters | None) -> dict[str, Any] | None:
    if hparams is None:
        return None
    plain: Any = experiment.plain(hparams)
    return dict(plain)


def _seconds(timeout: object, faults: list[str]) -> float | None:
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        faults.append(f"timeout={timeout!r} is no time: give seconds greater than 0, or a timedelta.")
        return None
    return float(seconds)
