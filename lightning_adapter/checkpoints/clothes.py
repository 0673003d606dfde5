"""Which types are plain data in other clothes, how do they look without, and how are they given back?

A checkpoint holds what torch's restricted loader takes. A number of NumPy's, a path, a member of an Enum are plain data
too: they are kept as such, with a note of the type, by which a resume gets them back as what they were. A note names a
class of user code for Enums, named tuples and dataclasses alone; it is looked up among the modules that are imported
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


class Undressed(NamedTuple):
    """Data without its clothes.

    Attributes:
        kind: the key of `_WARDROBE` that gives it back.
        bare: a value, or collection of values, which may wear clothes themselves.
        detail: what else is needed to give it back.
    """

    kind: str
    bare: Any
    detail: Detail = None


def undress(value: object) -> Undressed | None:
    """Plain data without its clothes; None for anything else."""
    for base in type(value).__mro__:
        if base in _BY_TYPE and (found := _BY_TYPE[base](value)) is not None:
            return found
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass(value)
    return _omegaconf(value)


def dress(kind: str, detail: Detail, bare: Any) -> Any:
    """Give back what `undress` took.

    Raises:
        LookupError: the class is not there.
        Exception: the note is no work of `undress`: anything that the types themselves raise.
    """
    return _WARDROBE[kind](bare, detail)


# --- NumPy ------------------------------------------------------------------------------------------------------------

_NUMPY_KINDS = "biufcSUmM"  # not objects, nor records


def _numpy_scalar(value: np.generic) -> Undressed | None:
    if value.dtype.kind in "mM":
        return Undressed("numpy scalar", int(value.astype(np.int64)), value.dtype.str)
    plain = value.item() if value.dtype.kind in _NUMPY_KINDS else None
    if type(plain) not in (bool, int, float, complex, str, bytes):
        return None  # long doubles stay what they are
    return Undressed("numpy scalar", plain, value.dtype.str)


def _give_numpy_scalar(bare: Any, detail: Detail) -> Any:
    dtype = np.dtype(detail)
    return np.array(bare, dtype=np.int64).view(dtype)[()] if dtype.kind in "mM" else dtype.type(bare)


def _numpy_array(value: np.ndarray[Any, Any]) -> Undressed | None:
    if type(value) not in (np.ndarray, np.memmap) or value.dtype.kind not in _NUMPY_KINDS:
        return None
    own = np.array(value, order="C", copy=True)
    try:
        return Undressed("numpy array", torch.from_numpy(own), own.dtype.str)
    except (TypeError, ValueError):  # a type that torch has not
        return Undressed("numpy bytes", own.tobytes(), [own.dtype.str, list(own.shape)])


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
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise LookupError(f"there is no class {module}.{qualname}; import it in the file of your trial")
    return found


def _enum(value: enum.Enum) -> Undressed | None:
    name = _named(type(value))
    if name is None:
        return None
    return Undressed("enum", value.value, [*name, None if isinstance(value, enum.Flag) else value.name])


def _give_enum(bare: Any, detail: Detail) -> Any:
    cls = _class(detail[:2])
    if not issubclass(cls, enum.Enum):
        raise LookupError(f"{cls.__qualname__} is no Enum")
    return cls(bare) if detail[2] is None else cls[detail[2]]


def _named_tuple(value: tuple[Any, ...]) -> Undressed | None:
    name = _named(type(value)) if hasattr(value, "_fields") else None
    return None if name is None else Undressed("named tuple", tuple(value), name)


def _give_named_tuple(bare: Any, detail: Detail) -> Any:
    cls = _class(detail)
    if not issubclass(cls, tuple):
        raise LookupError(f"{cls.__qualname__} is no tuple")
    return tuple.__new__(cls, bare)


def _dataclass(value: Any) -> Undressed | None:
    name = _named(type(value))
    names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
    if name is None or not set(names) >= getattr(value, "__dict__", {}).keys():
        return None  # it holds more than its fields say
    return Undressed("dataclass", {name: getattr(value, name) for name in names}, name)


def _give_dataclass(bare: Any, detail: Detail) -> Any:
    cls = _class(detail)
    names = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    if not names >= set(bare):
        raise LookupError(f"{cls.__qualname__} is no dataclass with the fields {', '.join(bare)}")
    made: object = object.__new__(cls)
    for name, field in bare.items():
        object.__setattr__(made, name, field)
    return made


def _subclass_of_dict(value: dict[Any, Any]) -> Undressed | None:
    if type(value) in (dict, collections.OrderedDict, collections.Counter):
        return None
    if type(value).__reduce_ex__ is object.__reduce_ex__ and value.__reduce_ex__(2)[0] is dict:
        return Undressed("dict", dict(value))  # by its own word: a copy of it is a plain one
    name = _named(type(value))
    if (
        name is None
        or getattr(value, "__dict__", None)
        or isinstance(value, (collections.OrderedDict, collections.defaultdict))
    ):
        return None  # it holds more than its entries
    return Undressed("dict of a class", dict(value), name)


def _give_subclass_of_dict(bare: Any, detail: Detail) -> Any:
    cls = _class(detail)
    if not issubclass(cls, dict):
        raise LookupError(f"{cls.__qualname__} is no dict")
    made = dict.__new__(cls)
    dict.update(made, bare)
    return made


def _omegaconf(value: object) -> Undressed | None:
    omegaconf: Any = sys.modules.get("omegaconf")  # who has not imported it has no value of it
    if omegaconf is None or not isinstance(value, omegaconf.Container):
        return None
    return Undressed("omegaconf", omegaconf.OmegaConf.to_container(value, resolve=False))


def _give_omegaconf(bare: Any, detail: Detail) -> Any:
    """Where nobody has imported OmegaConf, nobody asks for more than the values."""
    omegaconf: Any = sys.modules.get("omegaconf")
    return bare if omegaconf is None else omegaconf.OmegaConf.create(bare)


# --- Python's own -----------------------------------------------------------------------------------------------------

_FACTORIES: dict[str, Any] = {
    made.__name__: made
    for made in (list, dict, set, tuple, int, float, bool, str, collections.deque, collections.Counter)
}


def _default_dict(value: collections.defaultdict[Any, Any]) -> Undressed | None:
    factory = value.default_factory
    name = None if factory is None else getattr(factory, "__name__", "")
    if type(value) is not collections.defaultdict or (name is not None and _FACTORIES.get(name) is not factory):
        return None
    return Undressed("defaultdict", dict(value), name)


def _deque(value: collections.deque[Any]) -> Undressed | None:
    return Undressed("deque", list(value), value.maxlen) if type(value) is collections.deque else None


def _moment(value: datetime.datetime | datetime.time) -> Undressed | None:
    if type(value) not in (datetime.datetime, datetime.time):
        return None
    if not isinstance(value.tzinfo, (datetime.timezone, type(None))):
        return None
    return Undressed(type(value).__name__, value.isoformat())


def _of_type(cls: type, kind: str, bare: Callable[[Any], Any]) -> dict[type, Callable[[Any], Undressed | None]]:
    """A type of which nobody's subclasses are taken."""
    return {cls: lambda value: Undressed(kind, bare(value)) if type(value) is cls else None}


#: From a type, or a base of it, to what undresses it.
_BY_TYPE: dict[type, Callable[[Any], Undressed | None]] = {
    np.generic: _numpy_scalar,
    np.ndarray: _numpy_array,
    enum.Enum: _enum,
    tuple: _named_tuple,
    dict: _subclass_of_dict,
    pathlib.PurePath: lambda value: Undressed("path", str(value)),
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

#: From a kind to what gives it back.
_WARDROBE: dict[str, Callable[[Any, Detail], Any]] = {
    "numpy scalar": _give_numpy_scalar,
    "numpy array": lambda bare, detail: bare.numpy().astype(detail, copy=False),
    "numpy bytes": lambda bare, detail: np.frombuffer(bare, dtype=detail[0]).reshape(detail[1]).copy(),
    "enum": _give_enum,
    "named tuple": _give_named_tuple,
    "dataclass": _give_dataclass,
    "dict": lambda bare, _: bare,
    "dict of a class": _give_subclass_of_dict,
    "omegaconf": _give_omegaconf,
    "path": lambda bare, _: pathlib.Path(bare),
    "defaultdict": lambda bare, detail: collections.defaultdict(detail and _FACTORIES[detail], bare),
    "deque": lambda bare, detail: collections.deque(bare, detail),
    "datetime": lambda bare, _: datetime.datetime.fromisoformat(bare),
    "time": lambda bare, _: datetime.time.fromisoformat(bare),
    "date": lambda bare, _: datetime.date.fromisoformat(bare),
    "timedelta": lambda bare, _: datetime.timedelta(*bare),
    "frozenset": lambda bare, _: frozenset(bare),
    "decimal": lambda bare, _: decimal.Decimal(bare),
    "fraction": lambda bare, _: fractions.Fraction(bare),
    "uuid": lambda bare, _: uuid.UUID(bare),
    "range": lambda bare, _: range(*bare),
    "slice": lambda bare, _: slice(*bare),
    "mapping": lambda bare, _: types.MappingProxyType(bare),
    "namespace": lambda bare, _: types.SimpleNamespace(**bare),
    "arguments": lambda bare, _: argparse.Namespace(**bare),
}
