"""Has what a checkpoint holds the form that a resume needs?

Each part of the run says with a TypedDict what it saves. A file that came from elsewhere, or that somebody edited, is
compared with these before anything is restored, so that a wrong entry is named instead of met in mid restore.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, TypedDict

from torch import Tensor

from lightning_adapter.errors import CheckpointError


class _WhereThereAreAny(TypedDict, total=False):
    callbacks: dict[str, Any]


class LightningContent(_WhereThereAreAny):
    """What a resume reads of Lightning's own keys."""

    state_dict: dict[str, Any]
    optimizer_states: list[OptimizerState]
    lr_schedulers: list[dict[str, Any]]
    global_step: int


class OptimizerState(TypedDict):
    """The state of an optimizer, as torch has it."""

    state: dict[Any, Any]
    param_groups: list[dict[str, Any]]


class Counts(TypedDict):
    """A counter of Lightning's."""

    ready: int
    started: int
    processed: int
    completed: int


class BatchProgress(TypedDict):
    """Lightning's `_BatchProgress`."""

    current: Counts
    total: Counts
    is_last_batch: bool


class _EpochProgress(TypedDict):
    current: Counts


class _Stepped(TypedDict):
    _batches_that_stepped: int


class _StepCounts(TypedDict):
    completed: int


class _SchedulerProgress(TypedDict):
    current: _StepCounts
    total: _StepCounts


#: What a file of Lightning 1.9's does not have.
_SinceLightning2 = TypedDict("_SinceLightning2", {"epoch_loop.val_loop.batch_progress": BatchProgress}, total=False)

_LightningLoops = TypedDict(
    "_LightningLoops",
    {
        "epoch_progress": _EpochProgress,
        "epoch_loop.batch_progress": BatchProgress,
        "epoch_loop.state_dict": _Stepped,
        "epoch_loop.scheduler_progress": _SchedulerProgress,
    },
)


class LightningLoops(_LightningLoops, _SinceLightning2):
    """Of the counters of Lightning's `fit_loop` those that a resume reads."""


def check(content: object, form: Any, where: str) -> None:
    """Compare content with its form.

    Args:
        content: of a checkpoint, or of a part of it.
        form: a TypedDict; keys that it does not name may be there.
        where: what messages call it; empty for the checkpoint itself.

    Raises:
        CheckpointError: names all that is not as it should be.
    """
    faults = _faults(content, form, where)
    if faults:
        raise CheckpointError(
            "The checkpoint does not hold what a run can go on from; somebody has edited it, or something else has "
            "written it:\n"
            + "\n".join(f"- {fault}" for fault in faults)
            + "\nUse another checkpoint, or warm_start_from, "
            "which takes the weights alone."
        )


def _faults(value: Any, form: Any, where: str) -> list[str]:
    """What of a value is not as its annotation says."""
    if form is Any:
        return []
    if typing.is_typeddict(form):
        return _faults_of_dict(value, form, where)
    origin, inner = typing.get_origin(form), typing.get_args(form)
    if origin is typing.Literal:
        return [] if value in inner else [f"{where} is {_shown(value)}, not one of {', '.join(map(str, inner))}"]
    if origin in (typing.Union, types.UnionType):
        tried = [_faults(value, option, where) for option in inner]
        return min(tried, key=len) if all(tried) else []
    if origin is list:
        found = _wrong(value, list, where)
        return found or [fault for i, entry in enumerate(value) for fault in _faults(entry, inner[0], f"{where}[{i}]")]
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or len(value) != len(inner):
            return [f"{where or 'it'} is {_shown(value)}, not {len(inner)} values"]
        places = enumerate(zip(value, inner, strict=True))
        return [fault for i, (entry, kind) in places for fault in _faults(entry, kind, f"{where}[{i}]")]
    if origin is dict:
        found = _wrong(value, Mapping, where)
        return found or [
            fault
            for key, entry in value.items()
            for fault in [
                *_faults(key, inner[0], f"key {key!r} of {where}"),
                *_faults(entry, inner[1], _at(where, key)),
            ]
        ]
    return _wrong(value, type(None) if form is None else form, where)


def _faults_of_dict(value: Any, form: Any, where: str) -> list[str]:
    if not isinstance(value, Mapping):
        return _wrong(value, Mapping, where)
    faults = []
    for key, kind in typing.get_type_hints(form).items():
        if key in value:
            faults += _faults(value[key], kind, _at(where, key))
        elif key in form.__required_keys__:
            faults.append(f"{_at(where, key)} is missing")
    return faults


_NAMES = {Mapping: "a dict", list: "a list", Tensor: "a tensor", type(None): "None"}


def _wrong(value: object, kind: Any, where: str) -> list[str]:
    if kind is int:
        right = isinstance(value, int) and not isinstance(value, bool)
        # what is counted here begins at 0
        return [] if right and value >= 0 else [f"{where} is {_shown(value)}, not a number from 0"]  # type: ignore[operator]
    if kind is float:
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        right = isinstance(value, kind)
    return [] if right else [f"{where or 'it'} is {_shown(value)}, not {_NAMES.get(kind, f'of type {kind.__name__}')}"]


def _at(where: str, key: object) -> str:
    return f"{where}[{key!r}]" if where else str(key)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, (int, float, str, bool, type(None))) else f"of type {type(value).__name__}"
    return text if len(text) < 40 else text[:37] + "..."
