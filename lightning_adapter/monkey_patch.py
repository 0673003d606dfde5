"""What of a user's class is unsupported, and is it to be rejected or warned about once?

Classes are looked at, never run: nothing is instantiated, no property is evaluated, and the names come from the support
table, never from the user's class, so that a helper method or an expensive property of theirs cannot matter.
Host classes are not patched.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from lightning_adapter import support
from lightning_adapter.errors import TargetError, UnsupportedError
from lightning_adapter.support import Row, Support

# The packages whose classes are the ground a user's class stands on: what they define is not an override.
_HOST_PACKAGES = (
    "builtins",
    "determined",
    "lightning.fabric",
    "lightning.pytorch",
    "lightning_adapter",
    "lightning_fabric",
    "pytorch_lightning",
    "torch",
)
# Models that Lightning ships to be trained and subclassed, BoringModel for one; they are written as a user's are.
_DEMO_PACKAGES = ("lightning.pytorch.demos", "pytorch_lightning.demos")
_TRIAL = "LightningAdapter"
_STATUS = {Support.REJECTED: "rejected", Support.WARNED: "warned", Support.SUPPORTED: "runs"}
_WITHOUT_REASON = {"hook": "called as Lightning calls it", "method": "as in Lightning", "property": "as in Lightning"}


class NoEffectWarning(UserWarning):
    """Something that a class overrides has no effect in a trial."""


@dataclass(frozen=True)
class Finding:
    """One override of a class, matched with its row of the support table.

    Attributes:
        support: how the override is treated.
        owner: whose name it is, one of `support.OWNERS`.
        name: the row's name.
        message: what was found, why it is treated so, and, unless it is supported, what to do instead.
    """

    support: Support
    owner: str
    name: str
    message: str


def owner_of(cls: type) -> str:
    """Which of Lightning's classes `cls` extends, read from the names of its base classes.

    Returns:
        "LightningModule", "LightningDataModule" or "Callback", of either Lightning package, or "LightningAdapter" for a
        trial class.

    Raises:
        TargetError: if `cls` is none of them.
    """
    for base in cls.__mro__:
        if base.__name__ in (*support.OWNERS, _TRIAL) and _is_host(base):
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
        owner: one of `support.OWNERS`; names of all Lightning versions are looked for, whichever is installed.
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
    return [] if owner == _TRIAL else inspect_class(cls, owner)


def reject_or_warn(findings: Iterable[Finding]) -> None:
    """Warn of each finding that has no effect, then raise for all that are rejected, together.

    The findings of module, datamodule and callbacks belong into one call, so that the user sees all faults at once.

    Raises:
        UnsupportedError: if at least one finding is rejected; the message holds that of each.
    """
    # Two callbacks of one class give equal messages; each is said once, in the order of the findings.
    messages: dict[str, Support] = {}
    for finding in findings:
        messages.setdefault(finding.message, finding.support)
    for message, treatment in messages.items():
        if treatment is Support.WARNED:
            warnings.warn(message, NoEffectWarning, stacklevel=2)
    rejected = [message for message, treatment in messages.items() if treatment is Support.REJECTED]
    if rejected:
        count = "one thing is" if len(rejected) == 1 else f"{len(rejected)} things are"
        lines = "\n".join(f"  - {message}" for message in rejected)
        raise UnsupportedError(f"Training cannot start: {count} not supported here.\n{lines}")


def report(cls: type) -> str:
    """What of a module, datamodule, callback or trial class runs, is warned about, is rejected, and why: a text table.

    Raises:
        TargetError: if `cls` is none of them.
    """
    owner = owner_of(cls)
    if owner == _TRIAL:
        return _report_trial(cls)
    findings = inspect_class(cls, owner)
    counts = {status: sum(f.support is treatment for f in findings) for treatment, status in _STATUS.items()}
    lines = [f"{cls.__name__} ({owner}): " + ", ".join(f"{count} {status}" for status, count in counts.items())]
    if findings:
        ordered = [finding for treatment in _STATUS for finding in findings if finding.support is treatment]
        lines += ["", _table(("name", "treatment", "why, and what to do"), (_cells(cls, f) for f in ordered))]
    else:
        lines += ["", f"Nothing of {owner} is overridden outside Lightning itself."]
    if owner == "LightningModule":
        lines += ["", "What __init__ assigns (truncated_bptt_steps, a hook) is looked at when training starts."]
    return "\n".join(lines)


def _report_trial(cls: type) -> str:
    names = sorted(
        {name for base in cls.__mro__ if _is_host(base) and base is not object for name in vars(base) if name[0] != "_"}
    )
    overridden = [(name, definer) for name in names if (definer := _definer(cls, name)) is not None]
    lines = [f"{cls.__name__} ({_TRIAL}): {len(overridden)} of the trial's own methods overridden"]
    if overridden:
        cells = ((name, f"{definer.__module__}.{definer.__qualname__}") for name, definer in overridden)
        lines += ["", _table(("name", "defined in"), cells)]
    lines += [
        "",
        "Which module, datamodule and callbacks a trial trains is known once it is constructed, and a check does not "
        "construct it.",
        "To see what of them is supported, check their classes.",
    ]
    return "\n".join(lines)


def _table(headers: tuple[str, ...], cells: Iterable[tuple[str, ...]]) -> str:
    return tabulate(list(cells), headers=headers, tablefmt="simple", maxcolwidths=[None] * (len(headers) - 1) + [72])


def _cells(cls: type, finding: Finding) -> tuple[str, str, str]:
    # The first column and the title say already which name of which class was found.
    note = finding.message.removeprefix(f"{cls.__name__} ").removeprefix(f"overrides {finding.name}: ")
    return finding.name, _STATUS[finding.support], note


def _findings(cls: type, owner: str, assigned: Mapping[str, Any], instance: object | None = None) -> Iterator[Finding]:
    table = support.rows(owner)
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
        if value is None:
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


def _finding(cls: type, row: Row, found: str) -> Finding:
    why = row.reason or _WITHOUT_REASON[row.kind]
    instead = f" Instead, {row.instead}." if row.instead else ""
    return Finding(row.support, row.owner, row.name, f"{cls.__name__} {found}: {why}.{instead}")


def _truncated_bptt(cls: type, row: Row, assigned: Mapping[str, Any], instance: object | None) -> Iterator[Finding]:
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
    if found is None or _is_host(found):
        return None
    value = vars(found)[name]
    if any(_is_host(base) and vars(base).get(name) is value for base in cls.__mro__):
        return None
    return found


def _override(cls: type, name: str) -> Any:
    """The attribute as it stands in the user's class, unevaluated; None where it is None or nobody overrides it."""
    definer = _definer(cls, name)
    return None if definer is None else vars(definer)[name]


def _inherited_from(cls: type, name: str) -> str:
    definer = _definer(cls, name)
    return "" if definer in (cls, None) else f" (in {definer.__module__}.{definer.__qualname__})"


def _defined_by_host(cls: type, name: str) -> bool:
    found = next((base for base in cls.__mro__ if name in vars(base)), None)
    return found is not None and _is_host(found)


def _is_host(cls: type) -> bool:
    module = f"{cls.__module__}."
    if any(module.startswith(f"{package}.") for package in _DEMO_PACKAGES):
        return False
    return any(module.startswith(f"{package}.") for package in _HOST_PACKAGES)


def _parameters(value: Any) -> frozenset[str]:
    """The parameter names of a function, also behind staticmethod, functools.partial or a decorator's `__wrapped__`."""
    function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    if not callable(function) or isinstance(function, type):
        return frozenset()
    try:
        return frozenset(inspect.signature(function).parameters)
    except ValueError:  # a function written in C without a signature names no parameters
        return frozenset()


# --- one instance -----------------------------------------------------------------------------------------------------


class Replacement:
    """A method of ours in the place of the host's, on one instance.

    A copy of the module keeps it; a pickled module leaves it behind and has its class's method again. (A subclass of
    functools.partial would be quicker, but a user's own partial of it loses it.)
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what stands in for the method."""
        return self.function(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Replacement:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _unattached, ()


def _unattached() -> Replacement:
    def log(*args: Any, **kwargs: Any) -> None:
        warnings.warn("`self.log()` was called on a module that is not being trained; nothing is logged.", stacklevel=3)

    return Replacement(log)


def attach(module: Any, metrics: Any, barebones: bool) -> None:
    """Let `self.log` and `self.log_dict` of this one module reach `metrics`.

    Args:
        module: the LightningModule; its class is left as it is.
        metrics: what values are logged to.
        barebones: log nothing, and say so once.
    """
    if barebones:

        def nothing(*args: Any, **kwargs: Any) -> None:
            warnings.warn(
                "You are trying to `self.log()` but `Trainer(barebones=True)` is configured."
                " Logging can impact raw speed so it is disabled under this setting.",
                stacklevel=3,
            )

        vars(module).update(log=Replacement(nothing), log_dict=Replacement(nothing))
    else:
        vars(module).update(log=Replacement(metrics.log), log_dict=Replacement(metrics.log_dict))


def detach(module: Any) -> None:
    """Give the module its class's methods back."""
    for name in [name for name, value in vars(module).items() if isinstance(value, Replacement)]:
        del vars(module)[name]


def reject_callbacks(callbacks: Iterable[Any], host: Any) -> None:
    """Refuse callbacks of Lightning that need Lightning's own loop.

    Raises:
        UnsupportedError: names each of them, and why.
    """
    faults = []
    for name, (reason, instead) in support.REJECTED_CALLBACKS.items():
        kind = getattr(host.pl.callbacks, name, None)
        if kind is not None and any(isinstance(callback, kind) for callback in callbacks):
            faults.append(f"{name} cannot work here: {reason}. {instead}")
    if faults:
        raise UnsupportedError("\n".join(faults))
