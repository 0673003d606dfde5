"""Can the cluster train what the experiment YAML asks for? What can be told without a master, and without the trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.platform import experiment
from lightning_adapter.submission.entrypoint import TORCH_LAUNCHER, Entrypoint

#: What Determined gives a trial that asks for nothing.
_DEFAULT_SLOTS = 1
#: As many values of a range are looked at one by one.
_FEW = 1000


@dataclass(frozen=True)
class Typed:
    """What the entrypoint's command says that the YAML may contradict.

    Attributes:
        max_epochs: `--max-epochs`.
        hparams: those that were typed; they win over the YAML's.
    """

    max_epochs: int | None = None
    hparams: Mapping[str, Any] | None = None


def faults_of(config: Mapping[str, Any], entrypoint: Entrypoint, typed: Typed) -> list[str]:
    """Say everything that would end the experiment, each with what to write instead.

    Args:
        config: what `experiment.checked` returned.
        entrypoint: the YAML's, taken apart.
        typed: what the entrypoint's arguments say.
    """
    slots = slots_per_trial(config)
    return [
        *_launcher_faults(entrypoint, slots),
        *length_faults(config.get("searcher") or {}, typed.max_epochs, "the entrypoint says"),
        *_batch_faults(_batch_size(config, typed.hparams or {}), max(1, slots)),
    ]


def with_typed(hyperparameters: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment's hyperparameters with those in their places that the entrypoint's command says."""
    result = dict(hyperparameters)
    for name, value in typed.items():
        group = result.get(name)
        if not isinstance(value, Mapping) or not isinstance(group, Mapping) or experiment.is_range(group):
            result[name] = value
        elif group.get("type") == "const" and isinstance(group.get("val"), Mapping):
            result[name] = {"type": "const", "val": with_typed(group["val"], value)}
        else:
            result[name] = with_typed(group, value)
    return result


def slots_per_trial(config: Mapping[str, Any]) -> int:
    """Return how many slots, and so processes, a trial has."""
    slots = (config.get("resources") or {}).get("slots_per_trial")
    return _DEFAULT_SLOTS if slots is None else int(slots)


def _launcher_faults(entrypoint: Entrypoint, slots: int) -> Iterator[str]:
    if len(entrypoint.launchers) > 1:
        yield (
            f"the entrypoint has {len(entrypoint.launchers)} launchers, {' and '.join(entrypoint.launchers)}, and each would "
            "start a process for each slot of the other. To fix, keep one of them"
        )
    # a command of another kind may be a launcher of the user's own
    elif slots > 1 and not entrypoint.launchers and entrypoint.kind in ("fit", "script"):
        yield (
            f"resources.slots_per_trial is {slots}, and the entrypoint has no launcher, so that a single process would train. "
            f"To fix, write entrypoint: {TORCH_LAUNCHER} {entrypoint.text}"
        )


def length_faults(searcher: Mapping[str, Any], max_epochs: int | None, who: str) -> Iterator[str]:
    """The searcher sets its stopping points by a length, which has to be that of the training.

    Args:
        searcher: of the experiment.
        max_epochs: what `fit` is given, None where nothing.
        who: "the entrypoint says", for one.
    """
    if max_epochs is None:
        return
    length = searcher.get("max_length")
    if isinstance(length, Mapping) and "epochs" in length:
        key, epochs = "searcher.max_length", length["epochs"]
    elif searcher.get("time_metric") == "epochs" and searcher.get("max_time") is not None:
        key, epochs = "searcher.max_time", searcher["max_time"]
    else:
        return
    if epochs != max_epochs:
        yield (
            f"{who} --max-epochs {max_epochs}, and {key} says {epochs} epochs, by which the searcher sets its "
            "stopping points. To fix, give both the same number"
        )


def _batch_size(config: Mapping[str, Any], typed: Mapping[str, Any]) -> object:
    """The value or the range of `global_batch_size`; None where there is none."""
    return typed.get("global_batch_size", (config.get("hyperparameters") or {}).get("global_batch_size"))


def _batch_faults(size: object, processes: int) -> Iterator[str]:
    if size is None:
        return
    values, spec = [size], size
    if isinstance(spec, Mapping):
        kind = spec.get("type")
        if kind == "const":
            values = [spec.get("val")]
        elif kind == "categorical":
            values = list(spec.get("vals") or [])
        elif kind == "int":
            low, high = int(spec["minval"]), int(spec["maxval"])
            values = list(range(low, min(high, low + _FEW) + 1))
        else:
            yield (
                f"hyperparameters.global_batch_size is a range of type {shown(kind)}, which draws fractions. To fix, list the "
                "sizes: {type: categorical, vals: [32, 64]}"
            )
            return
    for value in values:
        try:
            experiment.global_batch_size_check({"global_batch_size": value}, processes)
        except ConfigurationError as error:
            several = len(values) > 1
            yield str(error) + (
                "; the range holds that value: list sizes that fit, {type: categorical, vals: [32, 64]}"
                if several
                else ""
            )
            return
