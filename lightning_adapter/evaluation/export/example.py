"""With which input is a model exported, run and compared?

`example_input_array` is Lightning's own name for it. Without one, the first validation batch has it: of a batch of several
things forward takes the first ones, as many as it needs; of a mapping those whose names it has.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.evaluation.export.leaves import described, map_tensors, tensors
from lightning_adapter.versions.types import LightningModule

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Example:
    """What forward is called with.

    Attributes:
        args: by position.
        kwargs: by name, of what cannot be given by position.
        names: of the parameters that `args` stand for.
        origin: where it comes from, for people.
        other: another one, whose tensors may have other sizes: text that is padded to its longest sample.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    names: tuple[str, ...]
    origin: str
    other: Example | None = None

    @property
    def tensors(self) -> list[tuple[str, Tensor]]:
        """Names and tensors, in the order in which exporters flatten them."""
        by_position = [pair for name, value in zip(self.names, self.args, strict=True) for pair in tensors(value, name)]
        return by_position + [pair for name, value in self.kwargs.items() for pair in tensors(value, name)]

    @property
    def free(self) -> list[tuple[int, ...]]:
        """Of each of `tensors`, the dimensions besides the batch's in which the other example has another size."""
        if self.other is None:
            return [()] * len(self.tensors)
        pairs = zip(self.tensors, self.other.tensors, strict=True)
        return [
            tuple(dim for dim in range(1, one.ndim) if one.shape[dim] != two.shape[dim]) for (_, one), (_, two) in pairs
        ]

    def beside(self, other: Example) -> Example:
        """The same with another one, where that differs in sizes alone."""
        same = [name for name, _ in self.tensors] == [name for name, _ in other.tensors]
        if not same or any(
            one.ndim != two.ndim for (_, one), (_, two) in zip(self.tensors, other.tensors, strict=True)
        ):
            return self
        found = dataclasses.replace(self, other=other)
        return found if any(found.free) else self

    @property
    def batch_size(self) -> int | None:
        """The first dimension of the first tensor that has one."""
        return next((len(tensor) for _, tensor in self.tensors if tensor.ndim), None)

    def has_batch_dimension(self, tensor: Tensor) -> bool:
        """Whether a tensor's first dimension is that of the batch."""
        return tensor.ndim > 0 and len(tensor) == self.batch_size

    def copied(self) -> Example:
        """The same with tensors of its own: `torch.export` marks those that it is given, and takes them for marked again."""
        return self._changed(torch.clone)

    def of_batch_size(self, size: int) -> Example:
        """The same with as many samples, which are repeated where there are fewer."""

        def resized(tensor: Tensor) -> Tensor:
            if not self.has_batch_dimension(tensor):
                return tensor
            return tensor[torch.arange(size) % len(tensor)]

        return self._changed(resized)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Example:
        args, kwargs = map_tensors(self.args, change), map_tensors(self.kwargs, change)
        return dataclasses.replace(self, args=args, kwargs=kwargs)

    def __str__(self) -> str:
        return ", ".join(described(name, tensor) for name, tensor in self.tensors)


def of_module(module: LightningModule) -> Example | None:
    """The input that a module names itself; None where it names none."""
    given = module.example_input_array
    if given is None:
        return None
    # as `ModelSummary._forward_example_input` gives it to forward
    if isinstance(given, (list, tuple)):
        args, kwargs = tuple(given), {}
    else:
        args, kwargs = ((), dict(given)) if isinstance(given, Mapping) else ((given,), {})
    return _example(module, args, kwargs, "example_input_array")


def of_batch(module: LightningModule, batch: object, origin: str) -> Example:
    """What forward takes of a batch.

    Args:
        module: whose forward it is.
        batch: as a step gets it, after the hooks that transfer it.
        origin: where it comes from, for people.

    Raises:
        ConfigurationError: the batch does not say what forward takes.
    """
    named = _by_names(module, batch)
    if named is not None:
        return _example(module, (), named, f"{origin}, by the names of forward's parameters")
    needed, most = _numbers(module)
    if not isinstance(batch, (list, tuple)):
        if needed > 1:
            raise _unknown(module, batch, origin)
        return _example(module, (batch,), {}, origin)
    number = int(min(max(needed, 1), most, len(batch)))
    if needed > len(batch):
        raise _unknown(module, batch, origin)
    which = "its first element" if number == 1 else f"its first {number} elements"
    inner = _by_names(module, batch[0]) if number == 1 else None
    if inner is not None:
        return _example(module, (), inner, f"{origin}, {which} by the names of forward's parameters")
    return _example(module, tuple(batch[:number]), {}, f"{origin}, {which}")


def _numbers(module: LightningModule) -> tuple[int, float]:
    """How many things forward needs by position, and how many it takes at most."""
    parameters = inspect.signature(module.forward).parameters.values()
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    needed = sum(each.default is each.empty for each in positional)
    takes_all = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    return needed, float("inf") if takes_all else len(positional)


def _by_names(module: LightningModule, batch: object) -> dict[str, Any] | None:
    """What forward takes of a mapping or a named tuple; None where the names are not forward's."""
    if isinstance(batch, tuple) and hasattr(batch, "_asdict"):
        batch = batch._asdict()
    if not isinstance(batch, Mapping) or not all(isinstance(key, str) for key in batch):
        return None
    parameters = inspect.signature(module.forward).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        taken = dict(batch)
    else:
        names = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
        taken = {name: batch[name] for name in names if name in batch}
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    return taken if taken and all(name in taken for name in needed) else None


def _example(module: LightningModule, args: Iterable[Any], kwargs: Mapping[str, Any], origin: str) -> Example:
    """Give by position what can be given so, without gradients, in the type of the weights.

    Raises:
        ConfigurationError: forward does not take it.
    """
    signature = inspect.signature(module.forward)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ConfigurationError(
            f"{type(module).__name__}.forward{signature} does not take the input that is there ({origin}): {error}. "
            f"{_write(module)}"
        ) from None
    dtype = _dtype_of_weights(module)
    cast = []

    def ready(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        if dtype is not None and tensor.is_floating_point() and tensor.dtype != dtype:
            cast.append(tensor.dtype)
            return tensor.to(dtype)
        return tensor

    names = [each for each, parameter in signature.parameters.items() if parameter.kind in _POSITIONAL]
    given = map_tensors(tuple(bound.args), ready)
    by_name = map_tensors(dict(bound.kwargs), ready)
    names += [f"input_{number}" for number in range(len(names), len(given))]
    more = f", as {str(dtype).removeprefix('torch.')}, which the weights are" if cast else ""
    return Example(given, by_name, tuple(names[: len(given)]), f"{origin}{more}")


def _dtype_of_weights(module: LightningModule) -> torch.dtype | None:
    """The type of all weights; None where they have several, or there are none."""
    found = {weight.dtype for weight in module.parameters() if weight.is_floating_point()}
    return found.pop() if len(found) == 1 else None


def _unknown(module: LightningModule, batch: object, origin: str) -> ConfigurationError:
    signature = inspect.signature(module.forward)
    has = f"the names {shown(list(batch))}" if isinstance(batch, Mapping) else f"a {type(batch).__name__}"
    if isinstance(batch, (list, tuple)):
        has = f"{len(batch)} elements"
    return ConfigurationError(
        f"What {type(module).__name__}.forward{signature} takes is not to be seen in {origin}, which has {has}. "
        f"{_write(module)}"
    )


def _write(module: LightningModule) -> str:
    return (
        f"Write into {type(module).__name__}.__init__(): self.example_input_array = a tensor, a tuple of what forward takes "
        "by position, or a dict of what it takes by name."
    )
