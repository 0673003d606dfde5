"""Which nodes of a Hydra tree describe the parts of a trial, and are they such parts?

The names are those of the lightning-hydra-template; other nodes are the project's own, and only referred to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning_adapter.configs.hydra_targets import UnknownTarget, located
from lightning_adapter.errors import guess, shown
from lightning_adapter.versions import hosts

_DATA = ("data", "datamodule")
#: Both may stand at the top, and are given to the Trainer then, or in its own node.
COLLECTIONS = ("callbacks", "logger")
_NAMES = ("model", *_DATA, *COLLECTIONS, "trainer")


def group(cfg: Any, name: str) -> Any:
    """Return a node at the top; None where it is none, is missing, or cannot be resolved."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if name not in cfg or OmegaConf.is_missing(cfg, name):
        return None
    try:
        value = cfg[name]
    except OmegaConfBaseException:
        return None
    return value if OmegaConf.is_config(value) else None


def is_target(node: Any) -> bool:
    """Whether a node is one that Hydra instantiates."""
    from omegaconf import OmegaConf

    return OmegaConf.is_dict(node) and "_target_" in node


def data_of(cfg: Any) -> str | None:
    """Return the name of the node that is the datamodule's; None where there is none."""
    there = [name for name in _DATA if is_target(group(cfg, name))]
    if len(there) > 1:  # the one may be what the other reads
        there = [name for name in there if _class_of(cfg, name, "LightningDataModule")] or there
    return there[0] if there else None


def collected(cfg: Any, name: str) -> list[tuple[str, Any]]:
    """Return callbacks or loggers at the top, as `instantiate_callbacks` of the template finds them.

    An entry without `_target_` is none: it says something of one that is not chosen.
    """
    from omegaconf import OmegaConf

    if in_trainer(cfg, name):
        return []
    node = group(cfg, name)
    if node is None:
        return []
    if is_target(node):
        return [(name, node)]
    if OmegaConf.is_list(node):
        return [(f"{name}[{index}]", item) for index, item in enumerate(node) if is_target(item)]
    return [
        (f"{name}.{key}", node[key])
        for key in node
        if not OmegaConf.is_missing(node, key) and is_target(_quiet(node, key))
    ]


def _quiet(node: Any, key: Any) -> Any:
    from omegaconf.errors import OmegaConfBaseException

    try:
        return node[key]
    except OmegaConfBaseException:
        return None


def in_trainer(cfg: Any, name: str) -> bool:
    """Whether the trainer's own node says which callbacks or loggers there are."""
    from omegaconf import OmegaConf

    trainer = group(cfg, "trainer")
    return (
        OmegaConf.is_dict(trainer)
        and name in trainer
        and (OmegaConf.is_interpolation(trainer, name) or trainer[name] is not None)
    )


def trainer_extras(cfg: Any) -> list[str]:
    """Return which of callbacks and loggers are given to the Trainer besides its own node."""
    return [name for name in COLLECTIONS if name in cfg and not in_trainer(cfg, name)]


def parts_of(cfg: Any) -> Iterator[tuple[str, Any]]:
    """Yield the nodes that are instantiated, in the order of the template's `train`, with their places."""
    data = data_of(cfg)
    if data is not None:
        yield data, cfg[data]
    if is_target(group(cfg, "model")):
        yield "model", cfg.model
    for name in COLLECTIONS:
        yield from collected(cfg, name)
    if is_target(group(cfg, "trainer")):
        yield "trainer", cfg.trainer


def layout_faults(cfg: Any) -> list[str]:
    """Return which nodes are missing, or are not what their names say."""
    faults = []
    for name in ("model", "trainer"):
        if group(cfg, name) is None:
            near = guess(name, [key for key in cfg if isinstance(key, str) and key not in _NAMES])
            faults.append(f"there is no group {name!r} with a `_target_`{near}")
        elif not is_target(cfg[name]):
            faults.append(f"{name} has no `_target_`: say which class it is of")
    if is_target(group(cfg, "trainer")):
        faults += _trainer_faults(cfg)
    return faults


def _trainer_faults(cfg: Any) -> list[str]:
    path = _quiet(cfg.trainer, "_target_")
    try:
        target = located(path)
    except UnknownTarget:
        return []  # told with its arguments
    host = host_of_trainer(target)
    if host is None:
        return [
            f"trainer._target_ is {shown(path)}, and the loop of this package stands in for Lightning's Trainer, not for "
            "another: write lightning.pytorch.Trainer or pytorch_lightning.Trainer"
        ]
    faults = ["trainer._args_: give the Trainer its arguments by name"] if "_args_" in cfg.trainer else []
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
    try:
        target = located(_quiet(group(cfg, name), "_target_"))
    except (UnknownTarget, TypeError):
        return None
    host = hosts.host_of_class(target) if isinstance(target, type) else None
    return target if host is not None and issubclass(target, getattr(host.pl, base)) else None
