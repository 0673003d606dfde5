"""In which number format does a step run: autocast, loss scaling, true half and double precision, apex?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias, TypeVar

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.optim import Optimizer

from lightning_adapter.loop.apex import ApexAmp
from lightning_adapter.versions import hosts, torch_private

#: What a closure returned, as the user's optimizer gives it on: a loss, a number, None.
StepResult: TypeAlias = Any

Batch = TypeVar("Batch")

_TRUE = {"16-true": torch.half, "bf16-true": torch.bfloat16, "64-true": torch.double}


def select_precision(name: str, device: torch.device, host: hosts.Host, apex: ApexAmp | None) -> Precision:
    """The number format of a run.

    Args:
        name: Lightning's name of the precision.
        device: where the module trains.
        host: the Lightning package of the module.
        apex: the module `apex.amp`, which then scales losses and converts what `amp_level` says.
    """
    if name == "16-mixed" and device.type == "cpu":
        # torch has no loss scaling worth its name there; `_AcceleratorConnector._check_and_init_precision` does the same
        host.warn(
            "You passed `Trainer(accelerator='cpu', precision='16-mixed')` but AMP with fp16 is not supported on "
            "CPU. Using `precision='bf16-mixed'` instead."
        )
        name = "bf16-mixed"
    if name in ("16-mixed", "bf16-mixed") and apex is None:
        host.inform(f"Using {'16bit' if name == '16-mixed' else 'bfloat16'} Automatic Mixed Precision (AMP)")
    if apex is not None:
        return ApexPrecision(name, apex)
    if name in _TRUE:
        return TruePrecision(name, late=host.quirks.converts_late)
    if name.endswith("-mixed"):
        return MixedPrecision(name, device, caches_casts=host.quirks.caches_casts)
    return Precision(name)


class Precision:
    """The number format in which torch computes by itself, and what the other formats have in common.

    Args:
        precision: Lightning's name of it.

    Attributes:
        precision: Lightning's name of it.
        scaler: a GradScaler under "16-mixed", else None.
        apex: the module `apex.amp` where that scales losses, else None.
        dtype: the type of a true precision, else None.
        late: whether a true precision converts the module when its optimizers are made, and batches when they enter a
            step, as older Lightnings did.
        is_default: whether a step runs as it is, with nothing around it.
    """

    apex: ApexAmp | None = None
    dtype: torch.dtype | None = None
    late = False
    is_default = True

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.scaler: torch.amp.GradScaler | None = None

    # --- what is converted ----------------------------------------------------------------------------------------

    def convert_module(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module's parameters in the true precision that was asked for."""
        return module

    def convert_input(self, batch: Batch) -> Batch:
        """Floating point tensors of a batch in the true precision that was asked for."""
        return batch

    def convert_arguments(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a step is given, where that is the moment to convert it."""
        return arguments

    # --- what a step runs in --------------------------------------------------------------------------------------

    def context(self) -> AbstractContextManager[Any]:
        """What a step runs in: autocast around forward and loss, or another default type, or nothing."""
        return nullcontext()

    def forward_context(self) -> AbstractContextManager[Any]:
        """Lightning's name of `context`, which `to_onnx` and the model's summary ask the trainer for."""
        return self.context()

    def module_init_context(self) -> AbstractContextManager[Any]:
        """What `configure_model` runs in: new parameters have the true precision at once."""
        return nullcontext()

    # --- losses, gradients, steps ---------------------------------------------------------------------------------

    def scale(self, loss: Tensor) -> Tensor:
        """The loss as backward gets it."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def scaled_loss(self, loss: Tensor, optimizers: Optimizer | Sequence[Optimizer]) -> AbstractContextManager[Tensor]:
        """A context that gives the loss to differentiate; apex scales it there, and unscales the gradients at its end."""
        return nullcontext(loss)

    def step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], StepResult],
        after_closure: Callable[[Optimizer], None],
        automatic: bool,
        **kwargs: Any,
    ) -> StepResult:
        """Step one optimizer around its closure; gradients are unscaled before anybody reads them.

        The order is that of `optimizer_step` in Lightning's plugins `Precision` and `MixedPrecision`: closure, unscaling,
        `on_before_optimizer_step` and clipping, step, new scale.

        Args:
            optimizer: the user's optimizer.
            closure: computes the loss and the gradients.
            after_closure: called with the optimizer once the gradients are there: hooks, clipping.
            automatic: under automatic optimization a closure that returns None had nothing to differentiate.
            **kwargs: what else the optimizer's `step` is given.
        """
        if self.scaler is None:

            def wrapped() -> StepResult:
                result = closure()
                after_closure(optimizer)
                return result

            stepped: StepResult = torch_private.step(optimizer, wrapped, **kwargs)
            return stepped
        result = closure()
        skip = result is None and automatic
        # once for each step: unscaling again would raise, and a fused optimizer unscales in its own kernel
        if not skip and not torch_private.unscales_itself(optimizer):
            self.scaler.unscale_(optimizer)
        after_closure(optimizer)
        if skip:
            return result
        output = self.scaler.step(optimizer, **kwargs)  # none at all where a gradient is not finite
        self.scaler.update()
        return output

    def clip_gradients(
        self, optimizer: Optimizer, clip_val: float = 0.0, gradient_clip_algorithm: str = "norm"
    ) -> None:
        """Clip the gradients of one optimizer's parameters; `LightningModule.clip_gradients` comes here.

        Args:
            optimizer: the user's optimizer.
            clip_val: largest norm or absolute value; nothing is clipped at 0.
            gradient_clip_algorithm: "norm" or "value", or Lightning's GradClipAlgorithmType, whose values these are.

        Raises:
            RuntimeError: the optimizer unscales gradients while it steps, so that they cannot be clipped before; in
                Lightning's words.
        """
        if clip_val <= 0:
            return
        if self.scaler is not None and torch_private.unscales_itself(optimizer):
            raise RuntimeError(
                f"The current optimizer, {type(optimizer).__qualname__}, does not allow for gradient clipping because it"
                " performs unscaling of gradients internally. HINT: Are you using a 'fused' optimizer?"
            )
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if str(getattr(gradient_clip_algorithm, "value", gradient_clip_algorithm)) == "value":
            torch.nn.utils.clip_grad_value_(parameters, clip_value=clip_val)
        else:
            torch.nn.utils.clip_grad_norm_(parameters, clip_val)

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The scaler's state, empty without one."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the scaler; an empty state was saved without one."""
        if state and self.scaler is not None:
            self.scaler.load_state_dict(state)


class MixedPrecision(Precision):
    """Parameters stay as they are; forward and loss run under autocast.

    Args:
        precision: "16-mixed" or "bf16-mixed".
        device: where the module trains.
        caches_casts: whether autocast keeps converted weights within a step, as older Lightnings had it.
    """

    is_default = False

    def __init__(self, precision: str, device: torch.device, caches_casts: bool) -> None:
        super().__init__(precision)
        self.device = device
        self.caches_casts = caches_casts
        if precision == "16-mixed":
            self.scaler = torch.amp.GradScaler(device=device.type)

    def context(self) -> AbstractContextManager[Any]:
        """Autocast, as `MixedPrecision.autocast_context_manager` makes it."""
        dtype = torch.bfloat16 if self.precision == "bf16-mixed" else torch.half
        return torch.autocast(self.device.type, dtype=dtype, cache_enabled=self.caches_casts)


class TruePrecision(Precision):
    """Parameters, batches and new tensors have one type.

    Args:
        precision: "16-true", "bf16-true" or "64-true".
        late: whether the module is converted after its optimizers were made, and a batch when it enters a step. Lightning
            before 2.1 wraps the module at that moment (`LightningDoublePrecisionModule`); later ones convert it before
            weights are restored, and batches before they are moved.
    """

    is_default = False
    dtype: torch.dtype

    def __init__(self, precision: str, late: bool) -> None:
        super().__init__(precision)
        self.dtype = _TRUE[precision]
        self.late = late

    def convert_module(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module with all its floating point parameters and buffers in this type."""
        # `to` makes complex numbers real; `DoublePrecision` calls `double`, and `HalfPrecision` has no complex type to keep
        return module.double() if self.dtype is torch.double else module.to(dtype=self.dtype)

    def convert_input(self, batch: Batch) -> Batch:
        """Floating point tensors of a batch in this type, unless the step is where they are converted."""
        if self.late:
            return batch
        converted: Batch = apply_to_collection(batch, Tensor, self._convert)
        return converted

    def convert_arguments(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a step is given in this type, where it was not converted before."""
        if not self.late:
            return arguments
        converted: tuple[Any, ...] = apply_to_collection(arguments, Tensor, self._convert)
        return converted

    def _convert(self, value: Tensor) -> Tensor:
        return value.to(self.dtype) if torch.is_floating_point(value) else value

    @contextmanager
    def context(self) -> Iterator[None]:
        """New tensors have this type; torch's default is put back afterwards."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    def module_init_context(self) -> AbstractContextManager[Any]:
        """What `configure_model` runs in: new parameters have this type at once."""
        return self.context()


class ApexPrecision(Precision):
    """apex patches torch's functions or converts the module, and scales the loss around backward; steps run as they are.

    Args:
        precision: Lightning's name of the argument `precision`, for what reads `trainer.precision`.
        apex: the module `apex.amp`.
    """

    apex: ApexAmp

    def __init__(self, precision: str, apex: ApexAmp) -> None:
        super().__init__(precision)
        self.apex = apex

    def scaled_loss(self, loss: Tensor, optimizers: Optimizer | Sequence[Optimizer]) -> AbstractContextManager[Tensor]:
        """The loss times apex's scale."""
        return self.apex.scale_loss(loss, optimizers)

    def state_dict(self) -> dict[str, Any]:
        """The state of apex's scalers."""
        return self.apex.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore apex's scalers; an empty state was saved without apex."""
        if state:
            self.apex.load_state_dict(state)
