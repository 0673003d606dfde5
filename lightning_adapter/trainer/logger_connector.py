"""When does a logged value become visible, and to whom: callbacks, loggers, progress bar?

Values stay on the device: logging a tensor copies it for the step, and adds it up for the epoch, nothing else, until
somebody reads `trainer.callback_metrics`, a reporting step comes, or an epoch ends. The order and the moments at which
values become visible are those of Lightning's `_LoggerConnector`, whose names the methods have where they do the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_adapter.trainer.logged_values import (
    Loggable,
    number_to_tensor,
    single_element,
    to_floating,
    to_scalars,
)
from lightning_adapter.trainer.metadata import LogArguments, MetadataParser, ReduceFx
from lightning_adapter.trainer.rank_sync import RankSync
from lightning_adapter.trainer.result_metric import Logged, SavedResult
from lightning_adapter.trainer.results import Metrics, ResultCollection
from lightning_adapter.trainer.running_hook import RunningHook
from lightning_adapter.versions import lightning_private, torchmetrics_private

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


#: Types that are averaged as they are.
_KEPT = (torch.float32, torch.float64)


class SavedLogs(TypedDict):
    """What a checkpoint holds of everything logged so far; tensors keep their types."""

    training: list[SavedResult]
    callback: dict[str, Tensor]
    logged: dict[str, Tensor]
    bar: dict[str, float]
    first_iteration: bool | None
    hook_of_last_log: str | None


class LoggerConnector:
    """`self.log` of one run, and the dictionaries that callbacks, loggers and monitors read.

    Args:
        running: names the running hook, from which `self.log` is called.
        parser: finds what arguments of `self.log` mean, of which module and host.
        device: where numbers that are logged go.
        sync: reduces over all ranks; None in one process.

    Attributes:
        training: results of the training loop.
        validation: results of the validation loop.
    """

    def __init__(
        self, running: RunningHook, parser: MetadataParser, device: torch.device, sync: RankSync | None
    ) -> None:
        syncs = (None, None) if sync is None else (sync.of_training_step, sync.of_validation_step)
        self.training = ResultCollection(True, parser.module, device, parser, syncs[0])
        self.validation = ResultCollection(False, parser.module, device, parser, syncs[1])
        self._running = running
        self._host = parser.host
        self._device = device
        self._sync = sync
        self._results = self.training  # those of the running loop
        # None: at the borders of an epoch, True: in the first iteration of a loop, False: in later ones.
        # Values that become visible are the epoch's where it is None, else the step's.
        self._first_loop_iter: bool | None = None
        self._batch: object = None
        self._batch_size: int | None = None
        self._training_position: tuple[bool | None, object, int | None] = (None, None, None)
        self._shows_epoch_values = False  # as older Lightnings do between a validation and the next batch
        self._current_fx: str | None = None  # the hook of the last call of `self.log`
        self._shown = Metrics({}, {}, {})
        self._stale = False  # something was logged that the dictionaries do not show yet

    # --- what user code calls -------------------------------------------------------------------------------------

    def log(
        self,
        name: str,
        value: Loggable,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: ReduceFx = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: ProcessGroup | None = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """`LightningModule.log` of the newest Lightning; the arguments mean what they mean there.

        Args:
            name: key, the same on all ranks.
            value: a number, a tensor of one element, or a torchmetrics Metric.
            batch_size: weight of this batch in an epoch mean; inferred from the batch where it is not given.

        Raises:
            MisconfigurationException: logging is not allowed in this hook, `on_step` or `on_epoch` are not allowed
                there, or the name was logged with other arguments before.
            ValueError: the value is not one element, or not of a type that can be logged.
        """
        results = self._results
        hook = self._running.name
        if hook is None:
            raise self._host.misconfiguration(
                "You are trying to `self.log()` but it is not managed by the `Trainer` control flow"
            )
        metric = results.metrics.get((hook, name, results.dataloader_idx if add_dataloader_idx else None))
        arguments = (
            prog_bar,
            logger,
            on_step,
            on_epoch,
            reduce_fx,
            enable_graph,
            sync_dist,
            sync_dist_group,
            add_dataloader_idx,
            metric_attribute,
            rank_zero_only,
        )
        if metric is None or metric.arguments != arguments or metric.dataloader_idx != results.dataloader_idx:
            if batch_size is None:
                results.check_size_can_be_inferred()
            metric = results.register(hook, name, value, LogArguments(*arguments), metric)
        logged: Logged = value
        if isinstance(value, Tensor):
            logged = value.detach() if value.requires_grad else value
            if metric.keeps_step:
                logged = logged.clone()
        elif not isinstance(value, Metric):
            logged = number_to_tensor(name, value, self._device)
        if metric.is_tensor:
            if logged.ndim:
                logged = single_element(name, logged)
            if logged.dtype not in _KEPT:
                logged = to_floating(self._host, hook, name, logged)
        if self._first_loop_iter is not False and self._current_fx != hook:
            # a new epoch has begun in this hook: what it logged in the one before is gone, as `should_reset_tensors` says
            results.reset(tensors_of=hook)
        if batch_size is None:
            batch_size = self._batch_size
            if batch_size is None:
                batch_size = 1
                if metric.weighted and self._batch is not None:
                    batch_size = self._batch_size = lightning_private.extract_batch_size(self._host, self._batch)
        metric.update(logged, batch_size)
        self._stale = True
        self._current_fx = hook

    def log_dict(self, dictionary: Mapping[str, Loggable] | MetricCollection, **options: Any) -> None:
        """`LightningModule.log_dict`: `log` for every pair, with the same options."""
        if isinstance(dictionary, MetricCollection):
            dictionary = dict(torchmetrics_private.collection_items(dictionary))
        for name, value in dictionary.items():
            self.log(name, value, **options)

    # --- what the loops call --------------------------------------------------------------------------------------

    def on_batch_start(self, batch: object, dataloader_idx: int | None = None) -> None:
        """A batch is about to be processed."""
        self._first_loop_iter = self._first_loop_iter is None
        self._shows_epoch_values = False
        if self._results.dataloader_idx != dataloader_idx:
            self._flush()  # values of the loader before, which are out of sight from here on
            self._results.loader_starts(dataloader_idx)
        self._batch, self._batch_size = batch, None

    def on_batch_end(self) -> None:
        """The batch is done: forget it, so that its memory is free."""
        self._batch = self._batch_size = None

    def epoch_end_reached(self) -> None:
        """From here on values are the epoch's."""
        self._flush()  # the last batch's step values are seen before those of the epoch are
        self._first_loop_iter = None
        self.ranks_meet()

    def ranks_meet(self) -> None:
        """All ranks come by here: what was logged for the epoch is reduced over them."""
        if self._sync is not None:
            self._sync.meet(self._results)

    def on_epoch_end(self) -> None:
        """The epoch's hooks have run: what they logged is visible to monitors."""
        self.ranks_meet()
        self._refresh()
        self._current_fx = None

    def current_log(self) -> dict[str, Tensor]:
        """What loggers get now."""
        return self._results.collect(on_step=self._first_loop_iter is not None).log

    def sent_to_loggers(self, metrics: dict[str, Tensor]) -> None:
        """Loggers were given these: `trainer.logged_metrics` holds them, as after `_LoggerConnector.log_metrics`."""
        self._shown.log.update(metrics)

    def reset_results(self) -> None:
        """Start over the running loop's results; the dictionaries stay."""
        self._flush()
        self._results.reset()
        self._first_loop_iter = self._current_fx = None
        self._stale = False

    def reset_metrics(self) -> None:
        """Empty the dictionaries."""
        self._shown = Metrics({}, {}, {})
        self._stale = False

    # --- a validation ---------------------------------------------------------------------------------------------

    def validation_starts(self) -> None:
        """The validation loop runs from here on; the training loop's position is kept.

        `_TrainingEpochLoop.on_advance_end` keeps `_first_loop_iter` around a validation, so that the next batch is not
        taken for an epoch's first, at which what was logged so far would be forgotten.
        """
        self._flush()
        self._training_position = (self._first_loop_iter, self._batch, self._batch_size)
        self._first_loop_iter = self._batch = self._batch_size = None
        self._results = self.validation

    def validation_ends(self, shows_epoch_values: bool) -> None:
        """The training loop goes on where it was.

        Args:
            shows_epoch_values: whether until the next batch the dictionaries show values of the epoch so far.
        """
        self._flush()
        self._results = self.training
        self._first_loop_iter, self._batch, self._batch_size = self._training_position
        self._training_position = (None, None, None)
        self._shows_epoch_values = shows_epoch_values

    def sanity_check_starts(self) -> None:
        """The validation loop runs before training: nothing logged so far is to be seen in it."""
        self.validation_starts()
        self.reset_results()
        self.reset_metrics()

    def sanity_check_ends(self) -> None:
        """Nothing logged in the sanity check is to be seen in training."""
        self.reset_results()
        self.reset_metrics()
        self.validation_ends(shows_epoch_values=False)

    def loader_end_reached(self, dataloader_idx: int | None = None) -> None:
        """The batches of a validation loader are over, on all ranks.

        Args:
            dataloader_idx: the loader, where it had perhaps no batch on this rank; None for the one that was run last.
        """
        if dataloader_idx is not None:
            self._results.loader_starts(dataloader_idx)
        self.epoch_end_reached()

    def evaluation_epoch_end(self) -> None:
        """All validation loaders are through: what is logged now is of none of them."""
        self.epoch_end_reached()
        self._results.loader_starts(None)

    def update_eval_epoch_metrics(self) -> Metrics:
        """Make the epoch's values of the loader, or of no loader, visible, and return them."""
        self._refresh()
        return self._results.collect(on_step=False)

    # --- what a checkpoint holds ----------------------------------------------------------------------------------

    def state_dict(self) -> SavedLogs:
        """Everything logged so far that is still to be averaged or read."""
        self._flush()
        within_validation = self._results is self.validation  # it is the training's position that is kept
        return {
            "training": self.training.state_dict(),
            "callback": dict(self._shown.callback),
            "logged": dict(self._shown.log),
            "bar": to_scalars(self._shown.pbar),
            "first_iteration": self._training_position[0] if within_validation else self._first_loop_iter,
            "hook_of_last_log": self._current_fx,
        }

    def load_state_dict(self, state: SavedLogs) -> None:
        """Go on logging where `state_dict` was taken."""
        self.training.load_state_dict(state["training"])
        self._shown = Metrics(dict(state["callback"]), dict(state["logged"]), dict(state["bar"]))
        self._first_loop_iter = state["first_iteration"]
        self._current_fx = state["hook_of_last_log"]
        self._stale = False

    # --- what user code reads -------------------------------------------------------------------------------------

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Name to 0-d tensor: what monitors read."""
        self._show("callback")
        return self._shown.callback

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """Name to 0-d tensor: what loggers were or will be given."""
        self._show("log")
        return self._shown.log

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """Name to number. Reading it waits for the device."""
        self._show("pbar")
        numbers = to_scalars(self._shown.pbar)
        self._shown = self._shown._replace(pbar=numbers)
        return numbers

    def seen(self, kind: Literal["log", "pbar"]) -> dict[str, float]:
        """What a display shows: it changes nothing that user code reads, nor asks for an epoch's value, as other ranks do not."""
        found = dict(getattr(self._shown, kind))
        if self._first_loop_iter is not None and not self._shows_epoch_values:
            found.update(getattr(self._results.collect(on_step=True), kind))
        return to_scalars(found)

    def _show(self, kind: Literal["callback", "log", "pbar"]) -> None:
        if self._shows_epoch_values:  # the others stay as they were before the validation
            getattr(self._shown, kind).update(getattr(self._results.collect(on_step=False), kind))
        else:
            self._refresh()

    def _refresh(self) -> None:
        """Make the present values of the running loop visible."""
        self._stale = False
        on_step = self._first_loop_iter is not None and not self._shows_epoch_values
        self._shown.update(self._results.collect(on_step))

    def _flush(self) -> None:
        """Bring the dictionaries up to date with what was logged since the last time."""
        if self._stale:
            self._refresh()
