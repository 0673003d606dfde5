"""In which number format does a step run: autocast, loss scaling, true half and double precision, apex?"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.optimizers import clip
from lightning_adapter.versions import determined_private, torch_private

_ALIASES = {
    "16": "16-mixed",
    "bf16": "bf16-mixed",
    "32": "32-true",
    "64": "64-true",
    "mixed": "16-mixed",
}
NAMES = ("32-true", "16-mixed", "bf16-mixed", "bf16-true", "16-true", "64-true")
_DTYPES = {"16-true": torch.half, "bf16-true": torch.bfloat16, "64-true": torch.double}


def canonical(precision: Any) -> str:
    """Lightning's name of a precision.

    Raises:
        ConfigurationError: no such precision.
    """
    name = str(precision)
    name = _ALIASES.get(name, name)
    if name not in NAMES:
        raise ConfigurationError(
            f"precision={precision!r} is not one of {', '.join(NAMES)} (or 16, 32, 64 and 'bf16'). Type one of these."
        )
    return name


class Precision:
    """Number format of one run.

    Args:
        precision: Lightning's name of it.
        device: where the module trains.
        late: whether a true precision converts the module when its optimizers are made, and batches when they enter a
            step, as older Lightnings did.
        apex: the module `apex.amp`, which then scales losses and converts what `amp_level` says.
        caches_casts: whether autocast keeps converted weights within a step, as older Lightnings had it.

    Attributes:
        precision: Lightning's name of it.
        scaler: a GradScaler under "16-mixed", else None.
    """

    def __init__(
        self,
        precision: str,
        device: torch.device,
        late: bool = False,
        apex: Any = None,
        caches_casts: bool = False,
    ) -> None:
        if precision == "16-mixed" and device.type == "cpu":
            precision = "bf16-mixed"  # torch has no loss scaling worth its name there; Lightning does the same
        self.apex = apex
        self.precision = precision
        self.late = late
        self.caches_casts = caches_casts
        self.device = device
        self.dtype = _DTYPES.get(precision)
        scaled = precision == "16-mixed" and apex is None
        self.scaler = torch.amp.GradScaler(device=device.type) if scaled else None
        self.is_default = precision == "32-true" or apex is not None

    def convert_module(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module's parameters in the true precision that was asked for."""
        return module if self.dtype is None else module.to(dtype=self.dtype)

    def convert_input(self, batch: Any) -> Any:
        """Floating point tensors of a batch in the true precision that was asked for."""
        if self.dtype is None or self.late:
            return batch
        return apply_to_collection(batch, torch.Tensor, self._convert)

    def convert_arguments(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a step is given, where that is the moment to convert it."""
        if self.dtype is None or not self.late:
            return arguments
        converted: tuple[Any, ...] = apply_to_collection(arguments, torch.Tensor, self._convert)
        return converted

    def _convert(self, value: torch.Tensor) -> torch.Tensor:
        return value.to(self.dtype) if torch.is_floating_point(value) else value

    def context(self) -> AbstractContextManager[Any]:
        """What a step runs in: autocast around forward and loss, or another default type, or nothing."""
        if self.is_default:
            return nullcontext()
        if self.dtype is not None:
            return self._default_dtype()
        dtype = torch.bfloat16 if self.precision == "bf16-mixed" else torch.half
        return torch.autocast(self.device.type, dtype=dtype, cache_enabled=self.caches_casts)

    def forward_context(self) -> AbstractContextManager[Any]:
        """Lightning's name of `context`, which `to_onnx` and the model's summary ask the trainer for."""
        return self.context()

    def module_init_context(self) -> AbstractContextManager[Any]:
        """What `configure_model` runs in: new parameters have the true precision at once."""
        return nullcontext() if self.dtype is None else self._default_dtype()

    @contextmanager
    def _default_dtype(self) -> Iterator[None]:
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype or before)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss as backward gets it."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def step(
        self,
        optimizer: Any,
        closure: Callable[[], Any],
        after_closure: Callable[[Any], None],
        automatic: bool,
        **kwargs: Any,
    ) -> Any:
        """Step one optimizer around its closure; gradients are unscaled before anybody reads them.

        Args:
            optimizer: the user's optimizer.
            closure: computes the loss and the gradients.
            after_closure: called with the optimizer once the gradients are there: hooks, clipping.
            automatic: under automatic optimization a closure that returns None had nothing to differentiate.
        """
        if self.scaler is None:

            def wrapped() -> Any:
                result = closure()
                after_closure(optimizer)
                return result

            return optimizer.step(closure=wrapped, **kwargs)
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ConfigurationError(
                "precision='16-mixed' and the LBFGS optimizer are not compatible; use 'bf16-mixed'."
            )
        result = closure()
        skip = result is None and automatic
        if not skip and not torch_private.unscales_itself(optimizer):
            self.scaler.unscale_(optimizer)
        after_closure(optimizer)
        if skip:
            return result
        output = self.scaler.step(optimizer, **kwargs)
        self.scaler.update()
        return output

    def clip_gradients(self, optimizer: Any, clip_val: float = 0.0, gradient_clip_algorithm: Any = "norm") -> None:
        """Clip gradients; `LightningModule.clip_gradients` comes here."""
        if clip_val > 0 and self.scaler is not None and torch_private.unscales_itself(optimizer):
            raise RuntimeError(
                f"The current optimizer, {type(optimizer).__qualname__}, does not allow for gradient clipping because it"
                " performs unscaling of gradients internally. HINT: Are you using a 'fused' optimizer?"
            )
        clip(optimizer, clip_val, str(getattr(gradient_clip_algorithm, "value", gradient_clip_algorithm)))

    def state_dict(self) -> dict[str, Any]:
        """The scaler's state, empty without one."""
        if self.apex is not None:
            state: dict[str, Any] = self.apex.state_dict()
            return state
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the scaler."""
        if state and self.apex is not None:
            self.apex.load_state_dict(state)
        elif state and self.scaler is not None:
            self.scaler.load_state_dict(state)


#: What torch itself does in place of apex's levels.
_NATIVE = {"O0": "32-true", "O1": "16-mixed", "O2": "16-mixed", "O3": "16-true"}


def apex_amp(level: str, precision: str, processes: int) -> Any:
    """The module `apex.amp`, for `amp_backend="apex"`.

    Args:
        level: O0 to O3.
        precision: the canonical name of the argument `precision`.
        processes: number of processes.

    Raises:
        ConfigurationError: it cannot be used here; all reasons in one message, with the native precision to type instead.
    """
    faults = []
    amp = None
    try:
        importlib.import_module("apex")
    except ImportError as error:
        faults.append(f"apex cannot be imported ({error})")
    else:
        try:
            amp = importlib.import_module("apex.amp")
        except ImportError as error:
            faults.append(f"the installed apex has no `amp`, which its releases after 25.04 removed ({error})")
    if not torch.cuda.is_available():
        faults.append("there is no CUDA device, and apex runs on nothing else")
    if precision not in ("32-true", "16-mixed"):
        faults.append(
            f"precision={precision!r} is not apex's: amp_level={level!r} says what it does; leave precision out"
        )
    if processes > 1 and os.environ.get(determined_private.HOROVOD_VARIABLE):
        faults.append("apex unscales gradients before Horovod has averaged them; start the job with torchrun")
    if faults:
        native = _NATIVE[level]
        raise ConfigurationError(
            f"amp_backend='apex' with amp_level={level!r} cannot be used here: {'; '.join(faults)}. Leave amp_backend and "
            f"amp_level out and use precision={native!r}, which is torch's own equivalent."
        )
    return amp
