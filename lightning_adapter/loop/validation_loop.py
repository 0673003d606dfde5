"""What happens in one validation, from the loaders to `on_validation_end`? As `_EvaluationLoop.run`.

(loaders) -> modules to eval mode -> on_validation_start -> on_validation_epoch_start
for each batch: fetch -> transfer hooks -> on_validation_batch_start -> validation_step -> on_validation_batch_end
on_validation_epoch_end -> loggers -> on_validation_end -> modules back to the modes they had
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lightning_adapter.data.combining import IndexedBatch
from lightning_adapter.data.fetching import DataFetcher, DataLoaderIterator
from lightning_adapter.data.loaders import INFINITE
from lightning_adapter.data.validation import ValidationData
from lightning_adapter.loop.batch_transfer import Transfer
from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.loop.returned_logs import ReturnedLogs
from lightning_adapter.loop.strategies.base import SingleDeviceStrategy
from lightning_adapter.loop.unlogged import UnloggedReturns
from lightning_adapter.trainer.data_connector import DataConnector
from lightning_adapter.trainer.display.display import Display
from lightning_adapter.trainer.logged_values import to_scalars
from lightning_adapter.trainer.logger_connector import LoggerConnector
from lightning_adapter.trainer.loggers import LoggerDispatcher
from lightning_adapter.trainer.loop_views import ValidationRuns
from lightning_adapter.trainer.stop_request import StopRequest
from lightning_adapter.trainer.view import Trainer
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.types import Batch, StepOutput

#: Told batches trained, epoch, and name to number of what was logged.
EndedByHook: TypeAlias = Callable[[int, int, dict[str, Any]], None]


@dataclass(frozen=True)
class ValidationLoop:
    """Runs whole validations.

    Attributes:
        make_step: makes a running hook of the module's `validation_step`, which user code may have replaced.
        transfer: what brings a batch to the device; None if there is nothing to do.
        unlogged: looks for what the step returns and nobody logs.
        runs: told whether the validation has processed a batch.
        any_rank: for several processes, whether any of them has a flag set; None for a single one.
        ended_by_hook: told of a validation whose last hook ends the run, as Optuna's pruning callback does.
    """

    trainer: Trainer
    hooks: Hooks
    progress: TrainingProgress
    data: DataConnector
    connector: LoggerConnector
    dispatcher: LoggerDispatcher
    strategy: SingleDeviceStrategy
    make_step: Callable[[], Callable[..., StepOutput]]
    transfer: Transfer | None
    returned_logs: ReturnedLogs
    unlogged: UnloggedReturns
    runs: ValidationRuns
    stop: StopRequest
    any_rank: Callable[..., list[bool]] | None
    display: Display
    ended_by_hook: EndedByHook

    # --- the two occasions --------------------------------------------------------------------------------------------

    def run_sanity_check(self) -> frozenset[str]:
        """Validate a few batches before training, as `Trainer._run_sanity_check`; it costs no random number of later.

        Returns:
            The names that were logged.
        """
        trainer, hooks, connector = self.trainer, self.hooks, self.connector
        with lightning_private.isolate_rng(hooks.host):
            trainer.sanity_checking = True
            connector.sanity_check_starts()
            hooks.call_callbacks("on_sanity_check_start")
            if hooks.host.quirks.iterates_in_validation:
                self.data.load_validation(sanity_checking=True)
            with torch.no_grad():
                self._run()
            hooks.call_callbacks("on_sanity_check_end")
            logged = frozenset({*connector.callback_metrics, *connector.logged_metrics})
            connector.sanity_check_ends()
            self.progress.sanity_check_over()
            trainer.training = True
        return logged

    def run(self) -> dict[str, Any]:
        """Validate once in the middle of training.

        Returns:
            Name to number of what was logged for the epoch.

        Raises:
            StopIteration: of a hook around the whole validation; from a batch of it, it ends the validation alone.
        """
        trainer, quirks = self.trainer, self.hooks.host.quirks
        trainer.validating = True
        self.connector.validation_starts()
        # Lightning validates under no_grad; what it does before that may want gradients, and Determined allows none here
        # gradients that are being accumulated are not to be lost
        if not self.progress.accumulates and not quirks.zeroes_in_validation:
            with torch.enable_grad():
                self.hooks.call_module("on_validation_model_zero_grad")
        if quirks.iterates_in_validation:
            with torch.enable_grad():
                self.data.load_validation()
        modes = lightning_private.ModuleModes(self.hooks.host, self.hooks.module)
        try:
            with torch.no_grad():
                logged = self._run()
        except StopIteration:
            # of a hook: the epoch of training ends with it, and the next one trains, which Lightning does not see to
            modes.restore()
            self.connector.reset_results()
            self._back_to_training()
            raise
        self._back_to_training()
        if self.any_rank is not None:
            self.stop.agree(self.any_rank)
        return to_scalars(logged)

    def _back_to_training(self) -> None:
        self.trainer.training = True
        self.connector.validation_ends(self.hooks.host.quirks.shows_epoch_values)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def _run(self) -> dict[str, Tensor]:
        """Run the validation loaders through the module.

        Returns:
            Name to value of the epoch, for every name that was logged.
        """
        sanity = self.trainer.sanity_checking
        self.data.load_validation(sanity_checking=sanity)
        data = self.data.validation
        if data is None or sum(data.longest) == 0 or (sanity and not self.trainer.num_sanity_val_steps):
            return {}
        # running means are those of each rank's own batches until here
        self.strategy.broadcast_buffers()
        self.runs.begin()
        validated = self.progress.validation_begins()
        fetches_itself = lightning_private.has_parameter(self.hooks.module.validation_step, "dataloader_iter")
        max_batches = self.data.num_sanity_val_batches if sanity else data.max_batches
        fetcher = data.fetcher(max_batches, ahead=not fetches_itself)
        iterator = DataLoaderIterator(fetcher, fetcher.__next__) if fetches_itself else None
        modes = self._start(data, fetcher)
        if validated:
            fetcher.count_on(validated)
        results = _EpochResults(self, data)
        self.display.validation_starts(INFINITE if fetcher.length is None else fetcher.length, sanity)
        step = self._batch_step(data, fetcher, iterator)
        while iterator is None or not fetcher.done:
            try:
                batch, batch_idx, dataloader_idx = fetcher.fetch() if iterator is None else iterator.last
            except StopIteration:
                break
            if dataloader_idx != results.reached:
                results.loader_reached(dataloader_idx)
                if self.hooks.host.quirks.counts_by_loader:
                    self.progress.validation.begin()
            try:
                output = step(batch, batch_idx, dataloader_idx)
            except StopIteration:  # a step that fetches itself has asked for more than there is
                break
            if results.kept is not None and output is not None:
                results.kept[dataloader_idx].append(output)
            if not sanity:
                if batch_idx == 0:
                    self.unlogged.look(output)
                self._log_step(data, dataloader_idx)
            self.display.validation_batch_ends()
        data.pass_is_over()
        self.display.validation_ends()
        logged = self._end(results)
        if self.hooks.overridden("on_validation_model_train") or modes.restored_by_hook:
            self.hooks.call_module("on_validation_model_train")
        else:
            modes.restore()
        return logged

    def _start(self, data: ValidationData, fetcher: DataFetcher[IndexedBatch]) -> lightning_private.ModuleModes:
        """`_EvaluationLoop.on_run_start`: when the loaders are iterated differs between versions."""
        hooks, quirks = self.hooks, self.hooks.host.quirks
        if not quirks.iterates_in_validation:
            self.data.set_epoch(data.loaders)
            fetcher.start()
        # before the module goes to eval mode: what the user froze stays frozen afterwards
        modes = lightning_private.ModuleModes(hooks.host, hooks.module)
        hooks.call_module("on_validation_model_eval")
        if quirks.zeroes_in_validation:
            hooks.module.zero_grad()
        hooks.call("on_validation_start")
        hooks.call("on_validation_epoch_start")
        if quirks.iterates_in_validation:
            self.data.set_epoch(data.loaders)
            fetcher.start()
        return modes

    def _batch_step(
        self, data: ValidationData, fetcher: DataFetcher[IndexedBatch], iterator: DataLoaderIterator | None
    ) -> Callable[[Batch, int, int], StepOutput]:
        """A function that runs one batch with its hooks, as `_EvaluationLoop._evaluation_step`.

        Args:
            data: the loaders.
            fetcher: this pass over them.
            iterator: what a step with `dataloader_iter` pulls its batches from; None for all other steps.
        """
        hooks, connector, run_step = self.hooks, self.connector, self.make_step()
        module, progress = hooks.module, self.progress.validation
        several = data.several
        told = several or hooks.host.quirks.always_tells_loader
        lightning_private.check_dataloader_idx(hooks.host, module, several)
        takes_batch_idx = lightning_private.takes_batch_idx(hooks.host, module.validation_step)
        on_start, on_end = hooks.bound["on_validation_batch_start"], hooks.bound["on_validation_batch_end"]
        transfer = self.transfer if iterator is None else None

        def step(batch: Batch, batch_idx: int, dataloader_idx: int) -> StepOutput:
            if transfer is not None:
                progress.last_batch_known(fetcher.done)
                batch = transfer(batch, dataloader_idx)
            progress.advance_ready(fetcher.done)
            connector.on_batch_start(batch, dataloader_idx if several else None)
            if on_start is not None:
                on_start(batch, batch_idx, *((dataloader_idx,) if told else ()))
            progress.advance_started()
            if iterator is not None:
                output = run_step(iterator)
                # the step has fetched what it was run on
                batch, batch_idx, dataloader_idx = iterator.last
                progress.last_batch_known(fetcher.done)
            elif several:
                given = (batch, batch_idx) if takes_batch_idx else (batch,)
                output = run_step(*given, dataloader_idx)
            else:
                output = run_step(batch, batch_idx) if takes_batch_idx else run_step(batch)
            progress.advance_processed()
            if on_end is not None:
                on_end(output, batch, batch_idx, *((dataloader_idx,) if told else ()))
            connector.on_batch_end()
            progress.advance_completed()
            return output

        return step

    def _log_step(self, data: ValidationData, dataloader_idx: int) -> None:
        """Values of a validation step go to the loggers under the number of the batch, over all validations."""
        self.runs.batch_processed()
        if self.connector.validation.has_step_values and self.trainer.loggers:
            self.dispatcher.log_metrics(self.connector.current_log(), step=data.seen[dataloader_idx])
        data.seen[dataloader_idx] += 1

    def _end(self, results: _EpochResults) -> dict[str, Tensor]:
        """`_EvaluationLoop.on_run_end`, up to the modes of the modules."""
        hooks, connector = self.hooks, self.connector
        results.all_loaders_done()
        connector.evaluation_epoch_end()
        if results.kept is not None:
            # with a single loader there is no list around its list
            kept = results.take_outputs()
            self.returned_logs.call_with_outputs("validation_epoch_end", kept)
            del kept
        hooks.call("on_validation_epoch_end")
        # only now: `on_validation_epoch_end` logs too
        connector.on_epoch_end()
        logged = results.logged()
        if not self.trainer.sanity_checking:
            callback, log, _ = connector.update_eval_epoch_metrics()
            results.values.update(callback)
            logged.update(log)
            self.dispatcher.log_metrics(logged)
            self.unlogged.reported(epoch_over=True)
        # ModelCheckpoint and EarlyStopping read the values here, after the loggers have them
        try:
            hooks.call("on_validation_end")
        except StopIteration:  # of which `run` knows
            raise
        except Exception:
            if not self.trainer.sanity_checking:
                values = to_scalars({**logged, **results.values})
                self.ended_by_hook(self.progress.total_batches, self.progress.current_epoch, values)
                self.display.validated(values, None)
            raise
        connector.reset_results()
        return {**logged, **results.values}


class _EpochResults:
    """What one validation has logged, and returned where `validation_epoch_end` wants it, loader after loader.

    Attributes:
        reached: index of the loader that batches come from.
        values: name to value for callbacks.
        kept: outputs of the steps by loader, None where nobody wants them.
    """

    def __init__(self, loop: ValidationLoop, data: ValidationData) -> None:
        self._loop = loop
        self._data = data
        self.reached = 0
        self._logs: list[dict[str, Tensor]] = []
        self.values: dict[str, Tensor] = {}
        wanted = loop.hooks.overridden("validation_epoch_end")
        self.kept: list[list[StepOutput]] | None = [[] for _ in data.loaders] if wanted else None

    def take_outputs(self) -> list[Any]:
        """The outputs, which are forgotten with that; those of a single loader have no list around theirs."""
        kept, self.kept = self.kept or [[]], None
        return kept if self._data.several else kept[0]

    def loader_reached(self, dataloader_idx: int) -> None:
        """A batch of this loader is next: those before it are through."""
        self._store(range(self.reached, dataloader_idx))
        self.reached = dataloader_idx

    def all_loaders_done(self) -> None:
        """No batch is left."""
        self._store(range(self.reached, len(self._data.loaders) if self._data.several else 1))

    def _store(self, loaders: Sequence[int]) -> None:
        """Some loaders are through: the first of `loaders`, and those after it that had no batch on this rank."""
        loop = self._loop
        connector, distributed = loop.connector, loop.strategy.is_distributed
        # with several ranks each of them comes by once for each loader, since others may have had batches of it
        for index in loaders if distributed else loaders[:1]:
            connector.loader_end_reached(index if distributed and len(self._data.loaders) > 1 else None)
            if loop.trainer.sanity_checking:
                continue
            callback, log, _ = connector.update_eval_epoch_metrics()
            self._logs.append(log)
            self.values.update(callback)

    def logged(self) -> dict[str, Tensor]:
        """Name to value for loggers; of two loaders with one name the first has the word."""
        return {name: value for output in reversed(self._logs) for name, value in output.items()}


#: By which a traceback tells that a validation was under way.
VALIDATES = ValidationLoop._run.__code__
