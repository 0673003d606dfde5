"""How is plain data written as YAML that people, this package and the master read alike?

The master's parser follows YAML 1.1, in which `on` and `1_000` are no texts. So a text is quoted wherever one of both would
read something else.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from lightning_adapter.configs.tree_paths import Path

#: Texts that are texts in every version: they begin with a letter, a path or a reference, and are none of the words below.
_PLAIN = re.compile(r"(?:[A-Za-z_]|\.{0,2}/|\$\{).*")
_PLAIN_IN_LINE = re.compile(r"(?:[A-Za-z_]|\.{0,2}/)[\w./-]*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "inf", "nan"}
#: A list of single values stands in one line of this length.
_LINE = 88
_STEP = 2


class _Representer(RoundTripRepresenter):
    """Writes `null`, where the library's own leaves the place empty."""

    def represent_none(self, data: None) -> ScalarNode:
        made: ScalarNode = self.represent_scalar("tag:yaml.org,2002:null", "null")
        return made


_Representer.add_representer(type(None), _Representer.represent_none)


class Writer:
    """Makes YAML of groups, with comments.

    Args:
        notes: place -> what is said beside it, on its line.
        above: place -> lines that are said above it.
    """

    def __init__(self, notes: Mapping[Path, str], above: Mapping[Path, str]) -> None:
        self._notes = {_names(path): note for path, note in notes.items()}
        self._above = {_names(path): lines for path, lines in above.items()}

    def text(self, content: Mapping[str, Any], head: str) -> str:
        """Return the YAML.

        Args:
            content: its top level.
            head: lines that are said above all.
        """
        made = self._group(content, ())
        made.yaml_set_start_comment(head)
        yaml = YAML(typ="rt", pure=True)
        yaml.Representer = _Representer
        yaml.width = 10_000  # a folded line would be another text to who reads it
        yaml.indent(mapping=_STEP, sequence=_STEP + 2, offset=_STEP)
        written = io.StringIO()
        yaml.dump(made, written)
        return written.getvalue()

    def _group(self, group: Mapping[str, Any], path: Path) -> CommentedMap:
        made = CommentedMap()
        for name, value in group.items():
            key = _scalar(name)
            made[key] = self._value(value, (*path, name))
            note, above = self._notes.get((*path, name)), self._above.get((*path, name))
            if above is not None:
                made.yaml_set_comment_before_after_key(key, before=above, indent=_STEP * len(path))
            if note is not None:
                self._say(made, key, note, len(path))
        return made

    def _say(self, made: CommentedMap, key: str, note: str, depth: int) -> None:
        """Beside a value; above what has lines of its own."""
        value, line = made[key], " ".join(note.split())
        if isinstance(value, CommentedMap) and value:
            made.yaml_set_comment_before_after_key(key, before=line, indent=_STEP * depth)
        else:
            made.yaml_add_eol_comment(line, key, column=0)

    def _value(self, value: Any, path: Path) -> Any:
        if isinstance(value, Mapping):
            return self._group(value, path)
        if isinstance(value, list):
            is_line = not any(isinstance(item, (dict, list)) for item in value) and len(str(value)) < _LINE
            made = CommentedSeq(
                _scalar(item, is_line) if is_line else self._value(item, (*path, str(index)))
                for index, item in enumerate(value)
            )
            if is_line:
                made.fa.set_flow_style()
            return made
        return _scalar(value)


def _names(path: Path) -> Path:
    """A place in the YAML, where items of a list with a range inside have their numbers as names."""
    return tuple(map(str, path))


def _scalar(value: Any, in_line: bool = False) -> Any:
    """A single value, quoted where it could be read as something else; in a list's line more signs mean something."""
    if not isinstance(value, str):
        return value
    pattern = _PLAIN_IN_LINE if in_line else _PLAIN
    is_plain = pattern.fullmatch(value) and value.lower() not in _WORDS and value == value.strip()
    return value if is_plain else DoubleQuotedScalarString(value)
