"""Which types can be converted to plain data and back, and how?

A checkpoint holds what torch's restricted loader takes. A number of NumPy's, a path, a member of an Enum become plain
data, with a note of the type, by which a resume makes of them what they were. A note names a class of user code for
Enums, named tuples, dataclasses and subclasses of dict alone; it is looked up among the modules that are imported
already, and none of its code runs.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import sys
import types
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

#: What a note says besides the kind: a name, a number, or a list of them.
Detail = Any


class Converted(NamedTuple):
    """Plain data that was made of a value.

    Attributes:
        kind: the key of `_FROM_PLAIN` that converts it back.
        plain: a value, or a collection of values, which may have to be converted themselves.
        detail: what else is needed to convert it back.
    """

    kind: str
    plain: Any
    detail: Detail = None


def to_plain(value: object) -> Converted | None:
    """Convert a value to plain data; None where it is of no type that comes back from it."""
    for base in type(value).__mro__:
        if base in _TO_PLAIN and (found := _TO_PLAIN[base](value)) is not None:
            return found
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass(value)
    return _omegaconf(value)


def from_plain(kind: str, detail: Detail, plain: Any) -> Any:
    """Convert back what `to_plain` has made.

    Raises:
        LookupError: the class is not there.
        Exception: the note is no work of `to_plain`: anything that the types themselves raise.
    """
    return _FROM_PLAIN[kind](plain, detail)


# --- NumPy ------------------------------------------------------------------------------------------------------------

_NUMPY_KINDS = "biufcSUmM"  # not objects, nor records


def _numpy_scalar(value: np.generic) -> Converted | None:
    if value.dtype.kind in "mM":
        return Converted("numpy scalar", int(value.astype(np.int64)), value.dtype.str)
    plain = value.item() if value.dtype.kind in _NUMPY_KINDS else None
    if type(plain) not in (bool, int, float, complex, str, bytes):
        return None  # long doubles stay what they are
    return Converted("numpy scalar", plain, value.dtype.str)


def _make_numpy_scalar(plain: Any, detail: Detail) -> Any:
    dtype = np.dtype(detail)
    return np.array(plain, dtype=np.int64).view(dtype)[()] if dtype.kind in "mM" else dtype.type(plain)


def _numpy_array(value: np.ndarray[Any, Any]) -> Converted | None:
    if type(value) not in (np.ndarray, np.memmap) or value.dtype.kind not in _NUMPY_KINDS:
        return None
    own = np.array(value, order="C", copy=True)
    try:
        return Converted("numpy array", torch.from_numpy(own), own.dtype.str)
    except (TypeError, ValueError):  # a type that torch has not
        return Converted("numpy bytes", own.tobytes(), [own.dtype.str, list(own.shape)])


# --- classes of user code ---------------------------------------------------------------------------------------------


def _named(cls: type) -> list[str] | None:
    """Where a class is found again; None for one that was made within a function."""
    name = [cls.__module__, cls.__qualname__]
    try:
        return name if _class(name) is cls else None
    except LookupError:
        return None


def _class(name: list[str]) -> type:
    module, qualname = name
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)  # and no `__getattr__`, which is code
    if not isinstance(found, type):
        raise LookupError(f"there is no class {module}.{qualname}; import it in the file of your trial")
    return found


def _enum(value: enum.Enum) -> Converted | None:
    name = _named(type(value))
    if name is None:
        return None
    return Converted("enum", value.value, [*name, None if isinstance(value, enum.Flag) else value.name])


def _make_enum(plain: Any, detail: Detail) -> Any:
    cls = _class(detail[:2])
    if not issubclass(cls, enum.Enum):
        raise LookupError(f"{cls.__qualname__} is no Enum")
    return cls(plain) if detail[2] is None else cls[detail[2]]


def _named_tuple(value: tuple[Any, ...]) -> Converted | None:
    name = _named(type(value)) if hasattr(value, "_fields") else None
    return None if name is None else Converted("named tuple", tuple(value), name)


def _make_named_tuple(plain: Any, detail: Detail) -> Any:
    cls = _class(detail)
    if not issubclass(cls, tuple):
        raise LookupError(f"{cls.__qualname__} is no tuple")
    return tuple.__new__(cls, plain)


def _dataclass(value: Any) -> Converted | None:
    name = _named(type(value))
    names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
    if name is None or not set(names) >= getattr(value, "__dict__", {}).keys():
        return None  # it holds more than its fields say
    return Converted("dataclass", {name: getattr(value, name) for name in names}, name)


def _make_dataclass(plain: Any, detail: Detail) -> Any:
    cls = _class(detail)
    names = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    if not names >= set(plain):
        raise LookupError(f"{cls.__qualname__} is no dataclass with the fields {', '.join(plain)}")
    made: object = object.__new__(cls)
    for name, field in plain.items():
        object.__setattr__(made, name, field)
    return made


def _subclass_of_dict(value: dict[Any, Any]) -> Converted | None:
    if type(value) in (dict, collections.OrderedDict, collections.Counter):
        return None
    if type(value).__reduce_ex__ is object.__reduce_ex__ and value.__reduce_ex__(2)[0] is dict:
        return Converted("dict", dict(value))  # by its own word: a copy of it is a plain one
    name = _named(type(value))
    if (
        name is None
        or getattr(value, "__dict__", None)
        or isinstance(value, (collections.OrderedDict, collections.defaultdict))
    ):
        return None  # it holds more than its entries
    return Converted("dict of a class", dict(value), name)


def _make_subclass_of_dict(plain: Any, detail: Detail) -> Any:
    cls = _class(detail)
    if not issubclass(cls, dict):
        raise LookupError(f"{cls.__qualname__} is no dict")
    made = dict.__new__(cls)
    dict.update(made, plain)
    return made


def _omegaconf(value: object) -> Converted | None:
    omegaconf: Any = sys.modules.get("omegaconf")  # who has not imported it has no value of it
    if omegaconf is None or not isinstance(value, omegaconf.Container):
        return None
    return Converted("omegaconf", omegaconf.OmegaConf.to_container(value, resolve=False))


def _make_omegaconf(plain: Any, detail: Detail) -> Any:
    """Where nobody has imported OmegaConf, nobody asks for more than the values."""
    omegaconf: Any = sys.modules.get("omegaconf")
    return plain if omegaconf is None else omegaconf.OmegaConf.create(plain)


# --- Python's own -----------------------------------------------------------------------------------------------------

_PURE_PATHS: dict[str, type[pathlib.PurePath]] = {
    kind.__name__: kind for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath)
}

_FACTORIES: dict[str, Any] = {
    made.__name__: made
    for made in (list, dict, set, tuple, int, float, bool, str, collections.deque, collections.Counter)
}


def _default_dict(value: collections.defaultdict[Any, Any]) -> Converted | None:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if type(value) is not collections.defaultdict or (name is not None and _FACTORIES.get(name) is not factory):
        return None
    return Converted("defaultdict", dict(value), name)


def _deque(value: collections.deque[Any]) -> Converted | None:
    return Converted("deque", list(value), value.maxlen) if type(value) is collections.deque else None


def _moment(value: datetime.datetime | datetime.time) -> Converted | None:
    if type(value) not in (datetime.datetime, datetime.time):
        return None
    if not isinstance(value.tzinfo, (datetime.timezone, type(None))):
        return None
    return Converted(type(value).__name__, value.isoformat())


def _of_type(cls: type, kind: str, convert: Callable[[Any], Any]) -> dict[type, Callable[[Any], Converted | None]]:
    """A type of which nobody's subclasses are taken."""
    return {cls: lambda value: Converted(kind, convert(value)) if type(value) is cls else None}


#: From a type, or a base of it, to what converts its values.
_TO_PLAIN: dict[type, Callable[[Any], Converted | None]] = {
    np.generic: _numpy_scalar,
    np.ndarray: _numpy_array,
    enum.Enum: _enum,
    tuple: _named_tuple,
    dict: _subclass_of_dict,
    pathlib.Path: lambda value: Converted("path", str(value)),
    pathlib.PurePath: lambda value: Converted("pure path", str(value), type(value).__name__),
    collections.defaultdict: _default_dict,
    collections.deque: _deque,
    datetime.datetime: _moment,
    datetime.time: _moment,
    **_of_type(datetime.date, "date", datetime.date.isoformat),
    **_of_type(datetime.timedelta, "timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    **_of_type(frozenset, "frozenset", list),
    **_of_type(decimal.Decimal, "decimal", str),
    **_of_type(fractions.Fraction, "fraction", str),
    **_of_type(uuid.UUID, "uuid", str),
    **_of_type(range, "range", lambda value: [value.start, value.stop, value.step]),
    **_of_type(slice, "slice", lambda value: [value.start, value.stop, value.step]),
    **_of_type(types.MappingProxyType, "mapping", dict),
    **_of_type(types.SimpleNamespace, "namespace", lambda value: dict(vars(value))),
    **_of_type(argparse.Namespace, "arguments", lambda value: dict(vars(value))),
}

#: From a kind to what converts it back.
_FROM_PLAIN: dict[str, Callable[[Any, Detail], Any]] = {
    "numpy scalar": _make_numpy_scalar,
    "numpy array": lambda plain, detail: plain.numpy().astype(detail, copy=False),
    "numpy bytes": lambda plain, detail: np.frombuffer(plain, dtype=detail[0]).reshape(detail[1]).copy(),
    "enum": _make_enum,
    "named tuple": _make_named_tuple,
    "dataclass": _make_dataclass,
    "dict": lambda plain, _: plain,
    "dict of a class": _make_subclass_of_dict,
    "omegaconf": _make_omegaconf,
    "path": lambda plain, _: pathlib.Path(plain),
    "pure path": lambda plain, detail: _PURE_PATHS.get(detail, pathlib.Path)(plain),
    "defaultdict": lambda plain, detail: collections.defaultdict(detail and _FACTORIES[detail], plain),
    "deque": lambda plain, detail: collections.deque(plain, detail),
    "datetime": lambda plain, _: datetime.datetime.fromisoformat(plain),
    "time": lambda plain, _: datetime.time.fromisoformat(plain),
    "date": lambda plain, _: datetime.date.fromisoformat(plain),
    "timedelta": lambda plain, _: datetime.timedelta(*plain),
    "frozenset": lambda plain, _: frozenset(plain),
    "decimal": lambda plain, _: decimal.Decimal(plain),
    "fraction": lambda plain, _: fractions.Fraction(plain),
    "uuid": lambda plain, _: uuid.UUID(plain),
    "range": lambda plain, _: range(*plain),
    "slice": lambda plain, _: slice(*plain),
    "mapping": lambda plain, _: types.MappingProxyType(plain),
    "namespace": lambda plain, _: types.SimpleNamespace(**plain),
    "arguments": lambda plain, _: argparse.Namespace(**plain),
}
