"""Which names of the support table does a user's class, or an instance of it, override?

Classes are looked at, never run: nothing is instantiated, no property is evaluated, and the names come from the support
table, never from the user's class, so that a helper method or an expensive property of theirs cannot matter.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lightning_adapter.errors import TargetError
from lightning_adapter.support.result_objects import REASON, RESULT_OBJECTS, result_objects_in
from lightning_adapter.support.row import OWNERS, Row, Support
from lightning_adapter.support.table import rows
from lightning_adapter.versions.hosts import is_host_class
from lightning_adapter.versions.wrappers import underlying

#: The owner of a trial class, which has no rows.
TRIAL = "LightningAdapter"
_WITHOUT_REASON = {"hook": "called as Lightning calls it", "method": "as in Lightning", "property": "as in Lightning"}


@dataclass(frozen=True)
class Finding:
    """One override of a class, matched with its row of the support table.

    Attributes:
        support: how the override is treated.
        owner: whose name it is, one of `OWNERS`.
        name: the row's name.
        message: what was found, why it is treated so, and, unless it is supported, what to do instead.
        who: the class, the first word of the message.
        why: the end of the message; findings that share it can be told together.
    """

    support: Support
    owner: str
    name: str
    message: str
    who: str = ""
    why: str = ""


def owner_of(cls: type) -> str:
    """Which of Lightning's classes `cls` extends, read from the names of its base classes.

    Returns:
        "LightningModule", "LightningDataModule" or "Callback", of either Lightning package, or "LightningAdapter" for a
        trial class.

    Raises:
        TargetError: if `cls` is none of them.
    """
    for base in cls.__mro__:
        if base.__name__ in (*OWNERS, TRIAL) and is_host_class(base):
            return base.__name__
    bases = ", ".join(f"{base.__module__}.{base.__qualname__}" for base in cls.__bases__)
    raise TargetError(
        f"{cls.__module__}.{cls.__qualname__} (bases: {bases}) is none of the classes that can be checked. Name a "
        "LightningModule, a LightningDataModule, a Callback, or a LightningAdapter trial class."
    )


def inspect_class(cls: type, owner: str) -> list[Finding]:
    """Find which names of the support table a class overrides, the supported ones too, in the order of the table.

    An override counts wherever it stands below Lightning's own classes: in the class, in a third-party base class, or
    in a mixin. An attribute that is None is no override (`validation_step = None` switches validation off in
    Lightning), and neither is one that is Lightning's own function under its own name.

    Args:
        cls: a class as the user wrote it; it is not instantiated.
        owner: one of `OWNERS`; names of all Lightning versions are looked for, whichever is installed.
    """
    return list(_findings(cls, owner, {}))


def inspect_instance(instance: object, owner: str | None = None) -> list[Finding]:
    """Like `inspect_class`, and with what the instance's `__init__` put upon the class.

    Hooks and methods that were assigned to the instance count like overrides, None among them like None in the class;
    `truncated_bptt_steps` is looked for in the instance too. Properties that user code defines are not evaluated.
    """
    return list(_findings(type(instance), owner or owner_of(type(instance)), vars(instance), instance))


def inspect_any(cls: type) -> list[Finding]:
    """`inspect_class` with the owner that the base classes name; a trial class has no rows and gives an empty list.

    Raises:
        TargetError: if `cls` is neither a module, a datamodule, a callback nor a trial.
    """
    owner = owner_of(cls)
    return [] if owner == TRIAL else inspect_class(cls, owner)


def overridden_methods(cls: type) -> list[tuple[str, type]]:
    """The public names of a trial's base classes that user code overrides, each with the class that does."""
    bases = [base for base in cls.__mro__ if is_host_class(base) and base is not object]
    names = sorted({name for base in bases for name in vars(base) if name[0] != "_"})
    return [(name, definer) for name in names if (definer := _definer(cls, name)) is not None]


def _findings(
    cls: type, owner: str, assigned: Mapping[str, object], instance: object | None = None
) -> Iterator[Finding]:
    if owner == "LightningModule":
        yield from _result_objects(cls, owner)
    table = rows(owner)
    by_parameter: dict[str, list[Row]] = {}
    for row in table:
        if row.kind == "argument":
            by_parameter.setdefault(row.name.partition("(")[0], []).append(row)
    for row in table:
        if row.kind == "argument":
            continue
        if row.name == "truncated_bptt_steps":
            yield from _truncated_bptt(cls, row, assigned, instance)
            continue
        in_instance = row.kind in ("hook", "method") and row.name in assigned
        value = assigned[row.name] if in_instance else _override(cls, row.name)
        if value is None or (in_instance and (_is_supplied(value) or _is_hosts_own(cls, row.name, value))):
            continue
        found = "" if in_instance else _inherited_from(cls, row.name)
        taken = _parameters(value)
        refused = [
            other for other in by_parameter.get(row.name, []) if other.name.partition("(")[2].rstrip(")") in taken
        ]
        for other in refused:
            parameter = other.name.partition("(")[2].rstrip(")")
            yield _finding(cls, other, f"has a {row.name} with a parameter {parameter!r}{found}")
        if not refused:
            yield _finding(cls, row, f"{'assigns' if in_instance else 'overrides'} {row.name}{found}")


def _result_objects(cls: type, owner: str) -> Iterator[Finding]:
    """The findings for what was removed with Lightning 0.9, in the class or in a base of the user's."""
    for base in cls.__mro__:
        if is_host_class(base):
            continue
        found = "" if base is cls else f" (in {base.__module__}.{base.__qualname__})"
        for name, method in result_objects_in(base):
            why = f"{REASON}. Instead, {RESULT_OBJECTS[name]}."
            message = f"{cls.__name__} uses {name} in {method}{found}: {why}"
            yield Finding(Support.REJECTED, owner, name, message, cls.__name__, why)


def _finding(cls: type, row: Row, found: str) -> Finding:
    why = row.reason or _WITHOUT_REASON[row.kind]
    instead = f" Instead, {row.instead}." if row.instead else ""
    because = f"{why}.{instead}"
    return Finding(row.support, row.owner, row.name, f"{cls.__name__} {found}: {because}", cls.__name__, because)


def _truncated_bptt(cls: type, row: Row, assigned: Mapping[str, object], instance: object | None) -> Iterator[Finding]:
    """The finding for `truncated_bptt_steps`, which asks for something only where it is a number above zero."""
    value = assigned[row.name] if row.name in assigned else _override(cls, row.name)
    if value is None and instance is not None and _defined_by_host(cls, row.name):
        # Lightning 1.x keeps the number that __init__ assigned behind a property of its own, which is safe to read.
        value = getattr(instance, row.name)
    if isinstance(value, int):
        if value > 0:
            yield _finding(cls, row, f"sets {row.name} = {value}")
    elif value is not None:
        yield _finding(cls, row, f"computes {row.name}{_inherited_from(cls, row.name)}")


def _definer(cls: type, name: str) -> type | None:
    """The user's class that `name` comes from; None where it is Lightning's, or absent."""
    found = next((base for base in cls.__mro__ if name in vars(base)), None)
    if found is None or is_host_class(found):
        return None
    return None if _is_hosts_own(cls, name, vars(found)[name]) else found


def _is_supplied(value: object) -> bool:
    """Whether this package has put it there: a step that stands for a loss function, in an earlier run of the instance."""
    return type(value).__module__.startswith("lightning_adapter.")


def _is_hosts_own(cls: type, name: str, value: object) -> bool:
    """Whether a value is Lightning's own function of this name, or something that only wraps it."""
    own = underlying(value)
    hosts = (base for base in cls.__mro__ if is_host_class(base) and name in vars(base))
    return any(vars(base)[name] is value or underlying(vars(base)[name]) is own for base in hosts)


def _override(cls: type, name: str) -> object:
    """The attribute as it stands in the user's class, unevaluated; None where it is None or nobody overrides it."""
    definer = _definer(cls, name)
    return None if definer is None else vars(definer)[name]


def _inherited_from(cls: type, name: str) -> str:
    definer = _definer(cls, name)
    return "" if definer in (cls, None) else f" (in {definer.__module__}.{definer.__qualname__})"


def _defined_by_host(cls: type, name: str) -> bool:
    found = next((base for base in cls.__mro__ if name in vars(base)), None)
    return found is not None and is_host_class(found)


def _parameters(value: object) -> frozenset[str]:
    """The parameter names of a function, also behind staticmethod, functools.partial or a decorator's `__wrapped__`."""
    function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    if not callable(function) or isinstance(function, type):
        return frozenset()
    try:
        return frozenset(inspect.signature(function).parameters)
    except ValueError:  # a function written in C without a signature names no parameters
        return frozenset()
