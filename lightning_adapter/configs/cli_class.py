"""Which LightningCLI reads a configuration?"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.versions import hosts


@dataclass(frozen=True)
class Cli:
    """Which LightningCLI reads a configuration.

    Attributes:
        cls: LightningCLI, or a subclass; None for that of the Lightning package whose classes the configuration names.
        arguments: what its constructor is given: `model_class`, `trainer_defaults`, `parser_kwargs` and so on.
    """

    cls: type | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def class_and_arguments(cli: Cli, section: Mapping[str, Any]) -> tuple[type, dict[str, Any]]:
    """Return the LightningCLI that reads a section, and the arguments of its constructor.

    Raises:
        ConfigurationError: it is no LightningCLI, or jsonargparse is not installed.
    """
    return candidates(cli, section)[0]


def candidates(cli: Cli, section: Mapping[str, Any], words: Sequence[str] = ()) -> list[tuple[type, dict[str, Any]]]:
    """Return those that may be meant, the likeliest one first: a file can name others, in which the classes are.

    Args:
        cli: what is known of it.
        section: the configuration.
        words: what was typed after it.

    Raises:
        ConfigurationError: it is no LightningCLI, or jsonargparse is not installed.
    """
    if importlib.util.find_spec("jsonargparse") is None:
        raise ConfigurationError(
            "A configuration of LightningCLI is read by jsonargparse, which is not installed. Type "
            "pip install 'lightning-adapter[cli]'."
        )
    # the words are ours
    arguments = {name: value for name, value in cli.arguments.items() if name != "args"}
    if cli.cls is None:
        return [(host.load("cli").LightningCLI, arguments) for host in _hosts_of(arguments, section, words)]
    host = hosts.host_of_class(cli.cls) if isinstance(cli.cls, type) else None
    if host is None or not issubclass(cli.cls, host.load("cli").LightningCLI):
        raise ConfigurationError(f"{shown(cli.cls)} is no LightningCLI: give the class, or a subclass of it.")
    return [(cli.cls, arguments)]


def _hosts_of(arguments: Mapping[str, Any], section: Mapping[str, Any], words: Sequence[str]) -> list[hosts.Host]:
    """The package that the classes derive from; where none is named, those that have modules of the user's first."""
    for each in (*_given_classes(arguments), *_named_classes(section), *_typed_classes(words)):
        host = hosts.host_of_class(each)
        if host is not None:
            return [host]
    imported = [hosts.host(package) for package in hosts.PACKAGES if package in sys.modules]
    unused = [host for host in imported if all(map(hosts.is_host_class, _subclasses(host.pl.LightningModule)))]
    return sorted(imported, key=lambda host: host in unused) or hosts.importable_hosts()


def _given_classes(arguments: Mapping[str, Any]) -> Iterator[type]:
    """The classes of a constructor's arguments; of a function, that of what it returns."""
    for name in ("model_class", "datamodule_class", "trainer_class", "parser_class"):
        given = arguments.get(name)
        if given is not None and not isinstance(given, type):
            given = inspect.signature(given, eval_str=True).return_annotation
        if isinstance(given, type):
            yield given
    yield from _named_classes(arguments.get("trainer_defaults"))


def _typed_classes(words: Sequence[str]) -> Iterator[type]:
    """The classes that are typed, as `--model Name` and `--trainer.callbacks+=package.Name`."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        option, equals, value = word.partition("=")
        if option in ("--model", "--data") or option.startswith("--trainer."):
            yield from _imported(value if equals else following)


def _named_classes(node: object, key: str = "") -> Iterator[type]:
    """The classes that a section names, as far as they can be imported; the parser says which cannot."""
    if isinstance(node, Mapping):
        path = node.get("class_path")
        if isinstance(path, str):
            yield from _imported(path)
        for name, below in node.items():
            yield from _named_classes(below, str(name))
    elif isinstance(node, list):
        for below in node:
            yield from _named_classes(below)
    elif isinstance(node, str):
        yield from _imported(node) if key in ("model", "data") else ()
    else:
        yield type(node)


def _imported(path: str) -> Iterator[type]:
    """The class of a path; of a name alone, those of this name that derive from Lightning's and are imported."""
    module, _, name = path.rpartition(".")
    if not all(part.isidentifier() for part in path.split(".")) or os.path.exists(path):
        return
    if not module:
        for package in [package for package in hosts.PACKAGES if package in sys.modules]:
            pl = hosts.host(package).pl
            for base in (pl.LightningModule, pl.LightningDataModule):
                yield from (cls for cls in _subclasses(base) if cls.__name__ == name)
        return
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return
    if isinstance(found, type):
        yield found


def _subclasses(cls: type) -> Iterator[type]:
    subclasses: list[type] = cls.__subclasses__()
    for each in subclasses:
        yield each
        yield from _subclasses(each)
