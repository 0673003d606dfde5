"""Which configuration is meant by a path, and what does it hold?"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from lightning_adapter.configs import hydra_tree, lightning_cli
from lightning_adapter.configs.dialect import dialect_of
from lightning_adapter.configs.given import Whole
from lightning_adapter.configs.lightning_cli import Cli
from lightning_adapter.configs.listed import groups
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.platform import experiment

_ENDINGS = (".yaml", ".yml")


def load(source: str | os.PathLike[str], overrides: Sequence[str], cli: Cli) -> Whole:
    """Read a configuration; see `load_config`.

    Raises:
        ConfigurationError: it is none, or cannot be read.
    """
    path = _path(source)
    if isinstance(overrides, str) or not all(isinstance(word, str) for word in overrides):
        raise ConfigurationError(
            f'load_config() was given overrides={shown(overrides)}. Give a list of words, such as ["model.lr=0.1"].'
        )
    if not path.is_file() or path.suffix not in (*_ENDINGS, ".json"):
        return of_hydra(path, overrides)
    content = _content(path)
    if "hyperparameters" in content:
        return _of_experiment(path, overrides)
    if dialect_of(content) == "hydra" or "defaults" in content:
        return of_hydra(path, overrides)
    return of_cli(path, overrides, cli)


def _path(source: object) -> pathlib.Path:
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if isinstance(path, str):
            return pathlib.Path(path)
    raise ConfigurationError(
        f"load_config() was given {shown(source)}, which is no path. Give LightningCLI's YAML, a directory of Hydra's, or an "
        "experiment YAML."
    )


def _content(path: pathlib.Path) -> Mapping[str, Any]:
    """What a file holds, as far as either library can read it: who takes it in the end tells what is wrong with it."""
    try:
        content = yaml.safe_load(path.read_bytes())  # as both do
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def of_cli(path: str | os.PathLike[str], overrides: Sequence[str], cli: Cli) -> Whole:
    """Read LightningCLI's YAML, as `main.py fit --config PATH OVERRIDES` would.

    Args:
        path: of the file.
        overrides: words of that command; `model.lr=0.1` for `--model.lr=0.1` too.
        cli: the LightningCLI that reads it.

    Raises:
        ConfigurationError: something cannot be read, in jsonargparse's words.
    """
    if not any(word.startswith("-") for word in overrides):
        overrides = [f"--{word}" for word in overrides]
    return Whole(groups(lightning_cli.compose(path, overrides, cli)))


def of_hydra(place: str | os.PathLike[str], overrides: Sequence[str]) -> Whole:
    """Compose a configuration of Hydra's.

    Args:
        place: a directory of configurations, or one with the name of a configuration behind it.
        overrides: as Hydra takes them.

    Raises:
        ConfigurationError: something cannot be composed, in Hydra's words.
    """
    path = pathlib.Path(place)
    if path.is_dir():
        return _of_hydra(path, None, overrides)
    name = path.stem if path.suffix in _ENDINGS else path.name
    if not path.parent.is_dir() or not any((path.parent / f"{name}{ending}").is_file() for ending in _ENDINGS):
        raise ConfigurationError(
            f"{path} is no configuration: there is neither a directory of that name, nor {path.parent / name}.yaml. Give "
            "LightningCLI's YAML, a directory of Hydra's (configs), or one with a name behind it (configs/train)."
        )
    return _of_hydra(path.parent, name, overrides)


def _of_hydra(directory: pathlib.Path, name: str | None, overrides: Sequence[str]) -> Whole:
    tree, swept = hydra_tree.compose_with_sweep(directory, name, overrides)
    return Whole(groups(tree), swept=swept)


def _of_experiment(path: pathlib.Path, overrides: Sequence[str]) -> Whole:
    typed: dict[str, Any] = {}
    for word in overrides:
        name, equals, text = word.removeprefix("--").partition("=")
        if not (name and equals):
            raise ConfigurationError(
                f"{word!r} is no override of {path}: write name=value, such as model.init_args.lr=0.01"
            )
        typed[name] = experiment.parse_value(name, text)
    values: Mapping[str, Any] = experiment.hyperparameters(experiment.checked(path)[1], typed)
    return Whole(values)
