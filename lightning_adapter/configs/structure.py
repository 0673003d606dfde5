"""Which fields does a dataclass have that describes hyperparameters, with which defaults and comments?

The three kinds that people write, the standard library's dataclass, pydantic's, and pydantic's model, look the same from here.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Union

from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.platform.experiment import plain
from lightning_adapter.platform.experiment.values import check_json

#: Keys of `field(metadata={...})` under which projects keep what a field is for: `help` as HfArgumentParser reads it.
_COMMENTS = ("help", "description", "doc")


#: What OmegaConf's `MISSING` is: the default of a field that has to be given.
OMEGACONF_MISSING = "???"
#: How comments begin that are for tools.
_FOR_TOOLS = re.compile(r"\s*(noqa|type: *ignore|pragma|fmt|pylint|pyright|mypy)\b")


@dataclass(frozen=True)
class NotPlain:
    """Stands for a value that no YAML can hold, such as a function or infinity.

    Args:
        text: how it is shown.
    """

    text: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Member:
    """A field that can be given.

    Attributes:
        owner: the class that has it.
        name: its name.
        annotation: its type, resolved.
        default: its value where nothing is given; MISSING where there is none, or a factory.
        factory: makes that value; None where there is none.
        described: what the field itself says that it is for.
    """

    owner: type
    name: str
    annotation: object
    default: object = MISSING
    factory: Callable[[], object] | None = None
    described: str = ""

    @cached_property
    def annotated_group(self) -> type | None:
        """The class that the annotation of a field names which has others below it, an optional one too."""
        found = [each for each in _alternatives(self.annotation) if each is not type(None)]
        one = found[0] if len(found) == 1 else None
        return one if isinstance(one, type) and is_structure(one) else None

    @cached_property
    def group(self) -> type | None:
        """The class whose fields stand below this one: that of its default, which may have more than the annotated one."""
        annotated = self.annotated_group
        if annotated is None or self.factory is annotated:
            return annotated
        default = self.value()
        return type(default) if is_structure(type(default)) else annotated

    def value(self) -> object:
        """The value where nothing is given, made anew; MISSING where there is none."""
        return self.default if self.factory is None else self.factory()

    @property
    def comment(self) -> str:
        """What the field is for, on one line: as it says itself, else as comments and docstrings of its source say."""
        return " ".join((self.described or _comment_of_source(self.owner, self.name)).split())


class Field(NamedTuple):
    """One hyperparameter of a dataclass.

    Attributes:
        name: with dots where it lies in a group.
        type: as it is shown to people.
        default: as plain data; MISSING where it has to be given, `NotPlain` where no YAML can hold it.
        comment: what it is for, on one line; may be empty.
    """

    name: str
    type: str
    default: object
    comment: str


def is_structure(cls: type) -> bool:
    """Whether a class describes hyperparameters."""
    return dataclasses.is_dataclass(cls) or _is_model(cls)


def is_pydantics(cls: type) -> bool:
    """Whether a class is pydantic's own: a model, or a dataclass of its."""
    return _is_model(cls) or hasattr(cls, "__pydantic_fields__")


def check_structure(cls: object, where: str) -> type:
    """Return a class that describes hyperparameters.

    Args:
        cls: what was given.
        where: it was given.

    Raises:
        ConfigurationError: it is none, or none that can be made of values; says what to write.
    """
    if not isinstance(cls, type):
        made = f", an instance; write the class: {where} = {type(cls).__name__}" if is_structure(type(cls)) else ""
        advice = (
            made or ", and has to be a dataclass: `Hyperparameters = MyConfig`, where MyConfig has @dataclass above it"
        )
        raise ConfigurationError(f"{where} is {shown(cls)}{advice}.")
    if not is_structure(cls):
        raise ConfigurationError(
            f"{where} is {cls.__name__}, which is no dataclass: write `@dataclass` above `class {cls.__name__}`, and its fields "
            "as `lr: float = 0.1`."
        )
    if "__dataclass_fields__" not in vars(cls) and not _is_model(cls) and inspect.get_annotations(cls):
        names = ", ".join(inspect.get_annotations(cls))
        raise ConfigurationError(
            f"{where} is {cls.__name__}, whose base is a dataclass and which is none itself, so that {names} would be no "
            f"hyperparameter: write `@dataclass` above `class {cls.__name__}`."
        )
    return cls


@lru_cache(maxsize=64)
def members(cls: type) -> tuple[Member, ...]:
    """Return the fields of a class that can be given, in its order; InitVars at the end.

    Raises:
        ConfigurationError: an annotation cannot be resolved.
    """
    own = getattr(cls, "model_fields" if _is_model(cls) else "__pydantic_fields__", None)
    if own is not None:  # pydantic's, which has resolved their types, and keeps what their `Field()` has said
        return tuple(_of_pydantic(cls, name, info) for name, info in own.items() if info.init is not False)
    hints = _hints(cls)
    found = [_of_dataclass(cls, field, hints) for field in dataclasses.fields(cls) if field.init]
    parameters = inspect.signature(cls).parameters
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar) and name in parameters:
            default = parameters[name].default
            found.append(Member(cls, name, hint.type, MISSING if default is inspect.Parameter.empty else default))
    return tuple(found)


def values_of(instance: object) -> dict[str, object]:
    """Return what an instance can be made of again, as plain data where that is possible; InitVars are gone."""
    found, cls = {}, type(instance)
    for member in members(cls):  # type: ignore[arg-type]  # a class has a hash
        value = getattr(instance, member.name, MISSING)
        if value is not MISSING:
            found[member.name] = values_of(value) if is_structure(type(value)) else plain_or_not(value)
    return found


def plain_or_not(value: object) -> object:
    """Return a value as a YAML could hold it, or `NotPlain`."""
    if is_structure(type(value)):
        return values_of(value)
    found = plain(value)
    if _is_plain(found):
        return found
    import pydantic_core

    try:  # sets, dates, UUIDs and the like
        found = pydantic_core.to_jsonable_python(sorted(value) if isinstance(value, (set, frozenset)) else value)
    except (pydantic_core.PydanticSerializationError, TypeError, ValueError):
        return NotPlain(_as_text(value))
    return found if _is_plain(found) else NotPlain(_as_text(value))


def type_text(annotation: object) -> str:
    """Return a type as it is shown to people: `float`, `list[int]`, `'adam' | 'sgd'`."""
    if annotation is None or annotation is type(None):
        return "None"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " | ".join(annotation.__members__)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(map(type_text, arguments)))
    if origin is Literal:
        return " | ".join(map(repr, arguments))
    if origin is not None and arguments:
        inner = ", ".join("..." if each is ... else type_text(each) for each in arguments)
        return f"{type_text(origin)}[{inner}]"
    if isinstance(annotation, list):  # the arguments of a Callable
        return f"[{', '.join(map(type_text, annotation))}]"
    name = getattr(annotation, "__name__", None)
    return name if isinstance(name, str) else str(annotation).replace("typing.", "")


def _as_text(value: object) -> str:
    return getattr(value, "__qualname__", None) or shown(value)


def _is_plain(value: object) -> bool:
    faults: list[str] = []
    check_json(value, (), faults)
    return not faults


def _is_model(cls: type) -> bool:
    pydantic: Any = sys.modules.get("pydantic")  # who has not imported it has no class of it
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


def _alternatives(annotation: object) -> tuple[object, ...]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _alternatives(arguments[0])
    return arguments if origin in (Union, types.UnionType) else (annotation,)


def _hints(cls: type) -> Mapping[str, object]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception as error:  # an annotation can be any expression
        raise ConfigurationError(
            f"An annotation of {cls.__name__} cannot be resolved ({type(error).__name__}: {error}). Its types have to be there "
            "while the program runs: import them outside of `if TYPE_CHECKING:`, and define classes at a module's top level."
        ) from error


def _of_dataclass(cls: type, field: dataclasses.Field[Any], hints: Mapping[str, object]) -> Member:
    factory = None if field.default_factory is MISSING else field.default_factory
    texts = [field.metadata[key] for key in _COMMENTS if isinstance(field.metadata.get(key), str)]
    is_missing = isinstance(field.default, str) and field.default == OMEGACONF_MISSING
    default = MISSING if is_missing else field.default
    return Member(cls, field.name, hints[field.name], default, factory, texts[0] if texts else "")


def _of_pydantic(cls: type, name: str, info: Any) -> Member:
    default, factory, comment = info.default, info.default_factory, info.description or ""
    if getattr(info, "default_factory_takes_validated_data", False):
        default, factory = NotPlain("made of other fields"), None  # which are not known yet
    if factory is not None or info.is_required():
        default = MISSING
    return Member(cls, name, info.annotation, default, factory, comment)


def _comment_of_source(cls: type, name: str) -> str:
    from simple_parsing.docstring import get_attribute_docstring

    try:
        found = get_attribute_docstring(cls, name)
    except (OSError, TypeError):  # no source, as of a class that was typed at a prompt
        return ""
    beside = "#".join(part for part in found.comment_inline.split("#") if not _FOR_TOOLS.match(part))
    return found.docstring_below or found.comment_above or beside or found.desc_from_cls_docstring
