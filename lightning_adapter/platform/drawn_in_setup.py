"""Does a set-up of the data after training draw what training has drawn, a random split of the data for one?

Lightning calls `setup()` once more for each stage. What it draws from the global generators is then another split than that of
the training, unless it begins from the state that they had there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning_adapter import notices
from lightning_adapter.data.random_state import RandomState


def drawing_as_training(setup: Callable[..., Any], who: str, began: RandomState | None) -> Callable[..., None]:
    """A `setup` that draws what that of the training has drawn, or says that it cannot.

    Args:
        setup: of the datamodule, or of the module that makes its loaders itself.
        who: its class.
        began: the random state in which training has called it; None where nobody knows it.
    """

    def again(stage: str) -> None:
        before = RandomState.now()
        if began is not None:
            # right before it, since Lightning seeds anew when several processes meet
            began.restore()
            setup(stage=stage)
            if began.is_now():  # nothing was drawn: all that follows draws what it does under Lightning's Trainer
                before.restore()
            return
        setup(stage=stage)
        if not before.is_now():
            notices.warn(
                f"{who}.setup() draws random numbers, and not those that it has drawn for training: samples that were trained "
                "on are among these where it splits the data at random. Give the split a seed of its own, random_split(..., "
                "generator=torch.Generator().manual_seed(N)), or use a checkpoint that fit() of this version has "
                "written, which knows them."
            )

    return again
