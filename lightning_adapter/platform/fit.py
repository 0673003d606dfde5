"""fit(): where am I, what was asked for, and how does a trial get from there into Determined's loop?"""

from __future__ import annotations

import difflib
import logging
import math
import os
import pathlib
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import determined as det
import torch
from determined import core, pytorch

from lightning_adapter.adapter import LightningAdapter
from lightning_adapter.arguments import Arguments
from lightning_adapter.checkpoints import content as checkpoint
from lightning_adapter.errors import CheckpointError, ConfigurationError
from lightning_adapter.loop import strategies as distributed
from lightning_adapter.platform import experiment, signals
from lightning_adapter.runs import directory as rundir
from lightning_adapter.versions import determined_private, hosts

logger = logging.getLogger("lightning_adapter")

Trial = TypeVar("Trial", bound=LightningAdapter)


class LocalContext(pytorch.PyTorchTrialContext):
    """Determined's context in a local run, with errors that say what to type."""

    def get_hparam(self, name: str) -> Any:
        """The value of a hyperparameter."""
        hparams = self.get_hparams()
        if name not in hparams:
            known = ", ".join(sorted(hparams)) or "none"
            raise ConfigurationError(
                f"The trial asks for the hyperparameter {name!r}, which has no value (given: {known}). Add it to "
                f"'hyperparameters:' in the experiment YAML, or type --hparam {name}=VALUE, or "
                f"fit(hparams={{{name!r}: ...}})."
            )
        return hparams[name]

    def get_hparams(self) -> dict[str, Any]:
        """All hyperparameters."""
        hparams: dict[str, Any] = self._hparams or {}
        return hparams

    def get_per_slot_batch_size(self) -> int:
        """Batch size of one process."""
        self._need_batch_size()
        return int(super().get_per_slot_batch_size())

    def get_global_batch_size(self) -> int:
        """Batch size of all processes together."""
        self._need_batch_size()
        return int(super().get_global_batch_size())

    def _need_batch_size(self) -> None:
        if self.get_hparams().get("global_batch_size") is None:
            raise ConfigurationError(
                "The trial asks for the batch size, but the hyperparameter global_batch_size has no value. Add "
                "'global_batch_size: 64' to 'hyperparameters:' in the experiment YAML, or type "
                "--hparam global_batch_size=64."
            )


class Session:
    """What one call of `fit` knows besides the trial: periods, checkpoints, where metrics are kept.

    Attributes:
        saved: the checkpoint that the run continues from, or takes its weights from.
        weights_only: whether only weights are taken.
        checkpoint_each_epoch: whether epochs without a validation end with a checkpoint too.
        checkpoint_owed: a checkpoint is due and waits for the next optimizer step.
        max_batches: batches after which the run ends, with a validation; None for as many as Lightning's limits allow.
        uuid: the last checkpoint's id.
        interruption: a signal to stop.
        best: the id of the checkpoint whose validation was best, and its value of the searcher's metric.
    """

    def __init__(
        self,
        core_context: core.Context,
        directory: rundir.RunDirectory | None,
        config: Mapping[str, Any],
        validation_period: pytorch.TrainUnit | None,
        checkpoint_period: pytorch.TrainUnit | None,
        checkpoint_each_epoch: bool = False,
    ) -> None:
        self.core = core_context
        self.directory = directory
        self.config = config
        self.validation_period = validation_period
        self.checkpoint_period = checkpoint_period
        self.checkpoint_each_epoch = checkpoint_each_epoch
        self.checkpoint_owed = False
        self.max_batches: int | None = None
        self.saved: dict[str, Any] | None = None
        self.weights_only = False
        self.trial: LightningAdapter | None = None
        self.uuid: str | None = None
        self.interruption = signals.Interruption()
        self.best: dict[str, Any] | None = None
        self._validated: tuple[int, float] | None = None
        self._warned = False

    @property
    def on_cluster(self) -> bool:
        """Whether a master is told of progress; elsewhere nobody is, and there is a run directory."""
        return self.directory is None

    @property
    def resumed(self) -> bool:
        """Whether the run goes on from a checkpoint."""
        return self.saved is not None and not self.weights_only

    def continue_from(self, saved: dict[str, Any] | None, weights_only: bool) -> None:
        """Take a checkpoint, with what it has of this process."""
        self.saved, self.weights_only = saved, weights_only
        if saved is not None and checkpoint.OURS in saved:
            saved[checkpoint.OURS] = checkpoint.with_rank(saved[checkpoint.OURS], self.core.distributed.rank)

    @property
    def stops_now(self) -> bool:
        """Whether the only process got a signal or a request to stop; several agree first, when they look together."""
        assert self.trial is not None
        asked = self.interruption.signal is not None or self.trial.context.get_stop_requested()
        return asked and self.core.distributed.size == 1

    def asked_to_stop(self) -> bool:
        """Whether any process got a signal to stop. All processes ask together."""
        mine = self.interruption.signal is not None
        if self.core.distributed.size == 1:
            return mine
        return any(self.core.distributed.allgather(mine))

    @property
    def root_dir(self) -> str:
        """Where callbacks and loggers write what they are given no other place for."""
        return str(self.directory.path) if self.directory is not None else os.getcwd()

    def tensorboard(self) -> pathlib.Path:
        """Where the default logger writes."""
        return self.directory.tensorboard if self.directory is not None else self.core.train.get_tensorboard_path()

    def upload_tensorboard(self) -> None:
        """Upload TensorBoard files to the cluster's storage, at most once a second; the chief alone writes any."""
        if self.on_cluster and self.core.distributed.rank == 0:
            self.core.train.upload_tensorboard_files()

    def restore_callbacks(self, callbacks: Mapping[str, pytorch.PyTorchCallback]) -> None:
        """Give the trial's own Determined callbacks the state that a checkpoint has of them."""
        if self.saved is None or not self.resumed:
            return
        states = self.saved.get(checkpoint.OURS, {}).get("determined_callbacks", {})
        for name, callback in callbacks.items():
            callback.on_checkpoint_load_start(self.saved)
            if name in states:
                callback.load_state_dict(states[name])

    def validated(self, batches: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        """A validation is over.

        Raises:
            ConfigurationError: on a cluster, whose searcher waits for a metric that was not logged.
        """
        self.record("validation", batches, epoch, metrics)
        metric, _ = experiment.searcher_metric(self.config)
        if metric is None:
            return
        if metric in metrics:
            self._validated = (batches, float(metrics[metric]))
            return
        near = difflib.get_close_matches(metric, list(metrics), n=1)
        message = (
            f"searcher.metric is {metric!r}, which the validation did not log; it logged "
            f"{', '.join(sorted(metrics)) or 'nothing'}"
            + (f"; did you mean {near[0]!r}?" if near else ". Log it in validation_step with self.log().")
        )
        if self.directory is None:
            raise ConfigurationError(message)
        if not self._warned:
            self._warned = True
            logger.warning("%s The best checkpoint is not known, and a cluster would end the trial.", message)

    def _best_with(self, uuid: str, batches: int) -> dict[str, Any] | None:
        """The best checkpoint once this one is written."""
        if self._validated is None or self._validated[0] != batches or not math.isfinite(self._validated[1]):
            return self.best
        value, smaller = self._validated[1], experiment.searcher_metric(self.config)[1]
        if self.best is None or (value < self.best["value"] if smaller else value > self.best["value"]):
            return {"uuid": uuid, "value": value}
        return self.best

    def record(self, kind: str, batch: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Keep metrics of a local run."""
        if self.directory is not None and self.core.distributed.rank == 0 and metrics:
            self.directory.record(kind, batch, epoch, {name: float(value) for name, value in metrics.items()})  # type: ignore[arg-type]

    def write_checkpoint(self, batches: int, callbacks: Mapping[str, pytorch.PyTorchCallback]) -> str:
        """Write a checkpoint, all ranks together; the chief holds the pen.

        Args:
            batches: batches trained.
            callbacks: Determined's callbacks, whose own checkpoint hooks run on the chief, as Determined has it.

        Returns:
            Its id.
        """
        assert self.trial is not None and self.trial._run is not None
        run = self.trial._run
        content = checkpoint.lightning_checkpoint(run)
        state = self.trial._moments.saved_state()
        if isinstance(run.strategy, distributed.Processes):
            run.strategy.check_parameters(batches)
        ranks = self.core.distributed.gather(checkpoint.of_this_rank(state))
        uuid = ""
        if self.core.distributed.rank == 0:
            states = {name: kept for name, callback in callbacks.items() if (kept := callback.state_dict())}
            content[checkpoint.OURS] = {**state, "ranks": ranks, "determined_callbacks": states}
            for callback in callbacks.values():
                callback.on_checkpoint_save_start(content)
            metadata = {
                "determined_version": det.__version__,
                "steps_completed": batches,
                "framework": f"torch-{torch.__version__}",
                "format": "lightning",
            }
            store = self.core.checkpoint.store_path if self.directory is None else self.directory.store_checkpoint
            with store(metadata) as (path, uuid):
                content[checkpoint.OURS]["best"] = self._best_with(uuid, batches)
                path.mkdir(parents=True, exist_ok=True)
                checkpoint.save(path / checkpoint.FILE, content)
                if self.on_cluster:
                    determined_private.write_user_code(path)
                for callback in callbacks.values():
                    callback.on_checkpoint_write_end(str(path))
        self.uuid = self.core.distributed.broadcast(uuid)
        self.best = self._best_with(self.uuid, batches)
        self.checkpoint_owed = False
        if self.directory is not None and self.core.distributed.rank == 0:
            experiment_best, trial_best, latest = experiment.checkpoint_retention(self.config)
            metric, smaller = experiment.searcher_metric(self.config)
            self.directory.apply_retention(max(experiment_best, trial_best), latest, metric, smaller)
        return self.uuid


def fit(
    trial_class: type[Trial],
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    hparams: Mapping[str, Any] | None = None,
    max_epochs: int | None = None,
    max_steps: int | None = None,
    validation_period: pytorch.TrainUnit | None = None,
    checkpoint_period: pytorch.TrainUnit | None = None,
    resume_from: str | os.PathLike[str] | None = None,
    warm_start_from: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    run_dir: str | os.PathLike[str] | None = None,
) -> Trial:
    """Train a trial in this process, on a cluster or off it.

    On a cluster (a managed trial) hyperparameters, seed and latest checkpoint are the cluster's; elsewhere they come
    from `config` and the arguments.

    Args:
        trial_class: a subclass of LightningAdapter.
        config: an experiment YAML's path, or its content.
        hparams: hyperparameters that win over `config`; a range there needs a value here.
        max_epochs: epochs after which training ends; wins over what the trial gave its adapter.
        max_steps: optimizer steps after which training ends; likewise.
        validation_period: Determined's `Batch(n)` or `Epoch(n)`; by default what Lightning's arguments say, which is
            the end of each epoch.
        checkpoint_period: Determined's `Batch(n)` or `Epoch(n)`; by default each validation is followed by a
            checkpoint in a local run, and by what `checkpoint_policy` says on a cluster.
        resume_from: a checkpoint's directory, a directory of them (the newest whole one is taken): go on from there.
        warm_start_from: a checkpoint's directory or a Lightning `.ckpt`: take its weights only.
        seed: `seed_everything(seed)` is called before the trial is made; a cluster gives its own.
        run_dir: directory of a local run; by default `runs/<trial>/<date-time>`.

    Returns:
        The trial, with its trained module.

    Raises:
        ConfigurationError: something given cannot be used.
        UnsupportedError: the module or its arguments ask for what is rejected.
        CheckpointError: the checkpoint cannot be used.
    """
    if not (isinstance(trial_class, type) and issubclass(trial_class, LightningAdapter)):
        raise ConfigurationError(
            f"fit() was given {trial_class!r}, which is no trial class. Derive a class from LightningAdapter and pass "
            "the class itself."
        )
    if resume_from is not None and warm_start_from is not None:
        raise ConfigurationError(
            "resume_from and warm_start_from were both given: the first continues a run, the second starts a new one "
            "from its weights. Give one of them."
        )
    limits = {"max_epochs": max_epochs, "max_steps": max_steps}
    _check(limits, {"validation_period": validation_period, "checkpoint_period": checkpoint_period}, hparams, seed)
    info = det.get_cluster_info()
    managed = info is not None and info.task_type == "TRIAL"
    periods = (validation_period, checkpoint_period)
    if managed:
        ignored = {"resume_from": resume_from, "seed": seed, "run_dir": run_dir}
        given = [name for name, value in ignored.items() if value is not None]
        if given:
            logger.warning(
                "the cluster decides how a managed trial begins and where it writes: %s has no effect here",
                ", ".join(given),
            )
    with distributed.joined(managed) as processes:
        if managed:
            return _fit_managed(trial_class, info, hparams, limits, periods, warm_start_from)
        return _fit_local(
            trial_class, config, hparams, limits, periods, resume_from, warm_start_from, seed, run_dir, processes
        )


def _check(limits: Mapping[str, Any], periods: Mapping[str, Any], hparams: Any, seed: Any) -> None:
    """Refuse arguments of `fit` that cannot be used, all in one message."""
    faults = []
    for name, value in limits.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < -1):
            faults.append(f"{name}={value!r} has to be an integer, 0 or more, or -1 for no limit.")
    for name, unit in periods.items():
        if unit is None:
            continue
        if not isinstance(unit, (pytorch.Batch, pytorch.Epoch)):
            faults.append(
                f"{name}={unit!r} is no period. Give determined.pytorch.Batch(n), every n batches, or "
                "determined.pytorch.Epoch(n), every n epochs."
            )
        elif isinstance(unit.value, (int, float)) and (not isinstance(unit.value, int) or unit.value < 1):
            faults.append(f"{name}={type(unit).__name__}({unit.value!r}) has to count at least 1.")
    if hparams is not None and not isinstance(hparams, Mapping):
        faults.append(f"hparams={hparams!r} has to be a dict of names and values.")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32):
        faults.append(f"seed={seed!r} has to be an integer from 0 to 2**32 - 1.")
    if faults:
        raise ConfigurationError("\n".join(faults))


def _check_periods(arguments: Arguments, period: pytorch.TrainUnit | None, given_to_fit: bool) -> None:
    """Refuse two answers to the question when to validate.

    Raises:
        ConfigurationError: the trial gave Lightning's arguments, and `fit` or the config says otherwise.
    """
    every, interval = arguments.check_val_every_n_epoch, arguments.val_check_interval
    if period is None or (every == 1 and interval == 1.0 and arguments.val_check_time_interval is None):
        return
    same = (
        every == period.value and interval == 1.0 and arguments.val_check_time_interval is None
        if isinstance(period, pytorch.Epoch)
        else every is None and interval == period.value and arguments.val_check_time_interval is None
    )
    if same:
        return
    if arguments.val_check_time_interval is not None:
        theirs = f"val_check_interval of {arguments.val_check_time_interval:g} seconds"
    else:
        theirs = f"val_check_interval={interval}, check_val_every_n_epoch={every}"
    name = "validation_period" if given_to_fit else "min_validation_period in the experiment config"
    raise ConfigurationError(
        f"{name} says {type(period).__name__}({period.value}), and the trial gave its adapter {theirs}: two periods "
        "that contradict each other. Leave one of them out."
    )


def _fit_local(
    trial_class: type[Trial],
    config: Any,
    hparams: Mapping[str, Any] | None,
    limits: dict[str, int | None],
    given_periods: tuple[pytorch.TrainUnit | None, pytorch.TrainUnit | None],
    resume_from: Any,
    warm_start_from: Any,
    seed: int | None,
    run_dir: Any,
    processes: core.DistributedContext | None,
) -> Trial:
    size, chief = (1, True) if processes is None else (processes.size, processes.rank == 0)
    settings = experiment.read(config)
    values = experiment.hyperparameters(settings, hparams)
    experiment.global_batch_size_check(values, size)
    periods = experiment.periods(settings, values.get("global_batch_size"))
    saved, source = _read(resume_from, warm_start_from)
    steps = 0 if saved is None or warm_start_from is not None else checkpoint.batches_trained(saved)
    seed = periods.experiment_seed if seed is None else seed
    if seed is not None:
        _seed(seed)
    directory = _run_directory(trial_class.__name__, run_dir, processes)
    resolved = {**settings, "hyperparameters": values}
    policy = "none" if given_periods[1] is not None or settings.get("checkpoint_policy") == "none" else "all"
    if chief:
        directory.write_config(resolved)
    with (
        directory.attach_log() if chief else nullcontext(),
        core.init(distributed=processes, checkpoint_storage=str(directory.checkpoints)) as core_context,
    ):
        context = LocalContext(
            core_context=core_context,
            trial_seed=seed,
            hparams=values,
            slots_per_trial=size,
            num_gpus=torch.cuda.device_count(),
            exp_conf=resolved,
            aggregation_frequency=1,
            steps_completed=steps,
            managed_training=True,
            debug_enabled=False,
            enable_tensorboard_logging=False,
        )
        session = Session(
            core_context,
            directory,
            settings,
            given_periods[0] or periods.validation,
            given_periods[1] or periods.checkpoint,
            checkpoint_each_epoch=policy == "all" and periods.checkpoint is None,
        )
        session.continue_from(saved, weights_only=warm_start_from is not None)
        if source is not None:
            logger.info("%s %s", "taking the weights of" if session.weights_only else "resuming from", source)
            if chief and session.resumed and source.parent.resolve() == directory.checkpoints.resolve():
                directory.truncate_after(steps)
        try:
            trial = _make(trial_class, context, session, limits, periods.max_length, given_periods[0] is not None)
            with session.interruption.listening(several=core_context.distributed.size > 1):
                _run(trial, context, session, periods, steps, policy)
        except det.InvalidHP as error:  # Determined would end the process with status 0
            raise ConfigurationError(f"The trial refuses its hyperparameters {values}: {error}") from error
        finally:
            if chief:
                directory.close()
                directory.plot_curves()
        _tell(trial, session)
        _end_if_asked(session, trial)
    return trial


def _end_if_asked(session: Session, trial: LightningAdapter) -> None:
    """A run that a signal has stopped does not go on to what follows `fit`.

    Raises:
        SystemExit: with the exit status that says which signal it was; KeyboardInterrupt for SIGINT.
    """
    asked = session.interruption.signal
    if asked is None or trial._moments.finished:
        return
    if session.core.distributed.rank == 0:
        print(
            f"{asked.name} has stopped the run after batch {trial._moments.batches}. To go on, type the same command "
            f"with\n    --resume-from {trial.latest_checkpoint}"
        )
    if asked == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(session.interruption.exit_status)


def _fit_managed(
    trial_class: type[Trial],
    info: Any,
    hparams: Mapping[str, Any] | None,
    limits: dict[str, int | None],
    given_periods: tuple[pytorch.TrainUnit | None, pytorch.TrainUnit | None],
    warm_start_from: Any,
) -> Trial:
    cluster = determined_private.cluster_settings(info)
    settings, steps = cluster["config"], cluster["steps_completed"]
    values = {**info.trial.hparams, **(hparams or {})}
    experiment.global_batch_size_check(values, max(1, len(info.slot_ids)) * max(1, len(info.container_addrs)))
    periods = experiment.periods(settings, values.get("global_batch_size"))
    with pytorch.init(hparams=values, exp_conf=settings, enable_tensorboard_logging=False) as context:
        _seed(info.trial.trial_seed)
        core_context = determined_private.core_context(context)
        session = Session(
            core_context, None, settings, given_periods[0] or periods.validation, given_periods[1] or periods.checkpoint
        )
        if info.latest_checkpoint is not None:
            with core_context.checkpoint.restore_path(info.latest_checkpoint) as path:
                session.continue_from(checkpoint.read(pathlib.Path(path)), weights_only=steps == 0)
            assert session.saved is not None
            session.best = session.saved.get(checkpoint.OURS, {}).get("best") if session.resumed else None
        elif warm_start_from is not None:
            session.continue_from(_read(None, warm_start_from)[0], weights_only=True)
        trial = _make(trial_class, context, session, limits, periods.max_length, given_periods[0] is not None)
        try:
            _run(trial, context, session, periods, steps, periods.checkpoint_policy)
        finally:
            if core_context.distributed.rank == 0:
                determined_private.upload_last_tensorboard_files(core_context)
        trial.latest_checkpoint_uuid = session.uuid or info.latest_checkpoint
        trial.best_checkpoint_uuid = session.best["uuid"] if session.best is not None else trial.latest_checkpoint_uuid
    return trial


def _make(
    trial_class: type[Trial],
    context: pytorch.PyTorchTrialContext,
    session: Session,
    limits: Mapping[str, int | None],
    max_length: pytorch.TrainUnit | None,
    period_given_to_fit: bool,
) -> Trial:
    """Construct the trial; arguments of `fit` win over those that it passed to its adapter."""
    trial = trial_class(context)  # type: ignore[call-arg]  # a trial's constructor takes the context alone
    arguments = trial.arguments
    length = None if max_length is None else max_length.value
    if all(value is None for value in limits.values()) and arguments.max_epochs is None and isinstance(length, int):
        if isinstance(max_length, pytorch.Epoch):
            arguments.max_epochs = length
        elif arguments.max_steps == -1:
            session.max_batches = length
            arguments.max_epochs = -1
            if arguments.accumulate_grad_batches == 1 and trial.lightning_module.automatic_optimization:
                arguments.max_steps = length  # schedules may ask for the number of steps
    if arguments.fast_dev_run:
        session.validation_period = None
    else:
        _check_periods(arguments, session.validation_period, period_given_to_fit)
        for name, value in limits.items():
            if value is not None:
                setattr(arguments, name, value)
    trial._moments.session = session
    session.trial = trial
    return trial


def _run(
    trial: LightningAdapter,
    context: pytorch.PyTorchTrialContext,
    session: Session,
    periods: experiment.Periods,
    steps: int,
    policy: str,
) -> None:
    """Enter Determined's loop."""
    metric, smaller_is_better = experiment.searcher_metric(session.config)
    trial._moments.set_up()
    run = trial._run
    assert run is not None
    with _terminated_workers(trial):
        determined_private.controller(
            session,
            trial._moments,
            trial_inst=trial,
            context=context,
            max_length=pytorch.Epoch(max(1, run.trainer.max_epochs)),
            smaller_is_better=smaller_is_better,
            steps_completed=steps,
            latest_checkpoint=None,
            local_training=not session.on_cluster,
            test_mode=False,
            searcher_metric_name=metric,
            checkpoint_policy=policy,
            step_zero_validation=periods.perform_initial_validation,
            global_batch_size=None,
            profiling_enabled=False,
            **run.boundaries.periods(),
        ).run()


@contextmanager
def _terminated_workers(trial: LightningAdapter) -> Iterator[None]:
    try:
        yield
    finally:
        data = None if trial._run is None else trial._run.trainer.training_data
        if data is not None:
            data.stop()


def _read(resume_from: Any, warm_start_from: Any) -> tuple[dict[str, Any] | None, pathlib.Path | None]:
    if resume_from is None and warm_start_from is None:
        return None, None
    path = pathlib.Path(resume_from if resume_from is not None else warm_start_from)
    if path.is_dir() and not (path / checkpoint.FILE).exists() and not (path / "metadata.json").exists():
        return _newest(path)
    return checkpoint.read(path), path


def _newest(directory: pathlib.Path) -> tuple[dict[str, Any], pathlib.Path]:
    """The newest whole checkpoint in a directory of them, or in that of a run; damaged ones are named and passed by.

    Raises:
        CheckpointError: there is none.
    """
    inner = directory / "checkpoints"
    stored = rundir.stored_checkpoints(inner if inner.is_dir() else directory)
    faults = []
    for found in reversed(stored):
        try:
            saved = checkpoint.read(found.path)
        except CheckpointError as error:
            logger.warning("passing by a checkpoint: %s", error)
            faults.append(f"\n- {error}")
            continue
        return saved, found.path
    raise CheckpointError(
        f"{directory} is no checkpoint, and there is no whole one in it. Give the directory of a checkpoint, one below "
        "runs/<trial>/<date-time>/checkpoints/, that directory itself, or a Lightning .ckpt file." + "".join(faults)
    )


def _seed(seed: int) -> None:
    hosts.importable_hosts()[0].pl.seed_everything(seed)


def _run_directory(trial_name: str, run_dir: Any, processes: core.DistributedContext | None) -> rundir.RunDirectory:
    """The directory of this run, made by the chief."""
    if processes is None:
        return rundir.RunDirectory.create(trial_name, run_dir)
    path = rundir.RunDirectory.create(trial_name, run_dir).path if processes.rank == 0 else None
    return rundir.RunDirectory(processes.broadcast(path))


def _tell(trial: LightningAdapter, session: Session) -> None:
    """Set what a finished local trial knows, and print it."""
    directory = session.directory
    assert directory is not None
    trial.run_dir = directory.path
    latest, best = None, None
    if session.core.distributed.rank == 0:
        latest = directory.newest()
        metric, smaller = experiment.searcher_metric(session.config)
        best = (directory.best(metric, smaller) if metric is not None else None) or latest
    latest, best = session.core.distributed.broadcast((latest, best))
    trial.latest_checkpoint, trial.best_checkpoint = latest, best
    trial.latest_checkpoint_uuid = latest.name if latest is not None else None
    trial.best_checkpoint_uuid = best.name if best is not None else None
    if session.core.distributed.rank == 0:
        metrics = {name: float(value) for name, value in trial.callback_metrics.items()}
        print(directory.summary(metrics, best, latest))
