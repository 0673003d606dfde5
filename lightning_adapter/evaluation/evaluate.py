"""What are the values of metrics over stored predictions, and what is said where a metric does not fit them?"""

from __future__ import annotations

import inspect
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torchmetrics import Metric, MetricCollection

from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.evaluation.metric_inputs import Inputs, Keys, Tree, arguments, described, positional, update_of
from lightning_adapter.evaluation.metric_objects import Function, MetricObjects, where_it_failed
from lightning_adapter.evaluation.plain_outputs import bytes_of
from lightning_adapter.evaluation.predictions import Predictions
from lightning_adapter.evaluation.target_file import TargetFile

#: What a metric computes, or a function returns: a number, a tensor, a tuple or a list of these.
Value: TypeAlias = Any

_CHUNK_BYTES = 32 * 2**20
_CHUNK_SAMPLES = 8192


@dataclass(frozen=True)
class Measured:
    """What one metric, or one function, has made of one loader's predictions.

    Attributes:
        name: as the user or torchmetrics calls it, with `/dataloader_idx_N` behind it where there are several loaders.
        value: as it was computed; a dict where there are several.
        metric: None of a function. It still has its state.
    """

    name: str
    value: Value
    metric: Metric | None


@dataclass(frozen=True)
class Evaluated:
    """The values over one loader's predictions.

    Attributes:
        loader: its number.
        samples: how many there are.
        values: flat: name -> number, tensor, or tuple of tensors.
        measured: what pictures are drawn of, a metric each.
    """

    loader: int
    samples: int
    values: dict[str, Value]
    measured: list[Measured]


@dataclass(frozen=True)
class _Fault:
    name: str
    error: Exception

    def __str__(self) -> str:
        if isinstance(self.error, ConfigurationError):
            return f"- {self.name}: {self.error}"
        text = str(self.error).strip() or "no message"
        return f"- {self.name}: {type(self.error).__name__}: {text}{where_it_failed(self.error)}"


@dataclass(frozen=True)
class Evaluation:
    """Metrics over the predictions of some loaders.

    Attributes:
        predictions: as they are stored.
        objects: metrics and functions.
        keys: which entries of dicts count.
        targets: of a file; None where the predictions have them.
        loaders: the numbers of the loaders.
    """

    predictions: Predictions
    objects: MetricObjects
    keys: Keys
    targets: TargetFile | None
    loaders: Sequence[int]

    def results(self) -> Iterator[Evaluated]:
        """Yield the values of loader after loader; what has state has that loader's until the next is asked for.

        Raises:
            ConfigurationError: a metric does not fit the predictions, or there are none; all faults of a chunk of predictions
                are in one message.
        """
        if self.targets is not None and len(self.loaders) > 1:
            raise ConfigurationError(
                f"{self.targets.path} has the targets of one loader, and the predictions are those of {len(self.loaders)}. To "
                "fix, say whose they are: --loader N"
            )
        for loader in self.loaders:
            samples = self.predictions.loaders[loader].samples
            if not samples:
                raise ConfigurationError(
                    f"loader {loader} of {self.predictions.directory} has no predictions to evaluate"
                )
            if self.targets is not None:
                self.targets.check_length(samples, f"loader {loader} of {self.predictions.directory}")
            yield self._of_loader(loader, samples)

    def entries(self, loader: int) -> tuple[str | None, str | None]:
        """Which entries of what a loader's predictions hold are taken as predictions and targets; see `Inputs.entries`."""
        return next(inputs.entries for _, inputs in self._chunks(loader, 1))

    def _of_loader(self, loader: int, samples: int) -> Evaluated:
        values, measured = self._metrics(loader, samples)
        if self.objects.functions:
            self._functions(loader, samples, values, measured)
        several = len(self.predictions.loaders) > 1 and len(self.loaders) > 1
        mark = f"/dataloader_idx_{loader}" if several else ""  # as Lightning's `_ResultMetric` names it
        return Evaluated(
            loader,
            samples,
            {f"{name}{mark}": value for name, value in values.items()},
            [Measured(f"{one.name}{mark}", one.value, one.metric) for one in measured],
        )

    def _metrics(self, loader: int, samples: int) -> tuple[dict[str, Value], list[Measured]]:
        collection = self.objects.collection
        if collection is None:
            return {}, []
        collection.to("cpu")
        collection.reset()
        # of a collection that was used before, metrics share states, which asking for them parts: they may be updated singly
        collection.items()
        size = chunk_size(self.predictions, loader, samples)
        metrics = _metrics_of(collection)
        # looked at once, since that takes as long as updates of a few thousand samples
        parameters = {name: positional(update_of(metric)) for name, metric in metrics.items()}
        inputs = None
        for start, inputs in self._chunks(loader, size):
            place = f"loader {loader}, samples {start} to {min(start + size, samples) - 1}"
            self._raise(_update(collection, metrics, parameters, inputs), inputs, place)
        computed: dict[str, Value] = {}
        faults = _faults({name: _compute(metric, name, computed) for name, metric in metrics.items()})
        self._raise(faults, inputs, f"loader {loader}")
        measured = [Measured(name, computed[name], metric) for name, metric in metrics.items()]
        return _flat(_named(collection, computed)), measured

    def _functions(self, loader: int, samples: int, values: dict[str, Value], measured: list[Measured]) -> None:
        ((_, inputs),) = self._chunks(loader, samples)
        returned: dict[str, Value] = {}
        calls = {name: _call(function, name, inputs, returned) for name, function in self.objects.functions.items()}
        self._raise(_faults(calls), inputs, f"loader {loader}")
        for name, value in returned.items():
            measured.append(Measured(name, value, None))
            for key, one in _flat(value if isinstance(value, Mapping) else {name: value}).items():
                values[key if key not in values else f"{name}_{key}"] = one

    def _chunks(self, loader: int, size: int) -> Iterator[tuple[int, Inputs]]:
        start = 0
        for chunk in self.predictions.chunks(loader, size=size):
            if chunk.prediction is None:
                raise ConfigurationError(
                    f"loader {loader} of {self.predictions.directory} has values of whole batches, and none of each sample. To "
                    "fix, let predict_step return outputs whose first dimension counts the samples of the batch"
                )
            target = chunk.target if self.targets is None else self.targets.of(chunk.index, chunk.key)
            yield start, self.keys.inputs(chunk.prediction, target)
            start += len(chunk.index)

    def _raise(self, faults: list[_Fault], inputs: Inputs | None, place: str) -> None:
        if not faults or inputs is None:
            return
        count = len(self.objects.functions) + len(self.objects.collection or ())
        which = "the metric does" if count == 1 else f"{len(faults)} of {count} metrics do"
        raise ConfigurationError(
            f"{which} not fit the predictions in {self.predictions.directory} ({place}):\n"
            + "\n".join(map(str, faults))
            + f"\npredictions: {described(inputs.prediction)}\ntargets: {described(inputs.target)}"
            + f"\nTo fix, {_advice(inputs)}"
        )


def chunk_size(predictions: Predictions, loader: int, samples: int) -> int:
    """How many samples a metric is given at once, so that large ones fit into memory."""
    first = next(iter(predictions.chunks(loader, size=1)))
    largest = max(1, min(_CHUNK_SAMPLES, _CHUNK_BYTES // max(1, bytes_of(first.prediction) + bytes_of(first.target))))
    # of equal size: torchmetrics tells logits from probabilities by the values of an update, and a few may look like either
    return -(-samples // -(-samples // largest))


def plain(value: Value) -> Value:
    """A value as JSON has it: numbers, texts, and lists of them."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if isinstance(value, (bool, int, float, str)) or value is None else str(value)


def _metrics_of(collection: MetricCollection) -> dict[str, Metric]:
    """The metrics under their full names, with the state that they may share; `MetricCollection.items` copies it."""
    metrics = [metric for metric in nn.ModuleDict.values(collection) if isinstance(metric, Metric)]
    return dict(zip(map(str, collection.keys()), metrics, strict=True))


def _update(
    collection: MetricCollection,
    metrics: Mapping[str, Metric],
    parameters: Mapping[str, Sequence[inspect.Parameter]],
    inputs: Inputs,
) -> list[_Fault]:
    """Update all metrics of a collection, with what their updates take; return what stands against it."""
    given, faults = {}, []
    for name in metrics:
        try:
            given[name] = arguments(parameters[name], inputs)
        except ConfigurationError as error:
            faults.append(_Fault(name, error))
    first = next(iter(given.values()), None)
    if first is not None and not faults and all(_are_same(first, other) for other in given.values()):
        try:
            collection.update(*first[0], **first[1])  # at once, since torchmetrics counts for equal metrics once
        except Exception as error:  # a metric may refuse what it is given in any way
            alone = {name: metric.clone() for name, metric in metrics.items()}
            return _faults(_update_each(alone, given)) or [_Fault("MetricCollection", error)]
        return []
    return [*faults, *_faults(_update_each(metrics, given))]


def _update_each(
    metrics: Mapping[str, Metric], given: Mapping[str, tuple[tuple[Tree, ...], dict[str, Tree]]]
) -> dict[str, Exception | None]:
    errors: dict[str, Exception | None] = {}
    for name, (positions, names) in given.items():
        try:
            metrics[name].update(*positions, **names)
            errors[name] = None
        except Exception as error:  # as above
            errors[name] = error
    return errors


def _are_same(one: tuple[tuple[Tree, ...], dict[str, Tree]], other: tuple[tuple[Tree, ...], dict[str, Tree]]) -> bool:
    (positions, names), (others, other_names) = one, other
    return list(map(id, positions)) == list(map(id, others)) and names.keys() == other_names.keys()


def _compute(metric: Metric, name: str, computed: dict[str, Value]) -> Exception | None:
    try:
        computed[name] = metric.compute()
    except Exception as error:  # some metrics look at what they were given only here
        return error
    return None


def _call(function: Function, name: str, inputs: Inputs, returned: dict[str, Value]) -> Exception | None:
    try:
        positions, names = arguments(positional(function), inputs)
        value = function(*positions, **names)
    except Exception as error:  # the user's function may do anything
        return error
    parts = value if isinstance(value, Mapping) else {"": value}
    strange = [one for one in parts.values() if not _is_value(one)]
    if strange or not parts:
        what = shown(strange[0]) if strange else "an empty dict"
        return ConfigurationError(f"it returned {what}; a number or a dict of numbers is needed")
    returned[name] = value
    return None


def _is_value(value: Value) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_value, value))
    return isinstance(value, (bool, int, float, torch.Tensor, np.ndarray, np.generic))


def _faults(errors: Mapping[str, Exception | None]) -> list[_Fault]:
    return [_Fault(name, error) for name, error in errors.items() if error is not None]


def _named(collection: MetricCollection, computed: Mapping[str, Value]) -> dict[str, Value]:
    """Values under the names that torchmetrics gives them: those of a metric that computes a dict have no name before them."""
    if not any(isinstance(value, Mapping) for value in computed.values()):
        return dict(computed)
    return dict(collection.compute())


def _flat(values: Mapping[str, Value]) -> dict[str, Value]:
    flat: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}_{key}": one for key, one in _flat(value).items()}
        else:
            flat[str(name)] = value
    return flat


def _advice(inputs: Inputs) -> str:
    prediction, target = inputs.prediction, inputs.target
    fit = "name a metric that takes these, or a function (predictions, targets) that changes them before"
    if target is None:
        return (
            "give the targets: --targets FILE (.pt, .npy, .csv, .parquet), or let predict_step return a dict "
            "{'preds': ..., 'target': ...}"
        )
    if isinstance(prediction, (Mapping, tuple)):
        keys = prediction if isinstance(prediction, Mapping) else range(len(prediction))
        return f"say which entry is the prediction: --prediction-key NAME, one of {', '.join(map(str, keys))}"
    if isinstance(target, (Mapping, tuple)):
        keys = target if isinstance(target, Mapping) else range(len(target))
        return f"say which entry is the target: --target-key NAME, one of {', '.join(map(str, keys))}"
    if isinstance(prediction, torch.Tensor) and isinstance(target, torch.Tensor):
        if prediction.shape == (*target.shape, 1):
            return f"let predict_step return its output without the last dimension, .squeeze(-1), or {fit}"
        if target.shape == (*prediction.shape, 1):
            return f"give targets without the last dimension, .squeeze(-1), or {fit}"
        if _has_classes(prediction, target) and int(target.max()) >= prediction.shape[1]:
            return (
                f"give targets from 0 to {prediction.shape[1] - 1}, since the predictions have {prediction.shape[1]} classes, "
                f"or {fit}"
            )
    return fit


def _has_classes(prediction: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether there is a number for each class, and targets are their numbers."""
    is_scores = prediction.is_floating_point() and prediction.ndim == target.ndim + 1
    return is_scores and not target.is_floating_point() and target.numel() > 0


def evaluate(
    path: pathlib.Path, objects: MetricObjects, keys: Keys, targets: TargetFile | None, loader: int | None
) -> Evaluation:
    """Open predictions for an evaluation.

    Args:
        path: the directory of the predictions, or a run or a checkpoint in which it lies.
        objects: metrics and functions.
        keys: which entries of dicts count.
        targets: of a file; None where the predictions have them.
        loader: the number of the only loader that counts; None takes all.

    Raises:
        ConfigurationError: it is none, they are not complete, or there is no such loader.
    """
    predictions = Predictions.open(path)
    count = len(predictions.loaders)
    if loader is not None and loader not in range(count):
        has = "one loader, number 0" if count == 1 else f"{count} loaders, 0 to {count - 1}"
        raise ConfigurationError(f"--loader {loader}: {predictions.directory} has the predictions of {has}")
    return Evaluation(predictions, objects, keys, targets, range(count) if loader is None else [loader])
