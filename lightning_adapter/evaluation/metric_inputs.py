"""What of a stored prediction and its target does a metric take?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import nn
from torchmetrics import Metric

from lightning_adapter.errors import ConfigurationError, guess, shown

#: A tensor, a list with one entry for each sample, or a dict of these.
Tree: TypeAlias = Any

#: Where a prediction is a dict: the entry that a metric takes as predictions, the first that is there.
PREDICTION_KEYS = ("preds", "pred", "prediction", "predictions", "logits", "probs", "y_hat", "y_pred", "output")
#: Where a target is a dict, or a prediction that brings its own target.
TARGET_KEYS = ("target", "targets", "label", "labels", "y", "y_true")
#: What an argument is called that wants targets; such a one may come first, as in scikit-learn.
_TARGET_ARGUMENTS = {"target", "targets", "label", "labels", "y", "y_true", "labels_true", "true", "ground_truth"}


@dataclass(frozen=True)
class Inputs:
    """What metrics take of one chunk.

    Attributes:
        prediction: a tensor of shape [N, ...], or a list of N; a dict where nobody said which of its entries.
        target: likewise; None where there is none.
        named: what an argument of a metric may be called: `indexes` of a retrieval metric.
        whole: prediction and target as they were stored.
        entries: what prediction and target are of what was stored: `prediction['logits']`; None for what is taken whole.
    """

    prediction: Tree
    target: Tree | None
    named: Mapping[str, Tree] = field(default_factory=dict)
    whole: tuple[Tree, Tree | None] = (None, None)
    entries: tuple[str | None, str | None] = (None, None)


@dataclass(frozen=True)
class Keys:
    """Which entries a user has named; None where they go by their names.

    Attributes:
        prediction: an entry of a prediction that is a dict.
        target: an entry of a target that is a dict.
    """

    prediction: str | None = None
    target: str | None = None

    def inputs(self, prediction: Tree, target: Tree | None) -> Inputs:
        """Pick what metrics take.

        Args:
            prediction: as stored.
            target: as stored, or from a file; None where there is none.

        Raises:
            ConfigurationError: an entry that was named is not there.
        """
        prediction, target = _of_images(prediction), _of_images(target)
        own, holds_target = _entries(prediction), "target"
        named = {**_entries(target), **own}
        if target is None and self.target is not None:
            target, holds_target = prediction, "prediction"  # which may bring its own
        brings_own = None
        if target is None and (self.prediction is not None or _first_of(own, PREDICTION_KEYS) is not None):
            brings_own = _first_of(own, TARGET_KEYS)
            target = None if brings_own is None else own[brings_own]
        key, taken = _pick(prediction, self.prediction, PREDICTION_KEYS, "prediction")
        wanted_key, wanted = (None, None) if target is None else _pick(target, self.target, TARGET_KEYS, "target")
        if brings_own is not None and wanted_key is None:
            wanted_key, holds_target = brings_own, "prediction"
        entries = (_entry("prediction", key), _entry(holds_target, wanted_key))
        return Inputs(taken, wanted, named, (prediction, target), entries)


def positional(function: Callable[..., object]) -> list[inspect.Parameter]:
    """The arguments that can be given by position; predictions and targets where nobody can know."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    unknown = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("preds", "target")]
    try:
        # the __call__ of a module takes anything, and hands it on
        signature = inspect.signature(
            function.forward if isinstance(function, nn.Module) and not isinstance(function, Metric) else function
        )
    except (TypeError, ValueError):  # a function of C without a signature
        return unknown
    parameters = [one for one in signature.parameters.values() if one.kind in kinds]
    hands_on = any(one.kind is one.VAR_POSITIONAL for one in signature.parameters.values())
    return unknown if hands_on and not parameters else parameters


def arguments(parameters: Sequence[inspect.Parameter], inputs: Inputs) -> tuple[tuple[Tree, ...], dict[str, Tree]]:
    """Return what a metric's `update`, or a function, is called with: positions and names.

    Predictions come first and targets second, unless the names of the arguments say the other way round. An argument
    that is called as an entry of the predictions gets that entry.

    Args:
        parameters: `positional` of the update of a metric, or of a function (predictions, targets).
        inputs: of a chunk, or of everything.

    Raises:
        ConfigurationError: it needs something that the predictions have not.
    """
    if not parameters:
        return (), {}
    first, *others = parameters
    if first.name == "task_preds":  # `MultitaskWrapper.update` takes dicts, an entry for each task
        return inputs.whole, {}
    second = others[0] if others else None
    prediction = inputs.prediction
    if isinstance(prediction, Mapping) and first.name not in _TARGET_ARGUMENTS:
        prediction = inputs.named.get(first.name, prediction)
    if first.name in _TARGET_ARGUMENTS and second is not None and second.name not in _TARGET_ARGUMENTS:
        return (_target(inputs), prediction), _by_name(others[1:], inputs)
    if second is None:
        return (prediction,), {}
    if second.name in inputs.named and second.name not in _TARGET_ARGUMENTS:
        return (prediction,), _by_name(others, inputs)
    if second.default is not second.empty and (second.name not in _TARGET_ARGUMENTS or inputs.target is None):
        return (prediction,), _by_name(others, inputs)
    return (prediction, _target(inputs)), _by_name(others[1:], inputs)


def update_of(metric: Metric) -> Callable[..., object]:
    """The update whose arguments say what a metric takes: of a wrapper that hands everything on, the wrapped metric's."""
    parameters = inspect.signature(metric.update).parameters.values()
    if not any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return metric.update
    inner = (one for one in metric.modules() if one is not metric and isinstance(one, Metric))
    wrapped = next(inner, None)
    return metric.update if wrapped is None else update_of(wrapped)


def described(value: Tree) -> str:
    """A value's type and shape, as a message names them: `float32 [100, 10], from 0.01 to 0.98`."""
    if isinstance(value, torch.Tensor):
        if not value.ndim:
            return f"{str(value.dtype).removeprefix('torch.')} {value.item():.6g}"
        text = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
        if value.is_complex() or not value.numel():
            return text
        low, high = value.double().aminmax()
        return f"{text}, from {low.item():.4g} to {high.item():.4g}"
    if isinstance(value, Mapping):
        return "a dict of " + ", ".join(f"{key}: {described(one)}" for key, one in list(value.items())[:8])
    if isinstance(value, tuple):
        return "a tuple of " + "; ".join(f"{number}: {described(one)}" for number, one in enumerate(value[:8]))
    if isinstance(value, list):
        return f"a list of {len(value)}" + (f", the first {described(value[0])}" if value else "")
    return f"{type(value).__name__} {shown(value)}" if value is not None else "none"


def _is_of_images(entries: Mapping[str, Tree]) -> bool:
    """Whether boxes or masks, scores and labels of each image are one prediction, as detection metrics take them."""
    return bool({"boxes", "masks"} & entries.keys()) and bool({"labels", "scores"} & entries.keys())


def _of_images(value: Tree) -> Tree:
    """As detection metrics take it, a list with a dict for each image, also where all images have as many boxes."""
    if not isinstance(value, Mapping) or not _is_of_images(value):
        return value
    length = min((len(one) for one in value.values()), default=0)
    return [{key: one[index] for key, one in value.items()} for index in range(length)]


def _entries(value: Tree) -> Mapping[str, Tree]:
    """The entries of a dict, of a tuple by their numbers, or of a list of dicts that have the same ones."""
    if isinstance(value, Mapping):
        return {str(key): one for key, one in value.items()}
    if isinstance(value, tuple):
        return {str(number): one for number, one in enumerate(value)}
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        return {key: [one[key] for one in value] for key in value[0] if all(key in one for one in value)}
    return {}


def _first_of(entries: Mapping[str, Tree], keys: Sequence[str]) -> str | None:
    """The first of the names that is there, None where none of them is."""
    return next((key for key in keys if key in entries), None)


def _entry(of: str, key: str | None) -> str | None:
    return None if key is None else f"{of}[{key!r}]"


def _pick(value: Tree, key: str | None, keys: Sequence[str], what: str) -> tuple[str | None, Tree]:
    """What metrics take of a value: the name of an entry, and the entry; or no name, and the value itself."""
    if key is not None:
        entries = _entries(value)
        if key not in entries:
            has = f"it has {', '.join(entries)}" if entries else f"it is {described(value)} and no dict"
            raise ConfigurationError(f"--{what}-key {key}: a {what} has no such entry; {has}{guess(key, entries)}")
        return key, entries[key]
    entries = _entries(value)
    if _is_of_images(entries):
        return None, value
    found = _first_of(entries, keys)
    if found is not None:
        return found, entries[found]
    others = [key for key in entries if key not in (*PREDICTION_KEYS, *TARGET_KEYS)]
    if isinstance(value, (Mapping, tuple)) and len(others) == 1:
        return others[0], entries[others[0]]
    return None, value


def _target(inputs: Inputs) -> Tree:
    if inputs.target is None:
        raise ConfigurationError("there are no targets")
    return inputs.target


def _by_name(parameters: Sequence[inspect.Parameter], inputs: Inputs) -> dict[str, Tree]:
    named = {one.name: inputs.named[one.name] for one in parameters if one.name in inputs.named}
    missing = [one.name for one in parameters if one.default is one.empty and one.name not in named]
    if missing:
        has = ", ".join(map(str, inputs.named)) or "no names"
        example = ", ".join(f"'{name}': ..." for name in ("preds", *missing))
        raise ConfigurationError(
            f"it wants {' and '.join(map(repr, missing))} too, and the predictions have {has}. To fix, let predict_step "
            f"return a dict with it: {{{example}}}"
        )
    return named
