"""How does `fit()` train as the trial of an experiment, managed by a cluster?"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

import determined as det
from determined import core

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.components import Components
from lightning_adapter.platform import ending, experiment
from lightning_adapter.platform.beginning import known_before, of_trial
from lightning_adapter.platform.checkpoint_writer import CheckpointWriter, best_before
from lightning_adapter.platform.construct import construct
from lightning_adapter.platform.course import refusal_told
from lightning_adapter.platform.final_test import test_if_complete
from lightning_adapter.platform.fit_platform import FitPlatform
from lightning_adapter.platform.kept_files import KeptFiles
from lightning_adapter.platform.launch import launcher
from lightning_adapter.platform.made_with import of_run
from lightning_adapter.platform.master.link import connected_context
from lightning_adapter.platform.master.outbox import Outbox
from lightning_adapter.platform.package_file import refuse_on_cluster
from lightning_adapter.platform.request import FitRequest, seed_everything
from lightning_adapter.platform.searcher import may_stop
from lightning_adapter.platform.start_from import read_checkpoint, starting_point
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.platform.threads import cores_shared
from lightning_adapter.platform.training_time import TrainingTime
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.platform.user_code import UserCode
from lightning_adapter.runs import summary
from lightning_adapter.runs.console import ALWAYS
from lightning_adapter.versions import determined_private

logger = logging.getLogger("lightning_adapter")

Trial = TypeVar("Trial", bound=LightningTrial)


class ClusterPlatform(FitPlatform):
    """A master that is told of everything.

    Args:
        outbox: reports that wait for the master.
        files: that the run writes to its working directory.
        may_stop: whether the searcher is one that stops trials.
        **options: of `FitPlatform`.
    """

    is_local = False

    def __init__(self, outbox: Outbox, files: KeptFiles, may_stop: bool, **options: Any) -> None:
        super().__init__(root_dir=os.getcwd(), **options)
        self._may_stop = may_stop
        self._outbox = outbox
        self._files = files

    def data_is_prepared(self) -> None:
        """What is written from here on goes into checkpoints."""
        self._files.data_prepared()

    def training_starts(self, parts: Components, sanity_checked: Collection[str]) -> None:
        """Data that loaders have downloaded is there by now."""
        super().training_starts(parts, sanity_checked)
        self._files.training_starts()
        self.begin_training(parts, "the searcher" if self._may_stop else None, on_console=True)

    def tensorboard(self) -> str:
        """The directory whose files Determined uploads."""
        return str(self.core.train.get_tensorboard_path())

    def upload_tensorboard(self) -> None:
        """Upload to the cluster's storage, at most once a second; the chief alone writes any."""
        if self.core.distributed.rank == 0:
            self.core.train.upload_tensorboard_files()

    def reports_progress(self, has_callbacks: bool) -> bool:
        """The master is told at each reporting step."""
        return True

    def wait_for_room(self) -> None:
        """A master that is away for long holds up the chief, and with it all who are about to meet it."""
        self._outbox.wait_for_room()

    def record_training(self, batches: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """The master keeps them."""

    def ended_in_validation(self, batches: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        """An exception ends the trial there, and the master judges no value of it."""

    def metric_is_missing(self, message: str) -> None:
        """The searcher would wait for ever.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(message)


def fit_managed(trial_class: type[Trial], request: FitRequest, info: det.ClusterInfo) -> Trial:
    """Train as the cluster asks.

    Args:
        trial_class: the trial.
        request: what was asked of `fit`.
        info: Determined's word on where this is.
    """
    refuse_on_cluster(request.package)
    cluster = determined_private.cluster_settings(info)
    settings, steps = cluster["config"], cluster["steps_completed"]
    slots = max(1, len(info.slot_ids)) * max(1, len(info.container_addrs))
    _require_launcher(slots, settings["entrypoint"])
    given = trial_class.merged_hyperparameters(info.trial.hparams, request.hparams)
    values = trial_class.completed_hyperparameters(given)
    experiment.global_batch_size_check(values, slots)
    trial_class.check_hyperparameters(values)
    periods = experiment.periods(settings, values.get("global_batch_size"))
    _refuse_to_resume(trial_class.resume_from(values))
    seed = trial_class.seed_of(values, info.trial.trial_seed)
    code, files = UserCode.of_experiment(), KeptFiles.of_experiment()
    differences = trial_class.differences(values)
    options = {"hparams": values, "exp_conf": settings, "enable_tensorboard_logging": False}
    with (
        connected_context(request.master_timeout, **options) as (context, outbox),
        cores_shared(context.distributed),
        refusal_told(),
    ):
        if seed is not None:
            seed_everything(seed)
        core_context = determined_private.core_context(context)
        start, source = _starting_point(request, info, core_context, cluster, files)
        known = known_before(of_trial(info), seed, start, source, differences)
        time = TrainingTime.of(start)
        trial = construct(trial_class, context, request.test, what=str(info.trial.experiment_id), on_cluster=True)
        metric = experiment.searcher_metric(settings)
        writer = CheckpointWriter(
            core_context.distributed,
            core_context.checkpoint.store_path,
            metric,
            directory=None,
            code=code,
            files=files,
            made_with=of_run(values, seed, trial_class.reader_name()),
            best=best_before(start, metric.name),
            time=time,
            # `CheckpointContext.store_path` uploads the files and tells the master when its block ends: before the trial
            # acknowledges a request to stop, and before the searcher hears of what follows, the master has to know it
            waits=True,
        )
        platform = ClusterPlatform(
            trial=trial,
            core_context=core_context,
            metric=metric,
            periods=periods,
            request=request,
            start=start,
            checkpoints=writer,
            outbox=outbox,
            files=files,
            may_stop=may_stop(settings.get("searcher")),
            time=time,
            known=known,
        )
        try:
            platform.run(trial, steps, periods.checkpoint_policy, periods.perform_initial_validation)
        finally:
            if core_context.distributed.rank == 0:
                determined_private.upload_last_tensorboard_files(core_context)
        latest = writer.uuid or info.latest_checkpoint
        if core_context.distributed.rank == 0:
            _tell_end(platform, trial, steps, latest)
        best = writer.best["uuid"] if writer.best is not None else None
        trial.left_on_cluster(latest, best)
        if request.test:
            _test(trial, core_context, best or latest)
        if core_context.distributed.rank == 0:
            files.tell_unstored()
    return trial


def _refuse_to_resume(checkpoint: str | None) -> None:
    """Refuse a checkpoint that hyperparameters name: a trial goes on from its own.

    Raises:
        ConfigurationError: says what to write.
    """
    if checkpoint is not None:
        raise ConfigurationError(
            f"The hyperparameters say ckpt_path: {checkpoint}, and on a cluster a trial goes on from its own latest checkpoint. "
            "Leave it out; to start from weights, write --warm-start-from PATH into the entrypoint, and to go on from another "
            "trial's, searcher.source_trial_id or searcher.source_checkpoint_uuid into the YAML."
        )


def _test(trial: LightningTrial, core_context: core.Context, uuid: str | None) -> None:
    """Test a checkpoint, and tell the master, who gets it before its connection is closed."""

    def read() -> dict[str, Any] | None:
        if uuid is None:
            return None
        # the chief alone reads it
        with core_context.checkpoint.restore_path(uuid, core.DownloadMode.NoSharedDownload) as path:
            return read_checkpoint(path)[0]

    tested = test_if_complete(trial, core_context.distributed, read, uuid)
    if tested is not None and core_context.distributed.rank == 0:
        determined_private.upload_last_tensorboard_files(core_context)  # the loggers have the values too
    if tested is not None and tested.metrics and core_context.distributed.rank == 0:
        core_context.train.report_metrics(group="test", steps_completed=tested.batches, metrics=tested.metrics)


def _require_launcher(slots: int, entrypoint: str | list[str]) -> None:
    """Refuse a single process where the trial has several slots.

    Raises:
        ConfigurationError: says what to write in the place of the entrypoint.
    """
    if slots == 1 or launcher() is not None:
        return
    words = shlex.join(entrypoint) if isinstance(entrypoint, list) else entrypoint
    raise ConfigurationError(
        f"The trial has {slots} slots, and its entrypoint starts a single process, without a launcher:\n"
        f"    entrypoint: {words}\n"
        "Write one before it, which starts a process for each slot:\n"
        f"    entrypoint: python3 -m determined.launch.torch_distributed -- {words}\n"
        "or set resources.slots_per_trial to 1."
    )


def _starting_point(
    request: FitRequest,
    info: det.ClusterInfo,
    core_context: core.Context,
    cluster: Mapping[str, Any],
    files: KeptFiles,
) -> tuple[StartingPoint, object]:
    """The trial's own latest checkpoint, that of another trial, or the weights that `fit` names; and where that lies."""
    if info.latest_checkpoint is not None:
        with core_context.checkpoint.restore_path(info.latest_checkpoint) as path:
            # a trial that has trained nothing was given the checkpoint of another one
            foreign = cluster["steps_completed"] == 0
            start = starting_point(path, weights_only=foreign)[0]
            if not foreign and core_context.distributed.rank == 0:
                files.bring_back(path)
        of = _origin(cluster["config"]) if foreign else ""
        return start, f"checkpoint {info.latest_checkpoint}{of}"
    if request.warm_start_from is not None:
        return starting_point(request.warm_start_from, weights_only=True)
    return StartingPoint(), None


def _origin(settings: Mapping[str, Any]) -> str:
    """Whose checkpoint a trial was given, as far as the experiment config tells."""
    source = (settings.get("searcher") or {}).get("source_trial_id")
    return " of another trial" if source is None else f" of trial {source}"


def _tell_end(platform: ClusterPlatform, trial: LightningTrial, steps: int, latest: str | None) -> None:
    """Say in the task log what the trial has come to so far, and how its best checkpoint is had.

    Args:
        platform: of the run, which has ended or pauses.
        trial: that was trained.
        steps: batches trained before this run of it.
        latest: its last checkpoint.
    """
    driver, best, metric = trial.driver, platform.checkpoints.best, platform.metric.name
    assert driver is not None
    final = {name: float(value) for name, value in trial.callback_metrics.items()}
    values = summary.Values(final, metric, *platform.best_values)
    rows = {"trained": ending.trained(driver, platform.time, steps)}
    uuid = latest if best is None else best["uuid"]
    if best is not None:
        rows["best checkpoint"] = f"{uuid} ({metric} {best['value']:.6g})"
    if latest is not None and (best is None or latest != uuid):
        rows["last checkpoint"] = latest
    if uuid is not None:
        rows["to get it, type"] = f"lightning-adapter fetch {uuid}"
    head = f"{type(trial).__name__} {'has trained' if driver.finished else 'so far'}"
    driver.parts.log.info("%s", f"{head}\n\n{summary.text(values, rows)}", extra=ALWAYS)
