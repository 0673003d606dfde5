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
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.experiment.faults import guess, raise_all
from lightning_adapter.platform.experiment.ranges import check_ranges
from lightning_adapter.platform.experiment.schema import check_sections, warn_without_effect
from lightning_adapter.platform.experiment.values import check_json, plain_mapping


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
    if config is None:
        return {}
    if isinstance(config, Mapping):
        source, content = "the experiment config", config
    elif isinstance(config, (str, os.PathLike)):
        source = os.fspath(config)
        content = _load(pathlib.Path(config))
    else:
        raise ConfigurationError(
            f"config={config!r} is of type {type(config).__name__}; pass the path of an experiment YAML, or "
            "its content as a dict"
        )
    result = plain_mapping(content)
    faults: list[str] = []
    check_sections(result, faults)
    check_ranges(result.get("hyperparameters"), (), faults)
    check_json(result, (), faults)
    raise_all(source, faults)
    warn_without_effect(source, result)
    return result


def parse_value(name: str, text: str) -> object:
    """Read one value as the experiment YAML would: `0.1` and `1e-3` are numbers, `[1, 2]` is a list, `adam` is text.

    Args:
        name: whose value it is, for the error's text.
        text: what was typed.

    Raises:
        ConfigurationError: the text is no YAML value.
    """
    try:
        value: object = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ConfigurationError(
            f"the value of {name}={text} cannot be read: {_problem(error)}; put quotes around text that has signs "
            "of YAML in it"
        ) from None
    return value


def _load(path: pathlib.Path) -> Mapping[str, Any]:
    """Read a YAML file whose top level must be a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(_not_there(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the experiment config {path} cannot be read: {error}") from error
    try:
        content: object = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ConfigurationError(f"the experiment config {path} is not valid YAML: {_problem(error)}") from None
    if content is None:
        raise ConfigurationError(f"the experiment config {path} is empty; leave config out for a run without one")
    if not isinstance(content, Mapping):
        raise ConfigurationError(
            f"the experiment config {path} holds a {type(content).__name__} ({content!r:.60}); its top level must be "
            "`key: value` lines, such as `name: mnist`"
        )
    return content


def _not_there(path: pathlib.Path) -> str:
    folder = path.parent
    near = sorted(p.name for p in folder.iterdir() if p.suffix in (".yaml", ".yml")) if folder.is_dir() else []
    there = f"{folder.resolve()} holds {', '.join(near)}" if near else f"{folder.resolve()} holds no YAML file"
    return f"the experiment config {path} does not exist; {there}{guess(path.name, near)}"


def _problem(error: YAMLError) -> str:
    """Say in one line what is wrong and where; the library's own text is a page long."""
    if not isinstance(error, MarkedYAMLError):  # for example a control character
        return " ".join(str(error).split())
    problem = error.problem or error.context or "cannot be parsed"
    if error.problem_mark is None:
        return str(problem)
    return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {problem}"
