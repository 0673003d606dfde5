"""Which value does each hyperparameter have in a local run?

On a cluster the master draws the values. Here they come from the file and from what was typed, which wins.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from lightning_adapter import notices
from lightning_adapter.errors import ConfigurationError, guess, shown
from lightning_adapter.platform.experiment.faults import dotted, raise_all
from lightning_adapter.platform.experiment.ranges import Range, check_ranges, fault_of_value, is_range, range_of
from lightning_adapter.platform.experiment.values import check_json, is_int, plain_mapping

_MISSING = object()

#: Names and values: a mapping, a Namespace, an instance of a dataclass, or OmegaConf's DictConfig.
Hyperparameters: TypeAlias = Any


def hyperparameters(
    config: Mapping[str, Any], overrides: Hyperparameters | None = None, *, drawn: bool = False
) -> dict[str, Any]:
    """Give every hyperparameter one value: what `context.get_hparam(name)` returns in a local run.

    Args:
        config: what `read` returned.
        overrides: values that win over the file. A name with dots is the path of a nested one: `{"optimizer.lr": 0.1}`.
        drawn: the config is that of a run, whose values are no ranges, whatever they look like.

    Returns:
        name -> value, nested as in the file.

    Raises:
        ConfigurationError: a range has no value, an override does not fit the file's nesting, or a value is not JSON.

    A value outside the declared range is used, with a warning: somebody who types it means it.
    """
    spec = plain_mapping(config.get("hyperparameters") or {})
    faults: list[str] = []
    if not drawn:
        check_ranges(spec, (), faults)
    raise_all("the experiment config", faults)
    given = nest(overrides or {}, known=spec)
    resolution = _Resolution(drawn)
    values = resolution.values(spec, given, ())
    resolution.note_new(spec, given, ())
    faults = resolution.all_faults()
    check_json(values, (), faults)
    raise_all("hyperparameters", faults)
    for warning in (*resolution.unknown, *resolution.outside):
        notices.warn(warning)
    return values


def as_written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyperparameters that have their values as a file holds them: a group with a key `type` would be read as a range."""
    return {
        name: (
            {"type": "const", "val": value}
            if isinstance(value, Mapping) and "type" in value
            else as_written(value)
            if isinstance(value, Mapping)
            else value
        )
        for name, value in values.items()
    }


def nest(flat: Hyperparameters, known: Collection[str] = ()) -> dict[str, Any]:
    """Turn dotted names into nested dicts: `{"optimizer.lr": 1}` -> `{"optimizer": {"lr": 1}}`.

    Args:
        flat: name -> value, in any form that `plain_mapping` takes; values that are mappings already are merged.
        known: names that are taken as they are, dots or not.

    Raises:
        ConfigurationError: a name is empty or no text, or two names contradict: one says value, the other says group.
    """
    result: dict[str, Any] = {}
    faults: list[str] = []
    for name, value in plain_mapping(flat).items():
        parts = [name] if name in known else name.split(".") if isinstance(name, str) else [""]
        if not all(parts):
            faults.append(f"{shown(name)} is not a name; write name=value or group.name=value")
            continue
        innermost = {parts[-1]: value}
        for part in reversed(parts[:-1]):
            innermost = {part: innermost}
        _merge(result, innermost, (), faults)
    raise_all("hyperparameters", faults)
    return result


def override(values: Mapping[str, Any], overrides: Hyperparameters | None) -> dict[str, Any]:
    """Return the values that a cluster has drawn, with others in their place; see `nest` for their names.

    Raises:
        ConfigurationError: two of them contradict, or a value is not JSON.
    """
    result = plain_mapping(values)
    faults: list[str] = []
    _merge(result, nest(overrides or {}, known=values), (), faults)
    check_json(result, (), faults)
    raise_all("hyperparameters", faults)
    return result


def global_batch_size_check(hparams: Mapping[str, Any], num_processes: int) -> None:
    """Refuse a `global_batch_size` that the processes cannot share evenly; Determined would round it without a word.

    A missing one is fine: a trial may never ask for `context.get_per_slot_batch_size()`.

    Raises:
        ConfigurationError: it is not a positive whole number, or not a multiple of `num_processes`.
    """
    if "global_batch_size" not in hparams:
        return
    size = hparams["global_batch_size"]
    if not is_int(size) or size < 1:
        raise ConfigurationError(
            f"global_batch_size is {shown(size)}, but it counts the samples of one step over all processes; give a whole "
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


def _merge(target: dict[str, Any], addition: Mapping[str, Any], path: tuple[str, ...], faults: list[str]) -> None:
    """Add a nested dict to another in place; a later value wins over an earlier one of the same name."""
    for key, value in addition.items():
        if key in target and isinstance(target[key], dict) != isinstance(value, dict):
            name = dotted((*path, key))
            faults.append(f"{name} is given both as a value and as a group ({name}.…); give one of the two")
        elif key in target and isinstance(value, dict):
            _merge(target[key], value, (*path, key), faults)
        else:
            target[key] = value


class _Resolution:
    """One walk over `hyperparameters:` and the overrides, and what was noticed on the way.

    Args:
        drawn: see `hyperparameters`.

    Attributes:
        faults: what makes the values unusable.
        unknown: overrides that look like a misspelt name of the config.
        outside: overrides outside their range.
        missing: dotted name -> the range without a value.
    """

    def __init__(self, drawn: bool) -> None:
        self._drawn = drawn
        self.faults: list[str] = []
        self.unknown: list[str] = []
        self.outside: list[str] = []
        self.missing: dict[str, Range] = {}

    def values(self, spec: Mapping[str, Any], given: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, object]:
        """Return the values of one group."""
        return {
            key: self._value(spec.get(key, _MISSING), given.get(key, _MISSING), (*path, key))
            for key in {**spec, **given}
        }

    def note_new(self, spec: Mapping[str, Any], given: Mapping[str, Any], path: tuple[str, ...]) -> None:
        """Note an override that the config does not have and that looks like one that it has."""
        for key in given:
            meant = "" if key in spec else guess(key, spec)
            if meant:
                self.unknown.append(
                    f"hyperparameter {dotted((*path, key))} is not in the config and is added to it{meant}"
                )

    def all_faults(self) -> list[str]:
        """Return the faults, and where a range lacks its value also the misspelt names: one may have been meant for it."""
        return [*self.faults, *([_missing_ranges(self.missing), *self.unknown] if self.missing else [])]

    def _value(self, spec: object, given: object, path: tuple[str, ...]) -> object:
        """Return the value of one hyperparameter; `_MISSING` stands for an absent spec or override."""
        if spec is _MISSING:
            if is_range(given):
                self.faults.append(f"{dotted(path)} is given the range {shown(given)}, but an override is one value")
            return given
        if not isinstance(spec, dict):
            return self._single(spec, given, path)
        if self._drawn or "type" not in spec:
            return self._group(spec, given, path)
        if spec["type"] != "const":
            return self._in_range(spec, given, path)
        if isinstance(spec["val"], dict):
            return self._constant(spec["val"], given, path)
        return self._single(spec["val"], given, path)

    def _constant(self, spec: dict[str, Any], given: object, path: tuple[str, ...]) -> object:
        """Return the value of a constant that is a mapping: one value, unless it is written so for a key `type` of its own."""
        if "type" not in spec or not isinstance(given, dict):
            return spec if given is _MISSING else given
        merged = plain_mapping(spec)
        _merge(merged, given, path, self.faults)
        return merged

    def _single(self, spec: object, given: object, path: tuple[str, ...]) -> object:
        """Return the value of a hyperparameter that the config gives one value."""
        if isinstance(given, dict):
            self.faults.append(
                f"{dotted((*path, *list(given)[:1]))} is given, but {dotted(path)} is the value {shown(spec)} in the config "
                "and has nothing below it"
            )
        return spec if given is _MISSING else given

    def _group(self, spec: dict[str, Any], given: object, path: tuple[str, ...]) -> object:
        """Return the values of a hyperparameter that has others below it."""
        if given is _MISSING:
            given = {}
        elif not isinstance(given, dict):
            self.faults.append(
                f"{dotted(path)} is given the value {shown(given)}, but it is a group in the config; give "
                + ", ".join(f"{dotted(path)}.{key}" for key in spec)
            )
            return given
        self.note_new(spec, given, path)
        return self.values(spec, given, path)

    def _in_range(self, spec: dict[str, Any], given: object, path: tuple[str, ...]) -> object:
        """Return the value of a hyperparameter that the config gives a range."""
        name, allowed = dotted(path), range_of(spec)
        if given is _MISSING:
            self.missing[name] = allowed
            return None
        fault = fault_of_value(name, given, allowed)
        if fault is not None:
            self.faults.append(fault)
        elif given not in allowed:
            self.outside.append(
                f"hyperparameter {name}={shown(given)} is outside its range in the config, {allowed}; it is used as given"
            )
        return given


def _missing_ranges(missing: Mapping[str, Range]) -> str:
    lines = "; ".join(f"{name} ({allowed})" for name, allowed in missing.items())
    examples = {name: allowed.example() for name, allowed in missing.items()}
    typed = " ".join(f"--hparam {shlex.quote(f'{name}={value}')}" for name, value in examples.items())
    return (
        f"{len(missing)} of them {'is a range' if len(missing) == 1 else 'are ranges'} without a value: {lines}. A run "
        f"outside the cluster trains one trial and searches nothing. To fix, give values: {typed}, or "
        f"fit(hparams={examples})"
    )
