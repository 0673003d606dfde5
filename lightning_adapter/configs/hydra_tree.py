"""How does a configuration of Hydra's become a tree, and a tree the parts of a trial?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_adapter.configs.hydra_checks import faults_of, seed_in
from lightning_adapter.configs.hydra_compose import composed, primary
from lightning_adapter.configs.hydra_parts import instantiated
from lightning_adapter.configs.hydra_places import Places
from lightning_adapter.configs.hydra_plain import plain_tree
from lightning_adapter.configs.hydra_references import HYDRA, NOW, kept_of_the_job
from lightning_adapter.configs.hydra_state import hydra_package, resolving
from lightning_adapter.configs.hydra_sweeper import swept
from lightning_adapter.configs.parts import Parts, Tree
from lightning_adapter.platform.experiment.faults import raise_all

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compose(directory: str | Path, name: str | None = None, overrides: Sequence[str] = ()) -> Tree:
    """Compose a configuration as a script with `@hydra.main` does.

    Args:
        directory: of the configuration's files; or one of them, or `DIRECTORY/NAME`, where no name is given.
        name: of the primary configuration, with or without `.yaml`; by default `config`, `train`, or the only one.
        overrides: as they are typed on the command line of such a script.

    Raises:
        ConfigurationError: there is no such configuration, or it cannot be composed; Hydra's own words.
    """
    return compose_with_sweep(directory, name, overrides)[0]


def compose_with_sweep(
    directory: str | Path, name: str | None = None, overrides: Sequence[str] = ()
) -> tuple[Tree, list[str]]:
    """Compose a configuration as `compose` does, and return the keys that it sweeps over by itself beside it."""
    hydra_package()
    cfg = composed(*primary(Path(directory), name), overrides)
    return tree_of(cfg), swept(cfg)


def tree_of(cfg: DictConfig) -> Tree:
    """Return a configuration that Hydra composed as plain data, its interpolations as they are written.

    Within a job of Hydra's (`@hydra.main`) the tree keeps what it refers to by `${hydra:...}`, directories excepted.

    Args:
        cfg: nothing of it is changed.

    Raises:
        ConfigurationError: it holds what hyperparameters cannot.
    """
    hydra_package()
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    tree = plain_tree(cfg)
    job = cfg.get(HYDRA)
    if job is None and HydraConfig.initialized():
        job = HydraConfig.get()
    now = {arguments[0]: text for arguments, text in OmegaConf.get_cache(cfg).get("now", {}).items()}
    if job is not None and OmegaConf.get_type(job) is dict:  # a tree's own, which somebody has made a DictConfig again
        now = {**job.get(NOW, {}), **now}
    kept = kept_of_the_job(tree, job, now)
    return {**tree, HYDRA: kept} if kept else tree


def check(tree: Tree, run_dir: Path) -> None:
    """Refuse a tree that no trial can be made of.

    Args:
        tree: the configuration.
        run_dir: what `${hydra:runtime.output_dir}` is.

    Raises:
        ConfigurationError: everything that can be told without making anything.
    """
    with resolving(tree, run_dir) as cfg:
        raise_all("configuration", faults_of(cfg))


def check_composed(
    tree: Tree, run_dir: Path, directory: str | Path, name: str | None = None, overrides: Sequence[str] = ()
) -> None:
    """Check a tree as `check` does, and tell each fault with the line of the file, or the override, that says it.

    Args:
        tree: what `compose` has made of the other arguments, single values of it changed perhaps.
        run_dir: as for `check`.
        directory: as for `compose`.
        name: likewise.
        overrides: likewise.

    Raises:
        ConfigurationError: everything that can be told without making anything.
    """
    with resolving(tree, run_dir) as cfg:
        faults = faults_of(cfg)
    if faults:
        places = Places(*primary(Path(directory), name), overrides)
        raise_all("configuration", [places.told(fault) for fault in faults])


def build(tree: Tree, run_dir: Path) -> Parts:
    """Make what a tree describes, by `hydra.utils.instantiate`, in the order of the lightning-hydra-template.

    Args:
        tree: the configuration.
        run_dir: what `${hydra:runtime.output_dir}` is.

    Raises:
        ConfigurationError: something cannot be made of what the tree says. What the user's own code raises is raised.
    """
    with resolving(tree, run_dir) as cfg:
        return instantiated(cfg)


def seed_of(tree: Tree) -> int | None:
    """Return the seed that a tree names; None where it names none.

    Raises:
        ConfigurationError: it is no seed.
    """
    with resolving(tree, Path.cwd()) as cfg:
        seed, fault = seed_in(cfg)
    raise_all("configuration", [fault] if fault else [])
    return seed


def running_output_dir() -> Path | None:
    """Return the output directory of the job of Hydra's that runs; None outside of `@hydra.main`."""
    module: Any = sys.modules.get("hydra.core.hydra_config")  # who has not imported it runs no job
    if module is None or not module.HydraConfig.initialized():
        return None
    from omegaconf import OmegaConf

    directory = OmegaConf.select(module.HydraConfig.get(), "runtime.output_dir", throw_on_missing=False)
    return None if directory is None else Path(directory)
