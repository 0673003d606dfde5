"""Which trainer arguments were given, under Lightning's names, and can this run honour them?"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from determined import pytorch

from lightning_adapter.errors import ConfigurationError

_PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "bf16-true", "16-true", "64-true")

#: Lightning's shorter names.
_PRECISION_ALIASES = {
    "16": "16-mixed",
    "bf16": "bf16-mixed",
    "32": "32-true",
    "64": "64-true",
    "mixed": "16-mixed",
}

_STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "horovod")


def canonical_precision(precision: object) -> str:
    """Lightning's name of a precision.

    Raises:
        ConfigurationError: no such precision.
    """
    name = str(precision)
    name = _PRECISION_ALIASES.get(name, name)
    if name not in _PRECISIONS:
        raise ConfigurationError(
            f"precision={precision!r} is not one of {', '.join(_PRECISIONS)} (or 16, 32, 64 and 'bf16'). Type one of these."
        )
    return name


@dataclass
class Arguments:
    """Arguments of `LightningAdapter`, with Lightning's names, values and defaults, and a few of our own.

    Raises:
        ConfigurationError: values that cannot be used; all faults in one message.
    """

    precision: Any = "32-true"
    strategy: Any = "auto"
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None
    accumulate_grad_batches: int = 1
    callbacks: Any = None
    logger: Any = None
    log_every_n_steps: int = 50
    max_epochs: int | None = None
    min_epochs: int | None = None
    max_steps: int = -1
    min_steps: int | None = None
    max_time: str | timedelta | dict[str, int] | None = None
    limit_train_batches: float | None = None
    limit_val_batches: float | None = None
    overfit_batches: float = 0.0
    fast_dev_run: int | bool = False
    val_check_interval: Any = None
    check_val_every_n_epoch: int | None = 1
    num_sanity_val_steps: float = 0
    reload_dataloaders_every_n_epochs: int = 0
    use_distributed_sampler: bool = True
    sync_batchnorm: bool = False
    inference_mode: bool = True
    detect_anomaly: bool = False
    deterministic: bool | str | None = None
    benchmark: bool | None = None
    enable_progress_bar: bool = True
    enable_model_summary: bool = True
    barebones: bool = False
    amp_backend: str = "native"
    amp_level: str | None = None
    fp16_compression: bool = False
    check_ranks_every: Any = None
    on_nan: str = "warn"
    shard_iterable: bool = False
    worker_seeds: bool = False
    #: seconds between validations, from a time given as `val_check_interval`
    val_check_time_interval: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        faults: list[str] = []
        for argument in fields(self):
            # as in Lightning, None asks for the default, except where it has a meaning of its own
            if argument.init and getattr(self, argument.name) is None and argument.name != "check_val_every_n_epoch":
                setattr(self, argument.name, argument.default)
        try:
            self.precision = canonical_precision(self.precision)
        except ConfigurationError as error:
            faults.append(str(error))
        self._check_strategy(faults)
        self._check_numbers(faults)
        self._check_choices(faults)
        if faults:
            raise ConfigurationError("\n".join(faults))
        self._derive()

    @classmethod
    def of(cls, given: dict[str, Any]) -> Arguments:
        """Arguments from keyword arguments.

        Raises:
            ConfigurationError: an unknown or rejected name (with what was probably meant), or an unusable value.
        """
        known = {f.name for f in fields(cls) if f.init}
        unknown = [name for name in given if name not in known]
        if not unknown:
            return cls(**given)
        faults = [_unknown(name, known) for name in unknown]
        try:
            cls(**{name: value for name, value in given.items() if name in known})
        except ConfigurationError as error:
            faults.append(str(error))
        raise ConfigurationError("\n".join(faults))

    def _check_strategy(self, faults: list[str]) -> None:
        name = self.strategy
        if not isinstance(name, str):
            faults.append(
                f"strategy={name!r} is a strategy object; the adapter exchanges gradients itself, so give its name: "
                f"one of {', '.join(_STRATEGIES)}."
            )
        elif name in ("dp", "ddp2"):
            faults.append(
                f"strategy={name!r} runs several devices in one process; Determined starts one process per slot. "
                "Use strategy='ddp' with resources.slots_per_trial in the experiment YAML."
            )
        elif name not in _STRATEGIES:
            sharded = any(word in name for word in ("fsdp", "deepspeed", "shard", "tpu", "xla", "parallel", "colossal"))
            reason = "shards the model, which a PyTorchTrial cannot save or restore" if sharded else "is not known here"
            guess = difflib.get_close_matches(name, _STRATEGIES, 1)
            faults.append(
                f"strategy={name!r} {reason}. Use one of {', '.join(_STRATEGIES)}"
                + (f" (did you mean {guess[0]!r}?)." if guess else ".")
            )

    def _check_numbers(self, faults: list[str]) -> None:
        def integer(name: str, least: int, optional: bool = True) -> None:
            value = getattr(self, name)
            if value is None and optional:
                return
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                faults.append(
                    f"{name}={value!r} has to be an integer, {least} or more" + (", or None." if optional else ".")
                )

        integer("accumulate_grad_batches", 1, optional=False)
        integer("log_every_n_steps", 0, optional=False)
        integer("reload_dataloaders_every_n_epochs", 0, optional=False)
        integer("max_epochs", -1)
        integer("min_epochs", 0)
        integer("max_steps", -1, optional=False)
        integer("min_steps", 0)
        integer("check_val_every_n_epoch", 1)
        for name in ("limit_train_batches", "limit_val_batches", "overfit_batches", "val_check_interval"):
            value = getattr(self, name)
            if value is None or (isinstance(value, (str, dict, timedelta)) and name == "val_check_interval"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                faults.append(f"{name}={value!r} has to be a fraction from 0.0 to 1.0 or a number of batches.")
            elif (not 0 <= value <= 1 and value % 1 != 0) or value < 0:
                faults.append(
                    f"You have passed invalid value {value} for {name}, it has to be in [0.0, 1.0] or an int."
                )
        if isinstance(self.num_sanity_val_steps, bool) or self.num_sanity_val_steps < -1:
            faults.append(f"num_sanity_val_steps={self.num_sanity_val_steps!r} has to be an integer, -1 (all) or more.")
        if isinstance(self.fast_dev_run, int) and self.fast_dev_run < 0:
            faults.append(f"fast_dev_run={self.fast_dev_run!r} is not a valid configuration. It should be >= 0.")
        if self.check_val_every_n_epoch is None and isinstance(self.val_check_interval, float):
            faults.append(
                "`val_check_interval` should be an integer or a time-based duration (str 'DD:HH:MM:SS', "
                "datetime.timedelta, or dict kwargs for timedelta) when `check_val_every_n_epoch=None`."
            )
        clip = self.gradient_clip_val
        if clip is not None and (isinstance(clip, bool) or not isinstance(clip, (int, float))):
            faults.append(f"gradient_clip_val={clip!r} has to be a number or None.")

    def _check_choices(self, faults: list[str]) -> None:
        def choice(name: str, *values: Any) -> None:
            value = getattr(self, name)
            if value not in values:
                faults.append(f"{name}={value!r} has to be one of {', '.join(map(repr, values))}.")

        choice("gradient_clip_algorithm", None, "norm", "value")
        choice("amp_backend", "native", "apex")
        choice("amp_level", None, "O0", "O1", "O2", "O3")
        choice("on_nan", "warn", "raise")
        period = self.check_ranks_every
        if period is not None and not isinstance(period, (pytorch.Batch, pytorch.Epoch)):
            faults.append(
                f"check_ranks_every={period!r} is no period. Give determined.pytorch.Batch(n) or Epoch(n); without it the "
                "parameters of all processes are compared at each checkpoint."
            )
        if self.amp_level is not None and self.amp_backend != "apex":
            faults.append(f"amp_level={self.amp_level!r} belongs to apex; add amp_backend='apex' or leave it out.")

    def _derive(self) -> None:
        """Defaults that depend on other arguments, as Lightning's Trainer sets them."""
        for name in ("limit_train_batches", "limit_val_batches"):
            value = getattr(self, name)
            setattr(self, name, 1.0 if value is None else int(value) if value > 1 else value)
        interval = self.val_check_interval
        if interval is None:
            self.val_check_interval = 1.0
        elif isinstance(interval, (str, dict, timedelta)):
            self.val_check_time_interval = seconds(interval)
            self.val_check_interval = 1.0
        elif interval > 1:
            self.val_check_interval = int(interval)
        if self.num_sanity_val_steps == -1:
            self.num_sanity_val_steps = float("inf")
        if self.barebones:
            self.enable_progress_bar = False
            self.enable_model_summary = False
            self.num_sanity_val_steps = 0
            self.log_every_n_steps = 0
            self.logger = False
        if self.fast_dev_run:
            batches = int(self.fast_dev_run)
            self.limit_train_batches = self.limit_val_batches = batches
            self.max_steps = batches
            self.max_epochs = 1
            self.num_sanity_val_steps = 0
            self.val_check_interval = 1.0
            self.val_check_time_interval = None
            self.check_val_every_n_epoch = 1
            if batches == 1:
                self.fast_dev_run = True
        if self.overfit_batches > 0:
            overfit = int(self.overfit_batches) if self.overfit_batches > 1 else self.overfit_batches
            self.overfit_batches = self.limit_train_batches = self.limit_val_batches = overfit


def seconds(interval: str | timedelta | dict[str, int]) -> float:
    """A duration: 'DD:HH:MM:SS', a timedelta, or its keyword arguments.

    Raises:
        ConfigurationError: the text has another form.
    """
    if isinstance(interval, str):
        parts = interval.split(":")
        if len(parts) != 4 or not all(part.isdigit() for part in parts):
            raise ConfigurationError(f"val_check_interval={interval!r} is no duration; write it as 'DD:HH:MM:SS'.")
        days, hours, minutes, secs = map(int, parts)
        interval = timedelta(days=days, hours=hours, minutes=minutes, seconds=secs)
    elif isinstance(interval, dict):
        interval = timedelta(**interval)
    return interval.total_seconds()


def _unknown(name: str, known: set[str]) -> str:
    from lightning_adapter import support  # the table is read only to explain a mistake

    for row in support.rows("Trainer argument"):
        if row.name == name and row.support is not support.Support.SUPPORTED:
            return f"LightningAdapter does not take {name}: {row.reason}" + (f" {row.instead}" if row.instead else "")
    guess = difflib.get_close_matches(name, sorted(known), 1)
    hint = f"; did you mean {guess[0]!r}?" if guess else f". It takes: {', '.join(sorted(known))}."
    return f"LightningAdapter has no argument {name!r}{hint}"
