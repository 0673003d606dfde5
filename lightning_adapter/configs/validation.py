"""Do plain values fit the types of a dataclass, and which instance is made of them?

Pydantic answers, of the standard library's dataclasses too: strictly, so that no text becomes a number, and as of JSON, so
that a list becomes a tuple, and text a path or a date. It takes an Enum by its value; here its name does as well, which is
how OmegaConf writes it.
"""

from __future__ import annotations

import enum
import functools
import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_adapter.configs.structure import OMEGACONF_MISSING, members, plain_or_not
from lightning_adapter.errors import ConfigurationError, guess


def make(structure: type, values: Mapping[str, Any], completed: Mapping[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
    """Make an instance; None, and pydantic's errors, where the values do not fit.

    Args:
        structure: the class.
        values: plain data; what is left out has its default.
        completed: the values with defaults beside them.

    Raises:
        ConfigurationError: nobody can check a field of such a type.
    """
    import pydantic_core

    validator = _validator(structure)
    unnoticed = list(_unnoticed(structure, completed, (0,)))
    try:
        # one of a tuple, since a class that is no model can be given a configuration only from outside
        made = validator.validate_json(json.dumps([values]), strict=True)[0]
    except pydantic_core.ValidationError as error:
        found: list[dict[str, Any]] = [dict(each) for each in error.errors(include_url=False)]
        return None, [*found, *unnoticed]
    return (None, unnoticed) if unnoticed else (made, [])


@functools.lru_cache(maxsize=16)  # a project has few of them, and a notebook defines one anew each time
def _validator(structure: type) -> Any:
    """Pydantic's validator of a class, whose nested ones have this configuration as well unless they have their own."""
    import pydantic
    import pydantic_core

    config = pydantic.ConfigDict(
        extra="forbid",
        strict=True,
        arbitrary_types_allowed=True,
        # pydantic reads the metadata of a field, where others keep an `alias` for the command line
        populate_by_name=True,
        loc_by_alias=False,
    )
    try:
        adapter: Any = pydantic.TypeAdapter(tuple[structure], config=config)  # type: ignore[valid-type]
        return pydantic_core.SchemaValidator(_with_names(adapter.core_schema))
    except (pydantic.PydanticUserError, pydantic_core.SchemaError, NameError, TypeError) as error:
        raise ConfigurationError(
            f"The types of {structure.__name__} cannot be checked: {' '.join(str(error).split())}. Give the field a type that a "
            "YAML can hold, or leave the object to the trial's constructor."
        ) from error


def _with_names(schema: Any) -> Any:
    """Copy a schema with Enums that are taken by name too, and groups of the class that their defaults have."""
    from pydantic_core import core_schema

    if isinstance(schema, list):
        return [_with_names(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "enum" and isinstance(schema.get("cls"), type):
        return core_schema.no_info_plain_validator_function(_Member(schema["cls"]), ref=schema.get("ref"))
    copied = {key: value if key == "default" else _with_names(value) for key, value in schema.items()}
    if schema.get("type") in ("dataclass", "model") and isinstance(copied["schema"].get("fields"), (list, dict)):
        _with_groups(schema["cls"], copied["schema"]["fields"])
    return copied


def _with_groups(cls: type, fields: Any) -> None:
    """Put the class of a group's default in the place of the annotated one, from which it is derived."""
    from pydantic_core import core_schema

    derived = {member.name: member.group for member in members(cls) if member.group is not member.annotated_group}
    for name, field in fields.items() if isinstance(fields, dict) else ((each["name"], each) for each in fields):
        group = derived.get(name)
        if group is not None and field["schema"]["type"] == "default":
            validate = functools.partial(_of_class, group)
            field["schema"] = {**field["schema"], "schema": core_schema.no_info_plain_validator_function(validate)}


def _of_class(cls: type, value: object) -> object:
    """Called by pydantic, which tells the errors of another validator as its own."""
    return _validator(cls).validate_json(json.dumps([value]), strict=True)[0]


def by_value(annotation: object, value: object) -> object:
    """Return the value of a member of an Enum that is given by its name; anything else as it is.

    Classes of pydantic's own are checked by validators that they have brought along, which know no names.
    """
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum) and isinstance(value, str):
        member = annotation.__members__.get(value)
        return value if member is None else plain_or_not(member.value)
    return value


def is_same_member(annotation: object, one: object, other: object) -> bool:
    """Whether two values of a field are one member of an Enum, by its name and by its value."""
    if not (isinstance(annotation, type) and issubclass(annotation, enum.Enum)):
        return False
    find = _Member(annotation)
    try:
        return find(one) is find(other)
    except ValueError:
        return False


class _Member:
    """Finds a member of an Enum by its name, or its value.

    Args:
        cls: the Enum.
    """

    def __init__(self, cls: type[enum.Enum]) -> None:
        self._cls = cls

    def __call__(self, value: object) -> enum.Enum:
        """Called by pydantic, which tells a ValueError as it tells its own errors."""
        named = self._cls.__members__
        if isinstance(value, str) and value in named:
            return named[value]
        for member in self._cls:
            # a tuple comes as a list; True is no 1
            plain = list(member.value) if isinstance(member.value, tuple) else member.value
            if plain == value and isinstance(plain, bool) == isinstance(value, bool):
                return member
        try:
            return self._cls(value)  # an Enum may have a `_missing_` of its own
        except ValueError:
            texts = [member.value for member in self._cls if isinstance(member.value, str)]
            raise ValueError(f"one of {', '.join(named)}{guess(value, [*named, *texts])}") from None


def _unnoticed(structure: type, values: Mapping[str, Any], place: tuple[object, ...]) -> Iterator[dict[str, Any]]:
    """What pydantic lets pass, as errors of its own: names that its own classes leave aside, OmegaConf's missing values."""
    own: Any = getattr(structure, "model_config", getattr(structure, "__pydantic_config__", None))
    lenient = own is not None and (own.get("extra") or "ignore") == "ignore"
    known = {member.name: member for member in members(structure)}
    for name, member in known.items():
        if name not in values and _is_marked_missing(structure, name):
            yield {"type": "missing", "loc": (*place, name), "input": values, "msg": ""}
        elif member.group is not None and isinstance(values.get(name), Mapping):
            yield from _unnoticed(member.group, values[name], (*place, name))
    for name in values.keys() - known.keys() if lenient else ():
        yield {"type": "extra_forbidden", "loc": (*place, name), "input": values[name], "msg": ""}


def _is_marked_missing(structure: type, name: str) -> bool:
    default = inspect.signature(structure).parameters[name].default
    return isinstance(default, str) and default == OMEGACONF_MISSING
