"""Which checkpoint is meant by the number of an experiment or of a trial, or by an id?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from determined.common.api import errors
from determined.experimental import OrderBy
from determined.experimental.client import (
    Checkpoint,
    CheckpointSortBy,
    CheckpointState,
    Determined,
    Experiment,
    Trial,
)

from lightning_adapter.checkpoints.file import FILE
from lightning_adapter.errors import CheckpointError, ConfigurationError, LightningAdapterError, shown
from lightning_adapter.platform.experiment import searcher_metric
from lightning_adapter.platform.experiment.periods import SearcherMetric
from lightning_adapter.platform.login import absent, asking
from lightning_adapter.runs.store import is_own_name


@dataclass(frozen=True)
class Choice:
    """A checkpoint that is there, with the trial and the experiment that it is of.

    Attributes:
        why: it was chosen, for people.
    """

    experiment: Experiment
    trial: Trial
    checkpoint: Checkpoint
    why: str

    @property
    def config(self) -> dict[str, Any]:
        """The experiment's configuration."""
        return dict(self.experiment.config or {})

    @property
    def steps(self) -> int:
        """Training batches that it has seen."""
        return _steps(self.checkpoint)

    @property
    def run_directory(self) -> str:
        """Where it is fetched to unless somebody names another place; from the working directory on."""
        return f"runs/experiment-{self.experiment.id}/trial-{self.trial.id}-batch-{self.steps}"

    @property
    def validation(self) -> dict[str, float]:
        """The finite values of the validation at that batch; none where there was none."""
        return _validation(self.checkpoint)


def choose(client: Determined, wanted: str, last: bool, of_trial: bool) -> Choice:
    """Find the checkpoint that was asked for.

    Args:
        client: logged in.
        wanted: a number or an id, as typed.
        last: the newest checkpoint, and not the best.
        of_trial: a number is that of a trial, and not of an experiment.

    Raises:
        ConfigurationError: there is no such thing.
        CheckpointError: it is deleted, or not one of this package's.
        LightningAdapterError: there is no checkpoint yet, or the master fails.
    """
    if is_own_name(wanted.lower()):
        if last or of_trial:
            raise ConfigurationError(
                f"{wanted} is the id of one checkpoint: leave {'--last' if last else '--trial'} out."
            )
        found = _by_id(client, wanted.lower())
    elif wanted.isdecimal():
        found = _of_trial(client, int(wanted), last) if of_trial else _of_experiment(client, int(wanted), last)
    else:
        raise ConfigurationError(
            f"{shown(wanted)} is neither a number (of an experiment, or with --trial of a trial) nor the id of a checkpoint, "
            "such as 0fae6c4f-1c0e-4a6e-9d1e-1d5a0f7f2b3c. det experiment list shows the experiments."
        )
    _check_ours(found.checkpoint)
    return found


def _by_id(client: Determined, uuid: str) -> Choice:
    with asking(f"checkpoint {uuid}"):
        try:
            checkpoint = client.get_checkpoint(uuid)
        except errors.NotFoundException:
            raise ConfigurationError(f"{absent(f'checkpoint {uuid}')}.") from None
        training = checkpoint.training
        if training is None:
            raise CheckpointError(f"Checkpoint {uuid} is of no trial, so there is no run to fetch.")
        trial, experiment = client.get_trial(training.trial_id), client.get_experiment(training.experiment_id)
    return Choice(experiment, trial, checkpoint, "named by its id")


def _of_experiment(client: Determined, number: int, last: bool) -> Choice:
    with asking(f"experiment {number}"):
        try:
            experiment = client.get_experiment(number)
        except errors.NotFoundException:
            raise ConfigurationError(f"{absent(f'experiment {number}')}{_trial_of(client, number)}.") from None
        newest_first = _usable(experiment.list_checkpoints(CheckpointSortBy.END_TIME, OrderBy.DESC))
    checkpoint, why = _pick(newest_first, experiment, f"experiment {number}", last=False)
    trial = _trial_id(checkpoint)
    if last:
        checkpoint = next(each for each in newest_first if _trial_id(each) == trial)
        why = f"the last one of the trial that is {why}"
    with asking(f"trial {trial}"):
        return Choice(experiment, client.get_trial(trial), checkpoint, why)


def _of_trial(client: Determined, number: int, last: bool) -> Choice:
    with asking(f"trial {number}"):
        try:
            trial = client.get_trial(number)
        except errors.NotFoundException:
            raise ConfigurationError(f"{absent(f'trial {number}')}.") from None
        experiment = trial.get_experiment()
        newest_first = _usable(trial.list_checkpoints(CheckpointSortBy.END_TIME, OrderBy.DESC))
    return Choice(experiment, trial, *_pick(newest_first, experiment, f"trial {number}", last))


def _trial_of(client: Determined, number: int) -> str:
    """What to type where a number is a trial's."""
    try:
        trial = client.get_trial(number)
    except errors.NotFoundException:
        return ""
    return f"; trial {number} is one of experiment {trial.experiment_id}: type --trial to fetch of it"


def state_of(owner: Experiment | Trial | Checkpoint) -> str:
    """The state that a master says something is in, for people."""
    return "in no state" if owner.state is None else str(owner.state.value).removeprefix("STATE_").lower()


def _usable(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Those whose files are all there."""
    return [checkpoint for checkpoint in checkpoints if checkpoint.state is CheckpointState.COMPLETED]


def _pick(newest_first: Sequence[Checkpoint], experiment: Experiment, of: str, last: bool) -> tuple[Checkpoint, str]:
    """The best checkpoint, or the newest, and why it is that.

    Raises:
        LightningAdapterError: there is none.
    """
    if not newest_first:
        raise LightningAdapterError(
            f"There is no checkpoint of {of} (experiment {experiment.id} is {state_of(experiment)}): none is written yet, or "
            f"checkpoint_storage kept none. det experiment list-checkpoints {experiment.id} shows what there was."
        )
    if last:
        return newest_first[0], "the last one"
    metric = searcher_metric(experiment.config or {})
    ranked = [each for each in newest_first if _value(each, metric) is not None]
    if not ranked:
        return newest_first[0], f"the last one, since none was validated with a finite {metric.name}"
    sign = 1 if metric.smaller_is_better else -1
    best = min(ranked, key=lambda each: sign * (_value(each, metric) or 0.0))  # of equal ones the newest
    return best, f"the best by {metric.name} ({_value(best, metric):.6g})"


def _value(checkpoint: Checkpoint, metric: SearcherMetric) -> float | None:
    return None if metric.name is None else _validation(checkpoint).get(metric.name)


def _validation(checkpoint: Checkpoint) -> dict[str, float]:
    training = checkpoint.training
    metrics: Mapping[str, Any] = {} if training is None else training.validation_metrics.get("avgMetrics") or {}
    numbers = {name: number(value) for name, value in metrics.items() if name not in ("batches", "epochs")}
    return {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}


def number(value: object) -> float | None:
    """A value of a metric as a master gives it, who writes as text what JSON does not have; None for any other."""
    if isinstance(value, (int, float)):
        return float(value)
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else None


def _steps(checkpoint: Checkpoint) -> int:
    return int((checkpoint.metadata or {}).get("steps_completed", 0))


def _trial_id(checkpoint: Checkpoint) -> int:
    assert checkpoint.training is not None  # it was found among those of an experiment
    return checkpoint.training.trial_id


def _check_ours(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint whose files are not there, or are another's.

    Raises:
        CheckpointError: says which.
    """
    uuid, state = checkpoint.uuid, checkpoint.state
    if state in (CheckpointState.DELETED, CheckpointState.PARTIALLY_DELETED):
        raise CheckpointError(
            f"The files of checkpoint {uuid} are deleted: an experiment keeps what its checkpoint_storage says "
            "(save_trial_best, save_trial_latest, save_experiment_best). Fetch by the experiment's number what is left."
        )
    if state is not CheckpointState.COMPLETED:
        raise LightningAdapterError(f"Checkpoint {uuid} is not whole (it is {state_of(checkpoint)}).")
    files = checkpoint.resources or {}
    if FILE not in files:
        theirs = "state_dict.pth" in files
        written = "Determined's own Trainer" if theirs else "something else than fit()"
        read = (
            "Get it with det checkpoint download, and read it with determined.pytorch.load_trial_from_checkpoint_path"
            if theirs
            else "Get it with det checkpoint download"
        )
        raise CheckpointError(
            f"Checkpoint {uuid} has no {FILE}: {written} has written it, and fit() cannot go on from it. {read}."
        )
