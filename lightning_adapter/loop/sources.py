"""Who makes the loaders: the trial, the datamodule, or the module? As `_DataLoaderSource`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightning_adapter.data.collections import Collection
from lightning_adapter.loop.hooks import Hooks

Source = Callable[[], Collection]


@dataclass(frozen=True)
class LoaderSources:
    """Looked up at each request, since `setup` may still change what there is.

    Attributes:
        hooks: calls them as running hooks.
        own_training: the trial's own builder of training loaders, where it overrides it.
        own_validation: the same for validation.
    """

    hooks: Hooks
    own_training: Source | None
    own_validation: Source | None

    def training(self) -> Source | None:
        """What makes the training loaders; None if nobody does."""
        return self.own_training or self._of_code("train")

    def validation(self) -> Source | None:
        """What makes the validation loaders; None if nobody does."""
        return self.own_validation or self._of_code("val")

    def _of_code(self, prefix: str) -> Source | None:
        hooks, name = self.hooks, f"{prefix}_dataloader"
        if hooks.datamodule is None:
            return (lambda: hooks.call_module(name)) if hooks.overridden(name) else None
        # a loader made for Determined wins where there are both
        determined_name = f"{prefix}_det_dataloader"
        if hasattr(hooks.datamodule, determined_name):
            return lambda: hooks.call_data(determined_name)
        return (lambda: hooks.call_data(name)) if hooks.overridden_in_data(name) else None
