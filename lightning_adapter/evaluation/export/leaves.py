"""Which tensors are in what goes into a model, and in what comes out of it, and under which names?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor


def named_leaves(value: object, name: str) -> Iterator[tuple[str, object]]:
    """Everything in a tree of dicts, lists, tuples and dataclasses, in the order of `torch.utils.pytree`.

    Args:
        value: the tree.
        name: of the tree; what lies in it gets its key or its number after an underscore.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from named_leaves(inner, f"{name}_{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from named_leaves(inner, f"{name}_{number}" if name else str(number))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from named_leaves(getattr(value, field.name), f"{name}_{field.name}" if name else field.name)
    else:
        yield name, value


def tensors(value: object, name: str = "") -> list[tuple[str, Tensor]]:
    """Names and tensors of a tree."""
    return [(each, leaf) for each, leaf in named_leaves(value, name) if isinstance(leaf, Tensor)]


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same tree with other tensors; what is no tensor, and what it is made of, stays."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(inner, change) for inner in value))
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(inner, change) for inner in value)
    if isinstance(value, dict):
        return {key: map_tensors(inner, change) for key, inner in value.items()}
    if isinstance(value, Mapping):
        return type(value)({key: map_tensors(inner, change) for key, inner in value.items()})  # type: ignore[call-arg]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        return dataclasses.replace(value, **{name: map_tensors(inner, change) for name, inner in fields.items()})
    return value


def described(name: str, tensor: Tensor) -> str:
    """A tensor's name, type and shape, for people."""
    return f"{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
