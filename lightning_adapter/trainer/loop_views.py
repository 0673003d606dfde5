"""What does user code find at `trainer.fit_loop` and below it: Lightning's loops, as views of the position and the limits?

The counters are those of the run itself. Beside `max_epochs` and `max_steps`, which callbacks set, there is nothing to
write here that would not be a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightning_adapter.loop.progress import LoopProgress, TrainingProgress
from lightning_adapter.trainer.data_connector import DataConnector
from lightning_adapter.trainer.settings import ReadOnlySetting, Setting, Settings
from lightning_adapter.versions.trainer_private import EpochLoopPrivates, EvaluationLoopPrivates, FitLoopPrivates


@dataclass
class ValidationRuns:
    """Whether a validation has processed a batch; the validation loop writes it.

    Attributes:
        has_run: since the present validation began.
    """

    has_run: bool = False

    def begin(self) -> None:
        """A validation begins."""
        self.has_run = False

    def batch_processed(self) -> None:
        """A batch of a validation that is no sanity check is through."""
        self.has_run = True


class EvaluationLoopView(EvaluationLoopPrivates):
    """`trainer.fit_loop.epoch_loop.val_loop`."""

    def __init__(self, progress: TrainingProgress, runs: ValidationRuns) -> None:
        self.batch_progress: LoopProgress = progress.validation
        self._runs = runs

    @property
    def has_run(self) -> bool:  # type: ignore[override]
        """Whether the present validation has processed a batch."""
        return self._runs.has_run


@dataclass(frozen=True)
class OptimizerProgressView:
    """`trainer.fit_loop.epoch_loop.optim_progress`: optimizer steps, all optimizers together."""

    progress: TrainingProgress

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps so far."""
        return self.progress.optimizer_steps


class EpochLoopView(EpochLoopPrivates):
    """`trainer.fit_loop.epoch_loop`: the batches of one epoch."""

    progress: TrainingProgress
    min_steps = ReadOnlySetting["int | None"]()
    max_steps = Setting[int]()

    def __init__(
        self, progress: TrainingProgress, settings: Settings, data: DataConnector, runs: ValidationRuns
    ) -> None:
        self.progress = progress
        self.data = data
        self.settings = settings
        self.batch_progress: LoopProgress = progress.batch
        self.optim_progress = OptimizerProgressView(progress)
        self.val_loop = EvaluationLoopView(progress, runs)

    @property
    def batches_that_stepped(self) -> int:  # type: ignore[override]
        """Batches after which an optimizer stepped."""
        return self.progress.batches_that_stepped

    @property
    def batch_idx(self) -> int:
        """Index of the batch in work, within its epoch."""
        return self.progress.batch_idx

    @property
    def total_batch_idx(self) -> int:
        """Index of the batch in work, over all epochs."""
        return self.progress.total_batches - 1

    @property
    def global_step(self) -> int:
        """Optimizer steps so far."""
        return self.progress.optimizer_steps


class FitLoopView(FitLoopPrivates):
    """`trainer.fit_loop`: the epochs of the run."""

    progress: TrainingProgress
    skip_backward = Setting[bool]()
    min_epochs = Setting[int]()
    max_epochs = Setting[int]()
    min_steps = ReadOnlySetting["int | None"]()
    max_steps = ReadOnlySetting[int]()

    def __init__(
        self, progress: TrainingProgress, settings: Settings, data: DataConnector, runs: ValidationRuns
    ) -> None:
        self.progress = progress
        self.settings = settings
        self._data = data
        self.epoch_loop = EpochLoopView(progress, settings, data, runs)
        self.epoch_progress: LoopProgress = progress.epoch

    @property
    def total_batch_idx(self) -> int:
        """Index of the batch in work, over all epochs."""
        return self.epoch_loop.total_batch_idx

    @property
    def batch_idx(self) -> int:
        """Index of the batch in work, within its epoch."""
        return self.epoch_loop.batch_idx

    @property
    def max_batches(self) -> float:
        """Batches of an epoch."""
        return self.progress.num_training_batches

    @max_batches.setter
    def max_batches(self, value: float) -> None:
        self._data.limit_epoch(value)

    def setup_data(self) -> None:
        """Ask for the training loaders now."""
        self._data.load_training()
