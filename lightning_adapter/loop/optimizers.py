"""How does every legal return of `configure_optimizers` become one form, and when does a scheduler step?

The forms are Lightning's, of 1.x and of 2.x: an optimizer, a list or tuple of them, two lists, a dictionary, a tuple of
dictionaries (with `frequency`), None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import hosts, lightning_private


class _InvalidSchedulerError(ConfigurationError, TypeError):
    """A scheduler is none; Lightning raises a TypeError."""


@dataclass
class Optimization:
    """What `configure_optimizers` asked for.

    Attributes:
        optimizers: the user's optimizers, in order.
        schedulers: one `LRSchedulerConfig` for each scheduler, in order.
        frequencies: batches that each optimizer has in turn (Lightning 1.x); empty where all step in each batch.
    """

    optimizers: list[Any]
    schedulers: list[Any] = field(default_factory=list)
    frequencies: list[int] = field(default_factory=list)


class NoOptimizer(Optimizer):
    """Stands in where `configure_optimizers` returns None: runs closures, changes nothing."""

    def __init__(self) -> None:
        super().__init__([torch.zeros(1)], {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Nothing to optimize: there are no parameter groups."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Run the closure."""
        return closure() if closure is not None else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing to zero."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to save."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Nothing to restore."""


def _is_optimizer(value: Any) -> bool:
    """Optimizers need not be torch's own: what counts is `step`, `zero_grad`, `param_groups` and the state's two methods."""
    return all(
        hasattr(value, name) for name in ("step", "zero_grad", "param_groups", "state_dict", "load_state_dict")
    ) and not isinstance(value, type)


def _is_scheduler(value: Any) -> bool:
    return isinstance(value, (LRScheduler, ReduceLROnPlateau))


def normalize(returned: Any, host: hosts.Host, module: Any, automatic: bool, custom_step: bool) -> Optimization:
    """Bring what `configure_optimizers` returned into one form.

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
    optimizers, schedulers, monitor, frequencies = _split(returned, host, module)
    configs = [_scheduler_config(s, monitor, host, automatic) for s in schedulers]
    for config in configs:
        scheduler = config.scheduler
        if getattr(scheduler, "optimizer", None) is not None and not any(scheduler.optimizer is o for o in optimizers):
            raise host.misconfiguration(
                "Some schedulers are attached with an optimizer that wasn't returned from `configure_optimizers`."
            )
        if not (hasattr(scheduler, "state_dict") and hasattr(scheduler, "load_state_dict")):
            raise _InvalidSchedulerError(
                f"The provided lr scheduler `{type(scheduler).__name__}` is invalid."
                " It should have `state_dict` and `load_state_dict` methods defined."
            )
        if not _is_scheduler(scheduler) and not custom_step and automatic:
            raise host.misconfiguration(
                f"The provided lr scheduler `{type(scheduler).__name__}` doesn't follow PyTorch's LRScheduler API."
                " You should override the `LightningModule.lr_scheduler_step` hook with your own logic if you are using"
                " a custom LR scheduler."
            )
    return Optimization(optimizers, configs, frequencies)


def _split(returned: Any, host: hosts.Host, module: Any) -> tuple[list[Any], list[Any], str | None, list[int]]:
    is_sequence = isinstance(returned, (list, tuple))
    if _is_optimizer(returned):
        return [returned], [], None, []
    if is_sequence and len(returned) == 2 and isinstance(returned[0], list) and all(map(_is_optimizer, returned[0])):
        schedulers = returned[1] if isinstance(returned[1], list) else [returned[1]]
        return list(returned[0]), schedulers, None, []
    if isinstance(returned, Mapping):
        _check_keys(returned, host)
        schedulers = [returned["lr_scheduler"]] if "lr_scheduler" in returned else []
        return [returned["optimizer"]], schedulers, returned.get("monitor"), []
    if is_sequence and returned and all(isinstance(entry, Mapping) for entry in returned):
        for entry in returned:
            _check_keys(entry, host, "frequency")
        schedulers = []
        for index, entry in enumerate(returned):
            if "lr_scheduler" in entry:
                scheduler = entry["lr_scheduler"]
                scheduler = dict(scheduler) if isinstance(scheduler, Mapping) else {"scheduler": scheduler}
                if host.legacy:
                    scheduler.setdefault("opt_idx", index)
                if isinstance(scheduler["scheduler"], ReduceLROnPlateau) and "monitor" in entry:
                    scheduler.setdefault("monitor", entry["monitor"])
                schedulers.append(scheduler)
        frequencies = [entry["frequency"] for entry in returned if entry.get("frequency") is not None]
        if frequencies and len(frequencies) != len(returned):
            raise host.misconfiguration("A frequency must be given to each optimizer.")
        return [entry["optimizer"] for entry in returned], schedulers, None, frequencies
    if is_sequence and all(map(_is_optimizer, returned)):
        return list(returned), [], None, []
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


def _check_keys(entry: Mapping[str, Any], host: hosts.Host, *more: str) -> None:
    if "optimizer" not in entry or not _is_optimizer(entry["optimizer"]):
        raise host.misconfiguration(
            'A dictionary returned from `configure_optimizers` needs the key "optimizer" with an optimizer as its value,'
            f" found {dict(entry)!r}."
        )
    extra = entry.keys() - {"optimizer", "lr_scheduler", "monitor", *more}
    if extra:
        host.warn(f"Found unsupported keys in the optimizer configuration: {extra}", category=RuntimeWarning)


def _scheduler_config(scheduler: Any, monitor: str | None, host: hosts.Host, automatic: bool) -> Any:
    if not isinstance(scheduler, Mapping):
        scheduler = {"scheduler": scheduler}
        if isinstance(scheduler["scheduler"], ReduceLROnPlateau):
            if monitor is None and automatic:
                raise host.misconfiguration(
                    "`configure_optimizers` must include a monitor when a `ReduceLROnPlateau` scheduler is used."
                    ' For example: {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "metric_to_track"}'
                )
            scheduler.update(monitor=monitor)
    options = dict(scheduler)
    if not automatic:
        ignored = {"reduce_on_plateau", "monitor", "strict"}
        named = sorted(ignored & options.keys()) if isinstance(scheduler, Mapping) and len(options) > 1 else []
        if [key for key in named if options[key] is not None]:
            host.warn(
                f"The lr scheduler dict contains the key(s) {named}, but the keys will be ignored."
                " You need to call `lr_scheduler.step()` manually in manual optimization.",
                category=RuntimeWarning,
            )
        return lightning_private.scheduler_config(
            host, options.pop("scheduler"), **{k: v for k, v in options.items() if k not in ignored}
        )
    extra = options.keys() - lightning_private.scheduler_config_keys(host)
    if extra:
        host.warn(
            f"Found unsupported keys in the lr scheduler dict: {extra}."
            " HINT: remove them from the output of `configure_optimizers`.",
            category=RuntimeWarning,
        )
        options = {key: value for key, value in options.items() if key not in extra}
    if "scheduler" not in options:
        raise host.misconfiguration(
            'The lr scheduler dict must have the key "scheduler" with its item being an lr scheduler'
        )
    if options.get("interval", "epoch") not in ("step", "epoch"):
        raise host.misconfiguration(
            f'The "interval" key in lr scheduler dict must be "step" or "epoch" but is "{options["interval"]}"'
        )
    plateau = isinstance(options["scheduler"], ReduceLROnPlateau)
    options["reduce_on_plateau"] = options.get("reduce_on_plateau", plateau)
    if options["reduce_on_plateau"] and options.get("monitor") is None:
        raise host.misconfiguration(
            "The lr scheduler dict must include a monitor when a `ReduceLROnPlateau` scheduler is used. For example:"
            ' {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "your_loss"}}'
        )
    if isinstance(options["scheduler"], OneCycleLR) and options.get("interval", "epoch") == "epoch":
        host.warn(
            "A `OneCycleLR` scheduler is using 'interval': 'epoch'. Are you sure you didn't mean 'interval': 'step'?",
            category=RuntimeWarning,
        )
    return lightning_private.scheduler_config(host, options.pop("scheduler"), **options)


def optimizers_to_device(optimizers: list[Any], device: torch.device) -> None:
    """Move the state of optimizers to `device`: the module may have been moved after they were created."""
    for optimizer in optimizers:
        for state in getattr(optimizer, "state", {}).values():
            for name, value in state.items() if isinstance(state, dict) else ():
                if isinstance(value, torch.Tensor) and name != "step":
                    state[name] = value.to(device)


def clip(optimizer: Any, value: float, algorithm: str) -> None:
    """Clip the gradients of one optimizer's parameters, by norm or by value, as Lightning's precision plugin does."""
    if value <= 0:
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if algorithm == "value":
        torch.nn.utils.clip_grad_value_(parameters, clip_value=value)
    else:
        torch.nn.utils.clip_grad_norm_(parameters, value)
