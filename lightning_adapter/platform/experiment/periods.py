"""What does an experiment configuration say about time: periods, length, what ranks validations, what is kept?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_adapter import notices
from lightning_adapter.platform.experiment.faults import raise_all
from lightning_adapter.platform.experiment.values import is_int

if TYPE_CHECKING:
    from determined import pytorch


@dataclasses.dataclass(frozen=True)
class Periods:
    """What an experiment YAML says about time; None where it says nothing.

    Attributes:
        validation: `min_validation_period`.
        checkpoint: `min_checkpoint_period`.
        max_length: `searcher.max_length`, else `searcher.max_time` where `searcher.time_metric` is batches or epochs.
        reporting: `scheduling_unit`, the batches between two reports of training metrics.
        records_per_epoch: as in the file; Determined 0.38 keeps the key and does not use it.
        checkpoint_policy: which validations are followed by a checkpoint: "best", "all" or "none".
        perform_initial_validation: whether to validate before the first training batch.
        experiment_seed: `reproducibility.experiment_seed`.
    """

    validation: pytorch.TrainUnit | None
    checkpoint: pytorch.TrainUnit | None
    max_length: pytorch.TrainUnit | None
    reporting: pytorch.Batch | None
    records_per_epoch: int | None
    checkpoint_policy: str
    perform_initial_validation: bool
    experiment_seed: int | None


class SearcherMetric(NamedTuple):
    """What ranks validations.

    Attributes:
        name: None where none is named.
        smaller_is_better: the direction.
    """

    name: str | None
    smaller_is_better: bool


class Retention(NamedTuple):
    """How many checkpoints stay when an experiment has ended; names as in `checkpoint_storage:`."""

    save_experiment_best: int
    save_trial_best: int
    save_trial_latest: int


def searcher_metric(config: Mapping[str, Any]) -> SearcherMetric:
    """Return the metric that ranks validations and its direction, with Determined's default: smaller is better."""
    searcher = config.get("searcher") or {}
    smaller = searcher.get("smaller_is_better")
    return SearcherMetric(searcher.get("metric"), True if smaller is None else smaller)


def checkpoint_retention(config: Mapping[str, Any]) -> Retention:
    """Return what the file says about the checkpoints to keep, with Determined's defaults 0, 1 and 1."""
    storage = config.get("checkpoint_storage") or {}

    def count(key: str, default: int) -> int:
        value = storage.get(key)
        return default if value is None else int(value)

    return Retention(count("save_experiment_best", 0), count("save_trial_best", 1), count("save_trial_latest", 1))


def periods(config: Mapping[str, Any], global_batch_size: int | None = None) -> Periods:
    """Return what the file says about time, in Determined's units.

    Determined calls most of these keys deprecated and still accepts them; they keep their meaning here. A period of 0
    is Determined's way to write "not set".

    Args:
        config: what `read` returned, or a cluster's complete config.
        global_batch_size: samples of one batch over all processes; needed only where a period is counted in `records`.

    Raises:
        ConfigurationError: a period is in records and there is no `global_batch_size` to convert it with.
    """
    from determined import pytorch  # comes with torch, which what the file says about the environment has to precede

    faults: list[str] = []

    def unit(key: str, period: Mapping[str, int] | None) -> pytorch.TrainUnit | None:
        return None if period is None else _train_unit(key, period, global_batch_size, faults)

    scheduling_unit = config.get("scheduling_unit")
    result = Periods(
        validation=unit("min_validation_period", config.get("min_validation_period")),
        checkpoint=unit("min_checkpoint_period", config.get("min_checkpoint_period")),
        max_length=unit("searcher.max_length", _length(config.get("searcher") or {})),
        reporting=None if scheduling_unit is None else pytorch.Batch(scheduling_unit),
        records_per_epoch=config.get("records_per_epoch") or None,
        checkpoint_policy=config.get("checkpoint_policy") or "best",
        perform_initial_validation=bool(config.get("perform_initial_validation")),
        experiment_seed=(config.get("reproducibility") or {}).get("experiment_seed"),
    )
    raise_all("the experiment config", faults)
    return result


def _train_unit(
    key: str, period: Mapping[str, int], global_batch_size: int | None, faults: list[str]
) -> pytorch.TrainUnit | None:
    """Convert `{batches: N}`, `{epochs: N}` or `{records: N}`; None where it is not set, or cannot be converted."""
    from determined import pytorch

    ((name, number),) = period.items()
    if number == 0:
        return None
    if name == "epochs":
        return pytorch.Epoch(number)
    if name == "batches":
        return pytorch.Batch(number)
    if global_batch_size is None:
        faults.append(
            f"{key} is {number} records, which needs the hyperparameter global_batch_size to become batches; "
            f"set it, or write {key}: {{batches: N}}"
        )
        return None
    return pytorch.Batch(max(number // global_batch_size, 1))  # rounded as `Batch._from_records` does


def _length(searcher: Mapping[str, Any]) -> Mapping[str, int] | None:
    """Return the trial's length as a period, in either of the two forms that Determined has for it."""
    length = searcher.get("max_length")
    if is_int(length):
        if searcher.get("unit") is None:
            notices.warn(
                f"searcher.max_length is {length} without a unit and is not used; write max_length: "
                f"{{epochs: {length}}} or {{batches: {length}}}, or give the length to fit()"
            )
            return None
        return {searcher["unit"]: length}
    if length is not None:
        return dict(length)
    if searcher.get("max_time") is not None and searcher.get("time_metric") in ("batches", "epochs"):
        return {searcher["time_metric"]: searcher["max_time"]}
    return None
