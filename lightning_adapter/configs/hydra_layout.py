"""Which nodes of a Hydra tree describe the parts of a trial, and are they such parts?

The names are those of the lightning-hydra-template. Under other names parts are known by their classes, where Lightning's
base class leaves no doubt; all else is the project's own, and only referred to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from lightning_adapter.configs.hydra_targets import UnknownTarget, located
from lightning_adapter.configs.hydra_values import entries, group, has, is_target, value_at
from lightning_adapter.errors import guess, shown
from lightning_adapter.versions import hosts

#: A class or a function.
Target: TypeAlias = Callable[..., Any]

#: They stand at the top, and are given to the Trainer then, or in its own node.
_COLLECTIONS = ("callbacks", "logger")


class Layout:
    """What the nodes at the top of a configuration are.

    Args:
        cfg: the configuration, whose interpolations resolve.

    Attributes:
        model: name of the module's node; None where there is none.
        data: name of the datamodule's node, likewise.
        trainer: name of the Trainer's node, which may be without `_target_`: then it holds the arguments alone.
    """

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg
        self.model = _part(cfg, ("model",), "LightningModule")
        self.data = _part(cfg, ("datamodule", "data"), "LightningDataModule")
        plain = "trainer" if group(cfg, "trainer") is not None else None
        self.trainer = _part(cfg, ("trainer",), "Trainer") or plain

    @property
    def trainer_class(self) -> Target | None:
        """The class that would be called: of the `_target_`, else of the package that the module derives from."""
        if self.trainer is None:
            return None
        node = self._cfg[self.trainer]
        if is_target(node):
            target: Target | None = _target_of(node)
            return target
        module = None if self.model is None else _lightning_class(self._cfg[self.model], "LightningModule")
        host = hosts.host_of_class(module) if module is not None else None
        result: Target = (host or hosts.importable_host()).pl.Trainer
        return result

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Yield the nodes that are instantiated, in the order of the template's `train`, with their places."""
        for name in (self.data, self.model):
            if name is not None:
                yield name, self._cfg[name]
        for name in _COLLECTIONS:
            yield from self.collected(name)
        if self.trainer is not None:
            yield self.trainer, self._cfg[self.trainer]

    def collected(self, name: str) -> list[tuple[str, Any]]:
        """Return callbacks or loggers at the top, as `instantiate_callbacks` of the template finds them.

        An entry without `_target_` is none: it says something of one that is not chosen.

        Args:
            name: "callbacks", or "logger".
        """
        node = group(self._cfg, name)
        if node is None or self._in_trainer(name):
            return []
        if is_target(node):
            return [(name, node)]
        found = [(place, value_at(node, key, place)[0]) for key, place in entries(node, name)]
        return [(place, value) for place, value in found if is_target(value)]

    def given_to_trainer(self) -> list[str]:
        """Return which of callbacks and loggers the Trainer is given besides what its own node says."""
        return [name for name in _COLLECTIONS if has(self._cfg, name) and not self._in_trainer(name)]

    def _in_trainer(self, name: str) -> bool:
        """Whether the trainer's own node says which callbacks or loggers there are."""
        node = None if self.trainer is None else self._cfg[self.trainer]
        if node is None or not has(node, name):
            return False
        value, fault = value_at(node, name, name)
        return value is not None or bool(fault)

    def faults(self) -> list[str]:
        """Return which nodes are missing, or are not what their names say."""
        faults = [fault for name in ("data", "datamodule", *_COLLECTIONS) for fault in self._faults_of(name)]
        if self.model is None:
            faults.append(_no_part(self._cfg, "model", "LightningModule", "model=${NAME}"))
        if self.trainer is None:
            faults.append(_no_part(self._cfg, "trainer", "Trainer", "trainer=${NAME}"))
            return faults
        faults += [_twice(name, self.trainer) for name in _COLLECTIONS if self._is_said_twice(name)]
        return faults + self._trainer_faults(self.trainer)

    def _faults_of(self, name: str) -> Iterator[str]:
        from omegaconf import OmegaConf

        value, fault = value_at(self._cfg, name, name) if has(self._cfg, name) else (None, "")
        if fault:
            yield fault
        elif name not in _COLLECTIONS or value is None:
            return
        elif OmegaConf.is_config(value):
            if not is_target(value) and not self._in_trainer(name):
                found = (value_at(value, key, place)[1] for key, place in entries(value, name))
                yield from (fault for fault in found if fault)
        elif not (name == "logger" and isinstance(value, bool)):
            yield f"{name} is {shown(value)}; give a group or a list of entries with `_target_`, or null"

    def _is_said_twice(self, name: str) -> bool:
        """Whether callbacks or loggers stand at the top and in the trainer, and the latter do not refer to the former."""
        from omegaconf import OmegaConf

        node = group(self._cfg, name)
        if node is None or not self._in_trainer(name):
            return False
        at_the_top = is_target(node) or any(is_target(value_at(node, key, "")[0]) for key, _ in entries(node, name))
        written: Any = OmegaConf.to_container(self._cfg[self.trainer], resolve=False)
        return at_the_top and f"${{{name}" not in str(written[name])

    def _trainer_faults(self, name: str) -> list[str]:
        node = self._cfg[name]
        trainer = self.trainer_class
        if trainer is None:  # its target is not found, and told so
            return []
        host = _host_of_trainer(trainer)
        if host is None:
            path = value_at(node, "_target_", name)[0]
            return [
                f"{name}._target_ is {shown(path)}, and training here stands in for Lightning's own Trainer, and for no "
                "other: write lightning.pytorch.Trainer or pytorch_lightning.Trainer"
            ]
        faults = [f"{name}._args_: give the Trainer its arguments by name"] if has(node, "_args_") else []
        module = None if self.model is None else _lightning_class(self._cfg[self.model], "LightningModule")
        of_module = hosts.host_of_class(module) if module is not None else None
        if of_module is not None and of_module.package != host.package:
            faults.append(
                f"{name}._target_ is of {host.package}, and {self.model}._target_ derives from {of_module.package}'s "
                f"LightningModule; write {of_module.package}.Trainer"
            )
        return faults


def _part(cfg: Any, names: Sequence[str], base: str) -> str | None:
    """The node of one of the names; of another name where it alone is of Lightning's class `base`."""
    of_class = [key for key in cfg if _lightning_class(group(cfg, key), base) is not None]
    named = [name for name in names if name in of_class]
    if named or len(of_class) == 1:
        return (named or of_class)[0]
    return next((name for name in names if is_target(group(cfg, name))), None)  # what it makes will be seen


def _no_part(cfg: Any, name: str, base: str, override: str) -> str:
    fault = value_at(cfg, name, name)[1] if has(cfg, name) else ""
    if fault:
        return fault
    of_class = [key for key in cfg if _lightning_class(group(cfg, key), base) is not None]
    if of_class:
        return f"{', '.join(of_class)} all are of a {base}: say which one is trained, as in {override}"
    targets = {key: _unknown(group(cfg, key)) for key in cfg if is_target(group(cfg, key))}
    near = guess(name, targets)
    unknown = "".join(f"; {key}._target_ {why}" for key, why in targets.items() if why)
    return f"there is no {name!r} with a `_target_`, nor another node whose class is a {base}{unknown or near}"


def _unknown(node: Any) -> str:
    """Why a node's target is not found; empty where it is."""
    try:
        located(value_at(node, "_target_", "")[0])
    except UnknownTarget as unknown:
        return str(unknown)
    return ""


def _twice(name: str, trainer: str) -> str:
    return (
        f"{name} and {trainer}.{name} both say what the Trainer gets: leave one of them out, or refer to the first in the "
        f"second, as in ${{{name}.NAME}}"
    )


def _host_of_trainer(trainer: Target) -> hosts.Host | None:
    """The Lightning whose Trainer this is; None where it is anything else, a class derived from it too."""
    host = hosts.host_of_class(trainer) if isinstance(trainer, type) else None
    return host if host is not None and trainer is host.pl.Trainer else None


def _target_of(node: Any) -> Any:
    """What a node's target is; None where it is not found."""
    try:
        return located(value_at(node, "_target_", "")[0]) if is_target(node) else None
    except UnknownTarget:
        return None


def _lightning_class(node: Any, base: str) -> type | None:
    """The class that a node's target is, where it derives from Lightning's `base`."""
    target = _target_of(node)
    if not isinstance(target, type):  # nothing, or a function
        return None
    host = hosts.host_of_class(target)
    return target if host is not None and issubclass(target, getattr(host.pl, base)) else None
