"""How do the hooks, arguments and return forms of Lightning 1.x become today's?

Everything is looked at once, when a run starts: a hook that is written for today is called as it is, and where nothing
of Lightning 1.x is found, nothing of this module runs in a step.
"""

from __future__ import annotations

import inspect
import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Number
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightning_adapter.versions import hosts
from lightning_adapter.versions.lightning_optimizers import unwrap_optimizer
from lightning_adapter.versions.types import BatchOutput, Call, Callback, LightningModule, LightningOptimizer
from lightning_adapter.versions.wrappers import underlying

#: Hooks that Lightning 1.x called right before, and right after, another one.
CALLED_BEFORE = {
    "on_train_batch_start": "on_batch_start",
    "on_train_epoch_start": "on_epoch_start",
    "on_validation_epoch_start": "on_epoch_start",
}
CALLED_AFTER = {"on_train_batch_end": "on_batch_end", "on_validation_epoch_end": "on_epoch_end"}

# Hooks whose names mean nothing to the Lightnings of today, with the number of their arguments.
_FREE_NAMES = {
    **dict.fromkeys((*CALLED_BEFORE.values(), *CALLED_AFTER.values()), 0),
    "training_step_end": 1,
    "validation_step_end": 1,
}

_INDEX_NAMES = frozenset(("optimizer_idx", "opt_idx", "optimizer_i", "opt_i"))
# What Lightning 1.x told `optimizer_step` besides; TPUs and apex' own steps do not occur here.
_STEP_FLAGS = ("on_tpu", "using_native_amp", "using_lbfgs")


@dataclass(frozen=True)
class _Form:
    """How a hook's arguments differed in Lightning 1.x.

    Attributes:
        count: number of positional arguments that the hook is given today.
        place: where the additional argument stood among them.
        optimizer: place of today's argument that tells the optimizer, and so its index; None: the additional argument
            is the last one, and 0 where today's hook is not given it.
        today: name of the argument that stands at `place` today.
        keywords: further arguments that the hook is given by name, then and today.
    """

    count: int
    place: int
    optimizer: int | None
    today: str | None = None
    keywords: tuple[str, ...] = ()

    @property
    def added(self) -> int:
        """Number of arguments that the hook was given besides: `backward` had the optimizer and its index."""
        return 2 if self.today == "args" else 1


_FORMS = {
    "on_before_optimizer_step": _Form(1, 1, 0),
    "optimizer_step": _Form(4, 3, 2, "optimizer_closure"),
    "optimizer_zero_grad": _Form(3, 3, 2),
    "configure_gradient_clipping": _Form(
        1, 1, 0, "gradient_clip_val", ("gradient_clip_val", "gradient_clip_algorithm")
    ),
    "lr_scheduler_step": _Form(2, 1, 0, "metric"),
    "backward": _Form(1, 1, None, "args"),
    "on_train_batch_start": _Form(2, 2, None),
    "on_train_batch_end": _Form(3, 3, None),
    "on_validation_batch_start": _Form(2, 2, None),
    "on_validation_batch_end": _Form(3, 3, None),
}


#: Arguments of Lightning 1.x's Trainer that have another name today.
_RENAMED_ARGUMENTS = {"replace_sampler_ddp": "use_distributed_sampler"}


def arguments(host: hosts.Host, given: Mapping[str, Any]) -> dict[str, Any]:
    """Trainer arguments by today's names and in today's form, where the installed Lightning has the old ones."""
    found = dict(given)
    if host.quirks.takes_old_arguments:
        found = {_RENAMED_ARGUMENTS.get(name, name): value for name, value in found.items()}
    schedule = found.get("accumulate_grad_batches")
    if host.quirks.schedules_accumulation and isinstance(schedule, dict):
        callbacks = found.get("callbacks") or []
        callbacks = [callbacks] if isinstance(callbacks, host.pl.Callback) else list(callbacks)
        found.update(accumulate_grad_batches=1)
        found["callbacks"] = [*callbacks, host.pl.callbacks.GradientAccumulationScheduler(dict(schedule))]
    return found


class Schedules(Protocol):
    """Lightning's GradientAccumulationScheduler as the loop uses it."""

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        """Number of batches whose gradients are summed up before a step, in this epoch."""

    def on_train_epoch_start(self, trainer: Any, pl_module: LightningModule) -> None:
        """Set `trainer.accumulate_grad_batches` for the epoch that starts."""


def accumulation_schedule(host: hosts.Host, callbacks: Sequence[Callback], batches: int) -> Schedules | None:
    """The callback that sets `accumulate_grad_batches` at the start of each epoch, which Lightning 1.x always has.

    Args:
        host: the Lightning package of the module.
        callbacks: of the trainer, among which it may be already.
        batches: the trainer's `accumulate_grad_batches`.

    Returns:
        The callback, which acts before all other ones; None under later Lightnings.

    Raises:
        MisconfigurationException: both the callback and the argument `accumulate_grad_batches` are given.
    """
    if not host.quirks.schedules_accumulation:
        return None
    kind = host.pl.callbacks.GradientAccumulationScheduler
    found: Schedules | None = next((callback for callback in callbacks if isinstance(callback, kind)), None)
    if found is None:
        found = kind({0: batches})
    elif batches != 1:
        raise host.misconfiguration(
            "You have set both `accumulate_grad_batches` and passed an instance of `GradientAccumulationScheduler` inside"
            " callbacks. Either remove `accumulate_grad_batches` from trainer or remove `GradientAccumulationScheduler`"
            " from callbacks list."
        )
    return found


def is_hook(name: str, function: Call, leading: int = 0) -> bool:
    """Whether a method is the hook of Lightning 1.x whose name it has, or a helper that only has its name.

    Since Lightning dropped these hooks, code uses their names for methods of its own: with other arguments, or called
    from its own `on_train_epoch_end`. Such a method is left alone, as Lightning leaves it.

    Args:
        name: of the hook; one that Lightning still calls is always a hook.
        function: as user code defines it, bound to its instance.
        leading: number of arguments before the hook's own.
    """
    if name not in _FREE_NAMES:
        return True
    return _takes(function, leading + _FREE_NAMES[name]) and not _is_called_by_its_class(name, function)


def _is_called_by_its_class(name: str, function: Call) -> bool:
    methods = (
        underlying(value)
        for cls in type(getattr(function, "__self__", None)).__mro__
        if not hosts.is_host_class(cls)
        for other, value in vars(cls).items()
        if other != name and inspect.isfunction(value)
    )
    # what a decorator names as the function below it need not be one
    return any(inspect.isfunction(method) and name in method.__code__.co_names for method in methods)


class Signatures:
    """Lets the hooks of one run be called with today's arguments, whichever Lightning they are written for.

    Args:
        host: the Lightning package of the module; hooks that take any arguments are given what this one gives.
        optimizers: returns the user's optimizers, in order.
    """

    def __init__(self, host: hosts.Host, optimizers: Callable[[], Sequence[Optimizer]]) -> None:
        self.host = host
        self.optimizers = optimizers

    @property
    def called_before(self) -> Mapping[str, str]:
        """Names of hooks that Lightning 1.x called right before another one, which names them here."""
        return CALLED_BEFORE

    @property
    def called_after(self) -> Mapping[str, str]:
        """The same, right after."""
        return CALLED_AFTER

    def is_hook(self, name: str, function: Call, leading: int = 0) -> bool:
        """Whether a method is the hook whose name it has; see the function of this name."""
        return is_hook(name, function, leading)

    def index_of(self, optimizer: Optimizer | LightningOptimizer | None) -> int | None:
        """Place of an optimizer among those of the run; None for None, as in a backward of manual optimization."""
        own = unwrap_optimizer(optimizer)
        return next((index for index, other in enumerate(self.optimizers()) if other is own), None)

    def adapt(self, name: str, function: Call, leading: int = 0) -> Call:
        """The hook with today's arguments.

        Args:
            name: of the hook.
            function: as user code or the host defines it, bound to its instance.
            leading: number of arguments before the hook's own: a callback gets the trainer and the module first.

        Returns:
            `function` itself where it is written for today.
        """
        form = _FORMS.get(name)
        if form is None or name == "backward" or not self._is_older(form, function, leading):
            return function
        place, index_of, of = leading + form.place, self.index_of, form.optimizer
        if of is None:
            return lambda *args: function(*args) if len(args) > place else function(*args, 0)
        if name == "optimizer_step":
            return self._step(function)
        at = leading + of
        find = self._index_of_scheduler if name == "lr_scheduler_step" else index_of

        def hook(*args: Any, **kwargs: Any) -> Any:
            return function(*args[:place], find(args[at]), *args[place:], **kwargs)

        return hook

    def backward(self, function: Call) -> Call:
        """The module's `backward` as a callable of (loss, optimizer, *args, **kwargs)."""
        if not self._is_older(_FORMS["backward"], function, 0):
            return lambda loss, optimizer, *args, **kwargs: function(loss, *args, **kwargs)
        index_of = self.index_of

        def backward(loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any) -> Any:
            return function(loss, optimizer, index_of(optimizer), *args, **kwargs)

        return backward

    def _index_of_scheduler(self, scheduler: object) -> int | None:
        return self.index_of(getattr(scheduler, "optimizer", None))

    def _step(self, function: Call) -> Call:
        parameters = inspect.signature(function).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        # 1.9 gives `using_native_amp` only to those that name it
        flags = {name for name in _STEP_FLAGS if name in parameters or (takes_any and name != "using_native_amp")}

        def step(epoch: int, batch_idx: int, optimizer: Optimizer | LightningOptimizer, closure: Call) -> Any:
            known = {
                "on_tpu": False,
                "using_native_amp": False,
                "using_lbfgs": isinstance(unwrap_optimizer(optimizer), torch.optim.LBFGS),
            }
            given = {name: known[name] for name in flags}
            return function(epoch, batch_idx, optimizer, self.index_of(optimizer), closure, **given)

        return step

    def _is_older(self, form: _Form, function: Call, leading: int) -> bool:
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except ValueError:  # a function written in C without a signature
            return False
        if _INDEX_NAMES & {parameter.name for parameter in parameters}:
            return True
        today = leading + form.count
        if not _takes(function, today, form.keywords):
            flags = [p.name for p in parameters if p.name in _STEP_FLAGS]
            # one that cannot be called either way is called as today: Python says what is wrong, as under Lightning
            return _takes(function, today + form.added, (*form.keywords, *flags))
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        return self.host.quirks.gives_indices and _takes_index(form, parameters, positional, leading)


def _takes_index(
    form: _Form, parameters: list[inspect.Parameter], positional: list[inspect.Parameter], leading: int
) -> bool:
    """Whether a hook that Lightning 1.x gives the index, as it does to all that can take it, can take it."""
    if form.optimizer is None and form.today is None:
        return False
    place = leading + form.place
    if place < len(positional) and positional[place].name == form.today:
        return False
    return len(positional) > leading + form.count or any(p.kind is p.VAR_POSITIONAL for p in parameters)


# --- several optimizers -----------------------------------------------------------------------------------------------


class OptimizerTurns:
    """Which optimizers have their turn at a batch, where automatic optimization has several of them.

    Args:
        module: the module, whose `toggle_optimizer` keeps the other optimizers' parameters out of a step.
        signatures: finds an optimizer's index.
        frequencies: batches that each optimizer has in turn; empty where all of them step at each batch.
    """

    def __init__(self, module: LightningModule, signatures: Signatures, frequencies: Sequence[int]) -> None:
        self.module = module
        self.signatures = signatures
        self.count = len(signatures.optimizers())
        self._ends = list(itertools.accumulate(frequencies))

    def at(self, batch: int) -> Sequence[int]:
        """Indices of the optimizers whose turn it is at batch number `batch`."""
        if not self._ends:
            return range(self.count)
        return (bisect_right(self._ends, batch % self._ends[-1]),)

    def argument(self, index: int) -> tuple[int, ...]:
        """What `training_step` is told besides: the index, where there are several optimizers."""
        return (index,) if self.count > 1 else ()

    @contextmanager
    def toggled(self, index: int) -> Iterator[None]:
        """Only this optimizer's parameters require gradients; afterwards all are as before, also after an error."""
        if self.count == 1:
            yield
            return
        optimizer = self.signatures.optimizers()[index]
        toggle: Call = self.module.toggle_optimizer
        untoggle: Call = self.module.untoggle_optimizer
        toggle(optimizer, index) if _takes(toggle, 2) else toggle(optimizer)
        try:
            yield
        finally:
            untoggle(index) if _names_index(untoggle) else untoggle(optimizer)

    def outputs(self, by_index: Mapping[int, Mapping[str, Any]]) -> BatchOutput:
        """What `on_train_batch_end` gets: the outputs of the optimizers that were not skipped, in order."""
        if self.count == 1:
            return by_index.get(0, {})
        return [by_index[index] for index in sorted(by_index)]


def _takes(function: Call, count: int, keywords: Sequence[str] = ()) -> bool:
    """Whether a function can be called with so many arguments, and these by name."""
    try:
        inspect.signature(function).bind(*range(count), **dict.fromkeys(keywords))
    except TypeError:
        return False
    return True


def _names_index(function: Call) -> bool:
    return bool(_INDEX_NAMES & inspect.signature(function).parameters.keys())


# --- returned logs ----------------------------------------------------------------------------------------------------

_RETURNED = ("log", "progress_bar")


class RunningLoss(Protocol):
    """Lightning's `TensorRunningAccum`."""

    def append(self, x: Tensor) -> None:
        """Add a loss."""


def running_loss(host: hosts.Host, bar: Callback | None) -> RunningLoss | None:
    """What `trainer.fit_loop.running_loss` is to be; None where no progress bar reads it, or there is no such thing.

    Args:
        host: the Lightning package.
        bar: of the user's.
    """
    if bar is None or not host.quirks.keeps_running_loss:
        return None
    # as `TrainingBatchLoop.__init__`
    found: RunningLoss = host.load("trainer.supporters").TensorRunningAccum(window_length=20)
    return found


def has_logs(output: object) -> bool:
    """Whether a hook returned what the first Lightnings took in place of `self.log`: "log" or "progress_bar"."""
    return isinstance(output, Mapping) and any(isinstance(output.get(key), Mapping) for key in _RETURNED)


def log_returned(log: Callable[..., None], output: Mapping[str, Any], monitors: bool) -> None:
    """Log what a hook returned under "log" (for loggers) and "progress_bar".

    Args:
        log: `self.log`, in the running hook that returned it.
        output: what the hook returned.
        monitors: whether the other numbers in it are for callbacks and schedulers to watch, as at an epoch's end.
    """
    told = {key: value if isinstance(value := output.get(key), Mapping) else {} for key in _RETURNED}
    rest = {name: value for name, value in output.items() if name not in _RETURNED} if monitors else {}
    for name, value in {**rest, **told["log"], **told["progress_bar"]}.items():
        if isinstance(value, Number) or (isinstance(value, Tensor) and value.numel() == 1):
            log(name, value, logger=name in told["log"], prog_bar=name in told["progress_bar"])
