"""How may user code name the optimizer that `toggle_optimizer` and `untoggle_optimizer` are about?"""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.monkey_patch import Replacement
from lightning_adapter.versions.types import LightningModule


class _Toggle(Replacement):
    """One of the two methods of one module, with the index that Lightning 1.x wanted or without.

    Args:
        module: the module.
        name: which of the two.
    """

    def __init__(self, module: LightningModule, name: str) -> None:
        self.module = module
        self.name = name

    def __call__(self, optimizer: Optimizer | int, optimizer_idx: int | None = None) -> None:
        """Do as the module's class does, which knows no indices.

        Args:
            optimizer: the optimizer; in `untoggle_optimizer(index)` its index.
            optimizer_idx: the index that `toggle_optimizer` was given besides, which says nothing more.
        """
        if isinstance(optimizer, int):
            optimizer = self.module.trainer.optimizers[optimizer]
        getattr(type(self.module), self.name)(self.module, optimizer)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Toggle:
        return _Toggle(memo.get(id(self.module), self.module), self.name)

    def __reduce__(self) -> tuple[type[_Toggle], tuple[LightningModule, str]]:
        return _Toggle, (self.module, self.name)


def accept_indices(module: LightningModule, hooks: Hooks) -> None:
    """Let user code call `toggle_optimizer(optimizer, optimizer_idx)` and `untoggle_optimizer(optimizer_idx)`.

    Args:
        module: the module; under Lightning 1.x, and where it brings its own two methods, it is left alone.
        hooks: tells which methods the module overrides.
    """
    if hooks.host.quirks.takes_indices:
        return
    for name in ("toggle_optimizer", "untoggle_optimizer"):
        if not hooks.replaced(name):
            vars(module)[name] = _Toggle(module, name)
