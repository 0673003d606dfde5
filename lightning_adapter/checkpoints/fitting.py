"""Would what was loaded into an optimizer, a scheduler or a callback of the hosts' also work there?

Their `load_state_dict` takes whatever it is given, and the first step, epoch or validation fails on it. What is asked
here is asked of classes of the hosts alone: those of users may change the kinds of what they hold as they like.
"""

from __future__ import annotations

import copy
import inspect
import pathlib
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from lightning_adapter.checkpoints.content import Stateful

#: They step in a way of their own, with a closure or sparse gradients.
_STEP_OTHERWISE = ("LBFGS", "SparseAdam")


def step_likeness(optimizer: Optimizer) -> None:
    """Step a likeness of an optimizer of torch's: its options and states, over small parameters without a gradient.

    Raises:
        Exception: whatever torch's step raises where a state or an option is missing, or of a wrong kind.
    """
    cls = type(optimizer)
    if not cls.__module__.startswith("torch.optim") or cls.__name__ in _STEP_OTHERWISE:
        return
    accepted = inspect.signature(cls).parameters
    for group in optimizer.param_groups:
        states = [(weight, optimizer.state[weight]) for weight in group["params"] if weight in optimizer.state]
        if not states:
            continue
        likenesses = [_likeness(weight, state) for weight, state in states]
        options = {name: option for name, option in group.items() if name in accepted and name != "params"}
        made: Optimizer = cls([weight for weight, _ in likenesses], **options)
        for weight, state in likenesses:
            made.state[weight] = state
        made.step()


def _likeness(weight: torch.Tensor, state: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    """A small parameter with its state; as large as the parameter where a state has a shape of its own."""
    if not isinstance(state, Mapping):
        raise TypeError(f"the state of a parameter is of type {type(state).__name__}")
    tensors = [value for value in state.values() if isinstance(value, torch.Tensor) and value.ndim]
    small = all(value.shape == weight.shape for value in tensors)
    shape = [2] * weight.ndim if small else list(weight.shape)
    made = torch.nn.Parameter(torch.zeros(shape, dtype=weight.dtype, device=weight.device))
    made.grad = torch.zeros_like(made)
    own = {
        name: value.new_zeros(shape)
        if small and isinstance(value, torch.Tensor) and value.ndim
        else copy.deepcopy(value)
        for name, value in state.items()
    }
    return made, own


def check_kinds(owner: Stateful, saved: Mapping[str, Any]) -> None:
    """Compare a saved state with the one that its owner has without it.

    Args:
        owner: whose state it is; nothing is loaded into it yet.
        saved: to be loaded.

    Raises:
        TypeError: a value is of another kind.
    """
    if not type(owner).__module__.startswith(("torch.", "pytorch_lightning.", "lightning.")):
        return
    fresh = owner.state_dict()  # of users' classes it may need what training makes
    if not isinstance(fresh, Mapping):
        return
    for name in fresh.keys() & saved.keys():
        mine, theirs = _kind(fresh[name]), _kind(saved[name])
        if mine is not None and mine != theirs:
            raise TypeError(f"{name} is {theirs or 'None'} in the checkpoint, and {mine} here")
        if mine == "a list":
            inner = {_kind(entry) for entry in fresh[name]}
            found = {_kind(entry) for entry in saved[name]}
            if len(inner) == 1 and None not in inner and not found <= {*inner, "a number"}:
                raise TypeError(f"{name} has other entries in the checkpoint than {', '.join(map(str, inner))}")


def _kind(value: object) -> str | None:
    """What can stand for what; None for what says nothing."""
    if isinstance(value, torch.Tensor):
        return "a tensor" if value.numel() == 1 else f"a tensor of the shape {tuple(value.shape)}"
    for kind, types in _KINDS.items():
        if isinstance(value, types):
            return kind
    return None if value is None else type(value).__name__


_KINDS: dict[str, tuple[type, ...]] = {
    "a number": (bool, int, float),
    "a string": (str, pathlib.PurePath),
    "a list": (list, tuple),
    "a dict": (Mapping,),
}
