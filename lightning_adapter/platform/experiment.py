"""What does this experiment YAML ask for, and can a trial be built from it?

The format is Determined's own (its experiment configuration, version 0, as of 0.38.1). The pip package ships no schema
of it: only the master checks it, after the submit. The tables below therefore name its keys, so that a local run and a
submit complain about the same things, and before any training. Files are read with `ruamel.yaml`, as the `det` command
does: it follows YAML 1.2, where `1e-3` is a number (PyYAML reads the text "1e-3" there).

Every function is pure; all faults of one call are raised together.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import pathlib
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeGuard

from determined import pytorch
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lightning_adapter.errors import ConfigurationError

_MISSING = object()
_TIME_UNITS = ("batches", "records", "epochs")

# Determined's keys: section -> key -> kind. A kind is a name in _KINDS, or the tuple of the words that are allowed.
# null is legal everywhere and means the default. "any" is left to the master: nothing here reads it.
_FIELDS: dict[str, dict[str, str | tuple[str, ...]]] = {
    "": {
        "bind_mounts": "list",
        "checkpoint_policy": ("best", "all", "none"),
        "checkpoint_storage": "mapping",
        "data": "mapping",
        "data_layer": "any",
        "debug": "bool",
        "description": "string",
        "entrypoint": "command",
        "environment": "mapping",
        "hyperparameters": "mapping",
        "integrations": "mapping",
        "internal": "any",
        "labels": "strings",
        "log_policies": "list",
        "max_restarts": "natural",
        "min_checkpoint_period": "period",
        "min_validation_period": "period",
        "name": "string",
        "optimizations": "mapping",
        "pbs": "mapping",
        "perform_initial_validation": "bool",
        "preemption_timeout": "int",
        "profiling": "mapping",
        "project": "string",
        "records_per_epoch": "natural",
        "reproducibility": "mapping",
        "resources": "mapping",
        "retention_policy": "mapping",
        "scheduling_unit": "positive",
        "searcher": "mapping",
        "security": "mapping",
        "slurm": "mapping",
        "tensorboard_storage": "mapping",
        "workspace": "string",
    },
    "checkpoint_storage": {
        **dict.fromkeys(
            (
                *("access_key", "account_url", "bucket", "checkpoint_path", "connection_string", "container"),
                *("container_path", "credential", "endpoint_url", "host_path", "prefix", "propagation", "secret_key"),
                *("storage_path", "tensorboard_path", "user"),
            ),
            "any",
        ),
        "save_experiment_best": "natural",
        "save_trial_best": "natural",
        "save_trial_latest": "natural",
        "type": ("shared_fs", "directory", "s3", "gcs", "azure"),
    },
    "environment": dict.fromkeys(
        (
            *("add_capabilities", "drop_capabilities", "environment_variables", "force_pull_image", "image"),
            *("pod_spec", "ports", "proxy_ports", "registry_auth"),
        ),
        "any",
    ),
    "optimizations": {
        "aggregation_frequency": "positive",
        "auto_tune_tensor_fusion": "bool",
        "average_aggregated_gradients": "bool",
        "average_training_metrics": "bool",
        "grad_updates_size_file": "string",
        "gradient_compression": "bool",
        "mixed_precision": ("O0", "O1", "O2", "O3"),
        "tensor_fusion_cycle_time": "natural",
        "tensor_fusion_threshold": "natural",
    },
    "profiling": {
        "begin_on_batch": "natural",
        "enabled": "bool",
        "end_after_batch": "natural",
        "sync_timings": "bool",
    },
    "reproducibility": {"experiment_seed": "natural"},
    "resources": {
        "agent_label": "any",
        "devices": "list",
        "is_single_node": "bool",
        "max_slots": "int",
        "native_parallel": "bool",
        "priority": "positive",
        "resource_pool": "string",
        "shm_size": "any",
        "slots": "int",
        "slots_per_trial": "natural",
        "weight": "number",
    },
    "searcher": {
        "bracket_rungs": "list",
        "budget": "any",
        "divisor": "number",
        "max_concurrent_trials": "natural",
        "max_length": "length",
        "max_rungs": "positive",
        "max_time": "positive",
        "max_trials": "positive",
        "metric": "string",
        "mode": ("aggressive", "standard", "conservative"),
        "name": ("single", "random", "grid", "adaptive_asha", "async_halving"),
        "num_rungs": "positive",
        "smaller_is_better": "bool",
        "source_checkpoint_uuid": "string",
        "source_trial_id": "int",
        "stop_once": "bool",
        "time_metric": "string",
        "train_stragglers": "any",
        "unit": _TIME_UNITS,
    },
}

# Settings that Determined honours only for the old `model_def:Trial` entrypoint: key -> (default, what to use instead).
_WITHOUT_EFFECT: dict[str, tuple[Any, str]] = {
    "aggregation_frequency": (1, "accumulate_grad_batches="),
    "gradient_compression": (False, "fp16_compression="),
    "mixed_precision": ("O0", 'precision= (or amp_backend="apex" with amp_level=)'),
}

# Hyperparameter ranges: type -> the keys it needs. "count" is the number of points in a grid search.
_RANGE_FIELDS: dict[str, tuple[str, ...]] = {
    "int": ("minval", "maxval"),
    "double": ("minval", "maxval"),
    "log": ("minval", "maxval", "base"),
    "categorical": ("vals",),
}


@dataclasses.dataclass(frozen=True)
class Periods:
    """What an experiment YAML says about time; None where it says nothing.

    Attributes:
        validation: `min_validation_period`.
        checkpoint: `min_checkpoint_period`.
        max_length: `searcher.max_length`, else `searcher.max_time` where `searcher.time_metric` is batches or epochs.
        reporting: `scheduling_unit`, the batches between two reports of training metrics.
        records_per_epoch: as in the file; Determined 0.38 keeps the key and does not use it.
        checkpoint_policy: which validations are followed by a checkpoint: "best", "all" or "none".
        perform_initial_validation: whether to validate before the first training batch.
        experiment_seed: `reproducibility.experiment_seed`.
    """

    validation: pytorch.TrainUnit | None
    checkpoint: pytorch.TrainUnit | None
    max_length: pytorch.TrainUnit | None
    reporting: pytorch.Batch | None
    records_per_epoch: int | None
    checkpoint_policy: str
    perform_initial_validation: bool
    experiment_seed: int | None


def read(config: str | os.PathLike[str] | Mapping[str, Any] | None) -> dict[str, Any]:
    """Read an experiment configuration and check it.

    Args:
        config: the path of an experiment YAML, its content as a mapping, or None for an empty one.

    Returns:
        A plain dict that shares nothing with the argument. Defaults are not filled in.

    Raises:
        ConfigurationError: the file is missing or no YAML, a key is unknown, a value has the wrong type, or a value
            could not be written as JSON, which is how it reaches every checkpoint.
    """
    if config is None:
        return {}
    if isinstance(config, Mapping):
        source, content = "the experiment config", config
    elif isinstance(config, (str, os.PathLike)):
        source = os.fspath(config)
        content = _load(pathlib.Path(config))
    else:
        raise ConfigurationError(
            f"config={config!r} is of type {type(config).__name__}; pass the path of an experiment YAML, or "
            "its content as a dict"
        )
    result: dict[str, Any] = _plain(content)
    faults: list[str] = []
    for section, fields in _FIELDS.items():
        values = result if section == "" else result.get(section)
        if isinstance(values, dict):
            _check_section(section, fields, values, faults)
    if isinstance(result.get("hyperparameters"), dict):
        _check_ranges(result["hyperparameters"], (), faults)
    _check_json(result, (), faults)
    _raise(source, faults)
    _warn_without_effect(source, result)
    return result


def hyperparameters(config: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give every hyperparameter one value: what `context.get_hparam(name)` returns in a local run.

    Args:
        config: what `read` returned.
        overrides: values that win over the file. A name with dots is the path of a nested one: `{"optimizer.lr": 0.1}`.

    Returns:
        name -> value, nested as in the file.

    Raises:
        ConfigurationError: a range has no value, an override does not fit the file's nesting, or a value is not JSON.

    A value outside the declared range is used, with a warning: somebody who types it means it.
    """
    spec = _plain(config.get("hyperparameters") or {})
    faults: list[str] = []
    _check_ranges(spec, (), faults)
    _raise("the experiment config", faults)
    given = nest(overrides or {}, known=spec)
    resolution = _Resolution()
    values = {
        name: resolution.value(spec.get(name, _MISSING), given.get(name, _MISSING), (name,))
        for name in {**spec, **given}
    }
    resolution.note_new(spec, given)
    if resolution.missing:
        resolution.faults += [_missing_ranges(resolution.missing), *resolution.unknown]
    _check_json(values, (), resolution.faults)
    _raise("hyperparameters", resolution.faults)
    for warning in (*resolution.unknown, *resolution.outside):
        warnings.warn(warning, stacklevel=2)
    return values


def nest(flat: Mapping[str, Any], known: Collection[str] = ()) -> dict[str, Any]:
    """Turn dotted names into nested dicts: `{"optimizer.lr": 1}` -> `{"optimizer": {"lr": 1}}`.

    Args:
        flat: name -> value; values that are mappings already are merged.
        known: names that are taken as they are, dots or not.

    Raises:
        ConfigurationError: a name is empty or no text, or two names contradict: one says value, the other says group.
    """
    result: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in flat.items():
        parts = [name] if name in known else name.split(".") if isinstance(name, str) else [""]
        if not all(parts):
            faults.append(f"{name!r} is not a name; write name=value or group.name=value")
            continue
        value = _plain(value)
        for part in reversed(parts):
            value = {part: value}
        _merge(result, value, (), faults)
    _raise("hyperparameters", faults)
    return result


def parse_value(name: str, text: str) -> Any:
    """Read one value as the experiment YAML would: `0.1` and `1e-3` are numbers, `[1, 2]` is a list, `adam` is text.

    Args:
        name: whose value it is, for the error's text.
        text: what was typed.

    Raises:
        ConfigurationError: the text is no YAML value.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ConfigurationError(
            f"the value of {name}={text} cannot be read: {_yaml_problem(error)}; put quotes around text that has signs "
            "of YAML in it"
        ) from None


def global_batch_size_check(hparams: Mapping[str, Any], num_processes: int) -> None:
    """Refuse a `global_batch_size` that the processes cannot share evenly; Determined would round it without a word.

    A missing one is fine: a trial may never ask for `context.get_per_slot_batch_size()`.

    Raises:
        ConfigurationError: it is not a positive whole number, or not a multiple of `num_processes`.
    """
    if "global_batch_size" not in hparams:
        return
    size = hparams["global_batch_size"]
    if not _is_int(size) or size < 1:
        raise ConfigurationError(
            f"global_batch_size is {size!r}, but it counts the samples of one step over all processes; give a whole "
            "number of at least 1"
        )
    if size % num_processes:
        below, above = size // num_processes * num_processes, (size // num_processes + 1) * num_processes
        near = f"{below} or {above}" if below else f"{above}"
        raise ConfigurationError(
            f"global_batch_size is {size}, which {num_processes} processes cannot share evenly ({size} / "
            f"{num_processes} = {size / num_processes:g} samples each). To fix, set it to a multiple of "
            f"{num_processes}, such as {near}"
        )


def searcher_metric(config: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Return the metric that ranks validations, None where none is named, and whether smaller is better."""
    searcher = config.get("searcher") or {}
    smaller = searcher.get("smaller_is_better")
    return searcher.get("metric"), True if smaller is None else smaller


def checkpoint_retention(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return (save_experiment_best, save_trial_best, save_trial_latest), with Determined's defaults 0, 1 and 1."""
    storage = config.get("checkpoint_storage") or {}

    def count(key: str, default: int) -> int:
        value = storage.get(key)
        return default if value is None else int(value)

    return count("save_experiment_best", 0), count("save_trial_best", 1), count("save_trial_latest", 1)


def periods(config: Mapping[str, Any], global_batch_size: int | None = None) -> Periods:
    """Return what the file says about time, in Determined's units.

    Determined calls most of these keys deprecated and still accepts them; they keep their meaning here. A period of 0
    is Determined's way to write "not set".

    Args:
        config: what `read` returned, or a cluster's complete config.
        global_batch_size: needed only where a period is counted in `records`.

    Raises:
        ConfigurationError: a period is in records and there is no `global_batch_size` to convert it with.
    """
    searcher = config.get("searcher") or {}
    faults: list[str] = []

    def unit(key: str, value: Any) -> pytorch.TrainUnit | None:
        if value is None:
            return None
        ((name, number),) = value.items()
        if number == 0:
            return None
        if name == "epochs":
            return pytorch.Epoch(number)
        if name == "batches":
            return pytorch.Batch(number)
        if global_batch_size is None:
            faults.append(
                f"{key} is {number} records, which needs the hyperparameter global_batch_size to become batches; "
                f"set it, or write {key}: {{batches: N}}"
            )
            return None
        return pytorch.Batch(max(number // global_batch_size, 1))  # rounded as Determined does

    scheduling_unit = config.get("scheduling_unit")
    initial = config.get("perform_initial_validation")
    seed = (config.get("reproducibility") or {}).get("experiment_seed")
    result = Periods(
        validation=unit("min_validation_period", config.get("min_validation_period")),
        checkpoint=unit("min_checkpoint_period", config.get("min_checkpoint_period")),
        max_length=unit("searcher.max_length", _length(searcher)),
        reporting=None if scheduling_unit is None else pytorch.Batch(scheduling_unit),
        records_per_epoch=config.get("records_per_epoch") or None,
        checkpoint_policy=config.get("checkpoint_policy") or "best",
        perform_initial_validation=bool(initial),
        experiment_seed=seed,
    )
    _raise("the experiment config", faults)
    return result


def _length(searcher: Mapping[str, Any]) -> Mapping[str, int] | None:
    """Return the trial's length as a period, in either of the two forms that Determined has for it."""
    length = searcher.get("max_length")
    if _is_int(length):
        if searcher.get("unit") is None:
            warnings.warn(
                f"searcher.max_length is {length} without a unit and is not used; write max_length: "
                f"{{epochs: {length}}} or {{batches: {length}}}, or give the length to fit()",
                stacklevel=3,
            )
            return None
        return {searcher["unit"]: length}
    if length is not None:
        return dict(length)
    if searcher.get("max_time") is not None and searcher.get("time_metric") in ("batches", "epochs"):
        return {searcher["time_metric"]: searcher["max_time"]}
    return None


def _load(path: pathlib.Path) -> Mapping[str, Any]:
    """Read a YAML file whose top level must be a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = path.parent
        near = sorted(p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml")) if folder.is_dir() else []
        there = f"{folder.resolve()} holds {', '.join(near)}" if near else f"{folder.resolve()} holds no YAML file"
        raise ConfigurationError(
            f"the experiment config {path} does not exist; {there}{_guess(path.name, near)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the experiment config {path} cannot be read: {error}") from error
    try:
        content = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ConfigurationError(f"the experiment config {path} is not valid YAML: {_yaml_problem(error)}") from None
    if content is None:
        raise ConfigurationError(f"the experiment config {path} is empty; leave config out for a run without one")
    if not isinstance(content, Mapping):
        raise ConfigurationError(
            f"the experiment config {path} holds a {type(content).__name__} ({content!r:.60}); its top level must be "
            "`key: value` lines, such as `name: mnist`"
        )
    return content


def _yaml_problem(error: YAMLError) -> str:
    """Say in one line what is wrong and where; the library's own text is a page long."""
    if not isinstance(error, MarkedYAMLError):  # for example a control character
        return " ".join(str(error).split())
    problem = error.problem or error.context or "cannot be parsed"
    if error.problem_mark is None:
        return problem
    return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {problem}"


def _plain(value: Any) -> Any:
    """Copy mappings into dicts and sequences into lists, all the way down; what JSON would make of them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _raise(source: str, faults: list[str]) -> None:
    """Raise all faults in one message; nothing where there are none."""
    if len(faults) == 1:
        raise ConfigurationError(f"{source}: {faults[0]}")
    if faults:
        lines = "".join(f"\n  - {fault}" for fault in faults)
        raise ConfigurationError(f"{source} has {len(faults)} faults:{lines}")


def _dotted(path: Iterable[Any]) -> str:
    return ".".join(str(part) for part in path)


def _guess(name: Any, candidates: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" where a name is near enough, else nothing."""
    near = difflib.get_close_matches(str(name), list(candidates), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_int(value) or isinstance(value, float)


def _is_period(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) == 1
        and all(key in _TIME_UNITS and _is_int(number) and number >= 0 for key, number in value.items())
    )


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "any": (lambda value: True, "anything"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "command": (
        lambda value: isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value)),
        "text or a list of texts",
    ),
    "int": (_is_int, "a whole number"),
    "length": (
        lambda value: _is_period(value) or (_is_int(value) and value >= 0),
        "one of {batches: N}, {epochs: N}, {records: N}",
    ),
    "list": (lambda value: isinstance(value, list), "a list"),
    "mapping": (lambda value: isinstance(value, dict), "a group of `key: value` lines"),
    "natural": (lambda value: _is_int(value) and value >= 0, "a whole number of at least 0"),
    "number": (_is_number, "a number"),
    "period": (_is_period, "one of {batches: N}, {epochs: N}, {records: N}"),
    "positive": (lambda value: _is_int(value) and value >= 1, "a whole number of at least 1"),
    "string": (lambda value: isinstance(value, str), "text"),
    "strings": (lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value), "a list of texts"),
}


def _check_section(
    section: str, fields: Mapping[str, str | tuple[str, ...]], values: Mapping[Any, Any], faults: list[str]
) -> None:
    """Note unknown keys and wrong types of one section; "" is the top level."""
    for key, value in values.items():
        name = _dotted((section, key) if section else (key,))
        if key not in fields:
            faults.append(f"{name} is no key of Determined's experiment config{_where_instead(section, key, fields)}")
            continue
        kind = fields[key]
        if value is None:
            continue
        if isinstance(kind, tuple):
            if value not in kind:
                faults.append(f"{name} is {value!r}, but must be one of {', '.join(kind)}{_guess(value, kind)}")
        elif not _KINDS[kind][0](value):
            faults.append(f"{name} is {value!r}, but must be {_KINDS[kind][1]}")


def _where_instead(section: str, key: Any, fields: Collection[str]) -> str:
    guess = _guess(key, fields)
    if guess:
        return guess
    homes = [other for other, known in _FIELDS.items() if key in known and other != section]
    if homes:
        return "; it belongs " + " or ".join("on the top level" if home == "" else f"below {home}:" for home in homes)
    return "" if section else "; values of your own belong below hyperparameters: or data:"


def _check_ranges(spec: Any, path: tuple[Any, ...], faults: list[str]) -> None:
    """Note every malformed range below `hyperparameters:`."""
    if not isinstance(spec, dict):
        return
    if "type" not in spec:
        for key, value in spec.items():
            _check_ranges(value, (*path, key), faults)
        return
    name, kind = _dotted(("hyperparameters", *path)), spec["type"]
    if kind == "const":
        needed: tuple[str, ...] = ("val",)
    elif isinstance(kind, str) and kind in _RANGE_FIELDS:
        needed = _RANGE_FIELDS[kind]
    else:
        faults.append(
            f"{name}.type is {kind!r}, but in a hyperparameter `type` must be one of const, {', '.join(_RANGE_FIELDS)}"
            f"{_guess(kind, ('const', *_RANGE_FIELDS))} (for a value of your own, use another key than `type`)"
        )
        return
    absent = [key for key in needed if (spec.get(key) is None and key != "val") or key not in spec]
    if absent:
        faults.append(f"{name} is of type {kind} and lacks {', '.join(absent)}")
    allowed = ("type", *needed) + (() if kind in ("const", "categorical") else ("count",))
    for key in spec:
        if key not in allowed:
            faults.append(f"{name}.{key} is no key of a hyperparameter of type {kind}{_guess(key, allowed)}")
    if absent or kind == "const":
        return
    if kind == "categorical":
        if not isinstance(spec["vals"], list) or not spec["vals"]:
            faults.append(f"{name}.vals is {spec['vals']!r}, but must be a list with at least one value")
        return
    numeric = _is_int if kind == "int" else _is_number
    wrong = [key for key in needed if not numeric(spec[key])]
    for key in wrong:
        faults.append(f"{name}.{key} is {spec[key]!r}, but must be a {'whole ' if kind == 'int' else ''}number")
    if not wrong and spec["minval"] >= spec["maxval"]:
        faults.append(f"{name} has minval {spec['minval']} and maxval {spec['maxval']}; minval must be the smaller one")
    if kind == "log" and "base" not in wrong and spec["base"] <= 0:
        faults.append(f"{name}.base is {spec['base']!r}, but must be greater than 0 (most use 10)")
    if spec.get("count") is not None and not (_is_int(spec["count"]) and spec["count"] >= 1):
        faults.append(f"{name}.count is {spec['count']!r}, but must be a whole number of at least 1")


def _check_json(value: Any, path: tuple[Any, ...], faults: list[str]) -> None:
    """Note every value that JSON cannot carry, with its place."""
    place = _dotted(path)
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                where = f" of {place}" if place else ""
                faults.append(f"the key {key!r}{where} is of type {type(key).__name__}; keys must be text, so quote it")
            _check_json(item, (*path, key), faults)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_json(item, (*path, index), faults)
    elif isinstance(value, float) and not math.isfinite(value):
        faults.append(f"{place} is {value}, which JSON cannot carry; write it as text, or leave it out")
    elif not (value is None or isinstance(value, (bool, int, float, str))):
        faults.append(
            f"{place} is {value!r:.80} of type {type(value).__name__}, which JSON cannot carry; give a number, text, "
            "true/false, a list or a group of them"
        )


def _warn_without_effect(source: str, config: Mapping[str, Any]) -> None:
    """Warn about settings that are legal and that no code would honour."""
    for key, (default, instead) in _WITHOUT_EFFECT.items():
        value = (config.get("optimizations") or {}).get(key)
        if value is not None and value != default:
            warnings.warn(
                f"{source}: optimizations.{key} is {value!r} and has no effect here; pass {instead} to "
                "LightningAdapter",
                stacklevel=3,
            )


def _merge(target: dict[str, Any], addition: Mapping[str, Any], path: tuple[str, ...], faults: list[str]) -> None:
    """Add a nested dict to another in place; a later value wins over an earlier one of the same name."""
    for key, value in addition.items():
        if key in target and isinstance(target[key], dict) != isinstance(value, dict):
            name = _dotted((*path, key))
            faults.append(f"{name} is given both as a value and as a group ({name}.…); give one of the two")
        elif key in target and isinstance(value, dict):
            _merge(target[key], value, (*path, key), faults)
        else:
            target[key] = value


class _Resolution:
    """One walk over `hyperparameters:` and the overrides: the values, and what was noticed on the way."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.unknown: list[str] = []  # overrides that look like a misspelt name of the config
        self.outside: list[str] = []  # overrides outside their range
        self.missing: dict[str, dict[str, Any]] = {}  # dotted name -> the range without a value

    def value(self, spec: Any, given: Any, path: tuple[str, ...]) -> Any:
        """Return the value of one hyperparameter; `_MISSING` stands for an absent spec or override."""
        name = _dotted(path)
        if spec is _MISSING:
            if isinstance(given, dict) and given.get("type") in _RANGE_FIELDS:
                self.faults.append(f"{name} is given the range {given}, but an override is one value")
            return given
        if isinstance(spec, dict) and spec.get("type") == "const":
            spec = spec["val"]
            if isinstance(spec, dict):  # a constant is one value, also where that value is a mapping
                return spec if given is _MISSING else given
        if not isinstance(spec, dict):
            if isinstance(given, dict):
                self.faults.append(
                    f"{_dotted((*path, *list(given)[:1]))} is given, but {name} is the value {spec!r} in the config "
                    "and has nothing below it"
                )
            return spec if given is _MISSING else given
        if "type" not in spec:
            if given is _MISSING:
                given = {}
            elif not isinstance(given, dict):
                self.faults.append(
                    f"{name} is given the value {given!r}, but it is a group in the config; give "
                    + ", ".join(f"{name}.{key}" for key in spec)
                )
                return given
            self.note_new(spec, given, path)
            return {
                key: self.value(spec.get(key, _MISSING), given.get(key, _MISSING), (*path, key))
                for key in {**spec, **given}
            }
        if given is _MISSING:
            self.missing[name] = spec
            return None
        if spec["type"] != "categorical" and not (_is_int(given) if spec["type"] == "int" else _is_number(given)):
            kind = "whole number" if spec["type"] == "int" else "number"
            self.faults.append(f"{name} is given {given!r}, but must be a {kind} ({_describe(spec)})")
        elif not _in_range(spec, given):
            self.outside.append(
                f"hyperparameter {name}={given!r} is outside its range in the config, {_describe(spec)}; it is "
                "used as given"
            )
        return given

    def note_new(self, spec: Mapping[str, Any], given: Mapping[str, Any], path: tuple[str, ...] = ()) -> None:
        """Warn about an override that the config does not have and that looks like one that it has."""
        for key in given:
            guess = "" if key in spec else _guess(key, spec)
            if guess:
                self.unknown.append(
                    f"hyperparameter {_dotted((*path, key))} is not in the config and is added to it{guess}"
                )


def _in_range(spec: Mapping[str, Any], value: Any) -> bool:
    if spec["type"] == "categorical":
        return value in spec["vals"]
    low, high = spec["minval"], spec["maxval"]
    if spec["type"] == "log":
        low, high = sorted((spec["base"] ** low, spec["base"] ** high))
        if math.isclose(value, low) or math.isclose(value, high):  # 10 ** -3 and 1e-3 may differ in the last bit
            return True
    return bool(low <= value <= high)


def _describe(spec: Mapping[str, Any]) -> str:
    if spec["type"] == "categorical":
        return f"one of {spec['vals']}"
    if spec["type"] == "log":
        return f"log, {spec['base']}^{spec['minval']} to {spec['base']}^{spec['maxval']}"
    return f"{spec['type']}, {spec['minval']} to {spec['maxval']}"


def _example(spec: Mapping[str, Any]) -> Any:
    """Return a value in the middle of a range, to show what to type."""
    if spec["type"] == "categorical":
        return spec["vals"][0]
    middle = (spec["minval"] + spec["maxval"]) / 2
    if spec["type"] == "int":
        return int(middle)
    return float(f"{spec['base'] ** middle if spec['type'] == 'log' else middle:.2g}")


def _missing_ranges(missing: Mapping[str, Mapping[str, Any]]) -> str:
    lines = "; ".join(f"{name} ({_describe(spec)})" for name, spec in missing.items())
    examples = {name: _example(spec) for name, spec in missing.items()}
    typed = " ".join(f"--hparam {name}={value}" for name, value in examples.items())
    return (
        f"{len(missing)} of them {'is a range' if len(missing) == 1 else 'are ranges'} without a value: {lines}. A run "
        f"outside the cluster trains one trial and searches nothing. To fix, give values: {typed}, or "
        f"fit(hparams={examples})"
    )
