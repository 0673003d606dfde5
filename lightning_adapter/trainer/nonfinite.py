"""Did a loss or a logged value become NaN or infinite, at which step, and what is to be done about it?

Losses stay on the device until a reporting step: remembering one costs a reference, and only then is the device waited
for, once for all of them.
"""

from __future__ import annotations

import cmath
import logging
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_adapter.errors import NonFiniteError

logger = logging.getLogger("lightning_adapter")

#: Losses that are kept at most until they are looked at.
MAX_PENDING = 1000


class NonFiniteCheck:
    """Looks for values that are not finite.

    Args:
        on_nan: "warn" says so once per name; "raise" ends training.

    Attributes:
        pending: losses and their batches since the last look, which is due when there are `MAX_PENDING` of them.
    """

    def __init__(self, on_nan: str) -> None:
        self.on_nan = on_nan
        self.pending: list[tuple[Tensor, int]] = []
        self._told: set[str] = set()

    def add(self, loss: Tensor, batch: int) -> None:
        """Remember the loss of a batch; `batch` counts from the start of training, from 1."""
        self.pending.append((loss, batch))

    def check(self) -> None:
        """Look at the losses since the last time; this waits for the device.

        Raises:
            NonFiniteError: one is not finite, and `on_nan` is "raise".
        """
        pending, self.pending = self.pending, []
        if not pending or "loss" in self._told:
            return
        stacked = torch.stack([loss if loss.ndim == 0 else loss.reshape(()) for loss, _ in pending])
        if cmath.isfinite(stacked.sum().item()):  # one that is not would show in the sum
            return
        finite = torch.isfinite(stacked)
        if not bool(finite.all()):
            first = int((~finite).nonzero()[0])
            self._tell("loss", float(stacked[first]), pending[first][1])

    def logged(self, values: Mapping[str, float], batch: int) -> None:
        """Look at values that are being logged.

        Raises:
            NonFiniteError: one is not finite, and `on_nan` is "raise".
        """
        for name, value in values.items():
            if not math.isfinite(value) and name not in self._told:
                self._tell(name, value, batch)

    def _tell(self, name: str, value: float, batch: int) -> None:
        self._told.add(name)
        what = "what training_step returned" if name == "loss" else f"the logged value {name!r}"
        message = (
            f"{what} became {value} at batch {batch}. A lower learning rate, gradient_clip_val, or "
            "detect_anomaly=True to find the operation, may help"
        )
        if self.on_nan == "raise":
            raise NonFiniteError(f"{message}; on_nan='raise' ends the run here.")
        logger.warning("%s; training goes on (on_nan='raise' would end it).", message)
