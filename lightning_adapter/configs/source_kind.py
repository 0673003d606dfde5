"""Of which kind is a source: LightningCLI's YAML, a directory of Hydra's, a trial, a script's parser?"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path as FilePath

from lightning_adapter.configs import hydra_compose
from lightning_adapter.configs.arguments import arguments_of
from lightning_adapter.configs.dialect import dialect_of
from lightning_adapter.configs.lightning_cli import Cli
from lightning_adapter.configs.origins import CliOrigin, HydraOrigin, Origin, ValuesOrigin
from lightning_adapter.configs.trial_reads import length_given
from lightning_adapter.configs.trial_source import of_trial
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.platform import experiment
from lightning_adapter.platform.target import CONFIGURED, imported_to, load_object, put_first_on_path
from lightning_adapter.platform.trial import LightningTrial

_ENDINGS = (".yaml", ".yml")
_EXAMPLES = (
    "config.yaml (LightningCLI's), configs or configs/train (Hydra's directory, and a configuration in it), "
    "model_def.py:Trial (a trial), train.py:parser (a script's ArgumentParser, or a function that returns it), "
    "main.py:MyCLI --cli config.yaml (a LightningCLI of your own)"
)


def read_source(source: str, cli_files: Sequence[str] = (), hydra: str | None = None) -> Origin:
    """Say what an experiment YAML is to be made of.

    Args:
        source: a path, or `FILE_OR_MODULE:NAME`.
        cli_files: configurations for a class of the project's own that reads them.
        hydra: likewise one of Hydra's.

    Raises:
        ConfigurationError: it is none of the kinds; says which there are.
        TargetError: an object cannot be imported.
    """
    put_first_on_path(os.getcwd())  # where the classes of a configuration are looked for, as by a script
    if ":" in source and not FilePath(source).exists():
        return _of_object(source, cli_files, hydra)
    if cli_files or hydra is not None:
        option = "--cli" if cli_files else "--hydra"
        raise ConfigurationError(
            f"{option} names the configuration of a class, and {source} is none. Type lightning-adapter init "
            f"{cli_files[0] if cli_files else hydra}, or name the class: main.py:MyCLI {option} ..."
        )
    path = FilePath(source)
    if path.is_file() and path.suffix in (*_ENDINGS, ".json"):
        return _of_file(path)
    if path.is_dir() or any(path.with_name(f"{path.name}{ending}").is_file() for ending in _ENDINGS):
        return _of_hydra(path)
    there = "is no file and no directory" if not path.exists() else "is no configuration"
    meant = f". A trial or a parser in it is named as {source}:NAME" if path.suffix == ".py" else ""
    raise ConfigurationError(f"{source} {there}{meant}. Give {_EXAMPLES}")


def _of_file(path: FilePath) -> Origin:
    content = experiment.load(path, "the configuration")
    if "hyperparameters" in content or {"entrypoint", "searcher"} & content.keys():
        raise ConfigurationError(
            f"{path} is an experiment YAML already, which lightning-adapter submit takes. Give {_EXAMPLES}"
        )
    if dialect_of(content) == "hydra" or "defaults" in content:
        return _of_hydra(path.with_suffix(""))
    return CliOrigin((str(path),), Cli())


def _of_hydra(path: FilePath, target: str = CONFIGURED) -> HydraOrigin:
    folder, name = hydra_compose.primary(path, None)
    return HydraOrigin(folder, name, target)


def _of_object(source: str, cli_files: Sequence[str], hydra: str | None) -> Origin:
    with imported_to("write its experiment YAML"):
        found = load_object(source, kind="class, parser or function", form=_EXAMPLES)
    if isinstance(found, type) and issubclass(found, LightningTrial):
        reader = getattr(found, "reader", None)
        if reader is None:
            _refuse_files(source, cli_files, hydra)
            return of_trial(source, found)
        if hydra is not None:
            return _of_hydra(FilePath(hydra), source)
        return CliOrigin(_needed(source, cli_files), reader(), source)
    if isinstance(found, type) and any(each.__name__ == "LightningCLI" for each in found.__mro__):
        return _of_cli_class(source, found, _needed(source, cli_files))
    _refuse_files(source, cli_files, hydra)
    parser = found if isinstance(found, argparse.ArgumentParser) else _returned(source, found)
    if parser is None:
        raise ConfigurationError(f"{source} is {shown(found)}, of which no experiment can be made. Give {_EXAMPLES}")
    return _of_parser(source, parser)


def _refuse_files(source: str, cli_files: Sequence[str], hydra: str | None) -> None:
    if cli_files or hydra is not None:
        raise ConfigurationError(
            f"{source} reads no configuration of LightningCLI's or Hydra's, which {'--cli' if cli_files else '--hydra'} names. "
            "Leave that out, or name a LightningCLI or a ConfiguredTrial"
        )


def _needed(source: str, cli_files: Sequence[str]) -> tuple[str, ...]:
    if not cli_files:
        raise ConfigurationError(
            f"{source} reads a configuration, and none is given. Type lightning-adapter init {source} --cli config.yaml, or "
            "--hydra configs"
        )
    return tuple(cli_files)


def _of_cli_class(source: str, cls: type, files: tuple[str, ...]) -> CliOrigin:
    """A LightningCLI of the project's own, and the trial of its module that names it."""
    place, _, name = source.rpartition(":")
    module = inspect.getmodule(cls)
    trials = [
        key
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, LightningTrial) and getattr(value, "cli_class", None) is cls
    ]
    if trials:
        return CliOrigin(files, vars(module)[trials[0]].reader(), f"{place}:{trials[0]}")
    advice = (
        f"TO CHANGE: the trial that reads this has to name {name}. Write it into {place}, with what {name} is constructed with:",
        "    from lightning_adapter import ConfiguredTrial",
        "    class Trial(ConfiguredTrial):",
        f"        cli_class = {name}",
        '        cli_arguments = {}  # such as {"model_class": LitModel, "datamodule_class": Data}',
    )
    return CliOrigin(files, Cli(cls), f"{place}:Trial", advice)


def _returned(source: str, function: object) -> argparse.ArgumentParser | None:
    """The parser that a function returns; None where it is no such function."""
    if not callable(function) or isinstance(function, type):
        return None
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"{source} is a function that needs arguments; give one without any that returns an ArgumentParser"
        ) from None
    with imported_to("write its experiment YAML"):
        found = function()
    return found if isinstance(found, argparse.ArgumentParser) else None


def _of_parser(source: str, parser: argparse.ArgumentParser) -> ValuesOrigin:
    arguments = arguments_of(parser, source)
    trial = _trial_beside(source)
    return ValuesOrigin(
        source,
        arguments.tree,
        None if trial is None else f"{source.rpartition(':')[0]}:{trial.__name__}",
        arguments.comments,
        arguments.asks,
        aliases=arguments.aliases,
        flags=arguments.flags,
        length=None if trial is None else length_given(trial),
        check=arguments.check,
    )


def _trial_beside(source: str) -> type[LightningTrial] | None:
    """The one trial that the parser's module defines."""
    place = source.rpartition(":")[0]
    module = FilePath(place).stem if place.endswith(".py") else place
    own = [
        value
        for value in vars(sys.modules[module]).values()
        if isinstance(value, type) and issubclass(value, LightningTrial) and value.__module__ == module
    ]
    return own[0] if len(own) == 1 else None
