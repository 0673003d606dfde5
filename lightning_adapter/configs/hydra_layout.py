"""Which nodes of a Hydra tree describe the parts of a trial, and are they such parts?

The names are those of the lightning-hydra-template; other nodes are the project's own, and only referred to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning_adapter.configs.hydra_targets import UnknownTarget, located
from lightning_adapter.configs.hydra_values import entries, group, has, is_target, value_at
from lightning_adapter.errors import guess, shown
from lightning_adapter.versions import hosts

_DATA = ("data", "datamodule")
#: They stand at the top, and are given to the Trainer then, or in its own node.
_COLLECTIONS = ("callbacks", "logger")


def data_of(cfg: Any) -> str | None:
    """Return the name of the node that is the datamodule's; None where there is none."""
    there = [name for name in _DATA if is_target(group(cfg, name))]
    if len(there) > 1:  # the one may be what the other reads
        there = [name for name in there if _class_of(cfg, name, "LightningDataModule")] or there
    return there[-1] if there else None


def collected(cfg: Any, name: str) -> list[tuple[str, Any]]:
    """Return callbacks or loggers at the top, as `instantiate_callbacks` of the template finds them, with their places.

    An entry without `_target_` is none: it says something of one that is not chosen.
    """
    node = group(cfg, name)
    if node is None or in_trainer(cfg, name):
        return []
    if is_target(node):
        return [(name, node)]
    found = [(place, value_at(node, key, place)[0]) for key, place in entries(node, name)]
    return [(place, value) for place, value in found if is_target(value)]


def in_trainer(cfg: Any, name: str) -> bool:
    """Whether the trainer's own node says which callbacks or loggers there are."""
    trainer = group(cfg, "trainer")
    if trainer is None or not has(trainer, name):
        return False
    value, fault = value_at(trainer, name, name)
    return value is not None or bool(fault)


def given_to_trainer(cfg: Any) -> list[str]:
    """Return which of callbacks and loggers the Trainer is given besides what its own node says, as in the template."""
    return [name for name in _COLLECTIONS if has(cfg, name) and not in_trainer(cfg, name)]


def parts_of(cfg: Any) -> Iterator[tuple[str, Any]]:
    """Yield the nodes that are instantiated, in the order of the template's `train`, with their places."""
    data = data_of(cfg)
    if data is not None:
        yield data, cfg[data]
    for name in ("model", *_COLLECTIONS, "trainer"):
        if name in _COLLECTIONS:
            yield from collected(cfg, name)
        elif is_target(group(cfg, name)):
            yield name, cfg[name]


def layout_faults(cfg: Any) -> list[str]:
    """Return which nodes are missing, or are not what their names say."""
    faults = [fault for name in (*_DATA, *_COLLECTIONS) if has(cfg, name) for fault in _optional_faults(cfg, name)]
    for name in ("model", "trainer"):
        fault = value_at(cfg, name, name)[1] if has(cfg, name) else ""
        if not fault and not is_target(group(cfg, name)):
            near = guess(name, [key for key in cfg if is_target(group(cfg, key))])
            fault = (
                f"{name} has no `_target_`, which says of what class it is"
                if group(cfg, name) is not None
                else f"there is no {name!r} with a `_target_`{near}; where it has another name, give {name}=${{NAME}}"
            )
        faults += [fault] if fault else []
    faults += [_twice(name) for name in _COLLECTIONS if _is_said_twice(cfg, name)]
    if is_target(group(cfg, "trainer")):
        faults += _trainer_faults(cfg)
    return faults


def _optional_faults(cfg: Any, name: str) -> Iterator[str]:
    from omegaconf import OmegaConf

    value, fault = value_at(cfg, name, name)
    if fault:
        yield fault
    elif name in _COLLECTIONS and OmegaConf.is_config(value):
        if not is_target(value) and not in_trainer(cfg, name):
            found = (value_at(value, key, place)[1] for key, place in entries(value, name))
            yield from (fault for fault in found if fault)
    elif name in _COLLECTIONS and value is not None and not (name == "logger" and isinstance(value, bool)):
        yield f"{name} is {shown(value)}; give a group or a list of entries with `_target_`, or null"


def _is_said_twice(cfg: Any, name: str) -> bool:
    """Whether callbacks or loggers stand at the top and in the trainer, and the latter do not refer to the former."""
    from omegaconf import OmegaConf

    node = group(cfg, name)
    if node is None or not in_trainer(cfg, name):
        return False
    at_the_top = is_target(node) or any(is_target(value_at(node, key, "")[0]) for key, _ in entries(node, name))
    written = OmegaConf.to_container(cfg.trainer, resolve=False)
    return at_the_top and f"${{{name}" not in str(written[name])  # type: ignore[index,call-overload]


def _twice(name: str) -> str:
    return (
        f"{name} and trainer.{name} both say what the Trainer gets: leave one of them out, or refer to the first in the "
        f"second, as in ${{{name}.NAME}}"
    )


def _trainer_faults(cfg: Any) -> list[str]:
    path, _ = value_at(cfg.trainer, "_target_", "trainer._target_")
    try:
        host = host_of_trainer(located(path))
    except UnknownTarget:
        return []  # told with its arguments
    if host is None:
        return [
            f"trainer._target_ is {shown(path)}, and training here stands in for Lightning's own Trainer, and for no "
            "other: write lightning.pytorch.Trainer or pytorch_lightning.Trainer"
        ]
    faults = ["trainer._args_: give the Trainer its arguments by name"] if has(cfg.trainer, "_args_") else []
    module = _class_of(cfg, "model", "LightningModule")
    of_module = hosts.host_of_class(module) if module is not None else None
    if of_module is not None and of_module.package != host.package:
        faults.append(
            f"trainer._target_ is of {host.package}, and model._target_ derives from {of_module.package}'s LightningModule; "
            f"write {of_module.package}.Trainer"
        )
    return faults


def host_of_trainer(target: Any) -> hosts.Host | None:
    """Return the Lightning whose Trainer this is; None where it is anything else."""
    host = hosts.host_of_class(target) if isinstance(target, type) else None
    return host if host is not None and target is host.pl.Trainer else None


def _class_of(cfg: Any, name: str, base: str) -> type | None:
    """The class that a node's target is, where it derives from Lightning's `base`."""
    node = group(cfg, name)
    try:
        target = located(value_at(node, "_target_", name)[0]) if is_target(node) else None
    except UnknownTarget:
        return None
    if not isinstance(target, type):  # nothing, or a function
        return None
    host = hosts.host_of_class(target)
    return target if host is not None and issubclass(target, getattr(host.pl, base)) else None
