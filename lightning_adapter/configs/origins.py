"""What can an experiment YAML be made of, and how is a tree composed from each?"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Literal, Protocol, TypeAlias

from lightning_adapter.configs import hydra_sweeper, hydra_tree, lightning_cli, option_words
from lightning_adapter.configs.cli_whole import whole
from lightning_adapter.configs.hydra_sweeper import Sweeper
from lightning_adapter.configs.lightning_cli import Cli
from lightning_adapter.configs.parts import Tree
from lightning_adapter.configs.sweeps import Override, Sweep, is_sweep_text, parse, parts_of
from lightning_adapter.configs.tree_paths import Path, is_below
from lightning_adapter.errors import ConfigurationError, guess
from lightning_adapter.platform import experiment
from lightning_adapter.platform.target import CONFIGURED

#: Whose configuration a tree is; "values" are hyperparameters of a trial's own.
Dialect: TypeAlias = Literal["cli", "hydra", "values"]


class Origin(Protocol):
    """What hyperparameters are composed from."""

    @property
    def name(self) -> str:
        """Of the file, the directory or the object."""

    @property
    def target(self) -> str | None:
        """The trial, as an entrypoint names it; None where nobody can tell which."""

    @property
    def dialect(self) -> Dialect:
        """Whose configuration the tree is."""

    def notes(self, typed: Sequence[Override | Sweep]) -> dict[Path, str]:
        """Return what is said beside single values, when these were typed."""

    @property
    def advice(self) -> Sequence[str]:
        """What is said above all of them."""

    @property
    def length(self) -> str | None:
        """What code says of how long to train, and no configuration; None where that cannot be seen."""

    def overrides(self, words: Sequence[str]) -> tuple[list[Override | Sweep], Sweeper]:
        """Take apart what was typed, and what the configuration itself says of a sweep.

        Raises:
            ConfigurationError: something cannot be read; all of it is told.
        """

    def word(self, key: str, value: Any, text: str) -> str:
        """Return the override that gives a key one value.

        Args:
            key: as typed.
            value: plain data.
            text: as Hydra writes it.
        """

    def compose(self, words: Sequence[str]) -> Tree:
        """Return the tree with overrides that give one value each.

        Raises:
            ConfigurationError: it cannot be composed.
        """

    def whole(self, tree: Tree) -> Tree:
        """Return the tree with what the code that reads it adds, as far as that can be told."""

    def package(self, key: str) -> Path | None:
        """Return where the choices of a config group stand; None where the key names none."""


@dataclass(frozen=True)
class HydraOrigin:
    """A configuration of Hydra's.

    Attributes:
        folder: its directory, absolute.
        primary: name of its primary file.
        target: see `Origin`.
    """

    folder: FilePath
    primary: str
    target: str | None = CONFIGURED
    dialect: Dialect = "hydra"
    length: str | None = None
    advice: Sequence[str] = ()

    @property
    def name(self) -> str:
        """See `Origin`."""
        here = FilePath.cwd()
        folder = self.folder.relative_to(here) if self.folder.is_relative_to(here) else self.folder
        return f"{folder / self.primary}.yaml"

    def notes(self, typed: Sequence[Override | Sweep]) -> dict[Path, str]:
        """See `Origin`."""
        return {}

    def overrides(self, words: Sequence[str]) -> tuple[list[Override | Sweep], Sweeper]:
        """See `Origin`."""
        option_words.refuse(_joined(words, option_words.FLAGS))
        with hydra_sweeper.groups_of(self.folder) as options_of:
            typed = parse(words, options_of)
        plain = [each.word for each in typed if isinstance(each, Override)]
        sweeper = hydra_sweeper.sweeper_of(self.folder, self.primary, plain)
        said = [f"{key}={value}" for key, value in sweeper.params.items()]
        with hydra_sweeper.groups_of(self.folder) as options_of:
            # in the order of `BasicSweeper.sweep`: what is typed comes last, and wins
            every = parse([*said, *words], options_of, inclusive=sweeper.is_optuna, space=sweeper.space)
        return every, sweeper

    def word(self, key: str, value: Any, text: str) -> str:
        """See `Origin`."""
        return f"{key}={text}"

    def compose(self, words: Sequence[str]) -> Tree:
        """See `Origin`."""
        return hydra_tree.compose(self.folder, self.primary, words)

    def whole(self, tree: Tree) -> Tree:
        """See `Origin`."""
        return tree

    def package(self, key: str) -> Path | None:
        """See `Origin`."""
        group, _, package = key.lstrip("+").partition("@")
        with hydra_sweeper.groups_of(self.folder) as options_of:
            if not options_of(group):
                return None
        path = package.rpartition(":")[2] or group.replace("/", ".")
        return () if path == "_global_" else tuple(path.split("."))


@dataclass(frozen=True)
class CliOrigin:
    """A file of LightningCLI's.

    Attributes:
        files: the configuration, and those that are read over it.
        cli: the LightningCLI that reads it.
        target: see `Origin`.
        advice: see `Origin`.
    """

    files: Sequence[str]
    cli: Cli
    target: str | None = CONFIGURED
    advice: Sequence[str] = ()
    dialect: Dialect = "cli"
    length: str | None = None

    @property
    def name(self) -> str:
        """See `Origin`."""
        return " and ".join(self.files)

    def notes(self, typed: Sequence[Override | Sweep]) -> dict[Path, str]:
        """See `Origin`."""
        return {}

    def overrides(self, words: Sequence[str]) -> tuple[list[Override | Sweep], Sweeper]:
        """See `Origin`.

        `--key value` is LightningCLI's own. It is a sweep where it is one of Hydra's functions, or where its type takes no
        text with commas, and each part of it.
        """
        found: dict[str, Override | Sweep] = {}
        faults = []
        before: list[str] = []
        for word in _joined(words):
            typed, equals, text = word.partition("=")
            key = typed.removeprefix("--")
            if not (equals or typed.startswith("-")):
                faults.append(f"{word} is no override: write key=value, or key=value,value for a sweep")
                continue
            try:
                if equals and (
                    is_sweep_text(text) or not typed.startswith("--") or self._is_list_of_values(word, before)
                ):
                    (read,) = parse([f"{key}={text}"])
                else:
                    read = Override(key, word)
            except ConfigurationError as error:
                faults.append(str(error))
                continue
            if isinstance(read, Override):
                read = Override(
                    key, read.word if typed.startswith("-") and not equals else f"--{read.word.removeprefix('--')}"
                )
                before.append(read.word)
            # `+=` adds to a list each time, and a class is given before its arguments
            found[f"{key} {len(found)}" if typed.endswith("+") else key] = read
        if faults:
            raise ConfigurationError("\n".join(faults))
        return list(found.values()), Sweeper()

    def _is_list_of_values(self, word: str, before: Sequence[str]) -> bool:
        key, _, text = word.partition("=")
        parts = parts_of(text)
        return (
            len(parts) > 1
            and not self._is_taken([*before, word])
            and all(self._is_taken([*before, f"{key}={part}"]) for part in parts)
        )

    def _is_taken(self, words: Sequence[str]) -> bool:
        try:
            self.compose(words)
        except ConfigurationError:
            return False  # what is refused is told when all of it is composed
        return True

    def word(self, key: str, value: Any, text: str) -> str:
        """See `Origin`."""
        return f"--{key}={value if isinstance(value, str) else json.dumps(value)}"

    def compose(self, words: Sequence[str]) -> Tree:
        """See `Origin`."""
        first, *more = self.files
        return lightning_cli.compose(first, [*(word for file in more for word in ("--config", file)), *words], self.cli)

    def whole(self, tree: Tree) -> Tree:
        """See `Origin`."""
        return whole(tree, self.cli)

    def package(self, key: str) -> Path | None:
        """See `Origin`."""
        return None


@dataclass(frozen=True)
class ValuesOrigin:
    """Names with their defaults: of a dataclass, of a script's arguments, or read by a trial.

    Attributes:
        name: see `Origin`.
        defaults: the tree.
        target: see `Origin`.
        comments: place -> what its value means.
        asks: place -> why its value is to be changed, unless one was typed.
        advice: see `Origin`.
        aliases: how arguments are typed -> their names.
        flags: those that are typed without a value -> the value that they give.
        length: what the trial's code says of how long to train; None where that cannot be seen.
        is_open: whether there may be others than those that are known.
        check: refuses values that the trial would.
    """

    name: str
    defaults: Tree
    target: str | None
    comments: Mapping[Path, str] = field(default_factory=dict)
    asks: Mapping[Path, str] = field(default_factory=dict)
    advice: Sequence[str] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, Any] = field(default_factory=dict)
    length: str | None = None
    is_open: bool = False
    check: Callable[[Tree], None] | None = None
    dialect: Dialect = "values"

    def notes(self, typed: Sequence[Override | Sweep]) -> dict[Path, str]:
        """See `Origin`; what was typed has been changed already."""
        keys = [tuple(item.key.lstrip("+").split(".")) for item in typed]
        found = {}
        for path in {**self.asks, **self.comments}:
            said = [self.comments[path]] if self.comments.get(path) else []
            if path in self.asks and not any(is_below(path, key) for key in keys):
                said = [f"TO CHANGE: {'; '.join([self.asks[path], *said])}"]
            if said:
                found[path] = said[0]
        return found

    def overrides(self, words: Sequence[str]) -> tuple[list[Override | Sweep], Sweeper]:
        """See `Origin`."""
        named = []
        foreign = [word for word in option_words.FLAGS if word not in self.aliases]
        joined = _joined(words, [*self.flags, *foreign])
        option_words.refuse_of_fit(word for word in joined if word.partition("=")[0] not in self.aliases)
        for word in joined:
            typed, equals, text = word.partition("=")
            key = self.aliases.get(typed, typed.removeprefix("--"))
            if not equals and typed in self.flags:
                equals, text = "=", json.dumps(self.flags[typed])
            named.append(f"{key}{equals}{text}")
        return list(parse(named)), Sweeper()

    def word(self, key: str, value: Any, text: str) -> str:
        """See `Origin`."""
        return f"{key}={json.dumps(value)}"

    def compose(self, words: Sequence[str]) -> Tree:
        """See `Origin`."""
        tree = copy.deepcopy(self.defaults)
        faults = []
        for word in words:
            key, _, text = word.partition("=")
            value, path = experiment.parse_value(key, text), key.lstrip("+").split(".")
            group: Any = tree
            for step in path[:-1]:
                group = group.setdefault(step, {}) if self.is_open and isinstance(group, dict) else _group(group, step)
            if not isinstance(group, dict) or (path[-1] not in group and not self.is_open):
                names = list(_names(self.defaults))
                faults.append(f"{self.name} has no {key}{guess(key, names) or '; it has ' + ', '.join(names[:12])}")
            else:
                group[path[-1]] = value
        if faults:
            raise ConfigurationError("\n".join(faults))
        if self.check is not None:
            self.check(tree)
        return tree

    def whole(self, tree: Tree) -> Tree:
        """See `Origin`."""
        return tree

    def package(self, key: str) -> Path | None:
        """See `Origin`."""
        return None


def _joined(words: Sequence[str], flags: Collection[str] = ()) -> list[str]:
    """`--key value` as `--key=value`, since nothing else is typed between."""
    joined: list[str] = []
    for word in words:
        before = joined[-1] if joined else ""
        if _is_option(before) and "=" not in before and before not in flags and not _is_option(word):
            joined[-1] = f"{before}={word}"
        else:
            joined.append(word)
    return joined


def _is_option(word: str) -> bool:
    return word.startswith("-") and not word[1:2].isdigit() and word[1:2] not in ("", ".")


def _group(group: object, name: str) -> object:
    return group.get(name) if isinstance(group, dict) else None


def _names(tree: Tree, before: str = "") -> list[str]:
    found = []
    for name, value in tree.items():
        found += _names(value, f"{before}{name}.") if isinstance(value, dict) and value else [f"{before}{name}"]
    return found
