"""What does this experiment YAML ask for, and is it one that Determined would take?

Files are read with `ruamel.yaml`, as the `det` command does: it follows YAML 1.2, where `1e-3` is a number (PyYAML reads
the text "1e-3" there).
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent
from ruamel.yaml.nodes import Node

from lightning_adapter.errors import ConfigurationError, guess, shown
from lightning_adapter.platform.experiment.faults import raise_all
from lightning_adapter.platform.experiment.ranges import check_ranges
from lightning_adapter.platform.experiment.schema import check_sections, warn_without_effect
from lightning_adapter.platform.experiment.values import MAX_DEPTH, MAX_VALUES, check_json, is_group, plain_mapping
from lightning_adapter.platform.experiment.variables import check_variables

#: Characters of a file. Its values are counted while it is parsed, which takes seconds for a file of this size.
_MAX_TEXT = 2_000_000


#: Sections that LightningCLI and Hydra's template have, and Determined has not.
_OF_CONFIGURATIONS = frozenset({"model", "trainer", "seed_everything", "defaults"})


def read(config: str | os.PathLike[str] | Mapping[str, Any] | None) -> dict[str, Any]:
    """Read an experiment configuration and check it.

    Args:
        config: the path of an experiment YAML, its content as a mapping, or None for an empty one.

    Returns:
        A plain dict that shares nothing with the argument. Defaults are not filled in.

    Raises:
        ConfigurationError: the file is missing or no YAML, a key is unknown, a value has the wrong type, or a value
            could not be written as JSON, which is how it reaches every checkpoint.
    """
    source, result = checked(config)
    warn_without_effect(source, result)
    return result


def checked(config: str | os.PathLike[str] | Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """Return where a configuration comes from, and its content, as `read` does, without a word."""
    if config is None:
        return "the experiment config", {}
    if is_group(config):
        source, content = "the experiment config", config
    elif isinstance(config, (str, os.PathLike)) and isinstance(os.fspath(config), str):
        source = os.fspath(config)
        content = load(pathlib.Path(config))
    else:
        raise ConfigurationError(
            f"config={shown(config)} is of type {type(config).__name__}; pass the path of an experiment YAML, or "
            "its content as a dict"
        )
    result = plain_mapping(content)
    faults: list[str] = []
    check_sections(result, faults)
    environment = result.get("environment")
    if isinstance(environment, dict):
        check_variables(environment.get("environment_variables"), faults)
    check_ranges(result.get("hyperparameters"), (), faults)
    check_json(result, (), faults)
    if faults and result.keys() & _OF_CONFIGURATIONS:
        faults.append(
            f"if it is the configuration of a project, and no experiment YAML, type --cli {source} where it is LightningCLI's, "
            "--hydra DIR/NAME where it is Hydra's"
        )
    raise_all(source, faults)
    return source, result


def parse_value(name: str, text: str) -> object:
    """Read one value as the experiment YAML would: `0.1` and `1e-3` are numbers, `[1, 2]` is a list, `adam` is text.

    Args:
        name: whose value it is, for the error's text.
        text: what was typed.

    Raises:
        ConfigurationError: the text is no YAML value.
    """
    try:
        return _parse(text)
    except YAMLError as error:
        raise ConfigurationError(
            f"the value of {name}={text:.120} cannot be read: {_problem(error)}; put quotes around text that has signs "
            "of YAML in it"
        ) from None


def load(path: pathlib.Path, what: str = "the experiment config") -> Mapping[str, Any]:
    """Read a YAML file without a look at its keys.

    Args:
        path: of the file.
        what: messages call it.

    Raises:
        ConfigurationError: it is missing, no YAML, or no mapping.
    """
    try:
        with path.open(encoding="utf-8") as file:  # which may be a pipe, as in --config <(command)
            text = file.read(_MAX_TEXT + 1)
    except FileNotFoundError:
        raise ConfigurationError(_not_there(path, what)) from None
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a zero byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{what} {shown(str(path))} cannot be read: {reason}") from error
    if len(text) > _MAX_TEXT:
        raise ConfigurationError(f"{what} {path} has more than {_MAX_TEXT:,} characters; keep data in files of its own")
    try:
        content = _parse(text)
    except YAMLError as error:
        raise ConfigurationError(f"{what} {path} is not valid YAML: {_problem(error)}") from None
    if content is None:
        raise ConfigurationError(f"{what} {path} is empty; leave config out for a run without one")
    if not isinstance(content, Mapping):
        raise ConfigurationError(
            f"{what} {path} holds a {type(content).__name__} ({content!r:.60}); its top level must be "
            "`key: value` lines, such as `name: mnist`"
        )
    return content


class _Constructor(SafeConstructor):
    """Says of each value that cannot be made (a month 13, a number `0x`, an unknown `!!bool`) where it stands."""

    def construct_object(self, node: Node, deep: bool = False) -> object:
        try:
            made: object = super().construct_object(node, deep)
        except YAMLError:
            raise
        except Exception as error:  # the library makes values with `int()`, `datetime()` and tables of its own
            problem = f"{shown(node.value)} is no {str(node.tag).rpartition(':')[2]}: {error}"
            raise ConstructorError(problem=problem, problem_mark=node.start_mark) from error
        return made


def _parse(text: str) -> object:
    """Return what a YAML text holds.

    Raises:
        YAMLError: it is none, or holds more than a configuration can.
    """
    _check_extent(text)
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    value: object = yaml.load(text)
    return value


def _check_extent(text: str) -> None:
    """Refuse what would take the library minutes, before it makes any value of it.

    A few lines of aliases of aliases stand for billions of values, and an alias within its own anchor for endlessly
    many; the time for a nested list grows with the square of its depth.

    Raises:
        YAMLError: the text is no YAML, or stands for more than a configuration can hold.
    """
    sizes: dict[str, int] = {}
    around: list[tuple[str | None, int]] = []  # of each collection that is open: its anchor, and the values before it
    values = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, CollectionStartEvent):
            around.append((event.anchor, values))
            values += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = around.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        elif isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in around):
                raise _TooMuch(
                    problem=f"*{event.anchor} stands inside of &{event.anchor}", problem_mark=event.start_mark
                )
            values += sizes.get(event.anchor, 1)
        elif isinstance(event, ScalarEvent):
            values += 1
        if len(around) > MAX_DEPTH:
            raise _TooMuch(problem=f"nested more than {MAX_DEPTH} levels deep", problem_mark=event.start_mark)
        if values > MAX_VALUES:
            raise _TooMuch(problem=f"more than {MAX_VALUES:,} values", problem_mark=event.start_mark)


class _TooMuch(MarkedYAMLError):
    """A text that is YAML, and no configuration."""


def _not_there(path: pathlib.Path, what: str) -> str:
    folder = path.parent
    readable = folder.is_dir() and os.access(folder, os.R_OK)
    near = sorted(p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml")) if readable else []
    there = f"{folder.resolve()} holds {', '.join(near)}" if near else f"{folder.resolve()} holds no YAML file"
    return f"{what} {path} does not exist; {there}{guess(path.name, near)}"


def _problem(error: YAMLError) -> str:
    """Say in one line what is wrong and where; the library's own text is a page long."""
    if not isinstance(error, MarkedYAMLError):  # for example a control character
        return " ".join(str(error).split())
    problem = error.problem or error.context or "cannot be parsed"
    if error.problem_mark is None:
        return str(problem)
    return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {problem}"
