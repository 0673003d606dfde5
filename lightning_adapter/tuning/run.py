"""What does a search do from what was asked for to what it gives back, in Python and for the command?"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import pathlib
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optuna
from sqlalchemy.exc import SQLAlchemyError

from lightning_adapter.errors import ConfigurationError, SearchError
from lightning_adapter.platform import experiment
from lightning_adapter.platform.environment import device_kind, managed_trial, variables_set
from lightning_adapter.platform.launch import launcher
from lightning_adapter.platform.target import check_may_train
from lightning_adapter.runs import provenance
from lightning_adapter.runs.recorder import now
from lightning_adapter.runs.searches import FINISHED
from lightning_adapter.runs.summary import shown
from lightning_adapter.tuning import picture
from lightning_adapter.tuning.best import best_yaml
from lightning_adapter.tuning.brackets import brackets
from lightning_adapter.tuning.directory import SearchDirectory, record_of
from lightning_adapter.tuning.draws import draws
from lightning_adapter.tuning.here import Here
from lightning_adapter.tuning.job import Crew
from lightning_adapter.tuning.plan import Given, Plan
from lightning_adapter.tuning.pruner import HalvingPruner
from lightning_adapter.tuning.request import SearchRequest, SearchResult
from lightning_adapter.tuning.running import Running
from lightning_adapter.tuning.searcher import SEED, VALUES, VARIABLES, Searcher
from lightning_adapter.tuning.study import study_of
from lightning_adapter.tuning.view import View, Watcher
from lightning_adapter.tuning.workers import Workers

logger = logging.getLogger("lightning_adapter")


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
    if launcher() is not None:
        raise ConfigurationError(
            "A search begins the processes of its trials itself, and this is one of several that a launcher has begun. Start it "
            "without torchrun or horovodrun; for several trials at the same time give jobs= (--jobs)."
        )
    what = Given.of(request)
    variables = experiment.environment_variables(what.config, device_kind)
    with variables_set(variables):
        plan = Plan.of(what, request.trial_class)
        _check_processes(plan, request)
        with _directory(plan, request) as (directory, record), _quiet():
            return _search(plan, request, directory, record, variables, watcher)


def _check_processes(plan: Plan, request: SearchRequest) -> None:
    """Refuse several processes where they cannot import the class.

    Raises:
        ConfigurationError: they cannot.
    """
    if plan.target is None and not request.in_this_process:
        raise ConfigurationError(
            f"jobs={request.jobs} needs processes of their own, which cannot import {plan.trial_class.__qualname__}: it is a "
            "class of a notebook, or was made in a function. Move it to a file, or leave jobs out."
        )


@contextlib.contextmanager
def _directory(plan: Plan, request: SearchRequest) -> Iterator[tuple[SearchDirectory, dict[str, Any]]]:
    """The directory of the search, and its record, until the block ends."""
    if plan.given.goes_on_in is not None:
        directory = SearchDirectory(plan.given.goes_on_in)
        before = record_of(directory.path)
        record = {
            **before,
            "status": "running",
            "trials": plan.given.trials,
            "jobs": request.jobs or before["jobs"],
        }
        directory.write(record)
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
        "jobs": request.jobs or 1,
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
    study, storage = study_of(
        directory,
        direction="minimize" if settings.smaller_is_better else "maximize",
        sampler=request.sampler or optuna.samplers.RandomSampler(plan.given.seed),
        pruner=HalvingPruner(made, settings.divisor, settings.smaller_is_better),
    )
    seeds = draws(settings, plan.hyperparameters, plan.given.seed)
    searcher = Searcher(study, settings, made, plan.space, seeds, request.sampler is not None)
    # one for both: what interrupts a trial then is no signal from outside
    deadline = math.inf if request.timeout_s is None else time.monotonic() + request.timeout_s
    if request.in_this_process and record["jobs"] == 1:
        crew: Crew = Here(plan.trial_class, deadline)
    else:
        assert plan.target is not None  # `_check_processes`
        crew = Workers(record["jobs"], plan.target, variables, directory.path)
    running = Running(plan, directory, study, storage, searcher, crew, watcher, deadline)
    status = "failed"
    try:
        running.run()
        status = FINISHED if running.is_over else "interrupted"
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise SearchError(
            f"{directory.study} cannot be written: {_reason(error)}. What was written before stands there; to go on later, give "
            f"--resume-from {shlex.quote(shown(directory.path))}"
        ) from error
    finally:
        crew.close()
        view = running.view()
        watcher.ended(view)
        _write(directory.best, lambda: _write_best(plan, directory, study, view))
        picture.draw(study, directory.picture, settings.metric, settings.time_metric or "batches")
        _write(directory.record, lambda: directory.write({**record, "status": status, "end": now()}))
    return SearchResult(
        # as the file holds it, for all that Optuna can do with one
        study=optuna.load_study(
            study_name=study.study_name, storage=directory.url, sampler=study.sampler, pruner=study.pruner
        ),
        best_run=None if view.best is None else view.best.run_dir,
        directory=directory.path,
        view=view,
        target=plan.target,
        options=plan.given.options,
        signal=None if running.stopped_by == "timeout" else running.stopped_by,
        timed_out=running.stopped_by == "timeout",
    )


def _reason(error: Exception) -> str:
    """Of an error of the database, which wraps those below it, the first line."""
    return str(getattr(error, "orig", None) or error.__cause__ or error).partition("\n")[0]


def _write(path: pathlib.Path, write: Callable[[], object]) -> None:
    """Write what follows a search; what cannot be written is told in a line, and hides no error of the search."""
    try:
        write()
    except OSError as error:
        logger.warning("%s could not be written: %s", shown(path), error)


def _write_best(plan: Plan, directory: SearchDirectory, study: optuna.Study, view: View) -> None:
    if view.best is None:
        return
    attrs = study.best_trial.user_attrs
    note = f"trial {view.best.number} of {directory.path.name}: {view.metric} {view.best.value}"
    directory.write_best(best_yaml(plan.given.text, attrs[VALUES], attrs[SEED], note, attrs[VARIABLES]))
