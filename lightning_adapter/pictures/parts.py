"""Which values are in a batch, under which names, and which of them is the target?"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Array: TypeAlias = npt.NDArray[Any]
#: What a loader gives, or what a module makes of it: anything.
Batch: TypeAlias = Any

#: Names that a mapping's target goes by, in the order in which they are looked for.
_TARGETS = (
    *("target", "targets", "label", "labels", "y", "mask", "masks", "class", "classes", "category", "segmentation"),
    *("caption", "captions", "tgt", "gt"),
)
#: Names that a mapping's prediction goes by.
PREDICTIONS = ("prediction", "predictions", "preds", "pred", "y_hat", "y_pred", "logits", "output", "outputs", "out")


@dataclass(frozen=True)
class Part:
    """One value of a batch.

    Attributes:
        name: how it is had, such as `batch[0]` or `batch["image"]`.
        key: the last step of that: a key, a field's name or an index.
        value: a tensor, an array, a list of plain values, or anything else.
    """

    name: str
    key: object
    value: Any


@dataclass(frozen=True)
class Group:
    """Values that belong together: what one loader gives, or one level of a nested batch.

    Attributes:
        name: how it is had.
        parts: its values.
        target: the one among them that a model is to predict; None where none is known by its place or name.
    """

    name: str
    parts: tuple[Part, ...]
    target: Part | None


def groups(batch: Batch, name: str = "batch") -> Iterator[Group]:
    """Take a batch apart: values of one level belong together, each nested level is a group of its own."""
    children = _children(batch)
    if children is None:
        yield Group(name, (Part(name, None, batch),), None)
        return
    parts: list[Part] = []
    nested: list[Part] = []
    for key, step, value in children:
        if _is_views(value):  # of the same samples as what stands beside them
            parts += [Part(f"{name}{step}[{index}]", None, view) for index, view in enumerate(value)]
        else:
            (parts if _children(value) is None else nested).append(Part(name + step, key, value))
    if parts:
        named = not isinstance(batch, (list, tuple)) or hasattr(batch, "_fields")
        yield Group(name, tuple(parts), _target_by_name(parts) if named else _target_by_place(parts, children))
    for part in nested:
        yield from groups(part.value, part.name)


def _children(value: Batch) -> list[tuple[object, str, Any]] | None:
    """Key, how it is typed, and value; None where there is nothing to look into."""
    if isinstance(value, Mapping):
        return [(key, f"[{_typed(key)}]", item) for key, item in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(field, f".{field}", getattr(value, field)) for field in value._fields]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return [(name, f".{name}", getattr(value, name)) for name in names if hasattr(value, name)]
    if isinstance(value, (list, tuple)) and value and not _is_column(value):
        return [(index, f"[{index}]", item) for index, item in enumerate(value)]
    return None


def _is_views(value: object) -> bool:
    """Whether this is a list of batches of pictures of one size, as augmentation makes several of each sample."""
    if not isinstance(value, (list, tuple)) or len(value) < 2 or hasattr(value, "_fields"):
        return False
    shapes = {tuple(item.shape) for item in value if isinstance(item, (torch.Tensor, np.ndarray))}
    return len(shapes) == 1 and all(hasattr(item, "shape") for item in value) and len(next(iter(shapes))) == 4


def _typed(key: object) -> str:
    return f'"{key}"' if isinstance(key, str) else str(key)


def _is_column(value: list[Any] | tuple[Any, ...]) -> bool:
    """Whether these are the samples of one value, as a collate function leaves strings, or pictures of unequal sizes."""
    if all(isinstance(item, (str, bytes, int, float, bool, np.generic)) or item is None for item in value):
        return True
    shapes = [tuple(item.shape) for item in value if isinstance(item, (torch.Tensor, np.ndarray))]
    pictures = len(shapes) == len(value) and all(len(shape) == 3 and min(shape[0], shape[-1]) <= 4 for shape in shapes)
    return pictures and (isinstance(value, list) or len(value) > 2)


def _target_by_name(parts: list[Part]) -> Part | None:
    names = {str(part.key).lower(): part for part in parts}
    return next((names[name] for name in _TARGETS if name in names), None)


def _target_by_place(parts: list[Part], children: list[tuple[object, str, Any]]) -> Part | None:
    """The second of two or more, as in `x, y = batch`."""
    found = [part for part in parts if part.key == 1]
    return found[0] if found and len(children) > 1 else None


def size_of(parts: tuple[Part, ...]) -> int:
    """Samples of a group: the first dimension that most of its values have; 1 where none has any."""
    sizes = Counter(length for part in parts if (length := length_of(part.value)) is not None)
    return sizes.most_common(1)[0][0] if sizes else 1


def length_of(value: object) -> int | None:
    """The first dimension of a value; None where it has none."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return len(value) if value.ndim > 0 else None
    return len(value) if isinstance(value, (list, tuple)) else None


def array_of(value: object, samples: int | None = None) -> Array | None:
    """The first samples of a value as numbers on this machine's memory; None where it is none."""
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized or getattr(value, "is_nested", False):
            return None
        kept = value.detach()
        if samples is not None and kept.ndim:
            kept = kept[:samples]
        kept = kept.cpu().resolve_conj().resolve_neg()
        if kept.is_complex():
            kept = kept.abs()
        return kept.float().numpy() if kept.dtype in (torch.bfloat16, torch.float16) else kept.numpy()
    if isinstance(value, np.ndarray):
        kept_array = value[:samples] if samples is not None and value.ndim else value
        return kept_array if kept_array.dtype.kind in "fiub" else None
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, (int, float, np.number)) for item in value):
        return np.asarray(value[:samples])
    return None
