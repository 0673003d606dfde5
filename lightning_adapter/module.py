"""What does a DETLM have that a LightningModule has not?"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, ClassVar, Protocol, TypeAlias

import torch
from torch import Tensor

from lightning_adapter.arguments import Arguments
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import hosts

#: What a loader gives: with the supplied steps a pair of inputs and targets.
Batch: TypeAlias = Any
#: Lightning's `AttributeDict`; what is assigned may be any mapping or namespace that `save_hyperparameters` takes.
Hyperparameters: TypeAlias = MutableMapping[str, Any]


class _Trainer(Protocol):
    """What the flags of Lightning 1.x are read from, where a trainer is attached."""

    @property
    def arguments(self) -> Arguments: ...

    @property
    def strategy(self) -> object: ...


#: From the positional arguments of a method, and the number of those by name, to what 2.x takes of the former.
_Adapt: TypeAlias = Callable[[tuple[Any, ...], int], tuple[Any, ...]]


def _passes_on(name: str, adapt: _Adapt) -> Callable[..., Any]:
    """A method that calls the base class's, without what Lightning 1.x gave it and 2.x does not take.

    An override written for 1.x hands all of that to `super()`, and so comes here.
    """

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        takes_indices = hosts.host_of(self).quirks.takes_indices
        for old in _FLAGS if takes_indices else ("optimizer_idx", *_FLAGS):
            kwargs.pop(old, None)
        if not takes_indices:
            args = adapt(args, len(kwargs))
        elif name == "optimizer_step":
            args = args[:5]
        return getattr(super(ModuleMixin, self), name)(*args, **kwargs)

    method.__name__ = method.__qualname__ = name
    # nobody's override, see hooks.is_overridden; itself, since functools.wraps gives a user's wrapper all that stands here
    method.only_passes_on = method  # type: ignore[attr-defined]
    return method


#: Of `optimizer_step`; they said how Lightning would step, came and went from release to release, and decide nothing here.
_FLAGS = ("on_tpu", "using_native_amp", "using_lbfgs")


def _without_index(at: int, today: int) -> _Adapt:
    """Leave out the optimizer's index, argument number `at`, where there are more arguments than the `today` of 2.x."""

    def adapt(args: tuple[Any, ...], by_name: int) -> tuple[Any, ...]:
        old = len(args) + by_name > today and len(args) > at and isinstance(args[at], int)
        return args[:at] + args[at + 1 :] if old else args

    return adapt


def _step_arguments(args: tuple[Any, ...], by_name: int) -> tuple[Any, ...]:
    """Epoch, batch_idx, optimizer and closure; 1.x has the index before the closure and three flags behind it."""
    return _without_index(3, 3)(args, by_name)[:4]


def _backward_arguments(args: tuple[Any, ...], by_name: int) -> tuple[Any, ...]:
    """The loss and what goes to `Tensor.backward`; 1.x has the optimizer, or None, and its index between them."""
    old = len(args) >= 3 and isinstance(args[2], int) and (args[1] is None or hasattr(args[1], "param_groups"))
    return (args[0], *args[3:]) if old else args


class ModuleMixin:
    """A LightningModule for Determined: the same body, other base class.

    Given a `loss_fn` (a callable `loss_fn(prediction, target)`, or the name of one in `torch.nn.functional`) and a
    `forward`, a module over `(x, y)` batches needs no `training_step` and no `validation_step`: the missing one is
    supplied on the instance, computes the loss and logs it as `train_loss` or `val_loss`. Nor does it need a
    `predict_step`: the supplied one predicts from `x`, where Lightning's own hands the whole batch to `forward`.
    """

    #: What `torch.jit.script` is to leave out, as Lightning's own list says it of the properties that need a trainer.
    __jit_unused_properties__: ClassVar[list[str]] = ["use_amp", "use_ddp", "use_ddp2", "use_dp", "use_tpu"]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # torch asks the class alone, so each list hides those of the classes below it
        names = (name for base in cls.__mro__ for name in vars(base).get("__jit_unused_properties__", ()))
        cls.__jit_unused_properties__ = list(dict.fromkeys(names))

    @property
    def hparams(self) -> Hyperparameters:
        """The hyperparameters. Assigned as a whole, as with the first Lightnings, they are saved."""
        hparams: Hyperparameters = super().hparams  # type: ignore[misc]
        return hparams

    @hparams.setter
    def hparams(self, hparams: Hyperparameters) -> None:
        frame = sys._getframe(1)
        while frame.f_code.co_name == "__setattr__" and frame.f_back is not None:  # torch's, below the assignment
            frame = frame.f_back
        self.save_hyperparameters(hparams, frame=frame)  # type: ignore[attr-defined]

    @property
    def use_amp(self) -> bool:
        """Lightning 1.x's flag: whether the run has mixed precision."""
        trainer = self._trainer_or_none()
        return trainer is not None and trainer.arguments.precision.endswith("-mixed")

    @property
    def use_ddp(self) -> bool:
        """Lightning 1.x's flag: whether several processes train with torch DDP."""
        trainer = self._trainer_or_none()
        return trainer is not None and getattr(trainer.strategy, "strategy_name", "") == "ddp"

    @property
    def use_ddp2(self) -> bool:
        """Lightning 1.x's flag; ddp2 is rejected, so always False."""
        return False

    @property
    def use_dp(self) -> bool:
        """Lightning 1.x's flag; dp is rejected, so always False."""
        return False

    @property
    def use_tpu(self) -> bool:
        """Lightning 1.x's flag; TPUs are rejected, so always False."""
        return False

    optimizer_step = _passes_on("optimizer_step", _step_arguments)
    optimizer_zero_grad = _passes_on("optimizer_zero_grad", _without_index(3, 3))
    on_before_optimizer_step = _passes_on("on_before_optimizer_step", _without_index(1, 1))
    configure_gradient_clipping = _passes_on("configure_gradient_clipping", _without_index(1, 3))
    lr_scheduler_step = _passes_on("lr_scheduler_step", _without_index(1, 2))
    backward = _passes_on("backward", _backward_arguments)

    def _trainer_or_none(self) -> _Trainer | None:
        try:
            trainer: _Trainer | None = self.trainer  # type: ignore[attr-defined]
        except RuntimeError:  # `LightningModule.trainer` raises it while no trainer is attached
            return None
        return trainer


def supply_steps(module: torch.nn.Module, overridden: Callable[[str], bool]) -> None:
    """Give a DETLM with a `loss_fn` the steps that it lacks, on this instance.

    Args:
        module: the module; any other LightningModule is left alone.
        overridden: tells whether the module brings a method of its own.

    Raises:
        ConfigurationError: `loss_fn` is neither callable nor the name of a function in `torch.nn.functional`.
    """
    named = getattr(module, "loss_fn", None) if isinstance(module, ModuleMixin) else None
    if named is None or not overridden("forward"):
        return
    loss_fn = _loss_function(type(module).__name__, named)
    for step in (_TrainingStep, _ValidationStep, _PredictStep):
        if not overridden(step.name):
            vars(module)[step.name] = step(module, loss_fn)


class _SuppliedStep:
    """A step of one module over batches of inputs and targets; copies and pickles of the module have it too.

    Args:
        module: the module.
        loss_fn: from prediction and target to the loss.
    """

    name: ClassVar[str]

    def __init__(self, module: Any, loss_fn: Callable[..., Tensor]) -> None:
        self._module = module
        self._loss_fn = loss_fn

    def loss(self, batch: Batch, logged_as: str) -> Tensor:
        """Compute the loss, and log it."""
        x, y = batch
        loss = self._loss_fn(self._module(x), y)
        self._module.log(logged_as, loss)
        return loss

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        # where Lightning's own Trainer looks whether a step is overridden, and for its parameters
        call: Callable[..., Any] = type(self).__call__
        return call

    def __deepcopy__(self, memo: dict[int, Any]) -> _SuppliedStep:
        return type(self)(memo.get(id(self._module), self._module), copy.deepcopy(self._loss_fn, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._module, self._loss_fn)


class _TrainingStep(_SuppliedStep):
    name = "training_step"

    def __call__(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.loss(batch, "train_loss")


class _ValidationStep(_SuppliedStep):
    name = "validation_step"

    def __call__(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        return self.loss(batch, "val_loss")


class _PredictStep(_SuppliedStep):
    name = "predict_step"

    def __call__(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Any:
        # without targets a loader gives `(x,)` or `x`
        has_inputs_first = isinstance(batch, (tuple, list)) and len(batch) in (1, 2)
        return self._module(batch[0] if has_inputs_first else batch)


def _loss_function(owner: str, named: object) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function that a module's `loss_fn` is or names.

    Raises:
        ConfigurationError: it is neither callable nor the name of a function in `torch.nn.functional`.
    """
    found = getattr(torch.nn.functional, named, None) if isinstance(named, str) else named
    if callable(found):
        loss_fn: Callable[[Tensor, Tensor], Tensor] = found
        return loss_fn
    if isinstance(named, str):
        raise ConfigurationError(
            f"{owner}.loss_fn is {named!r}, which is no function in torch.nn.functional. "
            "Give a callable, or a name such as 'cross_entropy'."
        )
    raise ConfigurationError(
        f"{owner}.loss_fn is {named!r}. Give a callable loss_fn(prediction, target), or the name of "
        "one in torch.nn.functional."
    )
