"""Which trainer arguments were given, under Lightning's names, and can this run honour them?"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, TypeAlias

from lightning_adapter import notices
from lightning_adapter.argument_values import (
    LARGEST,
    fault_of_flag,
    faults_of_durations,
    faults_of_flags,
    faults_of_objects,
    integer,
    is_bool,
    is_number,
    seconds,
    train_unit,
    whole,
)
from lightning_adapter.errors import ConfigurationError, guess, shown
from lightning_adapter.monkey_patch import NoEffectWarning
from lightning_adapter.support import Support, trainer_arguments
from lightning_adapter.support.trainer_arguments import Job

_STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "horovod")
_SHARDED = ("fsdp", "deepspeed", "shard", "tpu", "xla", "parallel", "colossal")
_PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "bf16-true", "16-true", "64-true")
#: Other names that Lightning takes, those of 1.x among them; numbers are taken as their text.
_PRECISION_ALIASES = {
    "16": "16-mixed",
    "bf16": "bf16-mixed",
    "32": "32-true",
    "64": "64-true",
    "mixed": "16-mixed",
}
#: What `barebones` says about other arguments, as in Lightning's `Trainer.__init__`.
_BAREBONES = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 0,
    "logger": False,
}
#: What `fast_dev_run` says about other arguments besides their limits, as in Lightning's `_init_debugging_flags`.
_FAST_DEV_RUN = {
    "max_epochs": 1,
    "num_sanity_val_steps": 0,
    "val_check_interval": 1.0,
    "val_check_time_interval": None,
    "check_val_every_n_epoch": 1,
}

#: Batches of each stage: a number, or a fraction.
_LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches")
#: Forms of a time between validations.
_TIMES = (str, dict, timedelta)
#: Arguments that switch something on or off.
_FLAGS = (
    *("use_distributed_sampler", "sync_batchnorm", "inference_mode", "detect_anomaly", "benchmark"),
    *("enable_progress_bar", "enable_model_summary", "enable_autolog_hparams", "barebones"),
    *("fp16_compression", "shard_iterable", "worker_seeds"),
)

#: Callbacks and loggers are of either Lightning package, or look like theirs: one, several, or none.
Callbacks: TypeAlias = Any
Loggers: TypeAlias = Any
#: Given as a number of batches, a fraction of an epoch, or a time; a number once the arguments are made.
Interval: TypeAlias = Any


@dataclass
class Arguments:
    """Arguments of `LightningAdapter`, with Lightning's names, values and defaults, and a few of our own.

    Once made, they hold what Lightning's Trainer makes of them: canonical names, and the defaults that depend on others.

    Raises:
        ConfigurationError: values that cannot be used; all faults in one message.
    """

    precision: str = "32-true"
    strategy: str = "auto"
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: str | None = None
    accumulate_grad_batches: int = 1
    callbacks: Callbacks = None
    logger: Loggers = None
    log_every_n_steps: int = 50
    max_epochs: int | None = None
    min_epochs: int | None = None
    max_steps: int = -1
    min_steps: int | None = None
    max_time: str | timedelta | dict[str, int] | None = None
    limit_train_batches: float | None = None
    limit_val_batches: float | None = None
    limit_test_batches: float | None = None
    limit_predict_batches: float | None = None
    overfit_batches: float = 0.0
    fast_dev_run: int | bool = False
    val_check_interval: Interval = None
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
    enable_autolog_hparams: bool = True
    barebones: bool = False
    default_root_dir: str | os.PathLike[str] | None = None
    amp_backend: str = "native"
    amp_level: str | None = None
    fp16_compression: bool = False
    check_ranks_every: Any = None
    on_nan: str = "warn"
    shard_iterable: bool = False
    worker_seeds: bool = False
    #: seconds between validations, from a time given as `val_check_interval`
    val_check_time_interval: float | None = field(default=None, init=False)
    #: names of those that do not stand at their default because nobody said anything
    given: frozenset[str] = field(default=frozenset(), init=False, compare=False)

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
        self._check_integers(faults)
        self._check_fractions(faults)
        self._check_debugging(faults)
        self._check_kinds(faults)
        self._check_validation_interval(faults)
        self._check_clipping(faults)
        self._check_choices(faults)
        if faults:
            raise ConfigurationError("\n".join(faults))
        # Lightning's order: a later one wins over an earlier one.
        self._apply_defaults()
        self._apply_barebones()
        self._apply_fast_dev_run()
        self._apply_overfitting()

    @classmethod
    def of(
        cls, given: Mapping[str, Any], job: Job | None, error: Callable[[str], Exception] = ConfigurationError
    ) -> Arguments:
        """Arguments from keyword arguments.

        Those of Lightning's Trainer that decide nothing here are taken where they ask for nothing, or for what the job has.

        Args:
            given: name to value.
            job: what was started; None where nothing is to be trained.
            error: makes what is raised of a message.

        Raises:
            ConfigurationError: an unknown or rejected name (with what was probably meant), or an unusable value.
        """
        known = {f.name for f in fields(cls) if f.init}
        faults, without_effect = _others({name: given[name] for name in given if name not in known}, known, job)
        try:
            arguments = cls(**{name: value for name, value in given.items() if name in known})
        except ConfigurationError as refused:
            faults.append(str(refused))
        if faults:
            raise error("\n".join(faults))
        arguments.given = frozenset(name for name, value in given.items() if value is not None)
        for message in without_effect:
            notices.warn(message, NoEffectWarning)
        return arguments

    def train_until(self, max_epochs: int | None = None, max_steps: int | None = None) -> None:
        """Take limits that win over those of the constructor; None leaves one as it is.

        Args:
            max_epochs: as Lightning's, -1 for no limit.
            max_steps: optimizer steps.
        """
        if max_epochs is not None:
            self.max_epochs = max_epochs
        if max_steps is not None:
            self.max_steps = max_steps

    def _check_strategy(self, faults: list[str]) -> None:
        name = self.strategy
        if not isinstance(name, str):
            faults.append(
                f"strategy={shown(name)} is a strategy object; the adapter exchanges gradients itself, so give its name: "
                f"one of {', '.join(_STRATEGIES)}."
            )
        elif name in ("dp", "ddp2"):
            faults.append(
                f"strategy={shown(name)} runs several devices in one process; Determined starts one process per slot. "
                "Use strategy='ddp' with resources.slots_per_trial in the experiment YAML."
            )
        elif name not in _STRATEGIES:
            sharded = any(word in name for word in _SHARDED)
            reason = "shards the model, which a PyTorchTrial cannot save or restore" if sharded else "is not known here"
            near = difflib.get_close_matches(name, _STRATEGIES, 1)
            faults.append(
                f"strategy={shown(name)} {reason}. Use one of {', '.join(_STRATEGIES)}"
                + (f" (did you mean {near[0]!r}?)." if near else ".")
            )

    def _check_integers(self, faults: list[str]) -> None:
        def check(name: str, least: int, optional: bool = True) -> None:
            value = getattr(self, name)
            if value is None and optional:
                return
            which = f", {least} or more" + (", or None" if optional else "")
            number = integer(name, value, least, LARGEST, which, faults)
            if number is not None:
                setattr(self, name, number)

        check("accumulate_grad_batches", 1, optional=False)
        check("log_every_n_steps", 0, optional=False)
        check("reload_dataloaders_every_n_epochs", 0, optional=False)
        check("max_epochs", -1)
        check("min_epochs", 0)
        check("max_steps", -1, optional=False)
        check("min_steps", 0)
        check("check_val_every_n_epoch", 1)

    def _check_fractions(self, faults: list[str]) -> None:
        """Note what is neither a fraction of the batches nor a number of them, as `_determine_batch_limits` does."""
        for name in (*_LIMITS, "overfit_batches", "val_check_interval"):
            value = getattr(self, name)
            if value is None or (name == "val_check_interval" and isinstance(value, (str, dict, timedelta))):
                continue
            if not is_number(value):
                faults.append(f"{name}={shown(value)} has to be a fraction from 0.0 to 1.0 or a number of batches.")
            elif (not 0 <= value <= 1 and value % 1 != 0) or not 0 <= value <= LARGEST:
                faults.append(
                    f"You have passed invalid value {shown(value)} for {name}, it has to be in [0.0, 1.0] or an int."
                )
            else:
                number = whole(value)
                setattr(self, name, float(value) if number is None else number)

    def _check_debugging(self, faults: list[str]) -> None:
        steps, run = self.num_sanity_val_steps, self.fast_dev_run
        if not is_number(steps) or steps < -1:
            faults.append(f"num_sanity_val_steps={shown(steps)} has to be an integer, -1 (all) or more.")
        if not (is_bool(run) or is_number(run)) or not 0 <= run <= LARGEST:
            faults.append(
                f"fast_dev_run={shown(run)} is not a valid configuration. It should be >= 0: True, False, or a number of "
                "batches."
            )

    def _check_kinds(self, faults: list[str]) -> None:
        """Note what is no switch, no time (`max_time` goes to Lightning's Timer), no callback, and no logger."""
        faults += faults_of_flags({name: getattr(self, name) for name in _FLAGS})
        given = {"max_time": self.max_time, "val_check_interval": self.val_check_interval}
        faults += faults_of_durations(
            {name: value for name, value in given.items() if name == "max_time" or isinstance(value, _TIMES)}
        )
        faults += faults_of_objects(
            "callbacks", self.callbacks, "on_train_start", "callback; derive one from Lightning's Callback"
        )
        if not is_bool(self.logger):
            what = "logger; give one of Lightning's, True for the default one, or False for none"
            faults += faults_of_objects("logger", self.logger, "log_metrics", what)

    def _check_validation_interval(self, faults: list[str]) -> None:
        if self.check_val_every_n_epoch is None and isinstance(self.val_check_interval, float):
            faults.append(
                "`val_check_interval` should be an integer or a time-based duration (str 'DD:HH:MM:SS', "
                "datetime.timedelta, or dict kwargs for timedelta) when `check_val_every_n_epoch=None`."
            )

    def _check_clipping(self, faults: list[str]) -> None:
        clip = self.gradient_clip_val
        if clip is not None and (isinstance(clip, bool) or not isinstance(clip, (int, float))):
            faults.append(f"gradient_clip_val={shown(clip)} has to be a number or None.")

    def _check_choices(self, faults: list[str]) -> None:
        def choice(name: str, *values: str | None) -> None:
            value = getattr(self, name)
            if not (value is None or isinstance(value, str)) or value not in values:
                faults.append(f"{name}={shown(value)} has to be one of {', '.join(map(repr, values))}.")

        if isinstance(self.gradient_clip_algorithm, str):
            self.gradient_clip_algorithm = self.gradient_clip_algorithm.lower()  # as Lightning takes it
        root = self.default_root_dir
        if root is not None and not (isinstance(root, (str, os.PathLike)) and isinstance(os.fspath(root), str)):
            faults.append(f"default_root_dir={shown(root)} has to be the path of a directory, or None.")
        choice("gradient_clip_algorithm", None, "norm", "value")
        choice("amp_backend", "native", "apex")
        choice("amp_level", None, "O0", "O1", "O2", "O3")
        choice("on_nan", "warn", "raise")
        period = self.check_ranks_every
        try:
            if period is not None:
                self.check_ranks_every = train_unit("check_ranks_every", period)
        except ConfigurationError as error:
            faults.append(f"{error} Without it the parameters of all processes are compared at each checkpoint.")
        value = self.deterministic
        if not (value is None or (isinstance(value, str) and value == "warn")) and fault_of_flag("", value) is not None:
            faults.append(f"deterministic={shown(value)} has to be True, False or 'warn'.")
        if self.amp_level is not None and self.amp_backend != "apex":
            faults.append(f"amp_level={shown(self.amp_level)} belongs to apex; add amp_backend='apex' or leave it out.")

    def _apply_defaults(self) -> None:
        """Put numbers in the place of what asks for a default, for everything, or for a time."""
        if self.default_root_dir is not None:
            root = os.fspath(self.default_root_dir)
            # one of another file system stays as it is, as in `Trainer.default_root_dir`
            self.default_root_dir = root if "://" in root else os.path.normpath(os.path.expanduser(root))
        for name in _LIMITS:
            value = getattr(self, name)
            setattr(self, name, 1.0 if value is None else int(value) if value > 1 else value)
        interval = self.val_check_interval
        if interval is None:
            self.val_check_interval = 1.0
        elif isinstance(interval, (str, dict, timedelta)):
            self.val_check_time_interval = seconds("val_check_interval", interval)
            self.val_check_interval = 1.0
        elif interval > 1:
            self.val_check_interval = int(interval)
        if self.num_sanity_val_steps == -1:
            self.num_sanity_val_steps = float("inf")

    def _apply_barebones(self) -> None:
        if self.barebones:
            for name, value in _BAREBONES.items():
                setattr(self, name, value)

    def _apply_fast_dev_run(self) -> None:
        if not self.fast_dev_run:
            return
        batches = int(self.fast_dev_run)
        self.limit_train_batches = self.limit_val_batches = self.max_steps = batches
        self.limit_test_batches = self.limit_predict_batches = batches
        for name, value in _FAST_DEV_RUN.items():
            setattr(self, name, value)
        self.fast_dev_run = True if batches == 1 else self.fast_dev_run

    def _apply_overfitting(self) -> None:
        if self.overfit_batches > 0:
            overfit = int(self.overfit_batches) if self.overfit_batches > 1 else self.overfit_batches
            self.overfit_batches = self.limit_train_batches = self.limit_val_batches = overfit


def canonical_precision(precision: object) -> str:
    """Return Lightning's name of a precision, as `_convert_precision_to_unified_args` does.

    Raises:
        ConfigurationError: no such precision.
    """
    name = precision if isinstance(precision, str) else str(whole(precision))
    name = _PRECISION_ALIASES.get(name, name)
    if name not in _PRECISIONS:
        raise ConfigurationError(
            f"precision={shown(precision)} is not one of {', '.join(_PRECISIONS)} (or 16, 32, 64 and 'bf16'). Type one of these."
        )
    return name


def _others(given: Mapping[str, Any], known: set[str], job: Job | None) -> tuple[list[str], list[str]]:
    """What is wrong with arguments that the adapter does not take, and which of them have no effect."""
    faults: list[str] = []
    without_effect: list[str] = []
    for name, value in given.items():
        row = trainer_arguments.row_of(name)
        if row is None:
            faults.append(_unknown(name, known))
        elif not trainer_arguments.asks_for_nothing(row, value, job):
            said = without_effect if row.support is Support.WARNED else faults
            said.append(trainer_arguments.message(row, value, job or Job()))
    return faults, without_effect


def _unknown(name: str, known: set[str]) -> str:
    hint = guess(name, known) or f". It takes: {', '.join(sorted(known))}."
    return f"LightningAdapter has no argument {name!r}{hint}"
