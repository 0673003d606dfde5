"""What does a tree refer to outside of itself: of Hydra's job, of the time, of modules that register resolvers?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_adapter.configs.parts import Tree
from lightning_adapter.errors import ConfigurationError, shown

#: Where a tree keeps what it refers to of the job that Hydra composed it for, under the names of Hydra's own node.
HYDRA = "hydra"
#: In that node: pattern of `${now:...}` -> the text that it became when the tree was composed.
NOW = "now"
#: Modules to import before anything is resolved, since they register resolvers. Hydra itself has no use for the name.
IMPORTS = "_imports_"
#: Directories are the run's own, and the working directory is where the trial is made.
_OF_THE_RUN = ("runtime.output_dir", "runtime.cwd", "run.dir", "sweep.dir", "sweep.subdir")

_REFERENCE = re.compile(r"\$\{\s*(hydra|now)\s*:([^${}]*)\}")


def hydra_node(tree: Tree) -> Mapping[str, Any]:
    """Return what the tree keeps of Hydra's job."""
    node = tree.get(HYDRA)
    return node if isinstance(node, Mapping) else {}


def without_hydra(tree: Tree) -> Tree:
    """Return the tree as Hydra hands it to the user's function."""
    return {name: value for name, value in tree.items() if name != HYDRA}


def imports_of(tree: Tree) -> list[str]:
    """Return the modules that the tree wants to be imported first.

    Raises:
        ConfigurationError: they are no names.
    """
    modules = tree.get(IMPORTS) or []
    listed = [modules] if isinstance(modules, str) else modules
    if not isinstance(listed, list) or not all(isinstance(module, str) for module in listed):
        raise ConfigurationError(f"configuration: {IMPORTS} is {shown(modules)}; give a list of modules")
    return listed


#: A name within which another value stands, as in `${hydra:runtime.choices.${group}}`: any of these may be meant.
_UNKNOWN_REFERENCE = re.compile(r"\$\{\s*hydra\s*:[^${}]*\$\{")
_ANY = ("job.name", "job.override_dirname", "runtime.choices")


def references(value: object) -> Iterator[tuple[str, str]]:
    """Yield "hydra" or "now", and what is asked of it, for each such reference in the texts of a value."""
    if isinstance(value, str):
        for resolver, argument in _REFERENCE.findall(value):
            yield resolver, argument.strip().strip("'\"")
        if _UNKNOWN_REFERENCE.search(value):
            yield from (("hydra", name) for name in _ANY)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def kept_of_the_job(tree: Tree, job: Any, now: Mapping[str, str]) -> Tree:
    """Return what the tree refers to of Hydra's job, with the values that it has there.

    Args:
        tree: the tree.
        job: Hydra's own node; None where nobody has composed anything.
        now: pattern of `${now:...}` -> the text that it became already.
    """
    from datetime import datetime

    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    kept = OmegaConf.create({})
    moment, texts = datetime.now(), {}
    wanted = ["job.env_set"]
    for resolver, argument in references(tree):
        if resolver == "now":
            texts[argument] = now.get(argument) or moment.strftime(argument)
        elif argument not in _OF_THE_RUN:
            wanted.append(argument)
    for key in wanted if job is not None else ():
        try:
            value = OmegaConf.select(job, key)
            if OmegaConf.is_config(value):  # resolved where it stands
                value = OmegaConf.to_container(value, resolve=True, enum_to_str=True)
        except OmegaConfBaseException:  # told with the place that refers to it, when that is resolved
            continue
        if value is not None and value != {}:
            OmegaConf.update(kept, key, value, force_add=True)
    result: Tree = OmegaConf.to_container(kept, enum_to_str=True)  # type: ignore[assignment]
    return {**result, NOW: texts} if texts else result
