"""What can be told of a Hydra tree before anything is made of it?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

from lightning_adapter.argument_values import LARGEST_SEED
from lightning_adapter.configs.hydra_layout import Layout
from lightning_adapter.configs.hydra_targets import SPECIAL, UnknownTarget, argument_faults, located
from lightning_adapter.configs.hydra_values import MISSING, RESOLVER, entries, has, is_target, value_at
from lightning_adapter.errors import shown


def seed_in(cfg: Any) -> tuple[int | None, str]:
    """Return the seed of a configuration, and what is wrong with it: one of the two is nothing, or both are."""
    for name in ("seed", "seed_everything"):
        value, fault = value_at(cfg, name, name) if has(cfg, name) else (None, "")
        if isinstance(value, str) and value.isdecimal():  # `seed_everything` takes text too, as a variable has it
            value = int(value)
        if value is None or value is False:
            if fault:
                return None, fault
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_SEED:
            return None, f"{name} is {shown(value)}; give a whole number from 0 to {LARGEST_SEED}"
        return value, ""
    return None, ""


def faults_of(cfg: Any) -> list[str]:
    """Return all that is wrong with a configuration, as far as it can be told."""
    import_targets(cfg)
    layout, walk = Layout(cfg), _Walk()
    for place, node in layout.parts():
        walk.container(node, place, given=layout.given_to_trainer() if place == layout.trainer else ())
    _, seed = seed_in(cfg)
    return [*layout.faults(), *walk.all_faults, *_plain_trainer_faults(cfg, layout), *([seed] if seed else [])]


def _plain_trainer_faults(cfg: Any, layout: Layout) -> list[str]:
    """What the Trainer would refuse of a node without `_target_`, which holds arguments alone."""
    node = None if layout.trainer is None else cfg[layout.trainer]
    if node is None or is_target(node):
        return []
    names = [name for name in node if name not in SPECIAL]
    assert layout.trainer is not None
    return argument_faults(layout.trainer, "the Trainer", layout.trainer_class, 0, names, False)


def faults_below(node: Any, place: str, given: Collection[str]) -> list[str]:
    """Return what is wrong with one part.

    Args:
        node: its node.
        place: as messages name it.
        given: names of arguments that it gets besides its own.
    """
    walk = _Walk()
    walk.container(node, place, given=given)
    return walk.all_faults


def import_targets(cfg: Any) -> None:
    """Import what the parts name, before anything is resolved: a project's modules may register resolvers."""
    from omegaconf import OmegaConf

    content: Any = OmegaConf.to_container(cfg, resolve=False)
    for node in content.values():
        for target in _literal_targets(node) if isinstance(node, (dict, list)) else ():
            with suppress(UnknownTarget):  # told with its place
                located(target)


def _literal_targets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        target = value.get("_target_")
        if isinstance(target, str) and "${" not in target:
            yield target
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _literal_targets(item)


class _Walk:
    """A walk over what `instantiate_node` of Hydra would go through, which notes faults instead of making anything."""

    def __init__(self) -> None:
        self._faults: list[str] = []
        self._missing: list[str] = []

    @property
    def all_faults(self) -> list[str]:
        """What was found, missing values in one line, and what to do about resolvers once."""
        missing = [f"{', '.join(self._missing)}: {MISSING}"] if self._missing else []
        resolvers = [fault for fault in self._faults if fault.endswith(RESOLVER)]
        told = [fault.removesuffix(RESOLVER) if fault in resolvers[1:] else fault for fault in self._faults]
        return [*missing, *told]

    def container(
        self,
        node: Any,
        place: str,
        above: tuple[int, ...] = (),
        *,
        reached: bool = True,
        recursive: bool = True,
        given: Collection[str] = (),
    ) -> None:
        """Look at a container, and at all below it.

        Args:
            node: the container.
            place: as messages name it.
            above: the containers that it stands in.
            reached: whether Hydra comes to it: not where a target above is not recursive, and gets the node as it is.
            recursive: what `_recursive_` is where the node does not say it.
            given: names of arguments that a target gets besides its own.
        """
        from omegaconf import OmegaConf

        if id(node) in above:
            self._faults.append(f"{place}: refers to what it stands in")
            return
        is_group = OmegaConf.is_dict(node)
        recursive = self._flag(node, place, "_recursive_", recursive) if is_group else recursive
        partial = is_group and self._flag(node, place, "_partial_", False)
        for name, below in entries(node, place):
            if OmegaConf.is_missing(node, name):
                self._missing += [] if partial else [below]
                continue
            value, fault = value_at(node, name, below)
            if fault:
                self._faults.append(fault)
            elif OmegaConf.is_config(value):
                goes_on = reached and (recursive or not is_target(node))
                self.container(value, below, (*above, id(node)), reached=goes_on, recursive=recursive)
        if reached and is_target(node):
            self._target(node, place, partial, given)

    def _flag(self, node: Any, place: str, name: str, default: bool) -> bool:
        value, fault = value_at(node, name, place) if has(node, name) else (default, "")
        if isinstance(value, bool):
            return value
        if not fault:
            self._faults.append(f"{place}.{name} is {shown(value)}; write true or false")
        return default

    def _target(self, node: Any, place: str, partial: bool, given: Collection[str]) -> None:
        from omegaconf import OmegaConf

        path, fault = value_at(node, "_target_", place)
        if fault:
            return  # told as any value
        try:
            target = located(path)
        except UnknownTarget as unknown:
            self._faults.append(f"{place}._target_ {unknown}")
            return
        args = value_at(node, "_args_", place)[0] if has(node, "_args_") else []
        if not (isinstance(args, list) or OmegaConf.is_list(args)):
            self._faults.append(f"{place}._args_ is {shown(args)}; write a list")
            return
        names = [name for name in node if name not in SPECIAL and not (partial and OmegaConf.is_missing(node, name))]
        names += [name for name in given if name not in names]
        self._faults += argument_faults(place, path, target, len(args), names, partial)
