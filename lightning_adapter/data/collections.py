"""Which loaders are in a collection of them, and how is one like it made of other loaders?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from lightning_adapter.versions import lightning_private

#: A loader or a (nested) list, tuple or dict of loaders; a batch of theirs has the same form.
Collection: TypeAlias = Any


def is_loader(value: Collection) -> bool:
    """Whether a value is one loader and no collection of them, as `_is_leaf_or_primitive_container` has it.

    A list of plain values is a loader whose batches these are; so is one of nothing, which has no batch.
    """
    if not isinstance(value, (list, tuple, Mapping)):
        return True
    children = value.values() if isinstance(value, Mapping) else value
    return all(isinstance(child, (int, float, str)) for child in children)


def flatten(loaders: Collection) -> list[Any]:
    """The loaders in a (nested) list, tuple or dict of them, in Lightning's order."""
    if is_loader(loaders):
        return [loaders]
    if isinstance(loaders, Mapping):
        return [leaf for value in loaders.values() for leaf in flatten(value)]
    return [leaf for value in loaders for leaf in flatten(value)]


def unflatten(like: Collection, leaves: Iterator[Any]) -> Collection:
    """A collection like `like` with its leaves replaced, one by one."""
    if is_loader(like):
        return next(leaves)
    if isinstance(like, Mapping):
        return type(like)({key: unflatten(value, leaves) for key, value in like.items()})  # type: ignore[call-arg]
    if isinstance(like, tuple) and hasattr(like, "_fields"):
        return type(like)(*(unflatten(value, leaves) for value in like))
    return type(like)(unflatten(value, leaves) for value in like)


def map_loaders(loaders: Collection, change: Callable[[Any], Any]) -> Collection:
    """Change each loader of a collection; a collection in which nothing changed stays the same object.

    Lightning's CombinedLoader is given the changed ones in the place of its own, as Lightning does.
    """
    if lightning_private.is_combined(loaders):
        return lightning_private.combined_with(loaders, change)
    leaves = flatten(loaders)
    changed = [change(leaf) for leaf in leaves]
    if all(before is after for before, after in zip(leaves, changed, strict=True)):
        return loaders
    return unflatten(loaders, iter(changed))
