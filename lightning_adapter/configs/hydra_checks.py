"""What can be told of a Hydra tree before anything is made of it?"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

from lightning_adapter.argument_values import LARGEST
from lightning_adapter.configs.hydra_layout import layout_faults, parts_of, trainer_extras
from lightning_adapter.configs.hydra_targets import SPECIAL, UnknownTarget, argument_faults, located
from lightning_adapter.errors import shown


def seed_fault(cfg: Any) -> tuple[int | None, str]:
    """Return the seed of a configuration, or what is wrong with it."""
    from omegaconf.errors import OmegaConfBaseException

    for name in ("seed", "seed_everything"):
        try:
            value = cfg.get(name)
        except OmegaConfBaseException as error:
            return None, in_words(name, error)
        if isinstance(value, str) and value.isdecimal():  # `seed_everything` takes text too
            value = int(value)
        if value is None or value is False:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
            return None, f"{name} is {shown(value)}; give a whole number from 0 on"
        return value, ""
    return None, ""


def in_words(key: str, error: Exception) -> str:
    """Return OmegaConf's message of a value that cannot be resolved as a fault."""
    from omegaconf.errors import UnsupportedInterpolationType

    reason = str(error).splitlines()[0]
    if isinstance(error, UnsupportedInterpolationType):
        reason += (
            "; a resolver is known once the module that registers it is imported: name it, as in "
            "`_imports_: [package.module]` at the top of the configuration, or +_imports_=[package.module] as an override"
        )
    elif "hydra" in reason and "${hydra." in str(error):
        reason += "; what belongs to Hydra is written ${hydra:...}"
    return f"{key}: {reason}"


def faults_of(cfg: Any) -> list[str]:
    """Return all that is wrong with a configuration, as far as it can be told."""
    import_targets(cfg)
    faults = layout_faults(cfg)
    walk = _Walk()
    for key, node in parts_of(cfg):
        walk.node(node, key, (), recursive=True, given=trainer_extras(cfg) if key == "trainer" else ())
    _, seed = seed_fault(cfg)
    if walk.missing:
        faults.append(
            f"{', '.join(walk.missing)}: `???` means that a value must be given; write it, or give an override"
        )
    return faults + walk.faults + ([seed] if seed else [])


def import_targets(cfg: Any) -> None:
    """Import what the configuration names, before anything is resolved: a project's modules may register resolvers."""
    for _, node in parts_of(cfg):
        for target in _literal_targets(node):
            with suppress(UnknownTarget):  # told with its place
                located(target)


def _literal_targets(node: Any) -> Iterator[str]:
    from omegaconf import OmegaConf

    if OmegaConf.is_dict(node):
        for key in node:
            if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key):
                continue
            if key == "_target_" and isinstance(node[key], str):
                yield node[key]
            yield from _literal_targets(node[key])
    elif OmegaConf.is_list(node):
        for index in range(len(node)):
            if not OmegaConf.is_interpolation(node, index) and not OmegaConf.is_missing(node, index):
                yield from _literal_targets(node[index])


class _Walk:
    """A walk over what `instantiate_node` of Hydra would go through, which notes faults instead of making anything."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.missing: list[str] = []

    def node(
        self, node: Any, key: str, above: tuple[int, ...], *, recursive: bool, given: Collection[str] = ()
    ) -> None:
        """Look at a container, and at all below it."""
        from omegaconf import OmegaConf

        if id(node) in above:
            self.faults.append(f"{key}: refers to what it stands in")
            return
        above = (*above, id(node))
        if OmegaConf.is_list(node):
            for index in range(len(node)):
                self._entry(node, index, f"{key}[{index}]", above, recursive, partial=False)
            return
        recursive = self._flag(node, key, "_recursive_", recursive)
        partial = self._flag(node, key, "_partial_", False)
        for name in node:
            self._entry(node, name, f"{key}.{name}", above, recursive, partial)
        if recursive and "_target_" in node:
            self._target(node, key, partial, given)

    def _flag(self, node: Any, key: str, name: str, default: bool) -> bool:
        value = self._value(node, name, f"{key}.{name}") if name in node else default
        if not isinstance(value, bool):
            self.faults.append(f"{key}.{name} is {shown(value)}; write true or false")
            return default
        return value

    def _value(self, node: Any, name: Any, place: str) -> Any:
        """A resolved value; None where it cannot be, which `_entry` tells."""
        from omegaconf.errors import OmegaConfBaseException

        with suppress(OmegaConfBaseException, RecursionError):
            return node[name]
        return None

    def _entry(self, node: Any, name: Any, place: str, above: tuple[int, ...], recursive: bool, partial: bool) -> None:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        if OmegaConf.is_missing(node, name):
            if not partial:
                self.missing.append(place)
            return
        try:
            value = node[name]
        except OmegaConfBaseException as error:
            self.faults.append(in_words(place, error))
            return
        except RecursionError:
            self.faults.append(f"{place}: refers to itself")
            return
        if OmegaConf.is_config(value):
            self.node(value, place, above, recursive=recursive)

    def _target(self, node: Any, key: str, partial: bool, given: Collection[str]) -> None:
        from omegaconf import OmegaConf

        path = self._value(node, "_target_", key)
        if path is None:
            return
        try:
            target = located(path)
        except UnknownTarget as unknown:
            self.faults.append(f"{key}._target_ {unknown}")
            return
        names = [name for name in node if name not in SPECIAL and not (partial and OmegaConf.is_missing(node, name))]
        args = self._value(node, "_args_", key) or () if "_args_" in node else ()
        if not (isinstance(args, tuple) or OmegaConf.is_list(args)):
            self.faults.append(f"{key}._args_ is {shown(args)}; write a list")
            return
        for fault in argument_faults(target, len(args), {*names, *given}, partial):
            self.faults.append(f"{key}: {path} {fault}")
