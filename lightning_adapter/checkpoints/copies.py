"""How is a checkpoint's content copied so that `torch.save` makes of the copy, later, what it would make of the original now?

Pickle looks at which objects are the same, which is why what stands in two places is copied once, and what cannot change
not at all. Only types are copied of which it is known what pickle takes of them.
"""

from __future__ import annotations

import collections
import operator
from collections.abc import Callable
from typing import Any

import torch

from lightning_adapter.checkpoints.plain_data import CONSTANTS, MAPPINGS, are_of
from lightning_adapter.versions import torch_private


class NotCopied(Exception):
    """Something is of a type of which a copy might be pickled otherwise."""


class Copies:
    """Copies of values that may share containers, tensors and storages.

    Args:
        room: is told of the size of each storage before that is copied, and may raise.
    """

    def __init__(self, room: Callable[[int], None]) -> None:
        self._room = room
        # by id; the originals live as long as the value that they stand in
        self._made: dict[int, Any] = {}
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._dtypes: dict[int, torch.dtype] = {}
        self._to_copy: list[tuple[torch.UntypedStorage, torch.UntypedStorage]] = []

    def of(self, value: Any) -> Any:
        """A copy of a value. Numbers are read at the end, when it is known that all can be copied.

        Raises:
            NotCopied: not all can be.
        """
        copied = self._of(value)
        for storage, original in self._to_copy:
            storage.copy_(original)
        return copied

    def _of(self, value: Any) -> Any:
        kind = type(value)
        if kind in CONSTANTS:
            return value
        made = self._made.get(id(value))
        if made is None:
            if kind in MAPPINGS:
                made = self._of_mapping(value)
            elif kind is list:
                made = [entry if type(entry) in CONSTANTS else self._of(entry) for entry in value]
            elif kind is tuple:
                made = value if are_of(CONSTANTS, value) else self._of_tuple(value)
            elif kind is torch.Tensor:
                made = self._of_tensor(value)
            elif kind is torch.nn.Parameter:
                made = torch.nn.Parameter(self._of_tensor(value), value.requires_grad)
            elif kind is set:
                made = self._of_set(value)
            else:
                raise NotCopied
            self._made[id(value)] = made
        return made

    def _of_mapping(self, value: Any) -> Any:
        if not are_of(CONSTANTS, value):
            self._stay(value)
        if are_of(CONSTANTS, value.values()):
            made = type(value)(value)
        else:
            entries = [(key, entry if type(entry) in CONSTANTS else self._of(entry)) for key, entry in value.items()]
            made = type(value)(dict(entries))
        if type(value) is collections.OrderedDict and vars(value):  # that of weights has attributes
            vars(made).update(self._of(vars(value)))
        return made

    def _of_tuple(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        made = tuple([self._of(entry) for entry in value])
        return value if all(map(operator.is_, made, value)) else made

    def _of_set(self, value: set[Any]) -> set[Any]:
        self._stay(value)
        made = set(value)
        if list(made) != list(value):  # what was taken out of a set may have left the rest in another order
            raise NotCopied
        return made

    def _stay(self, keys: Any) -> None:
        """Keys and entries of sets are found by what they are: none may be another one in the copy."""
        if not all(self._of(key) is key for key in keys):
            raise NotCopied

    def _of_tensor(self, value: torch.Tensor) -> torch.Tensor:
        if not torch_private.is_mere_view(value):
            raise NotCopied
        try:
            return self._of_view(value)
        except NotImplementedError as error:  # `torch.use_deterministic_algorithms` fills what is new, of most types
            raise NotCopied from error

    def _of_view(self, value: torch.Tensor) -> torch.Tensor:
        original = value.untyped_storage()
        size, place = original.nbytes(), original.data_ptr()
        # torch.save refuses memory that is seen as two types, and says so
        if (size and not place) or (place and self._dtypes.setdefault(place, value.dtype) is not value.dtype):
            raise NotCopied
        key = torch_private.storage_id(original)
        storage = self._storages.get(key)
        made: torch.Tensor | None = None
        if storage is None:
            self._room(size)
            if size and value.is_contiguous() and size == value.nbytes:  # what is empty may begin anywhere
                made = torch.empty_like(value)
                storage = made.untyped_storage()
            else:
                storage = torch.UntypedStorage(size, device="cpu")
            self._storages[key] = storage
            self._to_copy.append((storage, original))
        if made is None:
            made = torch.empty(0, dtype=value.dtype, device="cpu")
            made.set_(storage, value.storage_offset(), value.size(), value.stride())
            if storage.nbytes() != size:  # the original's is smaller than the tensor, which somebody has freed
                raise NotCopied
        return made.requires_grad_() if value.requires_grad else made
