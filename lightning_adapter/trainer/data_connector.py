"""When are the user's loaders asked for, what is made of them, and when is a validation due?

The order is that of `_FitLoop.setup_data` and `_EvaluationLoop.setup_data`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from determined import pytorch

from lightning_adapter.data.collections import Collection, flatten, map_loaders
from lightning_adapter.data.loaders import (
    INFINITE,
    Loader,
    check_batch_size,
    check_loaders,
    iterate_once,
    sequential,
    set_epoch,
)
from lightning_adapter.data.seeding import WorkerSeeds, seed_each_sample
from lightning_adapter.data.sharding import Sharder
from lightning_adapter.data.training import TrainingData
from lightning_adapter.data.validation import ValidationData
from lightning_adapter.errors import CheckpointError, ConfigurationError
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.loader_advice import advise
from lightning_adapter.trainer.settings import Settings
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.hosts import Host

Source = Callable[[], Collection]


class Sources(Protocol):
    """Who makes the loaders: the trial, the datamodule, or the module."""

    def training(self) -> Source | None:
        """What makes the training loaders; None if nobody does."""

    def validation(self) -> Source | None:
        """What makes the validation loaders; None if nobody does."""


class Ranks(Protocol):
    """What the strategy tells of the other processes.

    Attributes:
        num_processes: on this node.
    """

    is_distributed: bool
    world_size: int
    num_processes: int
    global_rank: int

    def check_lengths(self, batches: float) -> None:
        """Refuse numbers of batches that differ between ranks."""


@dataclass(frozen=True)
class LoaderOptions:
    """What the trainer arguments say about loaders, besides their limits.

    Attributes:
        shards: whether samplers are distributed over the ranks.
        shards_iterable: whether samples of iterable datasets are dealt out in turn.
        seeds_each_sample: whether each sample is loaded under a seed of its own.
        global_batch_size: the hyperparameter of this name, None without it.
        training_fetches_itself: whether `training_step` takes `dataloader_iter`.
        can_validate: whether there is a `validation_step`, and something to run it on.
        allgather: the numbers of batches of all ranks for those of this one; None for one rank.
        validation_loaded: told whether all ranks have the same known number of validation batches; None for one rank.
    """

    shards: bool
    shards_iterable: bool
    seeds_each_sample: bool
    global_batch_size: int | None
    training_fetches_itself: Callable[[], bool]
    can_validate: bool
    allgather: Callable[[list[float]], list[list[float]]] | None
    validation_loaded: Callable[[bool], None] | None


class DataConnector:
    """The loaders of one run.

    Args:
        host: the Lightning package.
        settings: limits and periods.
        progress: told how long an epoch is.
        sources: who makes the loaders.
        ranks: the other processes.
        options: what else was asked for.
        has_loggers: whether anybody is to be warned that an epoch is too short to be logged.

    Attributes:
        sources: who makes the loaders.
        training: the training loaders, None until they are asked for.
        validation: the validation loaders, None until they are asked for.
        val_check_batch: batches between validations; infinite for the end of each epoch; None where time decides.
    """

    def __init__(
        self,
        host: Host,
        settings: Settings,
        progress: TrainingProgress,
        sources: Sources,
        ranks: Ranks,
        options: LoaderOptions,
        has_loggers: Callable[[], bool],
    ) -> None:
        self._host = host
        self._settings = settings
        self._progress = progress
        self.sources = sources
        self._ranks = ranks
        self._options = options
        self._has_loggers = has_loggers
        self.training: TrainingData | None = None
        self.validation: ValidationData | None = None
        self.val_check_batch: float | None = None
        self._unwanted: TrainingData | None = None  # trained on to the end of the epoch
        self._training_loaded_in = float("-inf")
        self._validation_loaded_in = float("-inf")
        self._loader_states: Sequence[Any] = ()

    # --- when a validation may happen ---------------------------------------------------------------------------------

    @property
    def enable_validation(self) -> bool:
        """Whether there is anything to validate, as `_FitLoop` and `Trainer.enable_validation` have it."""
        return self._options.can_validate and self._settings.limit_val_batches > 0

    @property
    def validates_in_epoch(self) -> bool:
        """Whether the present epoch validates, as `_should_check_val_epoch`."""
        every = self._settings.check_val_every_n_epoch
        return self.enable_validation and (every is None or (self._progress.current_epoch + 1) % every == 0)

    @property
    def num_sanity_val_batches(self) -> list[float]:
        """Batches of each validation loader in the sanity check."""
        limit = self._settings.num_sanity_val_steps
        return [] if self.validation is None else [min(limit, batches) for batches in self.validation.max_batches]

    # --- asking for loaders -------------------------------------------------------------------------------------------

    def _is_due(self, loaded_in: float) -> bool:
        every = self._settings.reload_dataloaders_every_n_epochs
        return bool(every) and self._progress.current_epoch - loaded_in >= every

    def load_training(self) -> None:
        """Ask for the training loaders if they are not there, or are due to be asked for again; begin a pass."""
        settings, host = self._settings, self._host
        if settings.limit_train_batches == 0:
            return
        if self.training is not self._unwanted:
            if not self._is_due(self._training_loaded_in):
                return
        elif self._progress.in_epoch and self.training is not None:
            return
        self._unwanted = None
        data = TrainingData(
            self._training_loaders(),
            lambda length: _limit(host, length, settings.limit_train_batches, "train"),
            ahead=not self._options.training_fetches_itself(),
            limits_outside=host.quirks.limits_outside,
            waits_within_limits=host.quirks.waits_within_limits,
        )
        if self.training is not None:
            self.training.let_go()
        self.training = data
        self._progress.epoch_length_known(data.num_batches)
        if self._loader_states:
            # before the pass begins, as `_FitLoop.setup_data` does
            data.load_loader_states(self._loader_states)
            self._loader_states = ()
        if not host.quirks.iterates_in_epoch:
            data.start()
        if data.num_batches == 0:
            raise ConfigurationError(
                "The training data is empty: train_dataloader() returned a loader without batches. Check the dataset, "
                "drop_last and limit_train_batches."
            )
        self._ranks.check_lengths(data.num_batches)
        self._training_loaded_in = self._progress.current_epoch
        self._set_validation_interval(data.num_batches)
        if self._has_loggers() and data.num_batches < settings.log_every_n_steps and not settings.fast_dev_run:
            host.advise(
                f"The number of training batches ({data.num_batches}) is smaller than the logging interval"
                f" Trainer(log_every_n_steps={settings.log_every_n_steps}). Set a lower value for log_every_n_steps if"
                " you want to see logs for the training epoch. What is logged at single training steps is reported at no"
                " other moment: it is missing from metrics.csv and the curves, or from the cluster's, as well."
            )

    def _training_loaders(self) -> Collection:
        loaders = self._request(self.sources.training(), "train_dataloader")
        self._advise(loaders, "train")
        if self._options.global_batch_size is not None:
            check_batch_size(
                loaders,
                self._options.global_batch_size,
                self._ranks.world_size,
                self._settings.accumulate_grad_batches,
            )
        if self._settings.overfit_batches:
            loaders = map_loaders(loaders, self._sequential)
        loaders = self._for_this_rank(loaders, training=True)
        return map_loaders(loaders, seed_each_sample) if self._options.seeds_each_sample else loaders

    def load_validation(self, sanity_checking: bool = False) -> None:
        """Ask for the validation loaders if they are not there, or are due to be asked for again."""
        if (self.validation is not None and not self._is_due(self._validation_loaded_in)) or not self.enable_validation:
            return
        if not sanity_checking or self.validates_in_epoch:
            self._validation_loaded_in = self._progress.current_epoch
        loaders = self._request(self.sources.validation(), "val_dataloader")
        self._advise(loaders, "val")
        if self._settings.overfit_batches:
            loaders = map_loaders(loaders, self._sequential)
        self.validation = ValidationData(
            self._for_this_rank(loaders, training=False),
            lambda length: _limit(self._host, length, self._settings.limit_val_batches, "val"),
            self._options.allgather,
        )
        if self._options.validation_loaded is not None:
            self._options.validation_loaded(self.validation.in_step)

    def forget_training(self) -> None:
        """Those made for `estimated_stepping_batches` are not trained on, or user code wants other ones.

        The batches of an epoch under way come from the loaders that it began with.
        """
        epochs = self._progress.epoch.current
        if self._progress.in_epoch and epochs.processed < epochs.ready:
            self._unwanted = self.training
        elif self.training is not None:
            self.training.let_go()
            self.training = None

    def forget_validation(self) -> None:
        """User code wants other validation loaders."""
        self.validation = None

    def combined_training(self) -> Any:
        """The training loaders as Lightning's CombinedLoader; None until they are asked for."""
        data = self.training
        if data is None or data is self._unwanted:
            return None
        return lightning_private.shown_combined(self._host, data.collection, data.mode)

    def combined_validation(self) -> Any:
        """The validation loaders likewise."""
        data = self.validation
        return None if data is None else lightning_private.shown_combined(self._host, data.collection, data.mode)

    def check_validation_every(self, batches: float) -> None:
        """User code has set `trainer.val_check_batch`."""
        self.val_check_batch = batches

    def limit_epoch(self, batches: float) -> None:
        """User code has set `trainer.num_training_batches`."""
        if self.training is not None:
            self.training.limit_to(batches)
            self._progress.epoch_length_known(batches)

    def set_epoch(self, loaders: list[Loader]) -> None:
        """Tell samplers that shuffle by epoch which one it is."""
        tells_batch_sampler = self._host.quirks.tells_batch_sampler
        set_epoch(loaders, self._progress.epoch.current.processed, tells_batch_sampler)

    def stop(self) -> None:
        """End the worker processes, as `teardown` of Lightning's loops does."""
        for data in (self.training, self.validation):
            if data is not None:
                data.stop()

    def _request(self, source: Source | None, name: str) -> Collection:
        assert source is not None  # refused before anything began
        # Samplers may be replaced below. As `_request_dataloader` does; where none is, the user's classes are left alone.
        replaced = self._shards or self._settings.overfit_batches
        with lightning_private.records_batch_samplers(self._host) if replaced else nullcontext():
            loaders = source()
        faults = check_loaders(loaders, name)
        if faults:
            raise ConfigurationError("\n".join(faults))
        loaders = map_loaders(loaders, without_determined)
        if not self._host.quirks.checks_no_loader:
            iterate_once(flatten(lightning_private.uncombined(loaders, "")[1]))
        return loaders

    def _sequential(self, loader: Loader) -> Loader:
        return sequential(loader, self._host)

    @property
    def _shards(self) -> bool:
        return self._ranks.is_distributed and self._options.shards

    def _advise(self, loaders: Collection, stage: str) -> None:
        settings = self._settings
        overfits, reloads = bool(settings.overfit_batches), bool(settings.reload_dataloaders_every_n_epochs)
        advise(self._host, loaders, stage, overfits, reloads, self._ranks.num_processes)

    def _for_this_rank(self, loaders: Collection, training: bool) -> Collection:
        """The loaders of this process: its shard of the samples, its seeds for their workers."""
        ranks, options = self._ranks, self._options
        if self._shards:
            sharder = Sharder(
                self._host,
                ranks.world_size,
                ranks.global_rank,
                training,
                shuffle=not self._settings.overfit_batches,
                iterable=options.shards_iterable,
            )
            loaders = map_loaders(loaders, sharder)
        return map_loaders(loaders, WorkerSeeds(self._host, ranks.global_rank))

    def _set_validation_interval(self, batches: float) -> None:
        settings = self._settings
        interval = settings.val_check_interval
        if settings.val_check_time_interval is not None:
            self.val_check_batch = None
        elif isinstance(interval, int):
            self.val_check_batch = _interval_in_batches(settings, self.enable_validation, interval, batches)
        elif batches != INFINITE:
            self.val_check_batch = max(1, int(batches * interval))
        elif interval == 1.0:
            self.val_check_batch = INFINITE
        else:
            raise self._host.misconfiguration(
                "When using an IterableDataset for `train_dataloader`, `val_check_interval` must be time based, `1.0`"
                " or an int. An int k specifies checking validation every k training batches."
            )

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The position in the training data, and the epochs in which loaders were asked for."""
        return {
            "loaded_in": [self._training_loaded_in, self._validation_loaded_in],
            "data": None if self.training is None else self.training.state_dict(self._trained),
        }

    @property
    def _trained(self) -> int:
        return self._progress.batch.current.ready if self._progress.in_epoch else 0

    def loader_states(self) -> list[Any]:
        """What training loaders with a `state_dict()` say, for the `loops` of a checkpoint; later Lightnings save it."""
        if self.training is None or self._host.quirks.leaves_loader_states:
            return []
        return self.training.loader_states(self._trained)

    def expect_loader_states(self, states: Sequence[Any]) -> None:
        """A checkpoint of Lightning's Trainer holds them; the training loaders are told before their first pass.

        As `_load_combined_loader_states`: at the end of an epoch the next one begins as in a fresh run, unless steps limit
        the run.
        """
        if not self._host.quirks.leaves_loader_states and (self._progress.in_epoch or self._settings.max_steps != -1):
            self._loader_states = states

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand in the data after the last trained batch; the loaders were asked for before.

        Raises:
            CheckpointError: an epoch has another number of batches than when the state was saved.
        """
        data, saved, in_epoch = self.training, state["data"], self._progress.in_epoch
        if data is not None and saved is not None:
            now = None if data.num_batches == INFINITE else int(data.num_batches)
            if in_epoch and saved["num_batches"] != now:
                raise CheckpointError(
                    f"The checkpoint was written after batch {saved['batches']} of an epoch of {saved['num_batches']} "
                    f"batches; now an epoch has {now}. Give the same data, batch size and number of processes, or start "
                    "with warm_start_from, which takes the weights only."
                )
            if in_epoch:
                self.set_epoch(data.loaders)
            data.load_state_dict(saved)
        self._training_loaded_in, self._validation_loaded_in = state["loaded_in"]


def without_determined(loader: Loader) -> Loader:
    """Return a torch loader in place of Determined's, which is sharded like any other then."""
    if isinstance(loader, pytorch.DataLoader):
        return loader.get_data_loader(repeat=False, skip=0, num_replicas=1, rank=0)
    return loader


def _limit(host: Host, length: float, limit: float, stage: str) -> float:
    """Number of batches that `limit_<stage>_batches` leaves of a loader's length, as `_parse_num_batches`."""
    if length == 0:
        return 0
    if isinstance(limit, int):
        return min(length, limit)
    if length == INFINITE:
        if limit == 1.0:
            return INFINITE
        raise host.misconfiguration(
            f"When using an `IterableDataset`, limit_{stage}_batches={limit} must be `1.0` or an int. An int specifies"
            f" `num_{stage}_batches` to use."
        )
    batches = int(length * limit)
    if batches == 0 and limit > 0.0:
        raise host.misconfiguration(
            f"You requested to check {limit} of the `{stage}_dataloader` but {limit} * {length} < 1. Please increase"
            f" the `limit_{stage}_batches` argument. Try at least `limit_{stage}_batches={1.0 / length}`"
        )
    return batches


def _interval_in_batches(settings: Settings, validates: bool, interval: int, batches: float) -> float:
    if interval == 0 and validates:
        raise ConfigurationError(
            "val_check_interval=0 names no batch. Give a number of batches from 1, a fraction of an epoch, or "
            "limit_val_batches=0 to validate not at all."
        )
    if interval > batches and settings.check_val_every_n_epoch is not None and settings.limit_val_batches:
        raise ConfigurationError(
            f"`val_check_interval` ({interval}) must be less than or equal to the number of the training batches"
            f" ({batches}). If you want to disable validation set `limit_val_batches` to 0.0 instead. If you want"
            " to validate based on the total training batches, set `check_val_every_n_epoch=None`."
        )
    return interval or INFINITE
