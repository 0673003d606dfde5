"""What does a configuration of LightningCLI describe: as one tree, and as the objects that it asks for?

All of it is read by the parser that the project's own LightningCLI makes (`python main.py fit --config config.yaml`), so
that types, links, defaults and refusals are those that its users know.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_adapter.configs import cli_flow
from lightning_adapter.configs.cli_faults import ConfigurationFault, fault_of
from lightning_adapter.configs.cli_flow import Config, MadeCli, Parser
from lightning_adapter.configs.parts import Parts, Tree
from lightning_adapter.configs.place import place
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import hosts

_SUBCOMMAND = "fit"
_SEED = "seed_everything"
#: Sections that LightningCLI has of one subcommand each.
_SUBCOMMANDS = ("fit", "validate", "test", "predict")


@dataclass(frozen=True)
class Cli:
    """Which LightningCLI reads a configuration.

    Attributes:
        cls: LightningCLI, or a subclass; None for that of the Lightning package whose classes the configuration names.
        arguments: what its constructor is given: `model_class`, `trainer_defaults`, `parser_kwargs` and so on.
    """

    cls: type | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def compose(file: str | os.PathLike[str], overrides: Sequence[str] = (), cli: Cli | None = None) -> Tree:
    """Return what `python main.py fit --config FILE OVERRIDES` reads.

    Args:
        file: the configuration; further ones may be among the overrides.
        overrides: words as they are typed, such as `--model.lr`, `0.1`.
        cli: who reads it.

    Returns:
        What the file and the overrides say, in the order of the file; no defaults that nobody wrote, and no targets of links.

    Raises:
        ConfigurationError: it is refused, with the place in the file.
    """
    path = os.fspath(file)
    raw = _raw(path)
    cls, arguments = _class_of(cli or Cli(), raw)
    has_section = isinstance(raw.get(_SUBCOMMAND), Mapping)

    def parsing(parser: Parser, parser_of_fit: Parser) -> Tree:
        if parser_of_fit is parser:
            words = ["--config", path, *overrides]
        elif has_section:
            words = ["--config", path, _SUBCOMMAND, *overrides]
        else:
            words = [_SUBCOMMAND, "--config", path, *overrides]
        return _plain(parser, parser.parse_args(words, defaults=False))

    try:
        with _refusal(raw):
            return _section(cli_flow.parse(cls, arguments, parsing))
    except ConfigurationFault as fault:
        raise ConfigurationFault(f"{place(path, fault.keys)}: {fault}", fault.keys) from None


def check(tree: Mapping[str, Any], cli: Cli | None = None) -> None:
    """Refuse a tree that LightningCLI does not take: types, names, missing arguments.

    Raises:
        ConfigurationError: in jsonargparse's own words.
    """
    section = _section(tree)
    cls, arguments = _class_of(cli or Cli(), section)
    cli_flow.check_methods(cls)
    with _refusal(section):
        cli_flow.parse(cls, arguments, lambda main, fit: main.parse_object(_given(section, fit is not main)))


def build(tree: Mapping[str, Any], cli: Cli | None = None, seed: int | bool = False) -> Parts:
    """Make what a tree describes, as LightningCLI does, except for the Trainer.

    Args:
        tree: the configuration.
        cli: who reads it.
        seed: as `seed_everything` in the configuration, in whose place it stands; False draws nothing anew.

    Raises:
        ConfigurationError: it cannot be made.
    """
    section = {**_section(tree), _SEED: seed}
    cls, arguments = _class_of(cli or Cli(), section)
    with _refusal(section):
        made = cli_flow.instantiate(cls, arguments, functools.partial(_given, section))
    trainer_arguments = made.trainer.arguments
    return Parts(made.model, made.datamodule, _that_differ(trainer_arguments, hosts.host_of(made.model)))


def seed_of(tree: Mapping[str, Any], cli: Cli | None = None) -> int | bool:
    """Return `seed_everything` of a tree, or LightningCLI's default: True asks for a random one, False for none."""
    section = _section(tree)
    if _SEED in section:
        seed: int | bool = section[_SEED]
        return seed
    cls, arguments = _class_of(cli or Cli(), section)

    default: int | bool = cli_flow.parse(cls, arguments, lambda main, fit: fit.get_default(_SEED))
    return default


def _given(section: Mapping[str, Any], has_subcommands: bool) -> dict[str, Any]:
    """A section as the parser takes it."""
    return {"subcommand": _SUBCOMMAND, _SUBCOMMAND: dict(section)} if has_subcommands else dict(section)


def _section(tree: Mapping[str, Any]) -> Tree:
    """What a tree says of `fit`, taken out of the section of that name where it stands in one."""
    rest = {key: value for key, value in tree.items() if key not in (*_SUBCOMMANDS, "subcommand", "config")}
    section = tree.get(_SUBCOMMAND)
    return {**rest, **section} if isinstance(section, Mapping) else rest


def _raw(path: str) -> dict[str, Any]:
    """A file as it stands, as far as it is YAML; nothing where it is something else, which the parser may take.

    Raises:
        ConfigurationError: there is no such file.
    """
    import yaml

    if not os.path.isfile(path):
        raise ConfigurationError(f"{path} is no file: give LightningCLI's configuration, such as config.yaml.")
    try:
        with open(path, encoding="utf-8") as file:
            raw = yaml.safe_load(file)
    except (UnicodeDecodeError, yaml.YAMLError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _plain(parser: Parser, config: Config) -> Tree:
    """A configuration as plain data, as `ArgumentParser.dump` writes it."""
    import yaml

    names = inspect.signature(parser.dump).parameters
    keep_none = "skip_unset" if "skip_unset" in names else "skip_none"  # its name since jsonargparse 4.49
    unchecked = "skip_validation" if "skip_validation" in names else "skip_check"
    text = parser.dump(config, format="yaml", **{keep_none: False, unchecked: True})
    tree: Tree = yaml.safe_load(text)
    return tree


def _that_differ(arguments: Mapping[str, Any], host: hosts.Host) -> dict[str, Any]:
    """Arguments of the Trainer that do not stand at its own defaults."""
    defaults = {name: each.default for name, each in inspect.signature(host.pl.Trainer).parameters.items()}
    return {
        name: value
        for name, value in arguments.items()
        if not (_is_same(value, defaults.get(name, inspect.Parameter.empty)) or (name == "callbacks" and value == []))
    }


def _is_same(value: object, default: object) -> bool:
    return value is default or (type(value) is type(default) and value == default)


@contextlib.contextmanager
def _refusal(section: Mapping[str, Any]) -> Iterator[None]:
    """Turn what a parser raises within the block into one of our errors.

    Raises:
        ConfigurationFault: in jsonargparse's own words, with the way to the entry.
    """
    try:
        yield
    except argparse.ArgumentError as error:
        raise fault_of(error, section) from None


def _class_of(cli: Cli, section: Mapping[str, Any]) -> tuple[type, dict[str, Any]]:
    """The LightningCLI that reads a section, and its arguments.

    Raises:
        ConfigurationError: jsonargparse is not installed.
    """
    if importlib.util.find_spec("jsonargparse") is None:
        raise ConfigurationError(
            "A configuration of LightningCLI is read by jsonargparse, which is not installed. Type "
            "pip install 'lightning-adapter[cli]'."
        )
    arguments = {name: value for name, value in cli.arguments.items() if name not in ("args", "run")}
    if cli.cls is not None:
        return cli.cls, arguments
    named = [arguments.get("model_class"), arguments.get("datamodule_class"), *_named_classes(section)]
    found = [hosts.host_of_class(each) for each in named if isinstance(each, type)]
    host = next((each for each in found if each is not None), None) or hosts.importable_hosts()[0]
    return host.load("cli").LightningCLI, arguments


def _named_classes(section: Mapping[str, Any]) -> Iterator[object]:
    """The classes of module and datamodule, where they can be imported."""
    for key in ("model", "data"):
        given = section.get(key)
        path = given.get("class_path") if isinstance(given, Mapping) else given
        if not isinstance(path, str) or "." not in path:
            continue
        module, _, name = path.rpartition(".")
        try:
            yield getattr(importlib.import_module(module), name, None)
        except ImportError:
            continue  # the parser says so


def tree_of(cli_object: MadeCli) -> tuple[Tree, Cli]:
    """Return what a LightningCLI that a script has made was configured with, and who builds the same of it again."""
    cls = type(cli_object)
    names = inspect.signature(cls).parameters
    arguments = {name: value for name, value in vars(cli_object).items() if name in names}
    return _section(_plain(cli_object.parser, cli_object.config)), Cli(cls, arguments)
