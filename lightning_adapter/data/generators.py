"""Which random generators do a loader and its samplers own, and what state is each of them in?"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lightning_adapter.versions import lightning_private, torch_private

Generator: TypeAlias = torch.Generator | np.random.Generator | np.random.RandomState | random.Random

_PLAIN = {bool, int, float, str, type(None)}
_KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
# a longer collection holds indices or weights, not samplers
_LONGEST = 64


def generators_of(loader: object) -> list[Generator]:
    """The generators that a loader, and what it asks for indices or batches, draw from instead of the global ones.

    They are found as attributes of any name, of the loader, of its samplers, of samplers within those and of loaders that
    it wraps. A dataset's are its own affair: worker processes have copies of them.
    """
    found: list[Generator] = []
    seen = {id(loader)}
    holders: list[object] = [loader]
    # breadth first, so that the order is the same in each process and in each run
    for holder in holders:
        for part in _parts(holder):
            if type(part) in _PLAIN or id(part) in seen:
                continue
            if isinstance(part, _KINDS):
                seen.add(id(part))
                if not isinstance(part, random.SystemRandom):  # has no state
                    found.append(part)
            elif _may_draw(part):
                seen.add(id(part))
                holders.append(part)
    return found


def _parts(holder: object) -> Iterator[object]:
    if isinstance(holder, dict):
        yield from holder.values()
    elif isinstance(holder, (list, tuple)):
        yield from holder
    else:
        yield from vars(holder).values() if hasattr(holder, "__dict__") else ()


def _may_draw(part: object) -> bool:
    """Whether a part of a loader or a sampler may be a source of indices or batches itself, or a collection of such."""
    if isinstance(part, (list, tuple, dict)):
        return len(part) <= _LONGEST
    if isinstance(part, (DataLoader, Sampler)) or lightning_private.is_sampler_as_dataset(part):
        return True
    if isinstance(part, (Dataset, torch.Tensor, np.ndarray, str, type)) or torch_private.is_pass(part):
        return False
    kind = type(part)
    return hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__") and hasattr(part, "__dict__")


def get_state(generator: Generator) -> Any:
    """The state of a generator, in types that a restricted loader accepts."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return _plain(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        return _plain(generator.get_state(legacy=False))
    return list(generator.getstate())


def set_state(generator: Generator, state: Any) -> None:
    """Continue a generator from what `get_state` returned."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = _arrays(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(_arrays(state))
    else:
        generator.setstate(tuple(tuple(part) if isinstance(part, (list, tuple)) else part for part in state))


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _plain(value) for name, value in state.items()}
    if isinstance(state, np.ndarray):
        return [state.dtype.name, state.tolist()]
    return state.item() if isinstance(state, np.generic) else state


def _arrays(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _arrays(value) for name, value in state.items()}
    return np.array(state[1], dtype=state[0]) if isinstance(state, list) else state
