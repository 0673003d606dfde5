"""How is a tree given to the parser of a LightningCLI, and how is what it has read written as plain data?"""

from __future__ import annotations

import argparse
import contextlib
import copy
import glob
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lightning_adapter.configs.cli_faults import ConfigurationFault, fault_of
from lightning_adapter.configs.cli_flow import FIT, Config, Parser, Parsers
from lightning_adapter.configs.parts import Tree
from lightning_adapter.configs.ways import ABSENT, at, with_values
from lightning_adapter.versions import jsonargparse_names

#: Sections that LightningCLI has of one subcommand each.
_SUBCOMMANDS = (FIT, "validate", "test", "predict")


class Reader:
    """Reads and writes configurations with the parsers of a LightningCLI."""

    def __init__(self, parsers: Parsers) -> None:
        self.main = parsers.main
        self.fit = parsers.fit
        self.classes = parsers.classes
        self._read = parsers.read
        self.has_subcommands = self.fit is not self.main

    def typed(self, file: str, overrides: Sequence[str], in_section: bool) -> list[str]:
        """Return the words of a command.

        Args:
            file: the configuration.
            overrides: words that follow it.
            in_section: the configuration has a section of the subcommand, and so comes before its name.
        """
        return self._typed([file], [], overrides) if in_section else self._typed([], [file], overrides)

    def typed_with_defaults(self, file: str, overrides: Sequence[str], in_section: bool) -> list[str]:
        """Return the words by which files that `default_config_files` names are read like others, and forget these defaults.

        What they say is part of the configuration, which may go where they are not.
        """
        before = _files(self.main) if self.has_subcommands else []
        after = [] if in_section else _files(self.fit)  # they would win over a section that comes before them
        for parser in [self.main] * self.has_subcommands + [self.fit] * (not in_section):
            parser.default_config_files = []
        if in_section:
            return self._typed([*before, file], after, overrides)
        return self._typed(before, [*after, file], overrides)

    def _typed(self, before: Sequence[str], after: Sequence[str], overrides: Sequence[str]) -> list[str]:
        """A command with configurations before and after the subcommand's name."""
        subcommand = [FIT] if self.has_subcommands else []
        configs = [[word for file in files for word in ("--config", file)] for files in (before, after)]
        return [*configs[0], *subcommand, *configs[1], *overrides]

    def parse(self, words: Sequence[str]) -> Config:
        """Return what a command means, with all defaults."""
        return self.main.parse_args(list(words))

    def written(self, words: Sequence[str]) -> Tree:
        """Return what a command says, without any default, and before links are followed: as `--print_config` prints it."""
        import yaml

        with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
            self.main.parse_args([*words, "--print_config"], defaults=False)
        return section_of(yaml.safe_load(printed.getvalue()) or {})

    def parse_tree(self, tree: Mapping[str, Any]) -> Config:
        """Return what a tree means, with all defaults."""
        text = repr(tree)
        if text not in self._read:
            self._read[text] = self.main.parse_object(self.given(tree))
        return self._read[text]

    def refusal_of(self, tree: Mapping[str, Any]) -> ConfigurationFault | None:
        """Return the first fault of a tree."""
        try:
            with refusal(tree):
                self.parse_tree(tree)
        except ConfigurationFault as fault:
            return fault
        return None

    def given(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """Return a tree as the parser takes it."""
        plain: dict[str, Any] = copy.deepcopy(dict(tree))
        if self.main.parser_mode == "omegaconf":  # which jsonargparse looks at in files alone
            plain = resolved(plain)
        for key, cls in self.classes.items():
            if _names(plain.get(key), cls):
                plain[key] = {**(plain[key].get("init_args") or {}), **(plain[key].get("dict_kwargs") or {})}
        return {"subcommand": FIT, FIT: plain} if self.has_subcommands else plain

    def with_classes(self, tree: Mapping[str, Any]) -> Tree:
        """Return a tree that names all its classes; `given` takes it, as it takes one that does not name them."""
        named = {key: {"class_path": _path_of(cls)} for key, cls in self.classes.items()}
        arguments = {key: {"init_args": tree[key]} if tree.get(key) else {} for key in named}
        return {**tree, **{key: {**named[key], **arguments[key]} for key in named}}

    def meaning(self, tree: Mapping[str, Any]) -> Tree | None:
        """Return what a tree means, with all defaults, as plain data; None where it is refused."""
        try:
            with refusal(tree):
                return self.plain(self.parse_tree(tree))
        except ConfigurationFault:
            return None

    def plain(self, config: Config, **kwargs: bool) -> Tree:
        """Return what was read as plain data, without targets of links.

        Args:
            config: what was read.
            **kwargs: of `ArgumentParser.dump`.

        Raises:
            ConfigurationFault: it holds a default that is no data.
        """
        import yaml

        section = config[FIT] if self.has_subcommands else config
        try:
            text = self.fit.dump(section, format="yaml", **jsonargparse_names.dump_everything(), **kwargs)
        except yaml.YAMLError as error:
            raise ConfigurationFault(
                f"An argument of a class has the default {error.args[-1]!r}, which LightningCLI cannot write into its "
                "configuration, as it does before it makes classes. Give that argument a value in the configuration."
            ) from error
        return section_of(yaml.safe_load(text) or {})

    def with_paths(self, tree: Tree, config: Config) -> Tree:
        """Return a tree whose files are found from here, also those named from the directory of their configuration."""
        found = _paths(config[FIT] if self.has_subcommands else config, ())
        return with_values(tree, {keys: path for keys, path in found if isinstance(at(tree, keys), str)})


def section_of(tree: Mapping[str, Any]) -> Tree:
    """Return what a tree says of `fit`, taken out of the section of that name where it stands in one."""
    rest = {key: value for key, value in tree.items() if key not in (*_SUBCOMMANDS, "subcommand", "config")}
    section = tree.get(FIT)
    return {**rest, **section} if isinstance(section, Mapping) else rest


@contextlib.contextmanager
def refusal(tree: Mapping[str, Any]) -> Iterator[None]:
    """Turn what a parser raises within the block into one of our errors.

    Raises:
        ConfigurationFault: in jsonargparse's own words, with the way to the entry.
    """
    try:
        yield
    except argparse.ArgumentError as error:
        raise fault_of(error, tree, FIT) from None
    except Exception as error:
        if type(error).__module__ != "omegaconf.errors":  # not imported where nobody uses it
            raise
        raise _fault_of_interpolation(error, tree) from None


def resolved(tree: Mapping[str, Any]) -> Tree:
    """Return a tree whose interpolations are followed, from its top, or from that of a file with a section `fit`.

    Raises:
        OmegaConfBaseException: one leads nowhere.
    """
    from omegaconf import OmegaConf

    root = OmegaConf.create({**tree, FIT: dict(tree)})
    result: Tree = {}
    for key, value in tree.items():
        node = root[key]
        result[key] = OmegaConf.to_container(node, resolve=True) if isinstance(value, (dict, list)) else node
    return result


def _fault_of_interpolation(error: Any, tree: Mapping[str, Any]) -> ConfigurationFault:
    name = str(getattr(error, "full_key", None) or "").removeprefix(f"{FIT}.")
    keys = name.replace("[", ".").replace("]", "").split(".")
    return ConfigurationFault(f"{name}: {error.msg}", keys if at(tree, keys) is not ABSENT else ())


def _path_of(cls: Callable[..., object]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _names(section: object, cls: Callable[..., object]) -> bool:
    """Whether a section names this class, although the parser knows it."""
    return isinstance(section, Mapping) and section.get("class_path") == _path_of(cls)


def _files(parser: Parser) -> list[str]:
    """The files that a parser takes its defaults from."""
    return [file for pattern in parser.default_config_files for file in sorted(glob.glob(os.path.expanduser(pattern)))]


def _paths(node: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    from jsonargparse import Namespace

    if jsonargparse_names.is_path(node):
        if str(node.relative) != str(node.absolute) and not os.path.samefile(node.cwd, os.curdir):
            near = os.path.relpath(node.absolute)
            yield keys, str(node.absolute) if near.startswith(os.pardir) else near
    elif isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _paths(item, (*keys, str(index)))
    elif isinstance(node, (Namespace, dict)):
        for key, value in (node if isinstance(node, dict) else vars(node)).items():
            yield from _paths(value, (*keys, str(key)))
