"""What do a configuration of LightningCLI and what was typed after it say together?"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lightning_adapter.configs import cli_flow
from lightning_adapter.configs.cli_class import Cli, class_and_arguments
from lightning_adapter.configs.cli_faults import ConfigurationFault, all_faults
from lightning_adapter.configs.cli_flow import FIT, Config, Parsers
from lightning_adapter.configs.cli_reading import Reader, refusal, section_of
from lightning_adapter.configs.parts import Tree
from lightning_adapter.configs.place import place
from lightning_adapter.configs.ways import ABSENT, at, is_same, leaves, put
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import jsonargparse_names


def composed(file: str, overrides: Sequence[str], cli: Cli) -> Tree:
    """Return what they say, without defaults; see `lightning_cli.compose`.

    Raises:
        ConfigurationError: they are refused; the message names the places.
    """
    command = _Command(file, overrides)
    cls, arguments = class_and_arguments(cli, command.first)
    tree: Tree = cli_flow.parse(cls, arguments, command.read)
    return tree


class _Command:
    """A configuration with what was typed after it."""

    def __init__(self, file: str, overrides: Sequence[str]) -> None:
        self.file = file
        self.overrides = list(overrides)
        self.in_section = isinstance(_content(file).get(FIT), Mapping)
        self.first = section_of(_content(file))

    def read(self, parsers: Parsers) -> Tree:
        """Return the tree.

        Raises:
            ConfigurationFault: it is refused.
        """
        reader = Reader(parsers)
        words = reader.typed(self.file, self.overrides, self.in_section)
        try:
            with refusal(self.first):
                config = reader.parse(words)
        except ConfigurationFault as fault:
            raise self._placed(fault, reader) from None
        meant = reader.plain(config)
        tree = reader.written(reader.typed_with_defaults(self.file, self.overrides, self.in_section))
        complete(tree, meant, reader.plain(reader.parse_tree(tree)))
        contents = [section_of(_content(each)) for each in (self.file, *self._more())]
        tree = _as_written(tree, contents, lambda other: _is_read_as(other, meant, reader))
        return with_paths(tree, reader, config)

    def _placed(self, fault: ConfigurationFault, reader: Reader) -> ConfigurationFault:
        """A fault, and all others of the file, with their places."""
        if self._is_of_overrides(fault, reader):
            return ConfigurationFault(f"{' '.join(self.overrides)}: {fault}", fault.keys)
        others = all_faults(self.first, reader.refusal_of)
        faults = others if any(other.keys == fault.keys for other in others) else [fault]
        files = [self.file, *self._more()]
        lines = [f"{place(_last_with(files, each.keys), each.keys)}: {each}" for each in faults]
        return ConfigurationFault("\n".join(lines), fault.keys)

    def _is_of_overrides(self, fault: ConfigurationFault, reader: Reader) -> bool:
        """Whether files alone would not be refused like this."""
        try:
            with refusal(self.first):
                more = [word for file in self._more() for word in ("--config", file)]
                reader.parse(reader.typed(self.file, more, self.in_section))
        except ConfigurationFault as without:
            return str(without) != str(fault)
        return True

    def _more(self) -> Iterator[str]:
        """Further files among the overrides."""
        for word, following in zip(self.overrides, [*self.overrides[1:], ""], strict=False):
            name, equals, value = word.partition("=")
            file = value if equals else following
            if name in ("--config", "-c") and os.path.isfile(file):
                yield file


def _content(file: str) -> dict[str, Any]:
    """A file as it stands, as far as it is YAML; nothing where it is something else, which the parser may take.

    Raises:
        ConfigurationError: there is no such file.
    """
    import yaml

    if not os.path.isfile(file):
        raise ConfigurationError(f"{file} is no file: give a configuration of LightningCLI, such as config.yaml.")
    try:
        with open(file, encoding="utf-8") as opened:
            content = yaml.safe_load(opened)
    except (UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def complete(tree: Any, meant: Any, found: Any) -> None:
    """Add to a tree what it would be read differently without, such as an item that defaults have before an appended one."""
    for key, value in meant.items():
        if key in found and is_same(found[key], value):
            continue
        groups = [each.get(key) for each in (tree, meant, found)]
        if all(isinstance(each, dict) for each in groups) and len({each.get("class_path") for each in groups}) == 1:
            complete(*groups)
        else:
            tree[key] = data(value)


def data(value: Any) -> Any:
    """Return a value without entries that stand for objects, which are defaults."""
    if isinstance(value, dict):
        return {key: data(each) for key, each in value.items() if not jsonargparse_names.is_no_data(each)}
    return [data(each) for each in value] if isinstance(value, list) else value


def with_paths(tree: Tree, reader: Reader, config: Config) -> Tree:
    """Return a tree whose files are found from here, also those named relative to the directory of their configuration."""
    found = {keys: path for keys, path in reader.paths(config) if isinstance(at(tree, keys), str)}
    return _with(tree, found)


def _as_written(tree: Tree, contents: Sequence[Tree], is_same: Callable[[Tree], bool]) -> Tree:
    """A tree with interpolations and whole numbers as the files have them, wherever it means the same."""
    given = {keys: value for content in contents for keys, value in leaves(content)}
    wanted = {keys: value for keys, value in given.items() if _was_changed(value, at(tree, keys))}
    together = _with(tree, wanted)
    if not wanted or is_same(together):
        return together
    for keys, value in wanted.items():
        one = _with(tree, {keys: value})
        tree = one if is_same(one) else tree
    return tree


def _with(tree: Tree, values: Mapping[tuple[str, ...], Any]) -> Tree:
    changed = copy.deepcopy(tree)
    for keys, value in values.items():
        put(changed, keys, value)
    return changed


def _was_changed(written: object, read: object) -> bool:
    if read is ABSENT or isinstance(written, bool) or isinstance(read, (dict, list)):
        return False
    is_interpolation = isinstance(written, str) and "${" in written and written != read
    return is_interpolation or (isinstance(written, int) and isinstance(read, float) and written == read)


def _is_read_as(tree: Tree, meant: Tree, reader: Reader) -> bool:
    try:
        with refusal(tree):
            return is_same(reader.plain(reader.parse_tree(tree)), meant)
    except ConfigurationFault:
        return False


def _last_with(files: Sequence[str], keys: Sequence[str]) -> str:
    """The file whose word counts: the last one that has the entry."""
    having = [file for file in files if at(section_of(_content(file)), keys) is not ABSENT]
    return having[-1] if having else files[0]
