"""How does what a step returns become plain data in main memory, and how does it fall into samples?

Plain are tensors on the CPU, strings, numbers, None, and dicts, tuples and lists of them: what torch's restricted loader
reads, so that a file of predictions is data and no code.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch

from lightning_adapter.errors import ConfigurationError, shown

#: Anything that user code may have in a batch or return from a step.
Value: TypeAlias = Any
#: The same, of plain data.
Plain: TypeAlias = Any

_NUMBERS_OF_TORCH = "biufc"


def plain(value: Value, where: str = "predict_step()") -> Plain:
    """A copy of a value as plain data: tensors on the CPU, with nothing of the device or of their own buffers held.

    Dataclasses, named tuples and mappings become dicts, arrays of numbers tensors, and arrays of anything else lists.

    Raises:
        ConfigurationError: there is an object in it that is none of these; the message says where.
    """
    if isinstance(value, torch.Tensor):
        return _plain_tensor(value)
    if isinstance(value, np.ndarray):
        return _plain_array(value, where)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, enum.Enum):
        return plain(value.value, where)
    for kind in (bool, int, float, complex, str, bytes):
        if isinstance(value, kind):
            return kind(value)  # type: ignore[arg-type]  # of a class of the user's the value
    if value is None:
        return None
    if isinstance(value, pathlib.PurePath):
        return str(value)
    return _plain_collection(value, where)


def _plain_collection(value: Value, where: str) -> Plain:
    if isinstance(value, Mapping):
        return {_plain_name(name): plain(item, f"{where}[{name!r}]") for name, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: plain(item, f"{where}.{name}") for name, item in zip(value._fields, value, strict=True)}
    if isinstance(value, (tuple, list)):
        items = [plain(item, f"{where}[{number}]") for number, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name), f"{where}.{name}") for name in fields if hasattr(value, name)}
    raise ConfigurationError(
        f"{where} is {shown(value)}, an object of {type(value).__module__}.{type(value).__qualname__}, which cannot be "
        "stored. Return tensors, arrays, numbers, strings, or dicts, tuples, lists and dataclasses of them."
    )


def _plain_name(name: object) -> str | int:
    return name if type(name) in (str, int) else str(name)  # type: ignore[return-value]


def _plain_tensor(value: torch.Tensor) -> Plain:
    if value.is_nested:
        return [_plain_tensor(part) for part in value.unbind()]
    tensor = value.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    tensor = tensor.as_subclass(torch.Tensor).resolve_conj().resolve_neg()
    # a copy in any case: user code may write into its buffer again, and of a view the whole buffer would be stored
    if tensor.device.type == "cpu":
        return tensor.clone(memory_format=torch.contiguous_format)
    return tensor.contiguous().to("cpu")


def _plain_array(value: np.ndarray[Any, Any], where: str) -> Plain:
    if value.dtype.kind not in _NUMBERS_OF_TORCH:
        return plain(value.tolist(), where)
    native = np.array(value, dtype=value.dtype.newbyteorder("="), order="C", copy=True)
    try:
        return torch.from_numpy(native)
    except TypeError:  # a type that this torch has not: unsigned ones, longdouble
        return torch.from_numpy(native.astype(np.int64 if value.dtype.kind in "iu" else np.float64))


def size_of(value: Value) -> int | None:
    """How many samples there are in a batch: the first dimension of its first tensor, else the length of its first list.

    Lightning's `extract_batch_size` takes the tensors' dimension too; a tensor without one counts as one sample.
    """
    tensors, lists = _sizes(value)
    return tensors[0] if tensors else lists[0] if lists else None


def _sizes(value: Value) -> tuple[list[int], list[int]]:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return [int(value.shape[0]) if value.ndim else 1], []
    if isinstance(value, (str, bytes)):
        return [], []
    if isinstance(value, Mapping):
        items = list(value.values())
    elif isinstance(value, (tuple, list)):
        items = list(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    else:
        return [], []
    found = [_sizes(item) for item in items]
    tensors = [size for of_item, _ in found for size in of_item]
    lists = [size for _, of_item in found for size in of_item]
    own = [len(value)] if isinstance(value, list) and not tensors and not lists else []
    return tensors, lists + own


def bytes_of(value: Plain) -> int:
    """How much room a value takes, about."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(bytes_of, value.values()))
    if isinstance(value, (tuple, list)):
        return sum(map(bytes_of, value))
    return len(value) if isinstance(value, (str, bytes)) else 8


def copied(value: Plain) -> Plain:
    """A value of a mapped file that needs the file no more."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {name: copied(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map(copied, value))
    return value


def falls_apart(value: Plain, size: int) -> bool:
    """Whether a value of a batch is one of its samples after the other, in each of its parts."""
    if isinstance(value, torch.Tensor):
        return value.shape[0] == size if value.ndim else size == 1
    if isinstance(value, dict):
        return bool(value) and all(falls_apart(item, size) for item in value.values())
    if isinstance(value, tuple):
        return len(value) == size or (bool(value) and all(falls_apart(item, size) for item in value))
    if isinstance(value, list):
        return len(value) == size
    return size == 1 and value is not None


def sample(value: Plain, number: int, size: int) -> Plain:
    """What a value of a batch, which falls apart, has for one of its samples."""
    if isinstance(value, torch.Tensor):
        return value[number] if value.ndim else value
    if isinstance(value, dict):
        return {name: sample(item, number, size) for name, item in value.items()}
    if isinstance(value, tuple) and all(falls_apart(item, size) for item in value):
        return tuple(sample(item, number, size) for item in value)
    return value[number] if isinstance(value, (tuple, list)) else value
