"""How was a LightningCLI made that a script has made, and what was it configured with?"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from typing import Any

from lightning_adapter.configs import cli_flow
from lightning_adapter.configs.cli_class import Cli, class_and_arguments
from lightning_adapter.configs.cli_compose import completed, data
from lightning_adapter.configs.cli_flow import FIT, SEED, Config, MadeCli, Parsers
from lightning_adapter.configs.cli_reading import Reader, section_of
from lightning_adapter.configs.parts import Tree
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import hosts, jsonargparse_names


def configured(made: MadeCli | Config) -> tuple[Tree, Cli]:
    """Return its configuration and its class; see `lightning_cli.tree_of`.

    Raises:
        ConfigurationError: its class needs arguments that cannot be told.
    """
    is_cli = hosts.host_of_class(type(made)) is not None
    config = made.config if is_cli else made
    section = section_of(config.as_dict())
    if not is_cli and "class_path" not in (section.get("model") or {}):
        raise ConfigurationError(
            "A configuration was given that does not name the class of its model. Give the LightningCLI that was made of it, "
            "which knows the class, in the place of its `config`."
        )
    cli = Cli(type(made), _arguments(made)) if is_cli else Cli()
    cls, arguments = class_and_arguments(cli, section)
    # jsonargparse keeps what it has parsed last; nothing where that was no command
    words = getattr(made.parser, "args", None) if is_cli else None
    return cli_flow.parse(cls, arguments, functools.partial(_tree, config, words)), cli


def _tree(config: Config, words: Sequence[str] | None, parsers: Parsers) -> Tree:
    """What was typed, or what does not stand at its default where something else was given, or was changed since."""
    reader = Reader(parsers)
    config = _of_subcommand(config, reader)
    # files that `default_config_files` names may not be where the configuration goes
    for parser in (parsers.main, parsers.fit):
        parser.default_config_files = []
    meant = reader.with_paths(reader.plain(config), config)
    tree = None if words is None else _typed(words, meant, config, reader)
    if tree is None:
        tree = data(reader.with_paths(reader.plain(config, **jsonargparse_names.dump_differences()), config))
    return reader.with_classes(completed(tree, meant, reader))


def _typed(words: Sequence[str], meant: Tree, config: Config, reader: Reader) -> Tree | None:
    """What was typed, with the seed that was drawn; None where that is refused by now."""
    tree = {**reader.written(words), **({SEED: meant[SEED]} if SEED in meant else {})}
    tree = reader.with_paths(tree, config)
    return None if reader.meaning(tree) is None else tree


def _of_subcommand(config: Config, reader: Reader) -> Config:
    """A configuration as the parser has it, with its section or without."""
    if not reader.has_subcommands or FIT in config:
        return config
    return type(config)(**{"subcommand": FIT, FIT: config})


def _arguments(made: MadeCli) -> dict[str, Any]:
    """What the constructor of its class is to be given, as far as LightningCLI keeps it.

    Raises:
        ConfigurationError: there is something else that it needs.
    """
    ground = next(base for base in type(made).__mro__ if base.__name__ == "LightningCLI")
    own = inspect.signature(type(made)).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in own.values())
    names = [name for name in inspect.signature(ground).parameters if takes_all or name in own]
    kept = {name: vars(made)[name] for name in names if name in vars(made)}
    if made.subcommand is None and "run" in names:
        kept["run"] = False
    missing = [
        name
        for name, each in own.items()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD) and name not in kept
    ]
    if missing:
        raise ConfigurationError(
            f"{type(made).__qualname__}.__init__() needs {', '.join(missing)}, and the LightningCLI is made again for the "
            "trial. Give it a default, or give the trial class the arguments: `cli_arguments = {...}`."
        )
    return kept
