"""Which outputs of the training steps does `training_epoch_end` get, and in which form?"""

from __future__ import annotations

from lightning_adapter.versions.types import BatchOutput


class EpochOutputs:
    """What `training_epoch_end` gets. Kept only for a module that has this hook.

    Args:
        several: whether a batch can have the outputs of several optimizers.
    """

    def __init__(self, several: bool) -> None:
        self.several = several
        self._batches: list[BatchOutput] = []

    def add(self, output: BatchOutput) -> None:
        """Keep what one batch gave `on_train_batch_end`."""
        self._batches.append(output)

    def state_dict(self) -> list[BatchOutput]:
        """What is kept of the epoch so far."""
        return list(self._batches)

    def load_state_dict(self, batches: list[BatchOutput]) -> None:
        """Go on with what was kept before an interruption."""
        self._batches = list(batches)

    def take(self) -> list[BatchOutput] | None:
        """The outputs of the epoch, which are forgotten with that; None if there was no batch.

        With several optimizers each batch is a list of its own, but a single batch's list is not wrapped once more: the
        `_prepare_outputs_training_epoch_end` of Lightning 1.x squeezes every dimension of size one. It removes batches
        without an output afterwards, so that these count there.
        """
        batches, self._batches = self._batches, []
        if not batches:
            return None
        kept = [batch for batch in batches if batch]
        if self.several and len(batches) == 1:
            return [output for batch in kept for output in batch]  # type: ignore[misc]  # lists, with several optimizers
        return kept
