"""How does a module come out of a package that cannot be pickled, a lambda being in it for one? Its trial makes it again."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from lightning_adapter.evaluation.loading import LoadedTrial
from lightning_adapter.evaluation.source import Source
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.versions.types import LightningModule


class MadeByItsTrial:
    """Stands for a module in a pickle, and is the module when it is unpickled.

    Args:
        trial_class: makes it.
        config: with this configuration.
        checkpoint: its weights, and the hyperparameters of the run.
    """

    def __init__(
        self, trial_class: type[LightningTrial], config: Mapping[str, Any], checkpoint: Mapping[str, Any]
    ) -> None:
        self._made_of = (trial_class, dict(config), dict(checkpoint))

    def __reduce__(self) -> tuple[Callable[..., LightningModule], tuple[Any, ...]]:
        return make, self._made_of


def make(trial_class: type[LightningTrial], config: dict[str, Any], checkpoint: dict[str, Any]) -> LightningModule:
    """Construct the trial, and load the weights; called by whoever unpickles."""
    source = Source(None, pathlib.Path("package"), config=config, is_package=True)
    return LoadedTrial.of(trial_class, source, checkpoint, None, None).lightning_module
