"""What do a configuration of LightningCLI and what was typed after it say together?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lightning_adapter.configs import cli_flow
from lightning_adapter.configs.cli_class import Cli, candidates
from lightning_adapter.configs.cli_faults import ConfigurationFault, all_faults, unusable
from lightning_adapter.configs.cli_flow import FIT, SEED, Parsers
from lightning_adapter.configs.cli_reading import Reader, refusal, section_of
from lightning_adapter.configs.parts import Tree
from lightning_adapter.configs.place import place
from lightning_adapter.configs.ways import ABSENT, as_json, at, is_same_data, leaves, not_json, with_values
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import jsonargparse_names


def composed(file: str, overrides: Sequence[str], cli: Cli) -> Tree:
    """Return what they say, without defaults; see `lightning_cli.compose`.

    Raises:
        ConfigurationError: they are refused; the message names the places.
    """
    command = _Command(file, overrides)
    faults: list[ConfigurationFault] = []
    for cls, arguments in candidates(cli, command.first, overrides):
        try:
            tree: Tree = cli_flow.parse(cls, arguments, command.read, command.in_section)
        except ConfigurationFault as fault:
            faults.append(fault)
        else:
            return tree
    raise faults[0]


class _Command:
    """A configuration with what was typed after it."""

    def __init__(self, file: str, overrides: Sequence[str]) -> None:
        self.file = file
        self.overrides = list(overrides)
        content = _content(file)
        self.in_section = isinstance(content.get(FIT), Mapping)
        self.first = section_of(content)
        #: where the seed stands beside the section; LightningCLI of Lightning 1.5 has it there
        self.seed = {SEED: content[SEED]} if self.in_section and SEED in content else {}

    def read(self, parsers: Parsers) -> Tree:
        """Return the tree.

        Raises:
            ConfigurationFault: it is refused.
        """
        reader = Reader(parsers)
        if self.seed and reader.has_subcommands:
            parsers.main.add_argument(f"--{SEED}", type=bool | int)
        words = reader.typed(self.file, self.overrides, self.in_section)
        try:
            with refusal(self.first):
                config = reader.parse(words)
        except ConfigurationFault as fault:
            raise self._placed(fault, reader) from None
        meant = {**reader.plain(config), **self.seed}
        written = reader.written(reader.typed_with_defaults(self.file, self.overrides, self.in_section))
        meant.update({SEED: written[SEED]} if SEED in written else {})
        tree, meant = (reader.with_paths(each, config) for each in ({**self.seed, **written}, meant))
        faults = unusable(meant)
        if faults:
            raise ConfigurationFault.of([self._placed_alone(fault) for fault in faults])
        tree = completed(tree, meant, reader)
        contents = [section_of(_content(each)) for each in (self.file, *self._more())]

        def is_same(other: Tree) -> bool:
            return is_same_data(reader.meaning(other), meant)

        return _as_json(_as_written(tree, contents, is_same), is_same)

    def _placed(self, fault: ConfigurationFault, reader: Reader) -> ConfigurationFault:
        """A fault, and all others of the file, with their places."""
        if self._is_of_overrides(fault, reader):
            return ConfigurationFault(f"{' '.join(self.overrides)}: {fault}", fault.keys)
        others = all_faults(self.first, reader.refusal_of)
        is_among = any(other.keys == fault.keys if fault.keys else str(other) == str(fault) for other in others)
        return ConfigurationFault.of([self._in_file(each) for each in (others if is_among else [fault])])

    def _placed_alone(self, fault: ConfigurationFault) -> ConfigurationFault:
        """A fault of an entry at the top, which was typed or stands in a file."""
        (key,) = fault.keys
        if any(word.partition("=")[0] == f"--{key}" for word in self.overrides):
            return ConfigurationFault(f"{' '.join(self.overrides)}: {fault}", fault.keys)
        return self._in_file(fault)

    def _in_file(self, fault: ConfigurationFault) -> ConfigurationFault:
        file = _last_with([self.file, *self._more()], fault.keys)
        return ConfigurationFault(f"{place(file, fault.keys)}: {fault}", fault.keys)

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
        ConfigurationError: there is no such file, or nothing in it.
    """
    import yaml

    if not os.path.isfile(file):
        raise ConfigurationError(f"{file} is no file: give a configuration of LightningCLI, such as config.yaml.")
    try:
        with open(file, encoding="utf-8") as opened:
            content = yaml.safe_load(opened)
    except (UnicodeDecodeError, yaml.YAMLError):
        return {}
    if content is None or isinstance(content, list):
        held = "nothing" if content is None else "a list"
        raise ConfigurationError(
            f"{file} holds {held}: a configuration is written in lines `key: value`, such as `model: Net`."
        )
    if _holds_itself(content, ()):
        raise ConfigurationError(f"{file}: an alias, *name, stands inside of what it names, &name: that has no end.")
    return content if isinstance(content, dict) else {}


def _holds_itself(node: object, around: tuple[int, ...]) -> bool:
    if id(node) in around:
        return True
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return any(_holds_itself(each, (*around, id(node))) for each in inside)


def completed(tree: Tree, meant: Tree, reader: Reader) -> Tree:
    """Return a tree that is read as it was meant.

    Args:
        tree: what was written; a default may be needed besides, such as an item before one that was appended.
        meant: all of it, with defaults.
        reader: reads it.
    """
    found = reader.meaning(tree)
    if found is None:
        plain: Tree = data(meant)
        return plain
    _complete(tree, meant, found)
    return tree


def _complete(tree: dict[str, Any], meant: dict[str, Any], found: dict[str, Any]) -> None:
    for key, value in meant.items():
        if key in found and is_same_data(found[key], value):
            continue
        groups = [each[key] for each in (tree, meant, found) if isinstance(each.get(key), dict)]
        if len(groups) == 3 and len({each.get("class_path") for each in groups}) == 1:
            _complete(*groups)
        else:
            tree[key] = data(value)


def data(value: Any) -> Any:
    """Return a value without entries that stand for objects, which are defaults."""
    if isinstance(value, dict):
        return {key: data(each) for key, each in value.items() if not jsonargparse_names.is_no_data(each)}
    return [data(each) for each in value] if isinstance(value, list) else value


def _as_written(tree: Tree, contents: Sequence[Tree], is_same: Callable[[Tree], bool]) -> Tree:
    """A tree with interpolations and whole numbers as the files have them, wherever it means the same."""
    given = {keys: value for content in contents for keys, value in leaves(content)}
    wanted = {keys: value for keys, value in given.items() if _was_changed(value, at(tree, keys))}
    together = with_values(tree, wanted)
    if not wanted or is_same(together):
        return together
    for keys, value in wanted.items():
        one = with_values(tree, {keys: value})
        tree = one if is_same(one) else tree
    return tree


def _as_json(tree: Tree, is_same: Callable[[Tree], bool]) -> Tree:
    """A tree as hyperparameters can hold it.

    Raises:
        ConfigurationFault: it would be read differently.
    """
    plain: Tree = as_json(tree)
    odd = next(not_json(tree), None)
    if odd is not None and not is_same(plain):
        keys, value = odd
        raise ConfigurationFault(
            f"{'.'.join(keys)}: {value!r} cannot stand in the hyperparameters of an experiment, which hold text, numbers, lists "
            "and groups whose names are text. Give the argument a type that takes it as text, such as dict[int, float].",
            keys,
        )
    return plain


def _was_changed(written: object, read: object) -> bool:
    if read is ABSENT or isinstance(written, bool) or isinstance(read, (dict, list)):
        return False
    is_interpolation = isinstance(written, str) and "${" in written and written != read
    return is_interpolation or (isinstance(written, int) and isinstance(read, float) and written == read)


def _last_with(files: Sequence[str], keys: Sequence[str]) -> str:
    """The file whose word counts: the last one that has the entry."""
    having = [file for file in files if at(section_of(_content(file)), keys) is not ABSENT]
    return having[-1] if having else files[0]
