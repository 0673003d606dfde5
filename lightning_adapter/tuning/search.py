"""search(): what does the searcher of an experiment find, tried on this machine?"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import optuna
from determined import pytorch

from lightning_adapter.argument_values import LARGEST, integer
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import experiment, given
from lightning_adapter.platform.environment import device_kind, managed_trial, variables_set
from lightning_adapter.platform.experiment import Hyperparameters
from lightning_adapter.platform.target import check_may_train
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.runs import provenance
from lightning_adapter.runs.recorder import now
from lightning_adapter.tuning import picture
from lightning_adapter.tuning.best import best_yaml
from lightning_adapter.tuning.brackets import brackets
from lightning_adapter.tuning.directory import SearchDirectory, record_of
from lightning_adapter.tuning.draws import draws
from lightning_adapter.tuning.here import Here
from lightning_adapter.tuning.job import Crew
from lightning_adapter.tuning.lines import Lines
from lightning_adapter.tuning.plan import Given, Plan
from lightning_adapter.tuning.pruner import HalvingPruner
from lightning_adapter.tuning.request import SearchRequest, SearchResult
from lightning_adapter.tuning.running import Running
from lightning_adapter.tuning.searcher import SEED, VALUES, VARIABLES, Searcher
from lightning_adapter.tuning.training import options_of
from lightning_adapter.tuning.view import View, Watcher
from lightning_adapter.tuning.workers import Workers


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
        jobs: trials that train at the same time. One trains in this process; several in processes of their own, each on
            its GPU where there are several, which import the class.
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
    faults: list[str] = []
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
    result = run_search(request, Lines())
    if result.signal is not None:
        raise SystemExit(128 + result.signal)
    return result


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


def run_search(request: SearchRequest, watcher: Watcher) -> SearchResult:
    """Search as `search` and the command do.

    Args:
        request: what was asked for.
        watcher: is told how it goes on.

    Raises:
        ConfigurationError: something given cannot be used.
        SearchError: the first trials fail, all of them.
    """
    check_may_train()
    if managed_trial() is not None:
        raise ConfigurationError(
            "A search is made here by this machine, and this is a trial of a cluster, whose searcher makes its own: submit the "
            "experiment instead."
        )
    what = Given.of(request)
    variables = experiment.environment_variables(what.config, device_kind)
    with variables_set(variables):
        plan = Plan.of(what, request.trial_class)
        with _directory(plan, request) as (directory, record), _quiet():
            return _search(plan, request, directory, record, variables, watcher)


@contextlib.contextmanager
def _directory(plan: Plan, request: SearchRequest) -> Iterator[tuple[SearchDirectory, dict[str, Any]]]:
    """The directory of the search, and its record, until the block ends."""
    if plan.given.goes_on_in is not None:
        directory = SearchDirectory(plan.given.goes_on_in)
        record = {**record_of(directory.path), "trials": plan.given.trials, "jobs": request.jobs}
    else:
        record = _facts(plan, request)
        name = request.name or plan.trial_class.run_name(
            next(draws(plan.settings, plan.hyperparameters, 0)).hyperparameters
        )
        directory = SearchDirectory.create(name, request.search_dir, record, plan.given.text)
    try:
        yield directory, record
    finally:
        directory.close()


def _facts(plan: Plan, request: SearchRequest) -> dict[str, Any]:
    what = plan.given
    return {
        "status": "running",
        "target": plan.target,
        "config": None if isinstance(request.config, Mapping) or request.config is None else os.fspath(request.config),
        "start": now(),
        **provenance.of_this_process(),
        "seed": what.seed,
        "trials": what.trials,
        "jobs": request.jobs,
        "hparams": what.hparams,
        "hyperparameters": what.hyperparameters,
        "options": what.options,
        "suggests": request.sampler is not None,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let Optuna warn alone: what it would tell of each trial is shown otherwise."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _search(
    plan: Plan,
    request: SearchRequest,
    directory: SearchDirectory,
    record: dict[str, Any],
    variables: Mapping[str, str],
    watcher: Watcher,
) -> SearchResult:
    settings, made = plan.settings, brackets(plan.settings)
    study = optuna.create_study(
        storage=directory.url,
        study_name=directory.path.name,
        load_if_exists=True,
        direction="minimize" if settings.smaller_is_better else "maximize",
        sampler=request.sampler or optuna.samplers.RandomSampler(plan.given.seed),
        pruner=HalvingPruner(made, settings.divisor, settings.smaller_is_better),
    )
    seeds = draws(settings, plan.hyperparameters, plan.given.seed)
    searcher = Searcher(study, settings, made, plan.space, seeds, request.sampler is not None)
    crew = _crew(plan, request, directory, variables)
    running = Running(plan, directory, study, searcher, crew, watcher, request.timeout_s)
    status = "failed"
    try:
        running.run()
        status = "finished" if running.stopped_by is None else "interrupted"
    finally:
        crew.close()
        view = running.view()
        _write_best(plan, directory, study, view)
        picture.draw(study, directory.picture, settings.metric)
        directory.write({**record, "status": status, "end": now()})
        watcher.ended(view)
    return SearchResult(
        study=study,
        best_run=None if view.best is None else view.best.run_dir,
        directory=directory.path,
        view=view,
        target=plan.target,
        signal=None if running.stopped_by == "timeout" else running.stopped_by,
        timed_out=running.stopped_by == "timeout",
    )


def _crew(plan: Plan, request: SearchRequest, directory: SearchDirectory, variables: Mapping[str, str]) -> Crew:
    """Who trains.

    Raises:
        ConfigurationError: other processes cannot import the class.
    """
    if request.in_this_process:
        return Here(plan.trial_class, request.timeout_s)
    if plan.target is None:
        raise ConfigurationError(
            f"jobs={request.jobs} needs processes of their own, which cannot import {plan.trial_class.__qualname__}: it is a "
            "class of a notebook, or was made in a function. Move it to a file, or leave jobs out."
        )
    return Workers(plan.target, request.jobs or 1, directory.path, variables)


def _write_best(plan: Plan, directory: SearchDirectory, study: optuna.Study, view: View) -> None:
    if view.best is None:
        return
    attrs = study.best_trial.user_attrs
    note = f"trial {view.best.number} of {directory.path.name}: {view.metric} {view.best.value}"
    directory.write_best(best_yaml(plan.given.text, attrs[VALUES], attrs[SEED], note, attrs[VARIABLES]))
