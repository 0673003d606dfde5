"""How may user code name the optimizer that `toggle_optimizer` and `untoggle_optimizer` are about?"""

from __future__ import annotations

import functools
from typing import Any, Self

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

    def __new__(cls, module: LightningModule, name: str) -> Self:
        """Make one."""
        return super().__new__(cls, functools.partial(_toggle, module, name), module, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Toggle:
        module: Any = self.owner
        return _Toggle(memo.get(id(module), module), self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Toggle, (self.owner, self.name)


def _toggle(module: LightningModule, name: str, optimizer: Optimizer | int, optimizer_idx: int | None = None) -> None:
    """Do as the module's class does, which knows no indices.

    Args:
        module: the module.
        name: of its method.
        optimizer: the optimizer; in `untoggle_optimizer(index)` its index.
        optimizer_idx: the index that `toggle_optimizer` was given besides, which says nothing more.
    """
    if isinstance(optimizer, int):
        optimizer = module.trainer.optimizers[optimizer]
    getattr(type(module), name)(module, optimizer)


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
