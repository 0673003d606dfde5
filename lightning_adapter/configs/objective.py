"""What does a configuration say of its experiment: the metric and its direction, length, batch size, processes, variables?"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from lightning_adapter.configs.hydra_sweeper import Sweeper
from lightning_adapter.configs.parts import CLASS_KEYS, Tree
from lightning_adapter.configs.tree_paths import Path, at
from lightning_adapter.platform.experiment.values import is_natural

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
#: Callbacks that know what is to be improved: the best checkpoint is what a search ranks trials by.
_CALLBACKS = ("ModelCheckpoint", "EarlyStopping")
#: Asks for an environment variable, without another value for where there is none.
_VARIABLE = re.compile(r"\$\{\s*oc\.env:\s*([A-Za-z_]\w*)\s*\}")
#: Set where a configuration of Hydra's is resolved.
_KNOWN = ("PROJECT_ROOT",)
#: How long to train, by arguments of the Trainer, and what says nothing of it.
_LENGTHS: Mapping[str, Collection[object]] = {
    "max_epochs": (None,),
    "max_steps": (None, -1),
    "max_time": (None,),
    "fast_dev_run": (None, False),
}
#: Where data are described.
_DATA = ("data", "datamodule")


class Objective(NamedTuple):
    """What ranks trials.

    Attributes:
        metric: name of a logged value; None where nothing says it.
        smaller_is_better: the direction.
        source: what says it.
        left: `optimized_metric` where another metric was taken, since nothing says its direction.
        is_guessed: whether nothing says the direction.
    """

    metric: str | None
    smaller_is_better: bool
    source: str
    left: str | None = None
    is_guessed: bool = False


def objective_of(tree: Tree, sweeper: Sweeper) -> Objective:
    """Return what a configuration improves: of a sweep of its own what that optimizes, else what a callback monitors."""
    optimized = resolved(tree, tree.get("optimized_metric"))
    own = None
    if isinstance(optimized, str):
        own = Objective(optimized, not sweeper.maximize, "optimized_metric", is_guessed=sweeper.maximize is None)
    if own is not None and sweeper.maximize is not None:
        return own._replace(source="optimized_metric and hydra.sweeper.direction")
    watched = _of_callbacks(tree)
    if watched is not None and own is not None and own.metric != watched.metric:
        return watched._replace(left=own.metric)
    return watched or own or Objective(None, True, "")


def monitored(tree: Tree) -> tuple[str, bool] | None:
    """Return what a ModelCheckpoint, else an EarlyStopping, monitors, and whether smaller is better."""
    found = _of_callbacks(tree)
    return None if found is None or found.metric is None else (found.metric, found.smaller_is_better)


def _of_callbacks(tree: Tree) -> Objective | None:
    callbacks = list(_callbacks(tree, ()))
    for name in _CALLBACKS:
        for path, settings in callbacks:
            monitor, mode = (resolved(tree, settings.get(key)) for key in ("monitor", "mode"))
            if path[-1] == name and isinstance(monitor, str):
                place = ".".join(map(str, path[:-1]))
                return Objective(monitor, mode != "max", f"{name} at {place}")
    return None


def _callbacks(value: object, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Settings of callbacks, with the name of the class at the end of their places."""
    if isinstance(value, Mapping):
        named = next((value[key] for key in CLASS_KEYS if isinstance(value.get(key), str)), "").rpartition(".")[2]
        settings = value.get("init_args") if "class_path" in value else value
        for name in _CALLBACKS:
            if named.endswith(name) and isinstance(settings, Mapping):
                yield (*path, name), settings
        for key, item in value.items():
            yield from _callbacks(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _callbacks(item, (*path, index))


def resolved(tree: Tree, value: object) -> object:
    """Return a value, or what a reference to another place of the tree leads to."""
    for _ in range(10):  # references of references
        match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return value
        value = at(tree, tuple(match[1].split(".")))
    return None


def batch_size_of(tree: Tree) -> tuple[Path, object] | None:
    """Return where the batch size of the data stands, and what stands there; None where nothing does."""
    for name in _DATA:
        for path in ((name, "batch_size"), (name, "init_args", "batch_size")):
            group = at(tree, path[:-1])
            if isinstance(group, Mapping) and "batch_size" in group:
                return path, resolved(tree, group["batch_size"])
    return None


def epochs_of(tree: Tree) -> int | None:
    """Return `trainer.max_epochs`; None where it is not one number."""
    epochs = resolved(tree, at(tree, ("trainer", "max_epochs")))
    return epochs if isinstance(epochs, int) and not isinstance(epochs, bool) and epochs > 0 else None


def length_of(tree: Tree) -> tuple[str, object] | None:
    """Return which argument of the trainer section says how long to train, and its value; None where none does."""
    for name, nothing in _LENGTHS.items():
        value = at(tree, ("trainer", name))
        if value not in nothing:
            return name, value
    return None


def slots_of(tree: Tree) -> int | None:
    """Return how many processes the trainer section asks for; None where it asks for no number."""
    devices, nodes = (resolved(tree, at(tree, ("trainer", name))) for name in ("devices", "num_nodes"))
    if isinstance(devices, list):
        devices = len(devices)
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    nodes = 1 if nodes is None else nodes
    if not (is_natural(devices, 1) and is_natural(nodes, 1)):
        return None
    return devices * nodes


def variables_of(value: object) -> list[str]:
    """Return the environment variables that texts of a tree ask for."""
    if isinstance(value, str):
        return [name for name in _VARIABLE.findall(value) if name not in _KNOWN]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return list(dict.fromkeys(name for item in items for name in variables_of(item)))
