"""What does a module make of a batch, without a trace in it, and how is that compared with the target?"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from lightning_adapter.data.random_state import RandomState
from lightning_adapter.pictures.kinds import Kind
from lightning_adapter.pictures.parts import PREDICTIONS, Array, Batch
from lightning_adapter.versions import hosts
from lightning_adapter.versions.types import LightningModule


class Prediction(NamedTuple):
    """What a module makes of a batch.

    Attributes:
        value: what is compared with a target: a tensor or an array; None where there is none.
        note: why there is none, for people; empty where there is one.
    """

    value: Any
    note: str = ""


def predict(module: LightningModule, batch: Batch) -> Prediction:
    """Let a module predict a batch that is on its device: by its `predict_step`, else by its `forward`.

    Modes, buffers and random states are afterwards what they were, and nothing is logged.
    """
    try:
        with _without_trace(module):
            value = _called(module, batch)
    except Exception as error:  # user code, on a batch that it may not be meant for
        return Prediction(
            None, f"no predictions: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        )
    found = _picked(value)
    return Prediction(found, "" if found is not None else f"no predictions: a {type(value).__name__} holds no tensor")


@contextlib.contextmanager
def _without_trace(module: LightningModule) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    state = RandomState.now()
    kept: dict[str, Any] = {name: vars(module)[name] for name in ("log", "log_dict") if name in vars(module)}
    cuda = [module.device.index or 0] if module.device.type == "cuda" else []
    # not inference_mode: a tensor that the module keeps may not be used in training then
    with torch.random.fork_rng(devices=cuda), torch.no_grad():
        try:
            module.eval()
            vars(module).update(log=_logs_nothing, log_dict=_logs_nothing)
            yield
        finally:
            for name in ("log", "log_dict"):
                vars(module).pop(name)
            vars(module).update(kept)
            for part, training in modes:
                part.training = training
            for buffer, before in buffers:
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
            state.restore()


def _logs_nothing(*args: object, **kwargs: object) -> None:
    """In the place of `self.log` and `self.log_dict`."""


def _called(module: LightningModule, batch: Batch) -> Any:
    base = hosts.host_of(module).pl.LightningModule
    if _is_own(module, "predict_step", base):
        arguments = (batch, 0, 0)[: _takes(module.predict_step)]
        return module.predict_step(*arguments)
    if not _is_own(module, "forward", base):
        raise NotImplementedError(f"{type(module).__name__} has no predict_step() and no forward()")
    parameters = list(inspect.signature(module.forward).parameters.values())
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY)]
    required = [p.name for p in named if p.default is p.empty]
    if isinstance(batch, Mapping):
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        names = {p.name for p in parameters}
        if set(required) <= batch.keys() and (required or takes_all):
            return module(**{str(key): value for key, value in batch.items() if takes_all or key in names})
        return module(next(iter(batch.values())))
    if isinstance(batch, (list, tuple)):
        return module(*batch[: max(1, len(required))])
    return module(batch)


def _is_own(module: LightningModule, name: str, base: type) -> bool:
    return name in vars(module) or getattr(type(module), name) is not getattr(base, name)


def _takes(function: Any) -> int:
    """Arguments that a `predict_step` takes by their places, of three."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 3
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _picked(value: Any) -> Any:
    """What is most likely the prediction in what a module returns: the value of a usual name, or the first tensor."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return value
    if isinstance(value, Mapping):
        ordered = [value[name] for name in PREDICTIONS if name in value] + list(value.values())
    elif isinstance(value, (list, tuple)):
        ordered = list(value)
    else:
        return None
    return next((found for found in map(_picked, ordered) if found is not None), None)


def by_sample(value: Any, samples: int) -> Any:
    """A prediction whose first dimension is that of the samples, also where a module has put all words into one row."""
    first = len(value) if value.ndim else 1
    if first != samples and value.ndim and samples and first % samples == 0:
        return value.reshape(samples, first // samples, *value.shape[1:])
    return value


def like_target(values: Array, target: Array, kind: Kind) -> Array | None:
    """A prediction in the form of its target: classes of scores, or values; None where the two do not fit.

    Args:
        values: of the first samples.
        target: of the same.
        kind: of the target.
    """
    if len(values) != len(target):
        return None
    if kind is Kind.SCALARS:
        return _of_scalars(values, target.reshape(len(target)))
    if kind is Kind.MASKS and target.ndim == 4:
        target = without_channel(target)
    if kind is Kind.MASKS and values.ndim == 4 and 1 in (values.shape[1], values.shape[3]):
        values = without_channel(values)
    if values.shape == target.shape:
        return _decided(values) if _is_binary(target) and values.dtype.kind == "f" else values
    if kind is Kind.MASKS and values.ndim == 4 and values.shape[2:] == target.shape[1:]:
        of_pixels: Array = values.argmax(1)
        return of_pixels
    if kind is Kind.NUMBERS and values.ndim == 3 and target.dtype.kind in "iu":
        if values.shape[:2] == target.shape:
            classes: Array = values.argmax(2)
            return classes
        if (values.shape[0], values.shape[2]) == target.shape:
            classes = values.argmax(1)
            return classes
    return None


def without_channel(masks: Array) -> Array:
    """Masks as [samples, height, width]."""
    if masks.ndim == 3:
        return masks
    return masks[:, 0] if masks.shape[1] == 1 else masks[..., 0]


def _of_scalars(values: Array, target: Array) -> Array | None:
    if values.ndim == 2 and values.shape[1] > 1:
        return values.argmax(1) if target.dtype.kind in "iub" else None
    if values.size != len(target):
        return None
    values = values.reshape(len(target))
    return _decided(values) if values.dtype.kind == "f" and _is_binary(target) else values


def _is_binary(target: Array) -> bool:
    return bool(np.isin(target, (0, 1)).all())


def _decided(scores: Array) -> Array:
    """0 or 1 of probabilities, or of what goes before the sigmoid."""
    probable = scores.size and scores.min() >= 0 and scores.max() <= 1
    return (scores > (0.5 if probable else 0)).astype(np.int64)
