"""How is what pydantic finds wrong with hyperparameters told: which one, what was found, what is wanted, the default?"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from typing import Any

from lightning_adapter.configs.structure import Field
from lightning_adapter.errors import guess, shown
from lightning_adapter.platform.experiment.faults import dotted

Error = Mapping[str, Any]
#: Names and numbers that lead to a value.
Place = tuple[object, ...]

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
#: What was refused by code: of a class, of a field.
_REFUSED = ("value_error", "assertion_error")
#: Pydantic's words of JSON, and the words of this package's messages.
_WORDS = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid array": "a list",
    "an object": "a group of names and values",
}
#: As many names are listed where none is near.
_FEW = 8


def in_words(
    errors: Sequence[Error], values: Mapping[str, Any], structure: type, fields: Sequence[Field]
) -> dict[Place, str]:
    """Tell errors, one text for each hyperparameter.

    Args:
        errors: pydantic's, of a tuple with one element.
        values: that were given.
        structure: whose they are.
        fields: all hyperparameters.
    """
    places: dict[Place, list[Error]] = {}
    for error in errors:
        places.setdefault(_place(error, values), []).append(error)
    known = {field.name: field for field in fields}
    return {place: _told(dotted(place), found, structure, known) for place, found in places.items()}


def is_refusal(error: Error) -> bool:
    """Whether the class itself refuses its values, which may be right one by one."""
    return error["type"] in _REFUSED and isinstance(error["input"], Mapping)


def _place(error: Error, values: object) -> Place:
    """Where in the values an error is: pydantic names the alternatives of a union on the way."""
    *parts, last = error["loc"][1:] or [None]
    place: list[object] = []
    here = values
    for part in (*parts, last):
        if (isinstance(here, Mapping) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        ):
            here = here[part]
        elif not (part is last and error["type"] == "missing"):
            continue
        place.append(part)
    return tuple(place)


def _told(name: str, errors: Sequence[Error], structure: type, known: Mapping[str, Field]) -> str:
    first = errors[0]
    kinds = {error["type"] for error in errors}
    if kinds == {"missing"}:
        field = known.get(name)
        if field is None:
            return f"{name} is missing{_default(name, known)}"
        return f"{name} is missing, which has no default; give a value of the type {field.type}{_comment(field)}"
    if kinds <= set(_UNKNOWN):
        return f"{name} is {shown(first['input'])}, but there is no hyperparameter of this name{_meant(name, known)}"
    if is_refusal(first):
        return f"{name or structure.__name__} refuses its values: {_reason(first)}"
    # of the classes of a union, one may know a name, and find its value wrong, that another has not at all
    telling = [error for error in errors if error["type"] not in (*_UNKNOWN, "missing")] or errors
    wanted = " or ".join(dict.fromkeys(_wanted(error) for error in telling))
    return f"{name} is {_found(first['input'])}, but must be {wanted}{_hint(first, kinds)}{_default(name, known)}"


def _reason(error: Error) -> str:
    return re.sub(r"^(Value error|Assertion failed), ", "", error["msg"])


def _wanted(error: Error) -> str:
    if error["type"] in _REFUSED:
        return _reason(error)
    if error["type"] in _UNKNOWN:
        return f"without {error['loc'][-1]}"
    if error["type"] == "missing":
        return f"with {error['loc'][-1]}"
    if error["type"] == "needs_python_object":
        return (
            "left to its default, since no YAML can hold what its type says; give the field the type str, and make the object "
            "of it in the trial's constructor"
        )
    text = re.sub(r"^Input should be ", "", error["msg"])
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return text


def _found(value: object) -> str:
    return f"the text {shown(value)}" if isinstance(value, str) else shown(value)


def _hint(error: Error, kinds: set[str]) -> str:
    value = error["input"]
    if "int_type" in kinds and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if isinstance(value, str) and kinds & {"int_type", "float_type"}:
        with contextlib.suppress(ValueError):
            return f"; write {float(value):g}, without quotes"
    if isinstance(value, str) and kinds == {"bool_type"} and value.lower() in ("true", "false"):
        return f"; write {value.lower()}, without quotes"
    return ""


def _default(name: str, known: Mapping[str, Field]) -> str:
    """The default of a hyperparameter, or of the one whose part is meant."""
    field = known.get(name)
    while field is None and "." in name:
        name = name.rpartition(".")[0]
        field = known.get(name)
    return "" if field is None or field.default is MISSING else f" (default: {shown(field.default)})"


def _comment(field: Field) -> str:
    return f" ({field.comment})" if field.comment else ""


def _meant(name: str, known: Mapping[str, Field]) -> str:
    """A guess at the name that was meant, of the same group first; else the names that there are."""
    group, _, last = name.rpartition(".")
    elsewhere = [each for each in known if each.rpartition(".")[2] == last]
    if elsewhere:
        return f"; did you mean {' or '.join(map(repr, elsewhere))}?"
    above = f"{group}." if group else ""
    inside = [each.removeprefix(above).partition(".")[0] for each in known if each.startswith(above)]
    beside = [f"{above}{each}" for each in dict.fromkeys(inside)]
    names = ", ".join(beside[:_FEW]) + (", ..." if len(beside) > _FEW else "")
    return guess(name, beside) or (f" (there are: {names})" if names else "")
