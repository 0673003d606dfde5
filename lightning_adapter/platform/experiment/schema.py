"""Which keys does Determined's experiment configuration have, and what may stand below each?

The format is Determined's own (its experiment configuration, version 0, as of 0.38.1). The pip package ships no schema
of it: only the master checks it, after the submit. The tables below therefore name its keys, so that a local run and a
submit complain about the same things, and before any training.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from lightning_adapter import notices
from lightning_adapter.argument_values import LARGEST
from lightning_adapter.errors import guess, shown
from lightning_adapter.platform.experiment.faults import dotted
from lightning_adapter.platform.experiment.values import is_natural, is_number

TIME_UNITS = ("batches", "records", "epochs")

#: What a key may hold: a name in _KINDS, or the tuple of the words that are allowed.
Kind: TypeAlias = str | tuple[str, ...]

# Determined's keys: section -> key -> kind; "" is the top level. null is legal everywhere and means the default. "any" is
# left to the master: nothing here reads it.
FIELDS: dict[str, dict[str, Kind]] = {
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
    "reproducibility": {"experiment_seed": "seed"},
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
        "unit": TIME_UNITS,
    },
}

# Settings that Determined honours only for the old `model_def:Trial` entrypoint: key -> (default, what to use instead).
_WITHOUT_EFFECT: dict[str, tuple[Any, str]] = {
    "aggregation_frequency": (1, "accumulate_grad_batches="),
    "gradient_compression": (False, "fp16_compression="),
    "mixed_precision": ("O0", 'precision= (or amp_backend="apex" with amp_level=)'),
}


def check_sections(config: Mapping[str, Any], faults: list[str]) -> None:
    """Note unknown keys and wrong types of the top level and of each section."""
    for section, fields in FIELDS.items():
        values = config if section == "" else config.get(section)
        if isinstance(values, Mapping):
            _check_section(section, fields, values, faults)


def warn_without_effect(source: str, config: Mapping[str, Any]) -> None:
    """Warn, in the name of who reads the config, about settings that are legal and that no code would honour."""
    for key, (default, instead) in _WITHOUT_EFFECT.items():
        value = (config.get("optimizations") or {}).get(key)
        if value is not None and value != default:
            notices.warn(
                f"{source}: optimizations.{key} is {value!r} and has no effect here; pass {instead} to LightningAdapter"
            )


def _check_section(section: str, fields: Mapping[str, Kind], values: Mapping[Any, Any], faults: list[str]) -> None:
    for key, value in values.items():
        name = dotted((section, key) if section else (key,))
        if key not in fields:
            faults.append(f"{name} is no key of Determined's experiment config{_where_instead(section, key, fields)}")
        elif value is not None:
            _check_kind(name, fields[key], value, faults)


def _check_kind(name: str, kind: Kind, value: object, faults: list[str]) -> None:
    if isinstance(kind, tuple):
        if not isinstance(value, str) or value not in kind:
            faults.append(f"{name} is {shown(value)}, but must be one of {', '.join(kind)}{guess(value, kind)}")
        return
    holds, description = _KINDS[kind]
    if not holds(value):
        faults.append(f"{name} is {shown(value)}, but must be {description}")


def _where_instead(section: str, key: object, fields: Collection[str]) -> str:
    """What to do with an unknown key: the key that was probably meant, or the section that has it."""
    meant = guess(key, fields)
    if meant:
        return meant
    homes = [other for other, known in FIELDS.items() if key in known and other != section]
    if homes:
        return "; it belongs " + " or ".join("on the top level" if home == "" else f"below {home}:" for home in homes)
    return "" if section else "; values of your own belong below hyperparameters: or data:"


def _is_period(value: object) -> bool:
    return (
        isinstance(value, dict)
        and len(value) == 1
        and all(key in TIME_UNITS and is_natural(number) for key, number in value.items())
    )


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "any": (lambda value: True, "anything"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "command": (lambda value: isinstance(value, str) or _is_text_list(value), "text or a list of texts"),
    "int": (lambda value: is_natural(value, -LARGEST), "a whole number"),
    "length": (
        lambda value: _is_period(value) or is_natural(value),
        "one of {batches: N}, {epochs: N}, {records: N}",
    ),
    "list": (lambda value: isinstance(value, list), "a list"),
    "mapping": (lambda value: isinstance(value, dict), "a group of `key: value` lines"),
    "natural": (is_natural, "a whole number of at least 0"),
    "number": (is_number, "a number"),
    "period": (_is_period, "one of {batches: N}, {epochs: N}, {records: N}"),
    "positive": (lambda value: is_natural(value, 1), "a whole number of at least 1"),
    "seed": (lambda value: is_natural(value, 0, 2**32 - 1), "a whole number of at least 0, and at most 2**32 - 1"),
    "string": (lambda value: isinstance(value, str), "text"),
    "strings": (_is_text_list, "a list of texts"),
}
