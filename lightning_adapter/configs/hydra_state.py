"""What of Hydra and OmegaConf holds for the whole process, and how is it as before when a tree has been used?

Hydra keeps the job that it runs, its version's habits and the resolvers `hydra` and `now` in singletons. A trial may be made
within a job of Hydra's, or in a process that never heard of it: neither may notice.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from lightning_adapter.configs.hydra_references import HYDRA, IMPORTS, NOW, hydra_node, imports_of, without_hydra
from lightning_adapter.configs.hydra_values import in_words
from lightning_adapter.configs.parts import Tree
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.environment import variables_set

#: What `setup_globals` of Hydra registers.
_RESOLVERS = ("hydra", "now", "python_version")


def hydra_package() -> ModuleType:
    """Import Hydra.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import hydra.utils
    except ImportError as error:
        raise ConfigurationError(
            "a configuration with `_target_` is Hydra's, and hydra-core cannot be imported "
            f"({error}). Type pip install 'lightning-adapter[hydra]'."
        ) from error
    return hydra


@contextmanager
def as_before() -> Iterator[None]:
    """Within the block Hydra is free for use; then its job, its version's habits and its resolvers are as before."""
    hydra_package()
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import JobRuntime, setup_globals
    from hydra.version import VersionBase
    from omegaconf import OmegaConf

    job, settings = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    version, name = VersionBase.instance().version_base, JobRuntime.instance().get("name")
    known = [each for each in _RESOLVERS if OmegaConf.has_resolver(each)]
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = job
        HydraConfig.instance().cfg = settings
        VersionBase.instance().version_base = version
        JobRuntime.instance().set("name", name)
        setup_globals()
        for each in set(_RESOLVERS).difference(known):
            OmegaConf.clear_resolver(each)


@contextmanager
def resolving(tree: Tree, run_dir: Path) -> Iterator[Any]:
    """Yield the tree as a DictConfig whose interpolations resolve as in a job of Hydra's that writes to `run_dir`.

    What the tree says of Hydra (`hydra:`) is taken out of it, as Hydra does before it calls the user's function.
    """
    with as_before(), variables_set(variables_of(tree)):
        from hydra.core.utils import setup_globals
        from omegaconf import OmegaConf
        from omegaconf.errors import GrammarParseError

        import_first(imports_of(tree))
        setup_globals()
        _set_job(tree, run_dir)
        _set_now(hydra_node(tree).get(NOW, {}))
        try:
            cfg = OmegaConf.create(without_hydra(tree))
        except GrammarParseError as error:
            raise ConfigurationError(f"configuration: {in_words(error.full_key or '', error)}") from error
        yield cfg


def import_first(modules: Iterable[str]) -> None:
    """Import modules of a project that register resolvers, or configurations.

    They lie in the directory that its scripts are started in, which stays on the path for worker processes.

    Raises:
        ConfigurationError: there is no such module. What it raises while it is imported is raised.
    """
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"configuration: {IMPORTS} names {module!r}, which cannot be imported: {error}. Its directory has to be the "
                "current one, or on PYTHONPATH"
            ) from error


def _set_job(tree: Tree, run_dir: Path) -> None:
    """What `${hydra:...}` means: of the job that runs, if there is one, with the run's own directories."""
    from hydra.conf import HydraConf
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf, flag_override
    from omegaconf.errors import OmegaConfBaseException

    settings = OmegaConf.create({"hydra": OmegaConf.structured(HydraConf)})
    if HydraConfig.initialized():
        settings.hydra = HydraConfig.get()
    else:
        settings.hydra.runtime.cwd = os.getcwd()
    output = str(run_dir.absolute())
    directories = {
        "runtime": {"output_dir": output},
        "run": {"dir": output},
        "sweep": {"dir": os.path.dirname(output), "subdir": os.path.basename(output)},
    }
    kept = {name: value for name, value in hydra_node(tree).items() if name != NOW}
    with flag_override(settings, ["struct", "readonly"], [False, False]):
        try:
            settings.hydra = OmegaConf.merge(settings.hydra, kept, directories)
        except OmegaConfBaseException as error:
            reason = str(error).splitlines()[0]
            raise ConfigurationError(
                f"configuration: {HYDRA} holds what Hydra's own node does not: {reason}"
            ) from error
    HydraConfig.instance().set_config(settings)


def _set_now(texts: Mapping[str, str]) -> None:
    """One moment for all of a trial: the texts that were made when the tree was, and the time at which it is resolved."""
    from omegaconf import OmegaConf

    moment = datetime.now()
    OmegaConf.register_new_resolver("now", lambda pattern: texts.get(pattern) or moment.strftime(pattern), replace=True)


def variables_of(tree: Tree) -> dict[str, str]:
    """Return the variables that Hydra sets around a job, and the one that the template's scripts set before it."""
    of_the_job = hydra_node(tree).get("job", {}).get("env_set", {})
    return {**project_root(), **{str(name): str(value) for name, value in of_the_job.items()}}


def project_root() -> dict[str, str]:
    """Return the variable that `rootutils.setup_root` sets at the top of the template's scripts, where nobody has."""
    if "PROJECT_ROOT" in os.environ:
        return {}
    here = Path.cwd()
    marked = (folder for folder in (here, *here.parents) if (folder / ".project-root").exists())
    return {"PROJECT_ROOT": str(next(marked, here))}
