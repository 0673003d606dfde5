"""Which private names of Lightning's optimizers and schedulers are touched, why, and in which versions were they seen?

Seen in Lightning 1.9.5, 2.0.9 and 2.6.6, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from weakref import proxy

from torch.optim import Optimizer

from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import LightningOptimizer, LRSchedulerConfig

#: What `Strategy._lightning_optimizers` is: a list, in Lightning 1.x a dictionary by index.
Wrappers: TypeAlias = Sequence[LightningOptimizer] | Mapping[int, LightningOptimizer]


def lightning_optimizers(host: Host, optimizers: Sequence[Optimizer], strategy: object) -> Wrappers:
    """What `LightningModule.optimizers()` hands to user code: a list, in Lightning 1.x a dictionary by index.

    `LightningOptimizer._strategy` (1.9.5 to 2.6.6) is where its `step()` goes; in 1.x `_optimizer_idx` goes along.
    """
    cls = host.load("core.optimizer").LightningOptimizer
    wrapped = [optimizer if isinstance(optimizer, cls) else cls(optimizer) for optimizer in optimizers]
    for index, wrapper in enumerate(wrapped):
        wrapper._strategy = proxy(strategy)
        if host.quirks.numbers_optimizers:
            wrapper._optimizer_idx = index
    return dict(enumerate(wrapped)) if host.quirks.numbers_optimizers else wrapped


def optimizer_wrappers(wrappers: Wrappers) -> list[LightningOptimizer]:
    """The values of what `lightning_optimizers` returned."""
    return list(wrappers.values() if isinstance(wrappers, Mapping) else wrappers)


def around_optimizer_step(wrapper: LightningOptimizer, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Count optimizer steps in manual optimization (`_on_before_step`, `_on_after_step`, 1.9.5 to 2.6.6)."""
    wrapper._on_before_step = before
    wrapper._on_after_step = after


def unwrap_optimizer(optimizer: Optimizer | LightningOptimizer | None) -> Optimizer | None:
    """The user's own optimizer below a LightningOptimizer (public property `optimizer`)."""
    given: Any = optimizer
    own: Optimizer | None = given.optimizer if type(given).__name__.startswith("Lightning") else given
    return own


def scheduler_configs(
    host: Host, schedulers: Sequence[object], monitor: str | None, automatic: bool
) -> list[LRSchedulerConfig]:
    """A `LRSchedulerConfig`, which `trainer.lr_scheduler_configs` holds, for each scheduler or dictionary of one.

    `_configure_schedulers_automatic_opt` and `_configure_schedulers_manual_opt` (`core.optimizer`, 1.9.5 to 2.6.6) check
    the keys of a dictionary and warn about those that have no effect.

    Raises:
        MisconfigurationException: a dictionary is wrong, in Lightning's words; it is a ConfigurationError too.
    """
    core = host.load("core.optimizer")
    try:
        configs: list[LRSchedulerConfig] = (
            core._configure_schedulers_automatic_opt(schedulers, monitor)
            if automatic
            else core._configure_schedulers_manual_opt(schedulers)
        )
    except host.load("utilities.exceptions").MisconfigurationException as error:
        raise host.misconfiguration(str(error)) from error
    return configs
