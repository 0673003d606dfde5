"""In which form do the outputs of many batches stand in one file?

Only all batches together tell: whether a list of four tensors is a batch of four samples or four outputs of a model shows
where a batch has another size. So what was seen is noted batch by batch, and the layout follows from it at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from lightning_adapter.evaluation.plain_outputs import Plain, falls_apart

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Stacked:
    """One tensor for all samples, whose first dimension counts them.

    Attributes:
        shape: of one sample.
    """

    dtype: torch.dtype
    shape: Shape


@dataclass(frozen=True)
class Samples:
    """A list with a value for each sample: strings, or tensors whose shapes differ."""


@dataclass(frozen=True)
class PerBatch:
    """Values that belong to whole batches."""


@dataclass(frozen=True)
class Nothing:
    """None in each batch."""


@dataclass(frozen=True)
class Group:
    """A dict (named parts), or a tuple (parts with numbers)."""

    parts: dict[str | int, Layout]
    is_tuple: bool


Layout: TypeAlias = Stacked | Samples | PerBatch | Nothing | Group
#: A longer list is one of samples, and not one of outputs of a model.
_MOST_PARTS = 64
_NUMBER_TYPES = {bool: torch.bool, int: torch.int64, float: torch.float64}


@dataclass
class Seen:
    """What was seen at one place of the outputs.

    Attributes:
        kinds: of the values: Tensor, dict, tuple, list, or the type of anything else.
        parts: what was seen in a dict or a sequence, by names or numbers.
        names: the names in a dict, or the length of a sequence, that occurred.
        samples: types and shapes of one sample's tensor, where the first dimension counted the samples.
        squeezed: types and shapes of tensors of a batch of one sample that has lost this dimension.
        elements: types of what stands in lists that have an element per sample.
        other_lengths: sequences with another length than the batch has samples.
        wholes: values that do not fall into samples.
    """

    kinds: set[type] = field(default_factory=set)
    parts: dict[str | int, Seen] = field(default_factory=dict)
    names: set[tuple[str | int, ...]] = field(default_factory=set)
    samples: set[tuple[torch.dtype, Shape]] = field(default_factory=set)
    squeezed: set[tuple[torch.dtype, Shape]] = field(default_factory=set)
    elements: set[type] = field(default_factory=set)
    other_lengths: int = 0
    wholes: int = 0

    def see(self, value: Plain, size: int) -> None:
        """Note the value of a batch of `size` samples."""
        kind = torch.Tensor if isinstance(value, torch.Tensor) else type(value)
        self.kinds.add(kind)
        if isinstance(value, torch.Tensor):
            self._see_tensor(value, size)
        elif isinstance(value, (dict, tuple, list)):
            self._see_collection(value, size)
        else:
            self.elements.add(kind)
            self.wholes += not falls_apart(value, size)

    def _see_tensor(self, value: torch.Tensor, size: int) -> None:
        shape = tuple(value.shape)
        if shape[:1] == (size,):
            self.samples.add((value.dtype, shape[1:]))
        elif size == 1:
            self.squeezed.add((value.dtype, shape))
        else:
            self.wholes += 1

    def _see_collection(self, value: dict[str | int, Plain] | tuple[Plain, ...] | list[Plain], size: int) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        self.wholes += not falls_apart(value, size)
        if isinstance(value, dict):
            self.names.add(tuple(value))
        else:
            self.names.add((len(value),))
            if len(value) == size:
                self.elements |= {torch.Tensor if isinstance(item, torch.Tensor) else type(item) for item in value}
            else:
                self.other_lengths += 1
        if len(self.names) == 1 and (isinstance(value, dict) or len(value) <= _MOST_PARTS):
            for name, item in items:
                self.parts.setdefault(name, Seen()).see(item, size)
        else:
            self.parts.clear()

    def layout(self) -> Layout:
        """The layout that holds all values that were seen."""
        if self.kinds == {torch.Tensor}:
            return self._layout_of_tensors()
        if self.kinds == {dict} and len(self.names) == 1:
            return Group({name: part.layout() for name, part in self.parts.items()}, is_tuple=False)
        if len(self.kinds) == 1 and self.kinds <= {tuple, list}:
            return self._layout_of_sequence(is_tuple=self.kinds == {tuple})
        if self.kinds <= {type(None)}:
            return Nothing()
        if self.wholes:
            return PerBatch()
        return self._layout_of_elements() if not self.kinds & {dict, tuple, torch.Tensor} else Samples()

    def _layout_of_tensors(self) -> Layout:
        # a batch of one sample whose dimension was squeezed away has the shape of a sample
        if self.wholes or not self.squeezed <= (self.samples or self.squeezed):
            return PerBatch()
        found = self.samples or self.squeezed
        if not self.samples and any(shape for _, shape in found):
            return PerBatch()
        if len(found) > 1:
            return Samples() if not self.squeezed else PerBatch()
        ((dtype, shape),) = found
        return Stacked(dtype, shape)

    def _layout_of_sequence(self, is_tuple: bool) -> Layout:
        group: Group | None = None
        if len(self.names) == 1 and self.parts:
            group = Group({name: part.layout() for name, part in self.parts.items()}, is_tuple=True)
        is_whole_group = group is not None and _falls_apart(group)
        if not self.other_lengths and not (is_tuple and is_whole_group):
            return self._layout_of_elements()
        if group is not None and (is_whole_group or is_tuple):
            return group
        return PerBatch()

    def _layout_of_elements(self) -> Layout:
        if self.elements == {int, float}:
            return Stacked(torch.float64, ())
        if len(self.elements) == 1 and (dtype := _NUMBER_TYPES.get(next(iter(self.elements)))) is not None:
            return Stacked(dtype, ())
        return Samples()


def _falls_apart(layout: Layout) -> bool:
    if isinstance(layout, Group):
        return all(_falls_apart(part) for part in layout.parts.values())
    return not isinstance(layout, PerBatch)


def places(layout: Layout, kind: type, name: str) -> list[str]:
    """The names of all places of one kind, as they are written in Python."""
    if isinstance(layout, Group):
        return [place for key, part in layout.parts.items() for place in places(part, kind, f"{name}[{key!r}]")]
    return [name] if isinstance(layout, kind) else []
