"""Can NVIDIA's apex be used here, and if not, what does torch have in its place?"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import determined_private

#: What torch itself does in place of apex's levels.
_NATIVE = {"O0": "32-true", "O1": "16-mixed", "O2": "16-mixed", "O3": "16-true"}


class ApexAmp(Protocol):
    """What the adapter uses of the module `apex.amp`."""

    def scale_loss(self, loss: Tensor, optimizers: Optimizer | Sequence[Optimizer]) -> AbstractContextManager[Tensor]:
        """A context that gives the loss to differentiate, and unscales the gradients when it ends."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The state of all loss scalers."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the loss scalers."""
        ...


def apex_amp(level: str, precision: str, processes: int) -> ApexAmp:
    """The module `apex.amp`, for `amp_backend="apex"`.

    Args:
        level: O0 to O3.
        precision: the canonical name of the argument `precision`.
        processes: number of processes.

    Raises:
        ConfigurationError: it cannot be used here; all reasons in one message, with the native precision to type instead.
    """
    amp, faults = _import()
    if not torch.cuda.is_available():
        faults.append("there is no CUDA device, and apex runs on nothing else")
    if precision not in ("32-true", "16-mixed"):
        faults.append(
            f"precision={precision!r} is not apex's: amp_level={level!r} says what it does; leave precision out"
        )
    if processes > 1 and os.environ.get(determined_private.HOROVOD_VARIABLE):
        faults.append("apex unscales gradients before Horovod has averaged them; start the job with torchrun")
    if amp is None or faults:
        native = _NATIVE[level]
        raise ConfigurationError(
            f"amp_backend='apex' with amp_level={level!r} cannot be used here: {'; '.join(faults)}. Leave amp_backend and "
            f"amp_level out and use precision={native!r}, which is torch's own equivalent."
        )
    return amp


def _import() -> tuple[ApexAmp | None, list[str]]:
    """`apex.amp`, or None and why not; a foreign package by the name of apex has no `amp` either."""
    try:
        importlib.import_module("apex")
    except ImportError as error:
        return None, [f"apex cannot be imported ({error})"]
    try:
        return cast(ApexAmp, importlib.import_module("apex.amp")), []
    except ImportError as error:
        return None, [f"the installed apex has no `amp`, which its releases after 25.04 removed ({error})"]
