"""How does a DictConfig become plain data, which hyperparameters can hold?"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Any

from lightning_adapter import notices
from lightning_adapter.configs.hydra_references import HYDRA
from lightning_adapter.configs.parts import Tree
from lightning_adapter.platform.experiment.faults import dotted, raise_all
from lightning_adapter.platform.experiment.values import check_json, plain_mapping

if TYPE_CHECKING:
    from omegaconf import DictConfig

Path = tuple[Any, ...]


def plain_tree(cfg: DictConfig) -> Tree:
    """Return the content of a configuration, its interpolations as they are written, without what is Hydra's own.

    What a part of a larger configuration refers to outside of itself is resolved, since nobody finds it later.

    Raises:
        ConfigurationError: it holds what hyperparameters cannot.
    """
    from omegaconf import OmegaConf

    content: Any = OmegaConf.to_container(cfg, resolve=False)
    if not isinstance(content, dict):
        content = {}  # a DictConfig that is None, or an interpolation to nothing
    content.pop(HYDRA, None)
    _bind(cfg, content)
    members = [path for path, value in _leaves(content, ()) if isinstance(value, enum.Enum)]
    if members:
        notices.warn(
            f"{', '.join(map(dotted, members))}: a member of an Enum arrives as its name where Hydra would give the member, "
            "since hyperparameters are plain data; let the code that gets it take text too"
        )
    tree = plain_mapping(_named(content))
    faults: list[str] = []
    check_json(tree, (), faults)
    raise_all("configuration", faults)
    return tree


def _named(value: Any) -> Any:
    """Enum's members by their names, as OmegaConf writes them; what JSON's numbers are not as OmegaConf reads it."""
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return f'${{oc.decode:"{value}"}}'
    return value.name if isinstance(value, enum.Enum) else value


def _leaves(value: Any, path: Path) -> list[tuple[Path, Any]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in _leaves(item, (*path, index))]
    return [(path, value)]


def _bind(cfg: DictConfig, content: Any) -> None:
    """Resolve what refers to outside of a part of a configuration."""
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

    alone = OmegaConf.create(content, flags={"allow_objects": True})
    for path, value in _leaves(content, ()):
        if not isinstance(value, str) or "${" not in value:
            continue
        try:
            _at(alone, path)
        except InterpolationKeyError:
            try:
                found = _at(cfg, path)
            except OmegaConfBaseException:
                continue  # told with its place by whoever resolves the tree
            _at(content, path[:-1])[path[-1]] = (
                OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
            )
        except OmegaConfBaseException:
            continue


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value
