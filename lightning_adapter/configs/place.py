"""In which line of which file does an entry of a configuration stand?"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode


def place(path: str | os.PathLike[str], keys: Sequence[str]) -> str:
    """Return "config.yaml, line 12": where the entry stands, or the nearest one around it.

    Args:
        path: a YAML file.
        keys: the way to the entry, a list's items by their numbers; a `fit:` section around it may be left out.

    Returns:
        The file's name alone where nothing of the way is in it; of a damaged file, where it is damaged.
    """
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            root = YAML(typ="rt").compose(file)
    except MarkedYAMLError as error:
        return name if error.problem_mark is None else f"{name}, line {error.problem_mark.line + 1}"
    except (OSError, UnicodeDecodeError, YAMLError):
        return name
    for way in (list(keys), ["fit", *keys]):
        line = _line(root, way)
        if line is not None:
            return f"{name}, line {line}"
    return name


def says(path: str | os.PathLike[str], keys: Sequence[str]) -> bool:
    """Tell whether all of the way is in a file, a `fit:` section around it or not."""
    try:
        with open(path, encoding="utf-8") as file:
            root = YAML(typ="rt").compose(file)
    except (OSError, UnicodeDecodeError, YAMLError):
        return False
    for way in (list(keys), ["fit", *keys]):
        found: tuple[int, Node] | None = (0, root)
        for key in way:
            found = None if found is None else _below(found[1], key)
        if found is not None:
            return True
    return False


def _line(root: Node | None, keys: Sequence[str]) -> int | None:
    """The line, counted from 1, of the last key on the way that exists."""
    line: int | None = None
    node = root
    for key in keys:
        found = _below(node, key)
        if found is None:
            break
        line, node = found
    return line


def _below(node: Node | None, key: str) -> tuple[int, Node] | None:
    """The line and the value of an entry of a group or a list."""
    if isinstance(node, MappingNode):
        for name, value in node.value:
            if isinstance(name, ScalarNode) and name.value == key:
                return name.start_mark.line + 1, value
    if isinstance(node, SequenceNode) and key.isdigit() and int(key) < len(node.value):
        item = node.value[int(key)]
        return item.start_mark.line + 1, item
    return None
