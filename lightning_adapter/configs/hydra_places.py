"""Which file of a composed configuration, or which override, says what stands at a place of the tree?"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lightning_adapter.configs.hydra_compose import while_composed
from lightning_adapter.configs.place import place

if TYPE_CHECKING:
    from omegaconf import DictConfig

#: The places that a fault begins with: `model.net.width, callbacks[0].name: ...`, `seed is ...`.
_PLACES = re.compile(r"[\w.\[\]]+(, [\w.\[\]]+)*(?=:| )")


@dataclass(frozen=True)
class _File:
    """A file that was merged into the tree, at a package of it."""

    path: Path
    package: tuple[str, ...]
    content: Any

    def within(self, keys: Sequence[str]) -> list[str] | None:
        """The way in this file, or None where it does not say anything of it."""
        if tuple(keys[: len(self.package)]) != self.package:
            return None
        way = list(keys[len(self.package) :])
        value = self.content
        for key in way:
            if isinstance(value, list) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, dict) and key in value:
                value = value[key]
            else:
                return None
        return way


class Places:
    """Where the values of a composed configuration come from.

    Args:
        directory: of the configuration's files.
        name: of the primary one.
        overrides: as typed.
    """

    def __init__(self, directory: Path, name: str, overrides: Sequence[str]) -> None:
        self._overrides = list(overrides)
        self._files = _files(directory, name, self._overrides)

    def told(self, fault: str) -> str:
        """Return a fault with the place in a file behind it."""
        found = _PLACES.match(fault)
        places = [self.of(name) for name in found[0].split(", ")] if found else []
        known = list(dict.fromkeys(each for each in places if each))
        return f"{fault} ({'; '.join(known)})" if known else fault

    def of(self, name: str) -> str:
        """Return the place of what stands at a name, nothing where nobody says it.

        The last that says something of it wins, as in a composition; of what nobody says, who says what is around it.
        """
        keys = [key for key in re.split(r"[.\[\]]+", name) if key]
        for end in range(len(keys), 0, -1):
            dotted = ".".join(keys[:end])
            given = [word for word in self._overrides if word.lstrip("+").partition("=")[0] == dotted]
            if given:
                return f"the override {given[-1]}"
            for file in reversed(self._files):
                way = file.within(keys[:end])
                if way is not None:
                    return place(os.path.relpath(file.path), way)
        return ""


def _files(directory: Path, name: str, overrides: list[str]) -> list[_File]:
    """The files in the order in which they are merged, as Hydra's defaults list has them."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    def merged(cfg: DictConfig) -> list[_File]:
        loader = GlobalHydra.instance().config_loader()
        folders = [Path(source.path) for source in cfg.hydra.runtime.config_sources if source.schema == "file"]
        files = []
        for each in loader.compute_defaults_list(name, overrides, RunMode.RUN).defaults:
            there = (folder / f"{str(each.config_path).removesuffix('.yaml')}.yaml" for folder in folders)
            path = next((path for path in there if path.is_file()), None)
            if path is not None:
                package = tuple(part for part in (each.package or "").split(".") if part and part != "_global_")
                files.append(_File(path, package, yaml.safe_load(path.read_text(encoding="utf-8"))))
        return files

    return while_composed(directory, name, overrides, merged)
