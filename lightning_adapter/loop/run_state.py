"""What does a checkpoint hold of a run besides what Lightning saves, and how is it put back?

The parts say themselves what they hold; this file knows their keys in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, get_type_hints

import torch
from lightning_utilities.core.apply_func import apply_to_collection

from lightning_adapter.checkpoints import form
from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.checkpoints.restore import restoring
from lightning_adapter.data.loaders import INFINITE
from lightning_adapter.data.random_state import RandomState, RandomStateDict
from lightning_adapter.data.training import TrainingDataState
from lightning_adapter.errors import CheckpointError
from lightning_adapter.loop.components import Components
from lightning_adapter.loop.epoch_outputs import EpochOutputs
from lightning_adapter.loop.manual_optimization import ManualOptimization
from lightning_adapter.loop.progress import ProgressState, Unsettled
from lightning_adapter.trainer.logger_connector import SavedLogs
from lightning_adapter.versions import lightning_private, torchmetrics_private

#: Of what is written here; a file with a higher one is of a newer version of this package.
_FORMAT = 1


class SavedRandomState(RandomStateDict, total=False):
    """State of all generators of a process."""

    cuda: torch.Tensor


class RankState(TypedDict):
    """What differs between the ranks of a job."""

    random: SavedRandomState
    data: TrainingDataState | None
    metrics: SavedLogs
    metric_states: dict[str, torchmetrics_private.MetricState]
    gradients: dict[str, torch.Tensor]
    outputs: list[Any] | None


class _LaterAdditions(TypedDict, total=False):
    """What older files of this format do not have.

    Attributes:
        optimizers: names of the optimizers' classes.
    """

    optimizers: list[str]


class SavedState(ProgressState, _LaterAdditions):
    """What a checkpoint holds of a run, and of each rank."""

    format: int
    should_stop: bool
    modes: list[bool]
    loaded_in: tuple[float, float]
    ranks: list[RankState]
    determined_callbacks: dict[str, Any]


_PER_RANK = tuple(get_type_hints(RankState))


def check_form(state: object) -> None:
    """Look whether what a checkpoint holds of a run can be restored.

    Raises:
        CheckpointError: it was written by a newer version of this package, or something in it is not as it should be.
    """
    written = state.get("format") if isinstance(state, Mapping) else None
    if isinstance(written, int) and written > _FORMAT:
        raise CheckpointError(
            f"The checkpoint has format {written}, and this version of lightning_adapter reads formats up to {_FORMAT}: a "
            "newer version has written it. Install that one, or use warm_start_from, which takes the weights alone."
        )
    form.check(state, SavedState, OURS)
    if not state["ranks"]:  # type: ignore[index]  # it has the form of a SavedState
        raise CheckpointError(
            f"The checkpoint's {OURS}['ranks'] is empty: it is of no process. Use another checkpoint."
        )


def random_state(has_gpu: bool) -> dict[str, Any]:
    """State of all generators of this process.

    Args:
        has_gpu: whether torch sees one.
    """
    state: dict[str, Any] = dict(RandomState.now().state_dict())
    if has_gpu:
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Continue all generators of this process."""
    with restoring("random state"):
        RandomState.of(state).restore()
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"])


def of_this_rank(state: Mapping[str, Any]) -> dict[str, Any]:
    """What differs between ranks in what `RunState.state_dict` returned, in main memory."""
    own = {name: state[name] for name in _PER_RANK}
    if "cuda" not in state["random"]:
        return own  # all of it is there, and stands twice in the file of a single process without being written twice
    return apply_to_collection(own, torch.Tensor, lambda tensor: tensor.cpu())  # type: ignore[no-any-return]


def with_rank(state: dict[str, Any], rank: int) -> dict[str, Any]:
    """A saved state with what it has of a rank; ranks that did not exist then take the chief's."""
    ranks = state["ranks"]
    return {**state, **ranks[rank if rank < len(ranks) else 0]}


def load_counters(parts: Components, state: Mapping[str, Any]) -> None:
    """Restore the position, what was logged and the modules' modes; the data follows in `RunState.load_position`."""
    parts.progress.load_state_dict(state)  # type: ignore[arg-type]
    with restoring("states of metrics"):
        torchmetrics_private.load_metric_states(parts.module, state["metric_states"], parts.device)
    parts.connector.load_state_dict(state["metrics"])
    # saved after all ranks had agreed
    parts.stop.decide(state["should_stop"])
    modules = list(parts.module.modules())
    if len(modules) == len(state["modes"]):
        for child, training in zip(modules, state["modes"], strict=True):
            child.training = training


def load_lightning_position(parts: Components, validation_is_due: bool) -> None:
    """Where Lightning's Trainer stands after a resume: in mid epoch it reads the data from the start.

    Args:
        parts: the run.
        validation_is_due: whether a validation belongs after the batch that was trained last.
    """
    data, progress = parts.data.training, parts.progress
    trained = progress.batch.current.ready
    if data is None or not progress.in_epoch:
        return
    if trained and validation_is_due:
        _resume_at_validation(parts)
    if progress.last_batch_reached:
        return
    if trained and not data.all_stateful:
        parts.host.warn(
            f"The checkpoint is a file of Lightning's form, as its Trainer and ModelCheckpoint write it, after batch {trained} "
            "of an epoch. It says nothing of the position in the data: as with Trainer.fit(ckpt_path=...), the rest of the "
            "epoch reads the data from its start. To go on exactly, use a file of the end of an epoch, or a checkpoint that "
            "the run itself keeps (resume_from its run directory)."
        )
    if parts.host.quirks.iterates_in_epoch:
        data.start()
    data.fetcher.count_on(trained)


def _resume_at_validation(parts: Components) -> None:
    """The first lines of `_TrainingEpochLoop.advance`: was the validation interrupted, made, or not begun?"""
    progress, data = parts.progress, parts.data
    if progress.validation.is_within_step:
        progress.resumes_after_batch(Unsettled.VALIDATION)
    elif progress.resumed is not None and progress.resumed.after_batch:
        progress.resumes_after_batch(Unsettled.REST)
    else:
        # not made up for; but its loaders are iterated, which may draw, and it counts
        data.load_validation()
        if data.validation is None or sum(data.validation.longest) == 0:
            return
        data.set_epoch(data.validation.loaders)
        data.validation.fetcher(data.validation.max_batches).start()
        data.validation.pass_is_over()
        longest = max(data.validation.max_batches)
        progress.validation_passed_over(0 if longest == INFINITE else int(longest))


class RunState:
    """State of a run that has started.

    Args:
        parts: the run.
        manual: knows whether gradients are still to be used.
        epoch_outputs: what is kept for `training_epoch_end`; None where nobody has that hook.
    """

    def __init__(self, parts: Components, manual: ManualOptimization, epoch_outputs: EpochOutputs | None) -> None:
        self._parts = parts
        self._manual = manual
        self._epoch_outputs = epoch_outputs
        # asked once: where there is none, torch asks the driver's library each time
        self._has_gpu = torch.cuda.is_available()

    def state_dict(self) -> dict[str, Any]:
        """The state of this process."""
        parts, outputs = self._parts, self._epoch_outputs
        return {
            "format": _FORMAT,
            **parts.progress.state_dict(),
            # an order is about the trial that got it: whoever goes on from the checkpoint trains on
            "should_stop": bool(parts.stop.wanted) and parts.stop.ordered is None,
            "metrics": parts.connector.state_dict(),
            "metric_states": torchmetrics_private.metric_states(parts.module),
            "optimizers": [type(optimizer).__qualname__ for optimizer in parts.strategy.optimizers],
            "modes": [child.training for child in parts.module.modules()],
            "gradients": self._gradients(),
            "outputs": None if outputs is None else outputs.state_dict(),
            **parts.data.state_dict(),
            "random": random_state(self._has_gpu),
        }

    def _gradients(self) -> dict[str, torch.Tensor]:
        """Gradients that are still to be used: in manual optimization a batch may have accumulated without a step."""
        if self._parts.module.automatic_optimization or self._manual.has_stepped:
            return {}
        named = self._parts.module.named_parameters()
        return {name: value.grad for name, value in named if value.grad is not None}

    def load_position(self, state: Mapping[str, Any], random: Mapping[str, Any]) -> None:
        """Stand in the data after the last trained batch, with the random state of that moment.

        Raises:
            CheckpointError: an epoch has another number of batches than when the checkpoint was written.
        """
        parts = self._parts
        # `on_train_start` may have made metrics
        with restoring("states of metrics"):
            lost = torchmetrics_private.load_late_metric_states(parts.module, state["metric_states"], parts.device)
        if lost:
            parts.host.warn(
                f"What {', '.join(lost)} had accumulated when the checkpoint was written is lost: the run had made these "
                "metrics while it trained. Make them in the constructor or in `setup` to go on exactly."
            )
        parts.data.load_state_dict(state)
        parameters = dict(parts.module.named_parameters())
        with restoring("gradients"):
            for name, gradient in state["gradients"].items():
                parameters[name].grad = gradient.to(parameters[name].device)
        if self._epoch_outputs is not None and state["outputs"] is not None:
            outputs = lightning_private.move_data_to_device(parts.host, state["outputs"], parts.device)
            self._epoch_outputs.load_state_dict(outputs)
        # last: iterating and fetching above have drawn
        set_random_state(random)
