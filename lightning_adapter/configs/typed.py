"""What do hyperparameters mean to a trial that names a dataclass of them: which are there, and what is made of given ones?

Values come as plain data, as a YAML holds them. Defaults are put beside what is given (`completed`), and stay plain data in
the run's record and its checkpoints; `instance` makes the dataclass of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from typing import Any

from lightning_adapter.configs import type_faults
from lightning_adapter.configs.structure import (
    Field,
    Member,
    NotPlain,
    check_structure,
    is_pydantics,
    is_structure,
    members,
    plain_or_not,
    type_text,
    values_of,
)
from lightning_adapter.configs.type_faults import Place
from lightning_adapter.configs.validation import by_value, is_same_member, make
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.platform.experiment.faults import raise_all
from lightning_adapter.platform.experiment.values import check_json

__all__ = ["MISSING", "Field", "NotPlain", "completed", "differences", "fields_of", "given", "instance", "structure_of"]

#: Determined's own hyperparameter, which may stand beside those of any dataclass.
_BATCH_SIZE = "global_batch_size"


def structure_of(trial_class: type) -> type | None:
    """Return the dataclass that a trial names as `Hyperparameters`; None where it names none.

    Raises:
        ConfigurationError: it is none.
    """
    named = getattr(trial_class, "Hyperparameters", None)
    return None if named is None else check_structure(named, f"{trial_class.__name__}.Hyperparameters")


def fields_of(trial_class: type) -> list[Field]:
    """Return the hyperparameters of a trial that names a dataclass, in its order, groups taken apart; none of any other.

    Raises:
        ConfigurationError: what it names is no dataclass.
    """
    structure = structure_of(trial_class)
    return [] if structure is None else list(_fields(structure, MISSING, ""))


def completed(trial_class: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with the defaults of the trial's dataclass beside them, in its order, groups too.

    Raises:
        ConfigurationError: a group is given in part whose other defaults no YAML can hold.
    """
    structure = structure_of(trial_class)
    if structure is None:
        return dict(values)
    faults: list[str] = []
    result = _completed(structure, values, MISSING, "", faults)
    raise_all(source_of(trial_class, structure), faults)
    return result


def instance(trial_class: type, values: Mapping[str, Any]) -> Any:
    """Make the trial's dataclass of values, each checked against its type.

    Raises:
        ConfigurationError: all that is wrong with them.
    """
    structure = structure_of(trial_class)
    assert structure is not None
    return _made(structure, source_of(trial_class, structure), completed(trial_class, values))


def given(trial_class: type, hparams: object) -> object:
    """Return what `fit(hparams=...)` was given as names and values, where it is an instance of the trial's dataclass.

    Raises:
        ConfigurationError: it cannot be made again of its values, which is what each process and each load does.
    """
    structure = structure_of(trial_class)
    if structure is None or not isinstance(hparams, structure):
        return hparams
    source, values = source_of(trial_class, structure), values_of(hparams)
    written = _written(values)
    again = values_of(_made(structure, source, completed(trial_class, written)))
    if again != values:
        changed = [name for name in values if values[name] != again.get(name)]
        raise ConfigurationError(
            f"{source} cannot be given as an instance: made again of its own values, it would have "
            + ", ".join(f"{name}={again.get(name)!r} in place of {values[name]!r}" for name in changed)
            + ". Give a dict of what it was made of, or let __post_init__ leave fields as they are given."
        )
    return written


def differences(trial_class: type, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the values that differ from the dataclass's defaults, with dotted names; None where there is no dataclass."""
    structure = structure_of(trial_class)
    if structure is None:
        return None
    defaults = _completed(structure, {}, MISSING, "", [])
    return dict(_differences(structure, values, defaults, ""))


def source_of(trial_class: type, structure: type) -> str:
    """Return what messages call a trial's dataclass."""
    return f"{trial_class.__name__}.Hyperparameters ({structure.__name__})"


def _made(structure: type, source: str, values: Mapping[str, Any]) -> Any:
    made, faults = made_or_faults(structure, values)
    raise_all(source, list(faults.values()))
    return made


def made_or_faults(structure: type, values: Mapping[str, Any], refuses: bool = True) -> tuple[Any, dict[Place, str]]:
    """Make an instance of completed values, or say what is wrong with them, and where.

    Args:
        structure: the class.
        values: plain data.
        refuses: whether it counts what the class says of values that are right one by one.
    """
    known = {member.name for member in members(structure)}
    values = {name: value for name, value in values.items() if name in known or name != _BATCH_SIZE}
    sent = _as_given(structure, values)
    unusable: list[str] = []
    check_json(sent, (), unusable)
    if unusable:
        return None, {(index,): fault for index, fault in enumerate(unusable)}
    made, errors = make(structure, sent, values)
    errors = [error for error in errors if refuses or not type_faults.is_refusal(error)]
    if not errors:
        return made, {}
    return None, type_faults.in_words(errors, values, structure, list(_fields(structure, MISSING, "")))


def _written(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a YAML can hold."""
    plain = {name: value for name, value in values.items() if not isinstance(value, NotPlain)}
    return {name: _written(value) if isinstance(value, Mapping) else value for name, value in plain.items()}


# --- defaults ---------------------------------------------------------------------------------------------------------


def _default(member: Member, of: object) -> object:
    """The default of a member: of an instance that is the default of its group, else its own."""
    own = MISSING if of is MISSING else getattr(of, member.name, MISSING)
    return member.value() if own is MISSING else own


def _inner(member: Member, default: object, of: object) -> tuple[type | None, object]:
    """The class of a group whose fields have defaults of their own, and the instance that has them, if any has.

    A group that is made by its class alone has them before `__post_init__`.
    """
    group = member.group
    if group is None or default is MISSING or (of is MISSING and member.factory is group):
        return group, MISSING
    return (group, default) if type(default) is group else (None, MISSING)


def _fields(cls: type, of: object, prefix: str) -> Iterator[Field]:
    for member in members(cls):
        default = _default(member, of)
        group, inner = _inner(member, default, of)
        name = f"{prefix}{member.name}"
        if group is not None:
            yield from _fields(group, inner, f"{name}.")
        else:
            plain = MISSING if default is MISSING else plain_or_not(default)
            yield Field(name, type_text(member.annotation), plain, member.comment)


def _completed(cls: type, values: Mapping[str, Any], of: object, prefix: str, faults: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for member in members(cls):
        name, default = member.name, _default(member, of)
        group, inner = _inner(member, default, of)
        given_as_group = member.group is not None and isinstance(values.get(name), Mapping)
        if given_as_group and group is None and is_structure(type(default)):
            faults.append(
                f"{prefix}{name} is given, and is of the class {type(default).__name__} where nothing of {prefix[:-1]} is, while "
                f"the field's own default has other fields. To fix, make {type(default).__name__} the field's own default"
            )
        if given_as_group or (name not in values and group is not None):
            inside: type = member.group  # type: ignore[assignment]  # both say that there is one
            result[name] = _completed(inside, values.get(name, {}), inner, f"{prefix}{name}.", faults)
        elif name in values:
            result[name] = values[name]
        elif default is not MISSING:
            found = plain_or_not(default) if member.group is None or default is None else NotPlain(shown(default))
            if not isinstance(found, NotPlain):
                result[name] = found
            elif of is not MISSING and values and found != plain_or_not(member.value()):
                faults.append(
                    f"{prefix}{name} is {found} where nothing of its group is given, which no YAML can hold; so "
                    f"{prefix.removesuffix('.')} cannot be given in part. To fix, make {found} the field's own default"
                )
    return {**result, **{name: value for name, value in values.items() if name not in result}}


def _as_given(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is as the class itself has it: a default is what it is, whatever its annotation says."""
    known = {member.name: member for member in members(cls)}
    result = {}
    for name, value in values.items():
        member = known.get(name)
        if member is not None:
            if _same(value, _plain_default(member)):
                continue
            if member.group is not None and isinstance(value, Mapping):
                value = _as_given(member.group, value)
            elif is_pydantics(cls):
                value = by_value(member.annotation, value)
        result[name] = value
    return result


def _plain_default(member: Member) -> object:
    default = member.value()
    group, inner = _inner(member, default, MISSING)
    if default is MISSING or group is None:
        return MISSING if default is MISSING else plain_or_not(default)
    return _completed(group, {}, inner, "", [])


def _differences(cls: type, values: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str) -> Iterator[Any]:
    for member in members(cls):
        name = member.name
        value, default = values.get(name, MISSING), defaults.get(name, MISSING)
        if member.group is not None and isinstance(value, Mapping) and isinstance(default, Mapping):
            yield from _differences(member.group, value, default, f"{prefix}{name}.")
        elif value is not MISSING and value != default and not is_same_member(member.annotation, value, default):
            yield f"{prefix}{name}", value


def _same(value: object, default: object) -> bool:
    """Whether plain data is the same, types included: True is no 1."""
    if value != default:
        return False
    return json.dumps(value, sort_keys=True, default=repr) == json.dumps(default, sort_keys=True, default=repr)
