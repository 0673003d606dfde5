"""How does `fit()` train outside of a cluster?"""

from __future__ import annotations

import functools
import logging
import os
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from determined import core

from lightning_adapter import notices
from lightning_adapter.checkpoints.location import Location
from lightning_adapter.checkpoints.restore import batches_trained
from lightning_adapter.errors import ConfigurationError, text_of
from lightning_adapter.loop.components import Components
from lightning_adapter.platform import ending, experiment
from lightning_adapter.platform.beginning import known_before
from lightning_adapter.platform.beside import training_waits
from lightning_adapter.platform.carried_over import CarriedOver
from lightning_adapter.platform.checkpoint_writer import CheckpointWriter
from lightning_adapter.platform.construct import construct, refusal_in_words
from lightning_adapter.platform.context import LocalContext
from lightning_adapter.platform.course import note_begin
from lightning_adapter.platform.driver import Driver
from lightning_adapter.platform.environment import device_kind, variables_set
from lightning_adapter.platform.final_test import test_if_complete
from lightning_adapter.platform.fit_platform import FitPlatform
from lightning_adapter.platform.hyperparameter_reads import Name, added
from lightning_adapter.platform.judge import judge_of_run
from lightning_adapter.platform.made_with import (
    FromCheckpoint,
    MadeWith,
    check_reader,
    from_checkpoint,
    made_with,
    of_run,
)
from lightning_adapter.platform.package_file import check_place, write_if_complete
from lightning_adapter.platform.request import FitRequest, seed_everything
from lightning_adapter.platform.signals import answers_kept, exit_status
from lightning_adapter.platform.start_from import read_checkpoint, starting_point
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.platform.threads import cores_shared
from lightning_adapter.platform.training_time import TrainingTime
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.platform.uncaught import kept_whole
from lightning_adapter.runs import json_file, provenance
from lightning_adapter.runs.console import ALWAYS, FILE_ONLY
from lightning_adapter.runs.directory import RunDirectory
from lightning_adapter.runs.recorder import now, prunes
from lightning_adapter.runs.summary import say, shown
from lightning_adapter.versions import determined_private

logger = logging.getLogger("lightning_adapter")

Trial = TypeVar("Trial", bound=LightningTrial)


class LocalPlatform(FitPlatform):
    """A run directory in place of a master.

    Args:
        directory: of the run.
        checkpoint_each_epoch: whether epochs without a validation end with a checkpoint too.
        goes_on_after: the batch after which this run writes the directory of an earlier one anew; None in one of its own.
        carried: what comes along from an earlier run.
        **options: of `FitPlatform`.
    """

    is_local = True

    def __init__(
        self,
        directory: RunDirectory,
        checkpoint_each_epoch: bool,
        goes_on_after: int | None,
        carried: CarriedOver,
        **options: Any,
    ) -> None:
        super().__init__(root_dir=str(directory.path), **options)
        self.checkpoint_each_epoch = checkpoint_each_epoch
        self.table = directory.metrics_file.name
        self._directory = directory
        self._goes_on_after = goes_on_after
        self._carried = carried
        self._missing: str | None = None
        self._loggers: list[dict[str, Any]] = []
        self._judge = judge_of_run()
        self._parts: Components | None = None

    @property
    def is_judged(self) -> bool:
        """Whether the run is a trial of a search."""
        return self._judge is not None

    def print(self, text: str) -> None:
        """Print what a person reads at the end; of a trial of a search, whose searcher speaks, it is for the file alone."""
        if self.is_judged:
            (logger if self._parts is None else self._parts.log).info(
                "the trial has ended\n\n%s", text, extra=FILE_ONLY
            )
        else:
            say(f"\n{text}")

    def tensorboard(self) -> str:
        """Below the run directory."""
        return str(self._directory.tensorboard)

    def training_starts(self, parts: Components, sanity_checked: Collection[str]) -> None:
        """Discard the future of the checkpoint that is restored by now, and name the hyperparameters that nobody has read."""
        super().training_starts(parts, sanity_checked)
        self._parts = parts
        if self.core.distributed.rank == 0:
            self._take_directory(parts)
        self.begin_training(parts, "the search" if self.is_judged else None, on_console=not self.is_judged)

    def _take_directory(self, parts: Components) -> None:
        directory = self._directory
        if self._goes_on_after is not None:
            directory.truncate_after(self._goes_on_after)
        if self._carried.bring(directory):
            self.checkpoints.best_lies_in(directory.checkpoints)
        directory.show()
        directory.draw_while_training()
        self.note_loggers(parts)
        context = self._context
        # the constructor and the loaders have read theirs
        unread = context.reads.unread() if isinstance(context, LocalContext) else []
        if unread:
            notices.warn(
                f"The trial has read no hyperparameter of {'this name' if len(unread) == 1 else 'these names'}, and trains "
                f"without what was given. Correct the name, or read it with context.get_hparam(name): {', '.join(unread)}"
            )

    def note_loggers(self, parts: Components) -> None:
        """Say in the record where loggers write; some know their run only once they were told something."""
        described = parts.dispatcher.described()
        if described != self._loggers:
            self._loggers = described
            self._directory.recorder.change(loggers=described)

    def upload_tensorboard(self) -> None:
        """Files stay where they are."""

    def reports_progress(self, has_callbacks: bool) -> bool:
        """Nobody is told, unless the trial has Determined callbacks of its own."""
        return has_callbacks

    def record_training(self, batches: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Keep a row of the table, with the learning rates, of which nobody else is told."""
        rates = self._parts.rates if self._parts is not None else None
        kept = {} if rates is None else rates.of_batch()
        self._record("train", batches, epoch, {**metrics, **{name: kept[name] for name in kept if name not in metrics}})

    def validated(self, batches: int, epoch: int, metrics: Mapping[str, Any]) -> str | None:
        """Keep a row of the table, and ask the judge whether the run goes on."""
        self._record("validation", batches, epoch, metrics)
        best = super().validated(batches, epoch, metrics)
        if self._judge is not None and self._parts is not None:
            numbers = {name: float(value) for name, value in metrics.items()}
            reason = self._judge(batches, self._parts.progress.whole_epochs, numbers)
            if reason is not None:
                self._parts.stop.order(reason)
        return best

    def ended_in_validation(self, batches: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Keep a row of the table: the values that a study has pruned the run for."""
        self._record("validation", batches, epoch, metrics)

    def _record(self, kind: Any, batches: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        if self.core.distributed.rank == 0 and metrics:
            if kind == "validation":  # its values go to the checkpoint of this batch
                self.checkpoints.beside.settle()
            self._directory.record(kind, batches, epoch, {name: float(value) for name, value in metrics.items()})

    def metric_is_missing(self, message: str) -> None:
        """Say so once; the run goes on, unless a judge waits for the metric.

        Raises:
            ConfigurationError: one does.
        """
        if self._judge is not None:
            raise ConfigurationError(message)
        if self._missing is None:
            self._missing = message
            logger.warning("%s The best checkpoint is not known, and a cluster would end the trial.", message)

    def write_checkpoint(self, driver: Driver, callbacks: Mapping[str, Any]) -> str:
        """Write a checkpoint, then delete those that need not be kept."""
        self.checkpoints.beside.settle()
        self._directory.recorder.took(self.time.in_all)
        if self.core.distributed.rank == 0:
            self.note_loggers(driver.parts)
        return super().write_checkpoint(driver, callbacks)


def fit_local(trial_class: type[Trial], request: FitRequest, processes: core.DistributedContext | None) -> Trial:
    """Train in this process, which may be one of several.

    Args:
        trial_class: the trial.
        request: what was asked of `fit`.
        processes: of the job; None for a single one.
    """
    settings = experiment.read(request.config)
    with variables_set(experiment.environment_variables(settings, device_kind)):
        plan = _Plan.of(trial_class, request, settings, 1 if processes is None else processes.size)
        if processes is not None:  # Lightning before 2.5 chooses another one in each process, where it is to choose
            plan = replace(plan, seed=processes.broadcast(plan.seed))
        if plan.seed is not None:
            seed_everything(plan.seed)
        with _run_directory(_run_name(trial_class, plan), plan, processes) as directory:
            if processes is not None and processes.rank != 0:
                with kept_whole(directory.log_file):
                    return _fit(trial_class, plan, directory, processes, None)
            facts, goes_on = _facts(trial_class, plan), plan.goes_on_in(directory)
            directory.recorder.begin({**facts, "parent": None} if goes_on else facts, goes_on)
            with (
                directory.recorder.recording(),
                directory.attach_log(_head(trial_class, facts)) as log,
                kept_whole(directory.log_file),
            ):
                values = experiment.as_written(plan.config["hyperparameters"])
                directory.write_config({**plan.config, "hyperparameters": values})
                return _fit(trial_class, plan, directory, processes, log)


def _run_name(trial_class: type[Trial], plan: _Plan) -> str:
    """The folder that runs of this kind are collected in."""
    return plan.request.name or trial_class.run_name(plan.config["hyperparameters"])


def _facts(trial_class: type[Trial], plan: _Plan) -> dict[str, Any]:
    """What the record says of how a run was made."""
    return {
        "name": _run_name(trial_class, plan),
        "trial": trial_class.__name__,
        "target": trial_class.recorded_as(),
        "start": now(),
        **provenance.of_this_process(),
        "processes": plan.size,
        "seed": plan.seed,
        "parent": provenance.parent_of(plan.source),
        "hyperparameters": plan.config["hyperparameters"],
    }


def _head(trial_class: type[LightningTrial], facts: Mapping[str, Any]) -> str:
    return provenance.head(facts, trial_class.differences(facts["hyperparameters"]))


@dataclass(frozen=True)
class _Plan:
    """What is decided before anything is written.

    Attributes:
        request: what was asked of `fit`.
        config: the experiment's configuration, hyperparameters resolved.
        periods: what it says about time.
        start: the checkpoint that the run begins with.
        source: where that lies; None for a run from scratch.
        steps: batches trained before.
        seed: None where none is given, nor known of the run that goes on.
        taken: the hyperparameters of the checkpoint that nobody has given.
        unasked: names of the hyperparameters that are neither typed nor in the configuration.
        made: with what the run of the checkpoint was made.
        size: number of processes.
        waits: whether training waits until checkpoints are written.
    """

    request: FitRequest
    config: Mapping[str, Any]
    periods: experiment.Periods
    start: StartingPoint
    source: Location | None
    steps: int
    seed: int | None
    taken: FromCheckpoint
    unasked: list[Name]
    made: MadeWith
    size: int
    waits: bool

    @classmethod
    def of(cls, trial_class: type[Trial], request: FitRequest, settings: Mapping[str, Any], size: int) -> _Plan:
        """Look at all that was given.

        Raises:
            ConfigurationError: something in it cannot be used.
            CheckpointError: the checkpoint cannot be used.
        """
        start, source = _starting_point(request, _named(trial_class, settings, request))
        made = made_with(start.saved)
        check_reader(made, trial_class.reader_name())
        kept = {} if trial_class.is_whole(request.hparams) else made.get("hyperparameters", {})
        taken = from_checkpoint(kept, settings, request.hparams)
        given = experiment.hyperparameters(settings, taken.overrides)
        values = trial_class.completed_hyperparameters(given)
        experiment.global_batch_size_check(values, size)
        _check(trial_class, values, request.config)
        periods = experiment.periods(settings, values.get("global_batch_size"))
        return cls(
            request=request,
            config={**_ranked(trial_class, settings, values), "hyperparameters": values},
            periods=periods,
            start=start,
            source=source,
            steps=batches_trained(start.saved) if start.saved is not None and start.resumes else 0,
            # weights that begin a new run are drawn into it by whoever seeds that
            seed=_seed(trial_class, values, request, periods, made if start.resumes else {}),
            taken=taken,
            unasked=[*taken.added, *added(given, values)],
            made=made,
            size=size,
            waits=training_waits(os.environ),
        )

    def tell(self) -> None:
        """Say what the run takes of how the checkpoint's was made."""
        seed, chosen = self.made.get("seed"), self.periods.experiment_seed
        unsaid = self.request.seed is None and self.start.resumes
        self.taken.tell(seed if unsaid and chosen is None and seed == self.seed else None)
        if unsaid and None not in (seed, self.seed) and seed != self.seed:
            # a cluster draws the seed of each trial from that of the experiment
            logger.warning(
                "the run that goes on was seeded with %d, and %s is %d: what is drawn while the trial is made, "
                "such as a random split of the data, is another. To draw the same, give --seed %d",
                seed,
                "experiment_seed" if self.seed == chosen else "the seed of the configuration",
                self.seed,
                seed,
            )

    @property
    def resumed(self) -> pathlib.Path | None:
        """The checkpoint on this machine that the run goes on from."""
        return self.source if self.start.resumes and isinstance(self.source, pathlib.Path) else None

    def goes_on_in(self, directory: RunDirectory) -> bool:
        """Whether the run that is in a directory goes on there."""
        return self.resumed is not None and directory.holds(self.resumed)


def _fit(
    trial_class: type[Trial],
    plan: _Plan,
    directory: RunDirectory,
    processes: core.DistributedContext | None,
    log: logging.Logger | None,
) -> Trial:
    chief = processes is None or processes.rank == 0
    with (
        answers_kept(),
        core.init(distributed=processes, checkpoint_storage=_storage(directory)) as core_context,
        cores_shared(core_context.distributed, experiment.environment_variables(plan.config, device_kind)),
    ):
        context = _context(plan, core_context, directory, log)
        if log is not None:
            # of a run that fails before its first batch nothing else says it
            log.info("%s writes to %s", trial_class.__name__, shown(directory.path), extra=FILE_ONLY)
            note_begin(log, plan.start, plan.source)
            plan.tell()
        try:
            with refusal_in_words(plan.config["hyperparameters"]):
                trial, platform = _train(trial_class, plan, context, directory)
        except Exception as error:
            if log is not None:
                _tell_failure(error, directory, log)
            raise
        finally:
            if chief:
                directory.finish()
        _tell(trial, directory, platform, plan)
        _end_if_asked(platform, trial, directory)
        if plan.request.test:
            _test(trial, core_context.distributed, directory)
        _tell_commands(trial, directory, platform, is_tested=plan.request.test, is_returned=True)
        if plan.request.package is not None:
            write_if_complete(trial, core_context.distributed, plan.request.package)
    return trial


def _tell_failure(error: Exception, directory: RunDirectory, log: logging.Logger) -> None:
    """Say right above the error how the run can go on; of one that a study has pruned, that nothing has gone wrong."""
    if prunes(error):
        log.info("a study has pruned the run: %s", text_of(error) or type(error).__name__, extra=FILE_ONLY)
        return
    latest = None if judge_of_run() is not None else directory.newest()
    if latest is not None:
        log.info("%s", ending.after_failure(latest), extra=ALWAYS)


def _context(
    plan: _Plan, core_context: core.Context, directory: RunDirectory, log: logging.Logger | None
) -> LocalContext:
    made = LocalContext.of(core_context, plan.config, plan.seed, plan.size, plan.steps, directory.path, True, log)
    for name in plan.unasked:  # nobody has given them, so nobody is to hear that they are not read
        made.reads.read_all(name)
    return made


def _storage(directory: RunDirectory) -> dict[str, str]:
    """Where Determined's own context would keep checkpoints; as a URL, some names of directories would mean others."""
    return {"type": "directory", "container_path": str(directory.checkpoints)}


def _train(
    trial_class: type[Trial], plan: _Plan, context: LocalContext, directory: RunDirectory
) -> tuple[Trial, LocalPlatform]:
    request, periods, resumed = plan.request, plan.periods, plan.resumed
    made: Any = trial_class if request.built is None else request.built.again
    trial: Trial = construct(made, context, request.test, what=shown(directory.path), on_cluster=False)
    if request.package is not None:
        trial.check_package()
    distributed = context.distributed
    metric = experiment.searcher_metric(plan.config)
    carried = CarriedOver.of(plan.start, resumed, plan.steps, directory, metric.name)
    time = TrainingTime.of(plan.start)
    writer = CheckpointWriter(
        distributed,
        functools.partial(directory.store_checkpoint, then=_tidying(directory, plan)),
        metric,
        directory=directory.checkpoints,
        code=None,
        files=None,
        made_with=of_run(plan.config["hyperparameters"], plan.seed, trial_class.reader_name()),
        best=carried.best,
        time=time,
        waits=plan.waits,
    )
    saves_all = request.checkpoint_period is None and plan.config.get("checkpoint_policy") != "none"
    platform = LocalPlatform(
        directory,
        checkpoint_each_epoch=saves_all and periods.checkpoint is None,
        goes_on_after=plan.steps if plan.goes_on_in(directory) else None,
        carried=carried,
        trial=trial,
        core_context=determined_private.core_context(context),
        metric=metric,
        periods=periods,
        request=request,
        start=plan.start,
        checkpoints=writer,
        time=time,
        known=known_before(
            {"writes to": shown(directory.path)},
            plan.seed,
            plan.start,
            shown(plan.source) if isinstance(plan.source, pathlib.Path) else plan.source,
            trial_class.differences(plan.config["hyperparameters"]),
        ),
    )
    try:
        with platform.interruption.listening(several=distributed.size > 1):
            platform.run(trial, plan.steps, "all" if saves_all else "none", periods.perform_initial_validation)
    finally:
        directory.recorder.took(time.in_all)
    return trial, platform


def _tidying(directory: RunDirectory, plan: _Plan) -> Callable[[], object]:
    """What follows a checkpoint: those that need not be kept are deleted."""
    experiment_best, trial_best, latest = experiment.checkpoint_retention(plan.config)
    metric = experiment.searcher_metric(plan.config)
    return functools.partial(directory.apply_retention, max(experiment_best, trial_best), latest, *metric)


def _check(trial_class: type[Trial], values: Mapping[str, Any], config: object) -> None:
    """Let the trial's class look at its hyperparameters, and say from which file they are.

    Raises:
        ConfigurationError: no trial can be made of them.
    """
    try:
        trial_class.check_hyperparameters(values)
    except ConfigurationError as error:
        if not isinstance(config, (str, os.PathLike)):
            raise
        raise ConfigurationError(f"{os.fspath(config)}: {error}") from error


def _seed(
    trial_class: type[Trial],
    values: Mapping[str, Any],
    request: FitRequest,
    periods: experiment.Periods,
    made: MadeWith,
) -> int | None:
    """The seed of a run; `made` is empty unless it goes on with another, whose seed may have been typed."""
    if request.seed is not None:
        return request.seed
    before, had = made.get("seed"), made.get("hyperparameters")
    otherwise = before if periods.experiment_seed is None else periods.experiment_seed
    named = trial_class.seed_of(values, otherwise)
    if None in (before, had) or named == otherwise:
        return named
    # hyperparameters that name the seed that they named before say nothing new
    return before if trial_class.seed_of(had or {}, otherwise) == named else named


def _ranked(trial_class: type[Trial], settings: Mapping[str, Any], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings, with the metric that hyperparameters rank checkpoints by where the searcher has none."""
    found = trial_class.metric_of(values) if experiment.searcher_metric(settings).name is None else None
    if found is None:
        return settings
    searcher = {"name": "single", **(settings.get("searcher") or {}), "metric": found[0], "smaller_is_better": found[1]}
    return {**settings, "searcher": searcher}


def _named(trial_class: type[Trial], settings: Mapping[str, Any], request: FitRequest) -> str | None:
    """The checkpoint that hyperparameters name to go on from."""
    if request.resume_from is not None or request.warm_start_from is not None:
        return None
    given = experiment.nest(request.hparams or {})
    return trial_class.resume_from({**(settings.get("hyperparameters") or {}), **given})


def _starting_point(request: FitRequest, named: str | None) -> tuple[StartingPoint, Location | None]:
    if request.resume_from is not None or named is not None:
        return starting_point(request.resume_from or named or "")
    if request.warm_start_from is not None:
        return starting_point(request.warm_start_from, weights_only=True)
    return StartingPoint(), None


@contextmanager
def _run_directory(name: str, plan: _Plan, processes: core.DistributedContext | None) -> Iterator[RunDirectory]:
    """The directory of this run, made by the chief, and no other run's until the block ends.

    Raises:
        ConfigurationError: it cannot be used, said by all processes, so that none waits for the chief.
    """
    made: RunDirectory | None = None
    refused: ConfigurationError | None = None
    if processes is None or processes.rank == 0:
        try:
            check_place(plan.request.package)
            metric = experiment.searcher_metric(plan.config)
            made = RunDirectory.create(name, plan.request.run_dir, source=plan.resumed, ranked_by=metric)
        except ConfigurationError as error:
            refused = error
    path = None if made is None else made.path
    if processes is not None:
        path, refused = processes.broadcast((path, refused))
    if refused is not None:
        raise refused
    assert path is not None
    try:
        yield made or RunDirectory(path)
    finally:
        if made is not None:
            made.close()


def _tell(trial: LightningTrial, directory: RunDirectory, platform: LocalPlatform, plan: _Plan) -> None:
    """Tell the trial what it has left on the disk, and print it."""
    distributed = platform.core.distributed
    latest, best = None, None
    metric, smaller = platform.metric
    if distributed.rank == 0:
        latest = directory.newest()
        # without a metric to rank them by, the last one is taken, as `ModelCheckpoint` does without a monitor
        best = directory.best_checkpoint(metric, smaller) if metric is not None else None
    places = latest, latest if metric is None else best and best.path
    trial.left_locally(directory.path, *distributed.broadcast(places))
    driver = trial.driver
    if distributed.rank == 0 and driver is not None:
        metrics = {name: float(value) for name, value in trial.callback_metrics.items()}
        platform.note_loggers(driver.parts)
        directory.recorder.trained("finished" if driver.finished else "interrupted", metrics)
        trained = ending.trained(driver, platform.time, plan.steps)
        platform.print(directory.summary(metrics, metric, best, latest, trained))


def _test(trial: LightningTrial, distributed: core.DistributedContext, directory: RunDirectory) -> None:
    """Test the best checkpoint, or the last one, and keep the values beside it."""
    path = trial.best_checkpoint or trial.latest_checkpoint

    def read() -> dict[str, Any] | None:
        return None if path is None else read_checkpoint(path)[0]

    tested = test_if_complete(trial, distributed, read, None if path is None else path.name)
    if tested is not None and distributed.rank == 0:
        json_file.write((path or directory.path) / "test.json", tested.metrics)
        directory.recorder.change(test=tested.metrics)


def _end_if_asked(platform: LocalPlatform, trial: LightningTrial, directory: RunDirectory) -> None:
    """A run that a signal has stopped does not go on to what follows `fit`.

    Raises:
        SystemExit: with the exit status that says which signal it was.
    """
    driver = trial.driver
    platform.asked_to_stop()  # also in the last hooks, after all steps
    asked = platform.stopped_by
    if driver is not None and platform.core.distributed.rank == 0:
        if asked is not None and driver.finished:
            platform.print(f"{asked.name} came when all was trained: the run is complete.")
        elif not driver.finished:
            # why it stops is said above, in a line of the run's course
            platform.print(
                ending.to_go_on(driver, "The trial" if asked is None else asked.name, trial.latest_checkpoint)
            )
    if asked is not None and driver is not None:
        _tell_commands(trial, directory, platform, is_tested=False, is_returned=False)
        raise SystemExit(exit_status(asked))


def _tell_commands(
    trial: LightningTrial, directory: RunDirectory, platform: LocalPlatform, is_tested: bool, is_returned: bool
) -> None:
    """Print what can be typed next."""
    if platform.core.distributed.rank == 0 and not platform.is_judged:
        typed = ending.commands(trial, directory.path, directory.tensorboard, is_tested, is_returned)
        if typed:
            platform.print("\n".join(["next:", *(f"  {one}" for one in typed)]))
