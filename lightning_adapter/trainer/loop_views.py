"""What does user code find at `trainer.fit_loop` and below it: Lightning's loops, as views of the position and the limits?

The counters are those of the run itself. What public code writes here is honoured: limits, the counters of steps, and
`_combined_loader = None`, which asks for loaders anew. Anything else that is written would be read by nobody, and is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

from lightning_adapter.loop.progress import LoopProgress, TrainingProgress
from lightning_adapter.trainer.data_connector import DataConnector
from lightning_adapter.trainer.settings import ReadOnlySetting, Setting, Settings
from lightning_adapter.versions.lightning_1x import RunningLoss
from lightning_adapter.versions.trainer_private import (
    DataSource,
    EpochLoopPrivates,
    EvaluationLoopPrivates,
    FitLoopPrivates,
)


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


class LoopView:
    """A view of one of Lightning's loops: what nobody would read cannot be written."""

    shown: ClassVar[frozenset[str]]

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self.shown and not hasattr(inspect.getattr_static(type(self), name, None), "__set__"):
            raise AttributeError(
                f"{name} of a loop cannot be set: Determined runs the loop here, and nothing would read it. When to"
                " validate say val_check_interval and check_val_every_n_epoch, when to stop `trainer.should_stop` and"
                " `trainer.max_steps`; what belongs to your own code, keep in your own objects."
            )
        object.__setattr__(self, name, value)


class EvaluationLoopView(LoopView, EvaluationLoopPrivates):
    """`trainer.fit_loop.epoch_loop.val_loop`."""

    shown = frozenset(("batch_progress", "data", "source", "_runs"))
    data: DataConnector

    def __init__(
        self, progress: TrainingProgress, data: DataConnector, runs: ValidationRuns, source: DataSource
    ) -> None:
        self.batch_progress: LoopProgress = progress.validation
        self.data = data
        self.source = source
        self._runs = runs

    @property
    def epoch_loop(self) -> SimpleNamespace:
        """What counts the batches in Lightning 1.x."""
        return SimpleNamespace(batch_progress=self.batch_progress)

    @property
    def has_run(self) -> bool:  # type: ignore[override]
        """Whether the present validation has processed a batch."""
        return self._runs.has_run

    def setup_data(self) -> None:
        """Ask for the validation loaders now."""
        self.data.load_validation()


class StepCounts:
    """Optimizer steps as the loops of automatic and of manual optimization count them; `global_step` is their sum.

    Code that steps optimizers in its own way counts for itself, and code that goes on from another run sets the number.
    The loop that the run does not use counts what is written there alone.
    """

    def __init__(self, progress: TrainingProgress, automatic: Callable[[], bool]) -> None:
        self._progress = progress
        self._automatic = automatic
        self._of_other = 0

    def read(self, automatic: bool) -> int:
        """Steps that one of the two loops has counted."""
        return self._progress.optimizer_steps - self._of_other if self._is_used(automatic) else self._of_other

    def write(self, automatic: bool, steps: int) -> None:
        """Set them."""
        self._progress.count_steps_from(self._progress.optimizer_steps + steps - self.read(automatic))
        if not self._is_used(automatic):
            self._of_other = steps

    def _is_used(self, automatic: bool) -> bool:
        return automatic is bool(self._automatic())  # user code may set it to anything that is true or false


class StepTracker:
    """`total` of Lightning's `_Progress` of optimizer steps: what is ready is completed at once.

    Args:
        counts: of the run.
        automatic: which of the two loops it is of.
    """

    def __init__(self, counts: StepCounts, automatic: bool) -> None:
        self._counts = counts
        self._automatic = automatic

    @property
    def completed(self) -> int:
        """Steps that were taken."""
        return self._counts.read(self._automatic)

    @completed.setter
    def completed(self, steps: int) -> None:
        self._counts.write(self._automatic, steps)

    @property
    def ready(self) -> int:
        """Steps that were begun."""
        return self.completed

    @ready.setter
    def ready(self, steps: int) -> None:
        """What is begun is not counted here: it is followed by `completed`."""


class StepProgressView:
    """`optim_step_progress` of manual optimization, `optim_progress.optimizer.step` of automatic optimization."""

    def __init__(self, counts: StepCounts, automatic: bool) -> None:
        self.total = StepTracker(counts, automatic)

    def increment_ready(self) -> None:
        """A step begins."""

    def increment_completed(self) -> None:
        """A step was taken."""
        self.total.completed += 1


@dataclass(frozen=True)
class OptimizerProgressView:
    """`optim_progress`: optimizer steps, all optimizers together."""

    progress: TrainingProgress
    optimizer: SimpleNamespace

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps so far."""
        return self.progress.optimizer_steps


class EpochLoopView(LoopView, EpochLoopPrivates):
    """`trainer.fit_loop.epoch_loop`: the batches of one epoch.

    Attributes:
        automatic_optimization: counts the optimizer steps of automatic optimization.
        manual_optimization: those of manual optimization.
        batch_loop: the two under their names in Lightning 1.x.
    """

    shown = frozenset(
        (
            *("progress", "data", "settings", "batch_progress", "optim_progress", "val_loop"),
            *("automatic_optimization", "manual_optimization", "batch_loop"),
        )
    )
    progress: TrainingProgress
    data: DataConnector
    min_steps = ReadOnlySetting["int | None"]()
    max_steps = Setting[int]()

    def __init__(
        self,
        progress: TrainingProgress,
        settings: Settings,
        data: DataConnector,
        val_loop: EvaluationLoopView,
        automatic: Callable[[], bool],
    ) -> None:
        self.progress = progress
        self.data = data
        self.settings = settings
        self.batch_progress: LoopProgress = progress.batch
        self.val_loop = val_loop
        counts = StepCounts(progress, automatic)
        steps = SimpleNamespace(step=StepProgressView(counts, automatic=True))
        self.optim_progress = OptimizerProgressView(progress, steps)
        self.automatic_optimization = SimpleNamespace(optim_progress=self.optim_progress)
        self.manual_optimization = SimpleNamespace(optim_step_progress=StepProgressView(counts, automatic=False))
        self.batch_loop = SimpleNamespace(
            optimizer_loop=self.automatic_optimization, manual_loop=self.manual_optimization
        )

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


class FitLoopView(LoopView, FitLoopPrivates):
    """`trainer.fit_loop`: the epochs of the run.

    Attributes:
        running_loss: the latest losses, which a progress bar of Lightning 1.x reads; there only where one does.
    """

    shown = frozenset(("progress", "settings", "data", "source", "epoch_loop", "epoch_progress", "running_loss"))
    running_loss: RunningLoss
    progress: TrainingProgress
    data: DataConnector
    skip_backward = Setting[bool]()
    min_epochs = Setting[int]()
    max_epochs = Setting[int]()
    min_steps = ReadOnlySetting["int | None"]()
    max_steps = ReadOnlySetting[int]()

    def __init__(
        self,
        progress: TrainingProgress,
        settings: Settings,
        data: DataConnector,
        runs: ValidationRuns,
        owner: object,
        automatic: Callable[[], bool],
    ) -> None:
        self.progress = progress
        self.settings = settings
        self.data = data
        self.source = DataSource(owner, "train_dataloader", data.sources.training)
        validation = DataSource(owner, "val_dataloader", data.sources.validation)
        val_loop = EvaluationLoopView(progress, data, runs, validation)
        self.epoch_loop = EpochLoopView(progress, settings, data, val_loop, automatic)
        self.epoch_progress: LoopProgress = progress.epoch

    def keep_losses(self, losses: RunningLoss) -> None:
        """Show the losses of the run from now on."""
        self.running_loss = losses

    @property
    def total_batch_idx(self) -> int:
        """Index of the batch in work, over all epochs."""
        return self.epoch_loop.total_batch_idx

    @property
    def batch_idx(self) -> int:
        """Index of the batch in work, within its epoch."""
        return self.epoch_loop.batch_idx

    @property
    def restarting(self) -> bool:
        """Whether the present epoch goes on from within, or, where steps are counted, the run from anywhere."""
        resumed = self.progress.resumed
        return resumed is not None and (resumed.in_epoch or self.settings.max_steps != -1)

    @property
    def max_batches(self) -> float:
        """Batches of an epoch."""
        return self.progress.num_training_batches

    @max_batches.setter
    def max_batches(self, value: float) -> None:
        self.data.limit_epoch(value)

    def setup_data(self) -> None:
        """Ask for the training loaders now."""
        self.data.load_training()
