"""What did `configure_optimizers` ask for: which optimizers, which schedulers, in which turns?

The forms are Lightning's, of 1.x and of 2.x: an optimizer, a list or tuple of them, two lists, a dictionary, a tuple of
dictionaries (with `frequency`), None. Which form it is, is decided here and not by Lightning's `_configure_optimizers`: that
of 2.x knows no `frequency`, and a project written for 1.x is to train on 2.x. What the dictionary of a scheduler means is
the same in all versions, and left to Lightning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeGuard, TypeVar

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import hosts, lightning_private
from lightning_adapter.versions.types import LightningModule, LRSchedulerConfig

T = TypeVar("T")

#: What a `configure_optimizers` may return; whether it is one of the legal forms is found out here.
Returned: TypeAlias = Any

#: A scheduler, or the dictionary that describes one.
Scheduler: TypeAlias = Any


class _InvalidSchedulerError(ConfigurationError, TypeError):
    """A scheduler is none; Lightning raises a TypeError."""


@dataclass
class OptimizerConfiguration:
    """What `configure_optimizers` asked for.

    Attributes:
        optimizers: the user's optimizers, in order.
        schedulers: one `LRSchedulerConfig` for each scheduler, in order.
        frequencies: batches that each optimizer has in turn (Lightning 1.x); empty where all step in each batch.
    """

    optimizers: list[Optimizer]
    schedulers: list[LRSchedulerConfig] = field(default_factory=list)
    frequencies: list[int] = field(default_factory=list)


@dataclass
class _Parts:
    """What one of the legal forms holds; `monitor` goes to schedulers that are given without a dictionary."""

    optimizers: list[Optimizer]
    schedulers: list[Scheduler] = field(default_factory=list)
    monitor: str | None = None
    frequencies: list[int] = field(default_factory=list)


class NoOptimizer(Optimizer):
    """Stands in where `configure_optimizers` returns None: runs closures, changes nothing."""

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Nothing to optimize: there are no parameter groups."""

    def step(self, closure: Callable[[], T] | None = None) -> T | None:  # type: ignore[override]
        """Run the closure."""
        return closure() if closure is not None else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing to zero."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to save."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Nothing to restore."""


def parse_optimizers(
    returned: Returned, host: hosts.Host, module: torch.nn.Module, automatic: bool, custom_step: bool
) -> OptimizerConfiguration:
    """Bring what `configure_optimizers` returned into one form, as `_init_optimizers_and_lr_schedulers` does.

    Args:
        returned: the return value.
        host: the Lightning package of the module.
        module: the LightningModule, for error messages.
        automatic: whether Lightning or the module steps the optimizers.
        custom_step: whether the module overrides `lr_scheduler_step`, and so takes schedulers of any class.

    Raises:
        MisconfigurationException: the value has none of the legal forms, or a scheduler's dictionary is wrong; it is a
            ConfigurationError too.
    """
    if returned is None:
        host.warn("`LightningModule.configure_optimizers` returned `None`, this fit will run with no optimizer")
        returned = NoOptimizer()
    parts = _split(returned, host, module)
    # copies: Lightning writes into a dictionary, which the user may use again
    schedulers = [dict(each) if isinstance(each, Mapping) else each for each in parts.schedulers]
    configs = lightning_private.scheduler_configs(host, schedulers, parts.monitor, automatic)
    for config in configs:
        _check_scheduler(config.scheduler, parts.optimizers, host, any_class=custom_step or not automatic)
    return OptimizerConfiguration(parts.optimizers, configs, parts.frequencies)


def _is_optimizer(value: object) -> TypeGuard[Optimizer]:
    """Optimizers need not be torch's own: what counts is `step`, `zero_grad`, `param_groups` and the state's two methods."""
    return all(
        hasattr(value, name) for name in ("step", "zero_grad", "param_groups", "state_dict", "load_state_dict")
    ) and not isinstance(value, type)


def _are_optimizers(values: Sequence[object]) -> bool:
    return all(map(_is_optimizer, values))


def _split(returned: Returned, host: hosts.Host, module: torch.nn.Module) -> _Parts:
    """Which of the legal forms it is."""
    if _is_optimizer(returned):
        return _Parts([returned])
    if isinstance(returned, Mapping):
        _check_keys(returned, host)
        schedulers = [returned["lr_scheduler"]] if "lr_scheduler" in returned else []
        return _Parts([returned["optimizer"]], schedulers, returned.get("monitor"))
    if isinstance(returned, (list, tuple)):
        if len(returned) == 2 and isinstance(returned[0], list) and _are_optimizers(returned[0]):
            return _Parts(list(returned[0]), returned[1] if isinstance(returned[1], list) else [returned[1]])
        if returned and all(isinstance(entry, Mapping) for entry in returned):
            return _of_dictionaries(returned, host)
        if _are_optimizers(returned):
            return _Parts(list(returned))
    raise host.misconfiguration(
        f"{type(module).__name__}.configure_optimizers() returned {returned!r}, an unknown configuration for model"
        " optimizers. Output from `model.configure_optimizers()` should be one of:\n"
        " * `Optimizer`\n"
        " * [`Optimizer`]\n"
        " * ([`Optimizer`], [`LRScheduler`])\n"
        ' * {"optimizer": `Optimizer`, (optional) "lr_scheduler": `LRScheduler`}\n'
        ' * a tuple of such dictionaries, (optional) with "frequency"\n'
        " * None, to train with no optimizer"
    )


def _of_dictionaries(entries: Sequence[Mapping[str, Any]], host: hosts.Host) -> _Parts:
    """Several dictionaries, one for each optimizer."""
    for entry in entries:
        _check_keys(entry, host, "frequency")
    schedulers = [_scheduler_of(entry, index, host) for index, entry in enumerate(entries) if "lr_scheduler" in entry]
    frequencies = [entry["frequency"] for entry in entries if entry.get("frequency") is not None]
    if frequencies and len(frequencies) != len(entries):
        raise host.misconfiguration("A frequency must be given to each optimizer.")
    return _Parts([entry["optimizer"] for entry in entries], schedulers, None, frequencies)


def _scheduler_of(entry: Mapping[str, Any], index: int, host: hosts.Host) -> dict[str, Any]:
    """The scheduler's dictionary in the dictionary of optimizer number `index`."""
    given = entry["lr_scheduler"]
    scheduler = dict(given) if isinstance(given, Mapping) else {"scheduler": given}
    if host.quirks.numbers_schedulers:  # `LRSchedulerConfig` of 1.x has the index of its optimizer
        scheduler.setdefault("opt_idx", index)
    if isinstance(scheduler["scheduler"], ReduceLROnPlateau) and "monitor" in entry:
        scheduler.setdefault("monitor", entry["monitor"])
    return scheduler


def _check_keys(entry: Mapping[str, Any], host: hosts.Host, *more: str) -> None:
    if "optimizer" not in entry or not _is_optimizer(entry["optimizer"]):
        raise host.misconfiguration(
            'A dictionary returned from `configure_optimizers` needs the key "optimizer" with an optimizer as its value,'
            f" found {dict(entry)!r}."
        )
    extra = entry.keys() - {"optimizer", "lr_scheduler", "monitor", *more}
    if extra:
        host.warn(f"Found unsupported keys in the optimizer configuration: {extra}", category=RuntimeWarning)


def _check_scheduler(scheduler: Scheduler, optimizers: list[Optimizer], host: hosts.Host, any_class: bool) -> None:
    """Refuse what `_validate_optimizers_attached` and `_validate_scheduler_api` refuse, in their words."""
    attached = getattr(scheduler, "optimizer", None)  # a scheduler of any class need not have one
    if attached is not None and not any(attached is optimizer for optimizer in optimizers):
        raise host.misconfiguration(
            "Some schedulers are attached with an optimizer that wasn't returned from `configure_optimizers`."
        )
    if not (hasattr(scheduler, "state_dict") and hasattr(scheduler, "load_state_dict")):
        raise _InvalidSchedulerError(
            f"The provided lr scheduler `{type(scheduler).__name__}` is invalid."
            " It should have `state_dict` and `load_state_dict` methods defined."
        )
    if not any_class and not isinstance(scheduler, (LRScheduler, ReduceLROnPlateau)):
        raise host.misconfiguration(
            f"The provided lr scheduler `{type(scheduler).__name__}` doesn't follow PyTorch's LRScheduler API."
            " You should override the `LightningModule.lr_scheduler_step` hook with your own logic if you are using"
            " a custom LR scheduler."
        )


def check_optimizer_idx(module: LightningModule, optimizers: int, automatic: bool, host: hosts.Host) -> None:
    """Compare the parameters of `training_step` with the number of optimizers, as `_validate_multiple_optimizers_support`.

    Raises:
        MisconfigurationException: it needs to be told which optimizer has its turn, or is not told what it asks for.
    """
    several, name = automatic and optimizers > 1, type(module).__name__
    if several and not lightning_private.has_parameter(module.training_step, "optimizer_idx"):
        raise host.misconfiguration(
            f"{name} has {optimizers} optimizers, so its training_step needs the"
            " parameter `optimizer_idx`, or set `self.automatic_optimization = False` and step them there with"
            " `opt1, opt2, ... = self.optimizers()`."
        )
    if not several and lightning_private.requires_parameter(module.training_step, "optimizer_idx"):
        why = (
            f"configure_optimizers() returned {optimizers}" if automatic else "under manual optimization you step them"
        )
        raise host.misconfiguration(
            f"{name}.training_step() requires `optimizer_idx`, which is passed where several optimizers are stepped in turn,"
            f" but {why}. Remove the `optimizer_idx` argument from `training_step`, or give it a default; where you step"
            " optimizers yourself, access them in `training_step` with `opt1, opt2, ... = self.optimizers()`."
        )


def check_closures(optimizers: Sequence[Optimizer], host: hosts.Host) -> None:
    """Refuse an optimizer that calls its closure several times where losses are scaled, as `MixedPrecision` does.

    Raises:
        MisconfigurationException: one does.
    """
    if any(isinstance(optimizer, torch.optim.LBFGS) for optimizer in optimizers):
        raise host.misconfiguration(
            "precision='16-mixed' and the LBFGS optimizer are not compatible: the scale of the loss is found anew after "
            "each step, and LBFGS computes several losses in one. Use precision='bf16-mixed'."
        )


def optimizers_to_device(optimizers: Sequence[Optimizer], device: torch.device) -> None:
    """Move the state of optimizers to `device`: the module may have been moved after they were created."""
    for optimizer in optimizers:
        for state in getattr(optimizer, "state", {}).values():
            for name, value in state.items() if isinstance(state, dict) else ():
                if isinstance(value, torch.Tensor) and name != "step":
                    state[name] = value.to(device)
