"""How does Determined's loop ask the adapter in the places where its public API has no question?

`_PyTorchTrialController` and the methods overridden here are determined 0.38.1's. What changes: when the run is over,
how far it is, whether a validation is due, which epoch begins or ends, that metrics were reported already, that a
checkpoint is made on all ranks together instead of by the chief alone, and that a batch which ends no workload costs
next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from determined import InvalidHP, pytorch

Callbacks = Mapping[str, pytorch.PyTorchCallback]


class PreemptionCheck(Protocol):
    """Says when the loop is to look for a request to stop."""

    def proposal(self, batches: int) -> int:
        """Batches until the next look, as this process would have it; so many are trained."""

    def agree(self, batches: int) -> None:
        """All ranks look again after this number of batches."""


class Boundaries(Protocol):
    """What is to be done after the batch just trained."""

    @property
    def preemption(self) -> PreemptionCheck:
        """Says when to look for a request to stop."""

    @property
    def ends_workload(self) -> bool:
        """Whether there is anything to do."""

    def workload_starts(self, batches: int) -> None:
        """Nothing is due until something is decided; so many batches are trained."""


class EpochListener(Protocol):
    """Is told of epochs as Lightning counts them."""

    def epoch_starts(self, epoch: int) -> None:
        """An epoch begins; its index counts from 0."""

    def epoch_ended(self) -> None:
        """An epoch is over, and no validation follows it."""


class Driver(Protocol):
    """Lightning's loop, as this one sees it."""

    @property
    def boundaries(self) -> Boundaries:
        """What is to be done after the batch just trained."""

    @property
    def finished(self) -> bool:
        """Whether no further batch is to be trained."""

    @property
    def validation_pending(self) -> bool:
        """Whether a validation is due and not done."""

    @property
    def progress_due(self) -> bool:
        """Whether progress is reported after the batch just trained."""

    @property
    def mid_accumulation(self) -> bool:
        """Whether a checkpoint would lose gradients."""

    def train_batch(self, batch: object, epoch_idx: int, batch_idx: int) -> object:
        """Train on the next batch; `batch` is a placeholder."""

    def advance(self) -> None:
        """As `train_batch`, of which nothing is wanted back."""

    def position(self) -> tuple[int, int]:
        """Batches and whole epochs trained so far."""

    def fraction(self) -> float:
        """How much of the run is done."""

    def tell_epochs_to(self, listener: EpochListener) -> None:
        """Tell `listener` of epochs."""

    def returned_unreported(self, names: Sequence[str]) -> None:
        """The trial's own `train_batch` returns metrics of these names, which nobody reports."""


class Checkpoints(Protocol):
    """Who writes checkpoints, and knows of requests to stop."""

    @property
    def resumes(self) -> bool:
        """Whether the run goes on from a checkpoint."""

    @property
    def has_written(self) -> bool:
        """Whether this run has a checkpoint of its own."""

    def restore_callbacks(self, callbacks: Callbacks) -> None:
        """Give the trial's own callbacks the state that a checkpoint has of them."""

    def upload_tensorboard(self) -> None:
        """Upload TensorBoard files, where somebody wants them."""

    def wait_for_room(self) -> None:
        """Wait until there is room for reports; all processes are about to meet."""

    def asked_to_stop(self) -> bool:
        """Whether any process got a signal to stop; all processes ask together."""

    def host_stops(self) -> None:
        """Determined's loop ends now, since the master or the trial has asked for it."""

    def owe_checkpoint(self) -> None:
        """A checkpoint is due and waits for the next optimizer step."""

    def write_checkpoint(self, driver: Any, callbacks: Callbacks) -> str:
        """Write a checkpoint, all ranks together; returns its id."""


class Controller(pytorch._PyTorchTrialController):
    """Determined's loop for `fit()`.

    Args:
        driver: Lightning's loop.
        checkpoints: who writes them.
        **options: of Determined's own controller.
    """

    state: Any  # there from the moment at which training starts

    def __init__(self, driver: Driver, checkpoints: Checkpoints, **options: Any) -> None:
        self._driver = driver
        self._checkpoints = checkpoints
        self._epochs_told = 0
        self._unreported: list[str] = []
        self._refused = False
        super().__init__(**options)
        # Horovod's broadcast of an optimizer's state steps the optimizer to create it; the adapter's own does not
        self.use_horovod = False

    def _set_data_loaders(self) -> None:
        super()._set_data_loaders()
        # Determined does it here, when it loads a checkpoint itself
        self._checkpoints.restore_callbacks(self.callbacks)

    def _run(self) -> None:
        self._follow()
        self._epochs_told = self.state.epochs_trained
        self._driver.tell_epochs_to(self)
        if self._checkpoints.resumes:
            self.state.last_ckpt = self.state.last_val = self.state.batches_trained
        super()._run()

    def _follow(self) -> None:
        self.state.batches_trained, self.state.epochs_trained = self._driver.position()

    def _train(self, length: pytorch.TrainUnit, train_boundaries: list[Any]) -> None:
        try:
            super()._train(length, train_boundaries)
        except InvalidHP:
            self._refused = True
            raise

    def _train_with_boundaries(
        self, training_enumerator: Iterable[tuple[int, None]], train_boundaries: list[Any]
    ) -> tuple[list[Any], list[Any]]:
        # The host's own asks four periods after each batch, and keeps a record of each until the workload ends.
        context = self.context
        if self.is_chief:
            self.core_context.train.set_status("training")
        for model in context.models:
            model.train()
        context.reset_reducers()
        boundaries = self._driver.boundaries
        first = self._driver.position()[0]
        boundaries.workload_starts(first)
        bare = context.profiler is None and context._scaler is None and not context.lr_schedulers
        returned = None
        if bare and self.trial.train_batch == self._driver.train_batch:
            batch_idx = first - 1
            advance = self._driver.advance
            while not boundaries.ends_workload:
                batch_idx += 1
                context._current_batch_idx = batch_idx
                advance()
        else:
            batch_idx, returned = self._train_with_own_step(training_enumerator, bare)
        self._step_batch()
        if returned is not None and not self._unreported:
            # a bare value is a loss, as in `_train_batch`
            self._unreported = [str(name) for name in returned] if isinstance(returned, Mapping) else ["loss"]
            if self._unreported:
                self._driver.returned_unreported(self._unreported)
        for boundary in train_boundaries:
            unit = boundary.unit
            boundary.limit_reached = isinstance(unit, pytorch.Batch) and unit.should_stop(batch_idx + 1)
        return train_boundaries, []

    def _train_with_own_step(self, training_enumerator: Iterable[tuple[int, None]], bare: bool) -> tuple[int, Any]:
        """Call the trial's `train_batch` until something is to be done; the index of the last batch, and what it returned."""
        context, boundaries = self.context, self._driver.boundaries
        train: Callable[..., Any] = self.trial.train_batch if bare else self._train_batch
        epoch_length = context._epoch_len or 1  # Determined hands on what it says of epochs, nothing else
        batch_idx, returned = -1, None
        for batch_idx, placeholder in training_enumerator:
            context._current_batch_idx = batch_idx
            returned = train(batch=placeholder, epoch_idx=batch_idx // epoch_length, batch_idx=batch_idx)
            if boundaries.ends_workload:
                break
        return batch_idx, returned

    def epoch_ended(self) -> None:
        """Tell the trial's own callbacks."""
        self._step_batch()

    def _step_batch(self) -> None:
        self._follow()
        if self.state.epochs_trained != self._epochs_told:
            self._tell_ended(self.state.epochs_trained)

    def _on_epoch_start(self, epoch_idx: int) -> None:
        pass  # by a count of batches; Lightning's epochs may be shorter

    def epoch_starts(self, epoch: int) -> None:
        """Tell the trial's own callbacks, of the end of the one before it too."""
        self._tell_ended(epoch)
        super()._on_epoch_start(epoch)

    def _tell_ended(self, epochs: int) -> None:
        for epoch in range(self._epochs_told, epochs):
            self._on_epoch_end(epoch)
        self._epochs_told = max(epochs, self._epochs_told)

    def _steps_until_complete(self, train_unit: pytorch.TrainUnit) -> int:
        return 0 if self._driver.finished else 1

    def _validation_is_current(self) -> bool:
        return not self._driver.validation_pending

    def _aggregate_training_metrics(self, training_metrics: list[Any]) -> dict[str, Any]:
        self._checkpoints.wait_for_room()
        preemption = self._driver.boundaries.preemption
        preemption.agree(self.context.distributed.broadcast(preemption.proposal(self._driver.position()[0])))
        return {"avg_metrics": {}, "batch_metrics": []}

    def _report_training_progress(self) -> None:
        if self._driver.progress_due:
            self.core_context.train.report_progress(progress=self._driver.fraction())

    def _stop_requested(self) -> None:
        self._checkpoints.upload_tensorboard()
        if self._driver.mid_accumulation:
            return
        if self._checkpoints.asked_to_stop():
            raise pytorch._ShouldExit()
        try:
            super()._stop_requested()
        except pytorch._ShouldExit:
            self._checkpoints.host_stops()
            raise

    def _checkpoint_is_current(self) -> bool:
        # The host's own counts from 0, so that a run that is over before its first batch would leave nothing to go on from.
        if self.local_training and self._driver.finished and not self.state.batches_trained:
            return self._checkpoints.has_written
        return bool(super()._checkpoint_is_current())

    def _checkpoint(self, already_exiting: bool) -> None:
        if self._refused:
            return  # raised inside a step: there is nothing to go on from
        if self._driver.mid_accumulation:
            self._checkpoints.owe_checkpoint()
            return
        if self.is_chief:
            self.core_context.train.set_status("checkpointing")
        self._follow()
        self.state.last_ckpt = self.state.batches_trained
        uuid = self._checkpoints.write_checkpoint(self._driver, self.callbacks)
        for callback in self.callbacks.values():
            callback.on_checkpoint_upload_end(uuid=uuid)
