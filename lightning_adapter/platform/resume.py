"""At which moments of a run is what a checkpoint holds put back?

The moments are those of `_CheckpointConnector`: weights and callbacks before the optimizers are made, optimizers and
counters after `on_fit_start`; and one that Lightning has not, the position in the data, after `on_train_start`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from lightning_adapter.checkpoints import restore
from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.loop import run_state
from lightning_adapter.loop.components import Components
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.loop.run_state import RunState
from lightning_adapter.loop.start import Training
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.versions import lightning_private

logger = logging.getLogger("lightning_adapter")


def restore_before_optimizers(parts: Components, begun: StartingPoint) -> None:
    """Weights, and in a resumed run datamodule and callbacks.

    Raises:
        CheckpointError: the weights are of another model.
    """
    show_path(parts, begun)
    if begun.saved is not None:
        restore.restore_weights(parts, begun.saved, begun.weights_only)
    if begun.weights_only:
        begun.restored()


def show_path(parts: Components, begun: StartingPoint) -> None:
    """Let user code find the checkpoint at `trainer.ckpt_path`, as `resume_start`; it stays there.

    ModelCheckpoint reads it, which deletes each file but the one that the run goes on from.
    """
    if begun.resumes:
        parts.trainer.ckpt_path = begun.path


def restore_after_fit_start(parts: Components, begun: StartingPoint, loaded: Mapping[str, Any] | None) -> None:
    """Optimizers, schedulers, counters and what was logged.

    Args:
        parts: the run.
        begun: the checkpoint of `fit`.
        loaded: what Determined's own Trainer has loaded in its place: it restores models and optimizers itself.

    Raises:
        CheckpointError: the checkpoint was written with other optimizers.
    """
    if begun.saved is not None and begun.resumes:
        lightning_private.resume_weight_averaging(parts.host, parts.trainer, parts.module)
        restore.restore_optimizers(parts, begun.saved)
        if OURS in begun.saved:
            run_state.load_counters(parts, begun.saved[OURS])
        else:
            restore.restore_lightning_counters(parts, begun.saved)
        begun.optimizers_restored()
    elif loaded is not None:
        run_state.load_counters(parts, loaded)
        restore.restore_callbacks(parts, loaded["callbacks"])


def restore_position(
    parts: Components,
    state: RunState,
    begun: StartingPoint,
    loaded: Mapping[str, Any] | None,
    validation_is_due: Callable[[], bool],
) -> None:
    """Stand in the data where the checkpoint was written, with the random state of that moment.

    Args:
        parts: the run.
        state: puts it back.
        begun: the checkpoint of `fit`.
        loaded: what Determined's own Trainer has loaded in its place.
        validation_is_due: whether a validation belongs after the batch that was trained last.

    Raises:
        CheckpointError: an epoch has another number of batches than when the checkpoint was written.
    """
    saved = loaded if loaded is not None else (begun.saved or {}).get(OURS)
    if saved is not None:
        state.load_position(saved, saved["random"])
    else:
        run_state.load_lightning_position(parts, validation_is_due())
    begun.restored()


def warn_of_finished_run(parts: Components) -> None:
    """Nothing is left to train in a run that is resumed."""
    logger.warning(
        "The run that the checkpoint is of was over: it has %d epochs and %d optimizer steps%s. To train on, raise "
        "max_epochs or max_steps; to train on from its weights alone, use warm_start_from.",
        parts.progress.current_epoch,
        parts.progress.optimizer_steps,
        ", and a callback had asked to stop" if parts.stop.wanted else "",
    )


def state_of(training: Training, progress: TrainingProgress, max_batches: int | None) -> dict[str, Any]:
    """What a checkpoint holds of the present position, beside what Lightning saves.

    Args:
        training: of the run.
        progress: where it stands.
        max_batches: after which this call of `fit` ends; None where Lightning's limits decide.
    """
    before_end = training.fit_loop.resume_point
    if before_end is not None and progress.is_finished:
        state = dict(before_end)
    else:
        state = training.state.state_dict()
    if max_batches is not None and progress.total_batches >= max_batches:
        state["should_stop"] = False  # the limit is this call's: one that resumes brings its own
    return state
