"""Which values of the trainer's arguments may user code read and change while it trains?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, overload

from lightning_adapter.arguments import Arguments
from lightning_adapter.versions.hosts import Host

if TYPE_CHECKING:
    from enum import Enum

T = TypeVar("T")

#: The default of `Trainer(num_sanity_val_steps=)`.
_LIGHTNINGS_SANITY_STEPS = 2


class Settings:
    """The values under Lightning's names, with the defaults that depend on each other filled in.

    Callbacks of Lightning change some of them (GradientAccumulationScheduler, StochasticWeightAveraging), so the loops
    read them here at every use, and `self.trainer` shows them.

    Args:
        arguments: what the trial gave its adapter; it is not changed.
        host: whose defaults and enums are used.
        has_timer: whether a Timer among the callbacks ends training.
    """

    def __init__(self, arguments: Arguments, host: Host, has_timer: bool) -> None:
        self.max_epochs = _max_epochs(arguments, has_timer, host)
        self.min_epochs = _min_epochs(arguments)
        self.max_steps = arguments.max_steps
        self.min_steps = arguments.min_steps
        self.accumulate_grad_batches = arguments.accumulate_grad_batches
        self.gradient_clip_val = arguments.gradient_clip_val
        kinds = host.load("utilities.enums").GradClipAlgorithmType
        algorithm = arguments.gradient_clip_algorithm
        self.gradient_clip_algorithm: Enum | None = None if algorithm is None else kinds(algorithm)
        self.fast_dev_run = arguments.fast_dev_run
        self.overfit_batches = arguments.overfit_batches
        self.limit_train_batches: float = _filled_in(arguments.limit_train_batches)
        self.limit_val_batches: float = _filled_in(arguments.limit_val_batches)
        self.limit_test_batches: float = _filled_in(arguments.limit_test_batches)
        self.limit_predict_batches: float = _filled_in(arguments.limit_predict_batches)
        self.val_check_interval = arguments.val_check_interval
        self.val_check_time_interval = arguments.val_check_time_interval
        self.check_val_every_n_epoch = arguments.check_val_every_n_epoch
        self.num_sanity_val_steps = arguments.num_sanity_val_steps
        self.reload_dataloaders_every_n_epochs = arguments.reload_dataloaders_every_n_epochs
        self.log_every_n_steps = arguments.log_every_n_steps
        self.barebones = arguments.barebones
        self.benchmark = arguments.benchmark
        self.enable_progress_bar = arguments.enable_progress_bar
        _inform_of_limits(arguments, host)
        told = "num_sanity_val_steps" in arguments.given or arguments.fast_dev_run or arguments.barebones
        self._may_add_sanity_check = not told
        #: StochasticWeightAveraging passes over the data without training, and sets it for that time.
        self.skip_backward = False

    def add_sanity_check(self) -> None:
        """Validate a few batches before training, as Lightning's Trainer does unless it is told not to."""
        if self._may_add_sanity_check:
            self.num_sanity_val_steps = _LIGHTNINGS_SANITY_STEPS


def _filled_in(limit: float | None) -> float:
    """A limit whose default the arguments have filled in."""
    assert limit is not None
    return limit


def _inform_of_limits(arguments: Arguments, host: Host) -> None:
    """As `_init_debugging_flags` and `_determine_batch_limits`: a 1 may have been meant for the whole.

    A fraction of 1.0, which is the default, is not told from a value that was not given.
    """
    if arguments.fast_dev_run:
        host.inform(
            f"Running in `fast_dev_run` mode: will run the requested loop using {int(arguments.fast_dev_run)} batch(es). "
            "Logging and checkpointing is suppressed."
        )
        return
    meanings = {
        "limit_train_batches": "1 batch per epoch will be used.",
        "limit_val_batches": "1 batch will be used.",
        "val_check_interval": "validation will run after every batch.",
    }
    if arguments.overfit_batches:
        meanings = {"overfit_batches": "1 batch will be used."}
    for name, meaning in meanings.items():
        value = getattr(arguments, name)
        if isinstance(value, int) and value == 1:
            host.inform(f"`Trainer({name}=1)` was configured so {meaning}")


def _max_epochs(arguments: Arguments, has_timer: bool, host: Host) -> int:
    """As `_parse_loop_limits`: 1000 epochs where nothing else ends training."""
    if arguments.max_epochs is not None:
        return arguments.max_epochs
    if arguments.max_steps != -1 or has_timer or arguments.max_time is not None:
        return -1
    host.advise(
        "`max_epochs` was not set. Setting it to 1000 epochs. To train without an epoch limit, set `max_epochs=-1`."
    )
    return 1000


def _min_epochs(arguments: Arguments) -> int:
    """As `_parse_loop_limits`: one epoch where `min_steps` is given, so that the two are not compared with nothing."""
    if arguments.min_epochs is None and arguments.min_steps is not None:
        return 1
    return arguments.min_epochs or 0


class _Shows(Protocol):
    """Has a run's settings, and shows some of them as its own attributes."""

    settings: Settings


class ReadOnlySetting(Generic[T]):
    """One of the run's settings, which user code may read on the object that has it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, view: None, owner: type) -> ReadOnlySetting[T]: ...
    @overload
    def __get__(self, view: _Shows, owner: type) -> T: ...
    def __get__(self, view: _Shows | None, owner: type) -> ReadOnlySetting[T] | T:
        if view is None:
            return self
        value: T = getattr(view.settings, self.name)
        return value

    def __set__(self, view: _Shows, value: T) -> None:
        raise AttributeError(f"{self.name} is read here, not set. Set `trainer.{self.name}`.")


class Setting(ReadOnlySetting[T]):
    """One that user code may write there too, which changes the run."""

    def __set__(self, view: _Shows, value: T) -> None:
        setattr(view.settings, self.name, value)
