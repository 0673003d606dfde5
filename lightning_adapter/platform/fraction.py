"""How much of a run is done, for the progress bar of an experiment?"""

from __future__ import annotations

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.settings import Settings


def fraction_done(progress: TrainingProgress, settings: Settings, max_batches: int | None) -> float:
    """From 0 to 1; of several limits the one that is nearest counts.

    Args:
        progress: where the run stands.
        settings: has the limits in epochs and steps.
        max_batches: the limit in batches, None without one.
    """
    if progress.is_finished:
        return 1.0
    parts = [0.0]
    if settings.max_steps > 0:
        parts.append(progress.optimizer_steps / settings.max_steps)
    if max_batches is not None:
        parts.append(progress.total_batches / max_batches)
    if settings.max_epochs > 0:
        done = float(progress.epoch.current.processed)
        length = progress.num_training_batches
        if progress.in_epoch and length not in (0, float("inf")):
            done += progress.batch.current.ready / length
        parts.append(done / settings.max_epochs)
    return min(1.0, max(parts))
