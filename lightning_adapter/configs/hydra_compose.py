"""How is a configuration composed as `python train.py OVERRIDES` would, with plugins that this machine may not have?"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lightning_adapter import notices
from lightning_adapter.configs.hydra_references import IMPORTS, imports_of
from lightning_adapter.configs.hydra_state import as_before, import_first, project_root
from lightning_adapter.errors import ConfigurationError, guess
from lightning_adapter.platform.environment import variables_set

if TYPE_CHECKING:
    from omegaconf import DictConfig

T = TypeVar("T")

logger = logging.getLogger("lightning_adapter")

#: Names of a primary configuration that are taken where nobody gives one.
_USUAL_NAMES = ("config", "train")
#: Plugins that this process has looked for in vain: who composes many times finds them missing once.
_FOUND_MISSING: list[str] = []
#: Groups of Hydra's own that say how it launches jobs and what it writes to a log, which is not asked of it here.
_NOT_USED = re.compile(r"hydra/(launcher|sweeper|hydra_logging|job_logging|help|hydra_help|output|callbacks)/.+")


def primary(directory: Path, name: str | None) -> tuple[Path, str]:
    """Return the absolute directory of a configuration, and the name of its primary file.

    Raises:
        ConfigurationError: there is no such directory, or nobody can tell which file is meant.
    """
    if name is None and not directory.is_dir():
        file = directory if directory.suffix == ".yaml" else directory.with_name(f"{directory.name}.yaml")
        if not file.is_file():
            there = [path.stem for path in directory.parent.glob("*.yaml")]
            raise ConfigurationError(
                f"there is neither a directory {directory} nor a file {file}{guess(file.stem, there)}; give CONF_DIR or "
                "CONF_DIR/NAME"
            )
        directory, name = file.parent, file.stem
    if not directory.is_dir():
        raise ConfigurationError(
            f"{directory} is no directory of Hydra's configurations; give CONF_DIR or CONF_DIR/NAME"
        )
    if name is not None:
        return directory.absolute(), name.removesuffix(".yaml")
    there = sorted(path.stem for path in directory.glob("*.yaml"))
    usual = [each for each in _USUAL_NAMES if each in there] or there
    if not usual or (len(usual) > 1 and usual is there):
        found = f"has {', '.join(there)}" if there else "has no .yaml file at its top"
        raise ConfigurationError(f"{directory} {found}: say which is the primary one, as in {directory}/NAME")
    return directory.absolute(), usual[0]


def composed(directory: Path, name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a configuration, Hydra's own node included.

    Args:
        directory: absolute.
        name: of the primary file, without `.yaml`.
        overrides: as typed.

    Raises:
        ConfigurationError: Hydra's own words.
    """
    return while_composed(directory, name, overrides, lambda cfg: cfg)


def while_composed(directory: Path, name: str, overrides: Sequence[str], look: Callable[[DictConfig], T]) -> T:
    """Compose a configuration, and look at it while Hydra's loader knows its files.

    Raises:
        ConfigurationError: as `composed`.
    """
    import hydra
    from hydra.errors import HydraException
    from yaml import YAMLError

    import_first(_imports(directory / f"{name}.yaml", overrides))
    try:
        with as_before(), variables_set(project_root()), plugins_not_needed() as stand_in:
            while True:
                try:
                    with hydra.initialize_config_dir(str(directory), job_name=Path(name).name, version_base=None):
                        cfg = hydra.compose(name, list(overrides), return_hydra_config=True)
                        _tell_what_is_left_out(cfg.hydra)
                        return look(cfg)
                except hydra.errors.MissingConfigException as error:
                    if not stand_in(error.missing_cfg_file):
                        raise
    except Exception as error:  # a file or an override can make it raise anything: YAML's errors, ValueError, TypeError
        told = str(error) if isinstance(error, (HydraException, YAMLError)) else f"{type(error).__name__}: {error}"
        if error.__cause__ is not None and str(error.__cause__) not in told:
            told += f": {error.__cause__}"
        raise ConfigurationError(
            f"{directory / name}.yaml cannot be composed: {told}{_hint(directory, name, overrides, told)}"
        ) from error


def _imports(file: Path, overrides: Sequence[str]) -> list[str]:
    """The modules that the primary file or an override names: they may register what is composed."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException
    from omegaconf import OmegaConf
    from yaml import YAMLError

    found: dict[str, Any] = {}
    with suppress(OSError, UnicodeDecodeError, YAMLError, RecursionError):  # told by who composes it
        content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        found = dict(content) if isinstance(content, dict) else {}
    with suppress(OverrideParseException):  # likewise
        parsed = OverridesParser.create().parse_overrides([word for word in overrides if IMPORTS in word])
        found.update({override.key_or_group: override.value() for override in parsed})
    return imports_of(found)


def _tell_what_is_left_out(job: Any) -> None:
    """What a job of Hydra's would do besides calling the user's function, and does not happen here."""
    if job.job.chdir:
        notices.warn(
            "hydra.job.chdir is true, and training stays in the current directory: relative paths lead elsewhere"
        )
    if job.callbacks:
        notices.warn(
            f"hydra.callbacks names {', '.join(job.callbacks)}, which nothing calls: no job of Hydra's runs here"
        )


def _hint(directory: Path, name: str, overrides: Sequence[str], message: str) -> str:
    """What to type instead, where something is known to be meant otherwise."""
    if "Could not load" in message or "Could not find" in message:
        return f"\nWhat a module registers in Hydra's ConfigStore is found where that is imported first: +{IMPORTS}=[MODULE]"
    if "--multirun" in message:
        return "\n`lightning-adapter init` makes an experiment of a sweep; `fit` trains one configuration"
    keys = [override.lstrip("+").partition("=")[0] for override in overrides]
    groups = [key for key in keys if key and (directory / key).is_dir()]
    if groups and message.startswith(("TypeError", "ValueError")):
        return f"\n{groups[0]}= chooses a file of {directory / groups[0]}; to change a value in it, write {groups[0]}.KEY=VALUE"
    above = [usual for usual in _USUAL_NAMES if (directory.parent / f"{usual}.yaml").is_file()]
    if above and not (directory / name).with_suffix(".yaml").is_file():
        return ""
    if above:  # a file of a group was given
        primary_file = directory.parent / above[0]
        return f"\nIf {primary_file}.yaml is the primary one, give {primary_file} {directory.name}={name}"
    return ""


@contextmanager
def plugins_not_needed() -> Iterator[Any]:
    """Yield a function that puts an empty configuration in a missing plugin's place, until the block ends.

    It returns whether the missing one is of a plugin that only launches jobs or writes logs.
    """
    from hydra.core.config_store import ConfigStore

    store, added = ConfigStore.instance(), []

    def put(missing: str) -> None:
        group, _, name = missing.rpartition("/")
        with suppress(OSError):  # no such group
            if f"{name}.yaml" in store.list(group):  # somebody has registered it meanwhile
                return
        store.store(group=group, name=name, node={}, provider="lightning_adapter")
        added.append(missing)

    def stand_in(missing: str | None) -> bool:
        if missing is None or missing in added or not _NOT_USED.fullmatch(missing):
            return False
        put(missing)
        _FOUND_MISSING.append(missing)
        logger.info("%s is not installed here, nor needed: it says how Hydra launches jobs or logs", missing)
        return True

    try:
        for missing in _FOUND_MISSING:
            put(missing)
        yield stand_in
    finally:
        for missing in added:
            group, _, name = missing.rpartition("/")
            folder = store.repo
            for part in group.split("/"):
                folder = folder[part]
            del folder[f"{name}.yaml"]
