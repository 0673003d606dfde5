"""What of a user's class is unsupported, and is it rejected, warned about once, or replaced on this one instance?

What is unsupported stands in the table of `support`, whose names for looking at classes are here too. Host classes are
not patched.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from lightning_adapter import notices
from lightning_adapter.errors import UnsupportedError
from lightning_adapter.support import PREDICT_HOOKS, REJECTED_CALLBACKS, TEST_HOOKS, Support
from lightning_adapter.support.overrides import Finding, inspect_any, inspect_class, inspect_instance, owner_of
from lightning_adapter.support.report import report

if TYPE_CHECKING:
    from torch.nn import Module

    from lightning_adapter.versions.hosts import Host

__all__ = [
    "AfterTraining",
    "Finding",
    "NoEffectWarning",
    "Replacement",
    "attach",
    "detach",
    "inspect_any",
    "inspect_class",
    "inspect_instance",
    "making_trial",
    "owner_of",
    "reject_callbacks",
    "reject_or_warn",
    "replaced",
    "report",
]


@dataclass(frozen=True)
class AfterTraining:
    """What of a trial's hooks for tests and predictions runs, and how the others are brought to run.

    Attributes:
        runs: the hooks that have an effect in the trial that is being made.
        what: what `lightning-adapter test` takes when training is done: the directory of the run, or the number of the
            experiment on a cluster; None where no command of this package has started the training.
        on_cluster: whether a cluster trains.
    """

    runs: frozenset[str] = frozenset()
    what: str | None = None
    on_cluster: bool = False

    @classmethod
    def of_training(cls, ends_with_test: bool, what: str, on_cluster: bool) -> AfterTraining:
        """Of a trial that `fit()` trains."""
        return cls(TEST_HOOKS if ends_with_test else frozenset(), what, on_cluster)

    @classmethod
    def of_trained(cls) -> AfterTraining:
        """Of a trial that is not trained but tested, or predicts."""
        return cls(_AFTER_TRAINING)

    def told(self, findings: Iterable[Finding]) -> Iterator[str]:
        """One message about all hooks of a trial that training does not call, and what to type instead.

        Args:
            findings: with hooks for tests and predictions among them.
        """
        idle = [one for one in findings if one.name in _AFTER_TRAINING - self.runs]
        if not idle:
            return
        if self.what is None:  # the table says it of each place
            yield from _told_together(idle)
            return
        commands = [
            command
            for command, hooks in (("test", TEST_HOOKS), ("predict", PREDICT_HOOKS))
            if any(one.name in hooks for one in idle)
        ]
        names = ", ".join(dict.fromkeys(f"{one.who}.{one.name}" for one in idle))
        kinds = " and ".join({"test": "tests", "predict": "predictions"}[command] for command in commands)
        yield f"Training calls no hooks for {kinds}: {names}. {self._instead(commands)}"

    def _instead(self, commands: Sequence[str]) -> str:
        if not self.on_cluster:  # the run says at its end what to type
            typed = " and ".join(f"`lightning-adapter {command}`" for command in commands)
            return f"When it is done, {typed} {'calls' if len(commands) == 1 else 'call'} them."
        typed = " or ".join(f"`lightning-adapter {command} {self.what}`" for command in commands)
        later = f"{typed} on a machine that reaches the master"
        if "test" in commands:
            return f"To test the best checkpoint in the end, add --test to `fit` in the entrypoint; or type {later}."
        return f"When it is done, type {later}."


_AFTER_TRAINING = TEST_HOOKS | PREDICT_HOOKS
_SITUATION: ContextVar[AfterTraining] = ContextVar("after_training")


class NoEffectWarning(UserWarning):
    """Something that a class overrides has no effect in a trial."""


@contextlib.contextmanager
def making_trial(after: AfterTraining) -> Iterator[None]:
    """Within the block, a trial is made whose hooks for tests and predictions are told about like this."""
    token = _SITUATION.set(after)
    try:
        yield
    finally:
        _SITUATION.reset(token)


def reject_or_warn(findings: Iterable[Finding]) -> None:
    """Warn of each finding that has no effect, then raise for all that are rejected, together.

    The findings of module, datamodule and callbacks belong into one call, so that the user sees all faults at once.

    Raises:
        UnsupportedError: if at least one finding is rejected; the message holds that of each.
    """
    # Two callbacks of one class give equal messages; each is said once, in the order of the findings.
    messages: dict[str, Finding] = {}
    for finding in findings:
        messages.setdefault(finding.message, finding)
    warned = [finding for finding in messages.values() if finding.support is Support.WARNED]
    after = _SITUATION.get(AfterTraining())
    for message in (*_told_together(one for one in warned if one.name not in _AFTER_TRAINING), *after.told(warned)):
        notices.warn(message, NoEffectWarning)
    rejected = [message for message, finding in messages.items() if finding.support is Support.REJECTED]
    if rejected:
        count = "one thing is" if len(rejected) == 1 else f"{len(rejected)} things are"
        lines = "\n".join(f"  - {message}" for message in rejected)
        raise UnsupportedError(f"Training cannot start: {count} not supported here.\n{lines}")


def _told_together(findings: Iterable[Finding]) -> list[str]:
    """One message for all findings of a class that have one reason: its hooks for testing and predicting, for example."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.who, finding.why or finding.message), []).append(finding)
    messages = []
    for group in groups.values():
        first = group[0].message
        others = [finding.message.removeprefix(f"{finding.who} ").partition(":")[0] for finding in group[1:]]
        if others:
            head = first.removesuffix(f": {group[0].why}")
            first = f"{head}, {', '.join(other.removeprefix('overrides ') for other in others)}: {group[0].why}"
        messages.append(first)
    return messages


# --- one instance -----------------------------------------------------------------------------------------------------


class Replacement(functools.partial[Any]):
    """A method of ours in the place of the host's, on one instance.

    A copy of the instance, a deep or a pickled one, has the host's method again, as that of Lightning has, which is
    attached to no trainer: a teacher or an average of weights that is copied in training logs nothing in the run. (A flat
    copy has this object itself.) It is called for each value that is logged: a partial has no frame of its own, and one with
    attributes stays what it is in a user's own partial.

    Args:
        function: what is called.
        owner: the instance.
        name: of the method.
    """

    owner: object
    name: str

    def __new__(cls, function: Callable[..., Any], owner: object, name: str) -> Self:
        """Make one."""
        made = super().__new__(cls, function)
        made.owner, made.name = owner, name
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return getattr(type(self.owner), self.name).__get__(copy.deepcopy(self.owner, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        # as of a bound method; the instance has no attributes yet when its copy is asked for it
        return getattr, (self.owner, self.name)


def _log_nothing(*args: object, **kwargs: object) -> None:
    # as `LightningModule.log` does under this setting
    notices.warn(
        "You are trying to `self.log()` but `Trainer(barebones=True)` is configured."
        " Logging can impact raw speed so it is disabled under this setting."
    )


class LogsValues(Protocol):
    """What `self.log` and `self.log_dict` reach; they take the installed Lightning's arguments."""

    @property
    def log(self) -> Callable[..., None]:
        """Take one value."""

    @property
    def log_dict(self) -> Callable[..., None]:
        """Take several values."""


def attach(module: Module, metrics: LogsValues, barebones: bool) -> None:
    """Let `self.log` and `self.log_dict` of this one module reach `metrics`.

    Args:
        module: the LightningModule; its class is left as it is.
        metrics: what values are logged to.
        barebones: log nothing, and say so once.
    """
    log, log_dict = (_log_nothing, _log_nothing) if barebones else (metrics.log, metrics.log_dict)
    vars(module).update(log=Replacement(log, module, "log"), log_dict=Replacement(log_dict, module, "log_dict"))


def attach_callback(callback: Any, module: Module, metrics: LogsValues) -> None:
    """Let `self.log` and `self.log_dict` of one callback reach `metrics`, as `_attach_model_logging_functions` does.

    Args:
        callback: gets the two methods of the module, as in Lightning.
        module: the LightningModule.
        metrics: what values are logged to.
    """
    callback.log = Replacement(metrics.log, module, "log")
    callback.log_dict = Replacement(metrics.log_dict, module, "log_dict")


def detach(module: Module) -> None:
    """Give the module its class's methods back."""
    for name in [name for name, value in vars(module).items() if isinstance(value, Replacement)]:
        del vars(module)[name]


@contextlib.contextmanager
def replaced(owner: object, **methods: Callable[..., Any]) -> Iterator[None]:
    """Let one instance have other methods until the block ends."""
    attributes = vars(owner)
    before = {name: attributes[name] for name in methods if name in attributes}
    attributes.update(methods)
    try:
        yield
    finally:
        for name in methods:
            attributes.pop(name, None)
        attributes.update(before)


def reject_callbacks(callbacks: Iterable[object], host: Host) -> None:
    """Refuse callbacks of Lightning that need Lightning's own loop.

    Raises:
        UnsupportedError: names each of them, and why.
    """
    faults = []
    for name, (reason, instead) in REJECTED_CALLBACKS.items():
        kind: type | None = getattr(host.pl.callbacks, name, None)
        if kind is not None and any(isinstance(callback, kind) for callback in callbacks):
            faults.append(f"{name} cannot work here: {reason}. {instead}")
    if faults:
        raise UnsupportedError("\n".join(faults))
