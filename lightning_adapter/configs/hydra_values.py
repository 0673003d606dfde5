"""What does a place in a Hydra tree hold, and what is said where that cannot be told?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

MISSING = "`???` means that a value must be given: write it, or give an override"

#: What to do about a resolver that is not registered.
RESOLVER = (
    "; a resolver is known once the module that registers it is imported: name that at the top of the configuration, as "
    "`_imports_: [package.module]`, or give the override +_imports_=[package.module]"
)


def value_at(node: Any, name: Any, place: str) -> tuple[Any, str]:
    """Return the resolved value of an entry, and what is wrong with it: one of the two is nothing.

    Args:
        node: a container of OmegaConf's.
        name: a key of it, or an index.
        place: as messages name it.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if OmegaConf.is_missing(node, name):
        return None, f"{place}: {MISSING}"
    try:
        return node[name], ""
    except OmegaConfBaseException as error:
        return None, in_words(place, error)
    except RecursionError:
        return None, f"{place}: refers to itself"


def in_words(place: str, error: Exception) -> str:
    """Return OmegaConf's message of a value that cannot be resolved, with what to do."""
    from omegaconf.errors import InterpolationToMissingValueError, UnsupportedInterpolationType

    reason = str(error).splitlines()[0]
    if isinstance(error, InterpolationToMissingValueError):
        return f"{place}: refers to {reason.rpartition(': ')[2]}, where {MISSING}"
    if isinstance(error, UnsupportedInterpolationType):
        reason += RESOLVER
    elif "key 'hydra." in reason:
        reason += "; what belongs to Hydra's job is written ${hydra:...}"
    elif "Environment variable" in reason:
        reason += "; set it" + (" (a script loads .env, this command does not)" if Path(".env").exists() else "")
    return f"{place}: {reason}"


def has(node: Any, name: str) -> bool:
    """Whether a key is there, be its value given or not: `in` says no where it is `???`."""
    return name in list(node)


def group(cfg: Any, name: str) -> Any:
    """Return a container at the top; None where there is none."""
    from omegaconf import OmegaConf

    value = value_at(cfg, name, name)[0] if has(cfg, name) else None
    return value if OmegaConf.is_config(value) else None


def is_target(node: Any) -> bool:
    """Whether a node is one that Hydra instantiates."""
    from omegaconf import OmegaConf

    return OmegaConf.is_dict(node) and has(node, "_target_")


def entries(node: Any, place: str) -> list[tuple[Any, str]]:
    """Return the keys or indices of a container, each with its place."""
    from omegaconf import OmegaConf

    if OmegaConf.is_list(node):
        return [(index, f"{place}[{index}]") for index in range(len(node))]
    return [(name, f"{place}.{name}") for name in node]
