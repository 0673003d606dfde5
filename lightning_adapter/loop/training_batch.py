"""What happens with one training batch, from the loader to `on_train_batch_end`? As `_TrainingEpochLoop.advance`.

fetch -> transfer hooks -> on_train_batch_start
optimization, see gradient_steps
schedulers by step; at the last batch schedulers by epoch
on_train_batch_end -> loggers
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from lightning_adapter.data.fetching import DataLoaderIterator
from lightning_adapter.data.loaders import INFINITE
from lightning_adapter.data.training import TrainingData
from lightning_adapter.loop.batch_transfer import Transfer
from lightning_adapter.loop.epoch_outputs import EpochOutputs
from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.loop.schedulers import Schedulers
from lightning_adapter.loop.unlogged import UnloggedReturns
from lightning_adapter.trainer.data_connector import DataConnector
from lightning_adapter.trainer.display.display import Display
from lightning_adapter.trainer.learning_rates import LearningRates
from lightning_adapter.trainer.logger_connector import LoggerConnector
from lightning_adapter.trainer.loggers import LoggerDispatcher
from lightning_adapter.trainer.settings import Settings
from lightning_adapter.trainer.stop_request import StopRequest
from lightning_adapter.versions.quirks import Quirks
from lightning_adapter.versions.types import Batch


class Optimization(Protocol):
    """Automatic or manual optimization."""

    def run(self, arguments: tuple[Any, ...], batch_idx: int) -> Any:
        """Optimize with one batch and return what `on_train_batch_end` gets as its outputs."""


@dataclass(frozen=True)
class TrainingBatch:
    """Trains on the next batch.

    Attributes:
        fetches_itself: whether `training_step` takes `dataloader_iter`, and pulls its batches from there.
        takes_batch_idx: whether it takes `batch_idx`.
        stops_in_batches: whether user code may ask to stop in mid epoch, so that ranks agree after each batch.
        any_rank: for several processes, whether any of them has a flag set; None for a single one.
        epoch_outputs: keeps outputs for `training_epoch_end`; None where nobody has that hook.
        rates: learning rates that are kept with what is logged; None where nobody keeps them.
        unlogged: looks for what the step returns and nobody logs.
    """

    hooks: Hooks
    progress: TrainingProgress
    settings: Settings
    data: DataConnector
    connector: LoggerConnector
    dispatcher: LoggerDispatcher
    stop: StopRequest
    schedulers: Schedulers
    automatic: Optimization
    manual: Optimization
    fetches_itself: bool
    takes_batch_idx: bool
    transfer: Transfer | None
    epoch_outputs: EpochOutputs | None
    unlogged: UnloggedReturns
    display: Display
    rates: LearningRates | None
    quirks: Quirks
    any_rank: Callable[..., list[bool]] | None
    stops_in_batches: bool

    def advance(self) -> bool:
        """Fetch the next batch and train on it.

        Returns:
            False if the epoch is over without a batch trained to its end: the data has ended, or
            `on_train_batch_start` returned -1.

        Raises:
            StopIteration: of user code, a step that asked for more data than there is among it: the epoch is over too.
        """
        data = self.data.training
        assert data is not None
        iterator = data.dataloader_iterator() if self.fetches_itself else None
        try:
            if iterator is not None:
                batch, batch_idx = self._at(data, iterator)
            else:
                batch_idx = self.progress.batch.current.ready
                together = self.any_rank is not None and data.num_batches == INFINITE
                batch = self._fetch_together(data) if together else data.fetcher.fetch()
        except StopIteration:
            return False
        if self.transfer is not None and iterator is None:
            batch = self._on_device(data, batch, self.transfer)
        hooks, progress = self.hooks, self.progress.batch
        # before any hook: `trainer.is_last_batch` and `batch_idx` are right from `on_train_batch_start` on
        progress.advance_ready(data.fetcher.done)
        self.connector.on_batch_start(batch)
        outputs: Any = None
        if batch is None and iterator is None:
            hooks.host.warn("train_dataloader yielded None. If this was on purpose, ignore this warning...")
        else:
            # a dataset or a callback of Determined may have changed the callbacks meanwhile
            hooks.refresh()
            hook = hooks.bound["on_train_batch_start"]
            if hook is not None and hook(batch, batch_idx) == -1:
                self._skip()
                return False
            if self.schedulers.configs and self.rates is not None:
                self.rates.batch_starts()
            progress.advance_started()
            # asked at each batch, as `_TrainingEpochLoop.advance` does: a module may change it in a hook
            optimization = self.automatic if hooks.module.automatic_optimization else self.manual
            given = batch if iterator is None else iterator
            if self.takes_batch_idx:
                outputs = optimization.run((given, batch_idx), batch_idx)
            else:
                outputs = optimization.run((given,), 0 if self.quirks.hides_batch_idx else batch_idx)
            if self.epoch_outputs is not None:
                self.epoch_outputs.add(outputs)
        progress.advance_processed()
        # before `on_train_batch_end`, so that this hook sees the learning rates of the next batch, as in Lightning
        if self.schedulers.configs:
            self._step_schedulers()
        # only after the schedulers, as in Lightning: those of an epoch do not step where it ends before its length
        if iterator is not None:  # the step has fetched what it was run on
            batch, batch_idx, _ = iterator.last
            progress.last_batch_known(data.fetcher.done)
        hook = hooks.bound["on_train_batch_end"]
        if hook is not None:
            if not outputs and self.quirks.empty_list:
                outputs = []
            hook(outputs, batch, batch_idx)
        if batch_idx == 0:
            self.unlogged.look(outputs)
        # the batch is let go of before loggers are told: they may take long, and it may be large
        self.connector.on_batch_end()
        progress.advance_completed()
        self._log()
        return True

    def _at(self, data: TrainingData, iterator: DataLoaderIterator) -> tuple[Batch, int]:
        """What hooks are told before a step that fetches its batches itself: what it fetched last."""
        if data.fetcher.done:
            raise StopIteration
        batch, batch_idx, _ = iterator.last
        return batch, batch_idx

    def _on_device(self, data: TrainingData, batch: Batch, transfer: Transfer) -> Batch:
        """Transfer hooks run before `on_train_batch_start`, since Lightning moves a batch where it fetches it."""
        if not self.quirks.transfers_while_fetching:
            self.progress.batch.last_batch_known(data.fetcher.done)
        return transfer(batch, 0)

    def _fetch_together(self, data: TrainingData) -> Batch:
        """Lengths that nobody knows may differ: the first rank at the end of its data ends the epoch of all."""
        assert self.any_rank is not None
        batch, ended = None, False
        try:
            batch = next(data.fetcher)
        except StopIteration:
            ended = True
        ended, done = self.any_rank(ended, data.fetcher.done)
        data.fetcher.agree_on_end(done)
        if ended:
            raise StopIteration
        return batch

    def _skip(self) -> None:
        """`on_train_batch_start` returned -1: the epoch ends here, in later Lightnings with a step of its schedulers."""
        self.progress.batch.advance_processed()
        if not self.quirks.skips_at_once:
            self.progress.epoch_cut_short()
            if self.schedulers.configs:
                self._step_schedulers()

    def _step_schedulers(self) -> None:
        """Plateau schedulers come after the validation, the others before `on_train_batch_end`."""
        self.schedulers.step("step", plateau=False)
        if self.progress.last_batch_reached:
            self.schedulers.step("epoch", plateau=False)

    def _log(self) -> None:
        """As `_LoggerConnector.update_train_step_metrics`; before it, ranks agree whether to stop, which is logged."""
        progress, stop = self.progress, self.stop
        should_log = progress.is_reported(stop.agreed)
        # ranks agree where they meet anyway; each batch only where user code may ask for a stop in mid epoch
        if self.any_rank is not None and (self.stops_in_batches or should_log or progress.batch.is_last_batch):
            stop.agree(self.any_rank)
            should_log = progress.is_reported(stop.agreed)
        wanted = should_log or self.settings.fast_dev_run
        if wanted and not (progress.accumulates and self.hooks.module.automatic_optimization):
            self.dispatcher.log_training(self.connector.current_log())
            self.unlogged.reported(epoch_over=False)
            self.display.reporting_step()
        if self.display.follows_batches:
            self.display.batch_ends()


#: By which a traceback tells that a batch was in work, and that it was over and loggers were told of it.
TRAINS, LOGS = TrainingBatch.advance.__code__, TrainingBatch._log.__code__
