"""How is a batch optimized where `training_step` steps the optimizers itself? As `_ManualOptimization.run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.loop.returned_logs import ReturnedLogs
from lightning_adapter.loop.strategies.base import SingleDeviceStrategy
from lightning_adapter.trainer.nonfinite import NonFiniteCheck
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import StepOutput


class ManualOptimization:
    """Runs the step of a batch and counts the optimizer steps that it takes.

    Args:
        training_step: the module's step as a running hook.
        host: the Lightning package.
        strategy: has the optimizers as user code steps them.
        progress: counts optimizer steps.
        non_finite: remembers losses.
        returned_logs: logs what a step returned in place of logging it.

    Attributes:
        has_stepped: whether an optimizer has stepped in the batch trained last; if not, gradients are still to be used.
    """

    def __init__(
        self,
        training_step: Callable[..., StepOutput],
        host: Host,
        strategy: SingleDeviceStrategy,
        progress: TrainingProgress,
        non_finite: NonFiniteCheck,
        returned_logs: ReturnedLogs,
    ) -> None:
        self._training_step = training_step
        self._host = host
        self._progress = progress
        self._non_finite = non_finite
        self._returned_logs = returned_logs
        self._in_step = False
        self.has_stepped = True
        self._strategy = strategy
        self._watched: Any = ()

    def _watch(self) -> None:
        """Count the steps of the optimizers that there are now; user code may have put others in their place."""
        for wrappers, then in ((self._watched, _nothing), (self._strategy.lightning_optimizers, self._count)):
            for wrapper in lightning_private.optimizer_wrappers(wrappers):
                lightning_private.around_optimizer_step(wrapper, _nothing, then)
        self._watched = self._strategy.lightning_optimizers

    def _count(self) -> None:
        if self._in_step:  # steps in other hooks are not counted by Lightning either
            self._progress.advance_optimizer_step()
            self.has_stepped = True

    def run(self, arguments: tuple[Any, ...], batch_idx: int) -> dict[str, Any]:
        """Run the step with one batch.

        Args:
            arguments: what `training_step` is given.
            batch_idx: index of the batch in its epoch.

        Returns:
            What `on_train_batch_end` gets as its outputs.
        """
        if self._watched is not self._strategy.lightning_optimizers:
            self._watch()
        self._in_step, self.has_stepped = True, False
        try:
            output = self._training_step(*arguments)
        finally:
            self._in_step = False
        # what is looked at for NaN is what hooks get, without its graph
        outputs = self._outputs(output)
        loss = outputs.get("loss")
        if isinstance(loss, Tensor) and loss.numel() == 1:
            self._non_finite.add(loss, self._progress.total_batches)
        return outputs

    def _outputs(self, output: StepOutput) -> dict[str, Any]:
        """As `ManualResult.from_training_step_output`."""
        if isinstance(output, Mapping):
            self._returned_logs.log("training_step", output)
            extra = dict(output)
            if isinstance(extra.get("loss"), Tensor):
                extra["loss"] = extra["loss"].detach()
            return extra
        if isinstance(output, Tensor):
            return {"loss": output.detach()}
        if output is not None:
            raise self._host.misconfiguration(
                "In manual optimization, `training_step` must either return a Tensor or have no return."
            )
        return {}


def _nothing() -> None:
    """Stands for a step that is not counted."""
