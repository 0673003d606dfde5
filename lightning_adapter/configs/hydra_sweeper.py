"""What does Hydra know of a directory beside the tree: how overrides are read, which groups there are, what is swept over?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lightning_adapter.errors import ConfigurationError

if TYPE_CHECKING:
    from omegaconf import DictConfig

#: The choices of a config group; none where there is no such group.
OptionsOf: TypeAlias = Callable[[str], list[str]]


@dataclass(frozen=True)
class Sweeper:
    """What a configuration says of a sweep, below `hydra.sweeper`.

    Attributes:
        is_optuna: whether Optuna's sweeper reads it.
        params: key of an override -> what is tried, in Hydra's syntax.
        space: the older form, of Optuna's: key -> type, low, high, choices, step, log.
        trials: how many are drawn; None where nothing is said.
        is_grid: whether Optuna is asked for a grid.
        maximize: the direction; None where nothing is said.
    """

    is_optuna: bool = False
    params: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    trials: int | None = None
    is_grid: bool = False
    maximize: bool | None = None


def override_parser() -> Callable[[str], Any] | None:
    """Return what reads an override by Hydra's grammar; None where Hydra is not installed."""
    try:
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import HydraException
    except ImportError:
        return None
    parser = OverridesParser.create()

    def parse(word: str) -> Any:
        try:
            return parser.parse_overrides([word])[0]
        except HydraException as error:
            reason = str(error).partition("\nSee https")[0]
            raise ConfigurationError(f"{word} is no override that Hydra can read: {reason}") from error

    return parse


@contextmanager
def groups_of(folder: Path) -> Iterator[OptionsOf]:
    """Yield what lists the choices of a group, while the directory is Hydra's."""
    from lightning_adapter.configs.hydra_state import as_before, hydra_package

    hydra = hydra_package()
    from hydra.core.global_hydra import GlobalHydra

    with as_before(), hydra.initialize_config_dir(str(folder.absolute()), version_base=None):
        yield GlobalHydra.instance().config_loader().get_group_options


def swept(cfg: DictConfig) -> list[str]:
    """Return the keys that a configuration, composed with Hydra's own node, sweeps over by itself."""
    settings = _settings_of(cfg)
    return [*(settings.get("params") or {}), *(settings.get("search_space") or {})]


def _settings_of(cfg: DictConfig) -> dict[str, Any]:
    """What stands below `hydra.sweeper`, as it is written."""
    from omegaconf import OmegaConf

    settings: Any = OmegaConf.to_container(cfg.hydra.sweeper, resolve=False, enum_to_str=True)
    return dict(settings)


def sweeper_of(folder: Path, name: str, words: Sequence[str]) -> Sweeper:
    """Return what a configuration says of a sweep.

    Args:
        folder: of the configuration.
        name: of the primary one.
        words: overrides that give one value each.

    Raises:
        ConfigurationError: it cannot be composed, or says what no searcher of Determined's can do.
    """
    from lightning_adapter.configs.hydra_compose import composed

    settings = _settings_of(composed(folder, name, words))
    place = f"{folder / name}.yaml"
    direction = settings.get("direction")
    if isinstance(direction, list):
        raise ConfigurationError(
            f"{place} optimizes several values at once (hydra.sweeper.direction: {direction}), and a searcher of Determined's has "
            "one. To fix, type hydra.sweeper.direction=minimize or hydra.sweeper.direction=maximize"
        )
    if settings.get("custom_search_space"):
        raise ConfigurationError(
            f"{place} draws values by code of its own (hydra.sweeper.custom_search_space), and Determined draws each "
            "hyperparameter by itself. To fix, write what it draws below hydra.sweeper.params, and type "
            "hydra.sweeper.custom_search_space=null"
        )
    params = settings.get("params") or {}
    return Sweeper(
        is_optuna="optuna" in str(settings.get("_target_", "")).lower() or "n_trials" in settings,
        params=params,
        # of both Optuna's sweeper takes `params`, in `_process_searchspace_config`
        space={} if params else settings.get("search_space") or {},
        trials=settings.get("n_trials"),
        is_grid=str((settings.get("sampler") or {}).get("_target_", "")).endswith("GridSampler"),
        maximize=None if direction is None else str(direction).lower().endswith("maximize"),
    )
