"""How is a YAML text changed in a few places, and left as it was typed in all others?

`ruamel.yaml` tells where each value stands, and only what differs is written anew. Its own way there and back keeps comments
too, and changes numbers: of 1.0007225413910534e-05 it writes other digits.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.experiment.reading import parse_value
from lightning_adapter.platform.experiment.values import plain_mapping

_MERGE = "tag:yaml.org,2002:merge"
_STEP = "  "
#: Texts that every version of YAML reads as texts, in a line of several values too.
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null|none)$)[A-Za-z_][\w./-]*", re.ASCII | re.IGNORECASE)
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_COLON = re.compile(r"\s*:")
_ALIAS = re.compile(r"\s*\*[^\s,\[\]{}]+")
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\r\n]*)?")


@dataclass(frozen=True)
class _Form:
    """How a text writes values.

    Attributes:
        newline: between lines.
        is_json: all in brackets, and every text quoted.
    """

    newline: str = "\n"
    is_json: bool = False


class _TooIntricate(Exception):
    """A place cannot be changed by itself."""


@dataclass(frozen=True)
class _Edit:
    start: int
    end: int
    text: str


def revised(text: str, wanted: Mapping[str, Any]) -> str:
    """Return YAML that says something else, with the comments, the order and the spelling of what stays.

    Args:
        text: YAML, whose top level is a mapping.
        wanted: all that it shall say, plain data; 1 and 1.0 are two values.
    """
    try:
        made = _Revision(text).made(wanted)
        if same(parse_value("YAML", made), wanted):
            return made
    except (_TooIntricate, ConfigurationError):  # an anchor was in what is gone, for one
        pass
    return "".join(f"{_entry(name, value, '', _Form())}\n" for name, value in wanted.items())


def same(one: object, other: object) -> bool:
    """Tell whether values are equal, and of one type, all the way down; the order of a mapping's names is none of it."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)  # repr: -0.0 is not 0.0


class _Revision:
    """The changes of one text.

    Args:
        text: the YAML.

    Raises:
        ConfigurationError: it is none, or no mapping.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._current = plain_mapping(parse_value("YAML", text))
        self._root: MappingNode = YAML(typ="safe", pure=True).compose(text)
        self._form = _Form("\r\n" if "\r\n" in text else "\n", bool(self._root.flow_style))
        self._places: Counter[int] = Counter()
        self._count(self._root)
        self._changed: set[int] = (
            set()
        )  # nodes with several places that shall say something else where they have their anchor
        self._edits: list[_Edit] = []

    def made(self, wanted: Mapping[str, Any]) -> str:
        """Return the text with all changes in it."""
        self._find_changed(self._root, self._current, wanted)
        self._revise(self._root, self._current, wanted)
        text, end = [], len(self._text)
        for edit in sorted(self._edits, key=lambda edit: (edit.start, edit.end), reverse=True):
            if edit.end > end:
                raise _TooIntricate
            text += [self._text[edit.end : end], edit.text]
            end = edit.start
        text.append(self._text[:end])
        return "".join(reversed(text))

    def _count(self, node: Node) -> None:
        """Count the places of each node: an alias stands for the very node of its anchor."""
        self._places[id(node)] += 1
        if self._places[id(node)] > 1:
            return
        if isinstance(node, MappingNode):
            for key, value in node.value:
                self._count(key)
                self._count(value)
        elif isinstance(node, SequenceNode):
            for item in node.value:
                self._count(item)

    def _find_changed(self, node: Node, current: object, wanted: object) -> None:
        """Note anchors whose aliases would say something else, too."""
        if self._places[id(node)] > 1 and not same(current, wanted):
            self._changed.add(id(node))
        if isinstance(node, MappingNode) and isinstance(current, Mapping) and isinstance(wanted, Mapping):
            for key, value in node.value:
                if key.tag != _MERGE and key.value in wanted and not _is_alias(key, value):
                    self._find_changed(value, current[key.value], wanted[key.value])

    def _revise(self, node: MappingNode, current: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """Let a mapping say what is wanted.

        Raises:
            _TooIntricate: it can only be written anew.
        """
        if any(key.tag == _MERGE for key, _ in node.value):
            merged = current.keys() - {key.value for key, _ in node.value}
            bases = [base for key, value in node.value if key.tag == _MERGE for base in _bases(value)]
            if merged - wanted.keys() or any(id(base) in self._changed for base in bases):
                raise _TooIntricate
        gone = [(key, value) for key, value in node.value if key.tag != _MERGE and key.value not in wanted]
        if gone and (node.flow_style or len(gone) == len(node.value)):
            raise _TooIntricate
        for key, value in node.value:
            if key.tag == _MERGE:
                continue
            if key.value not in wanted:
                self._remove(key, value)
            elif not same(current[key.value], wanted[key.value]) or (
                _is_alias(key, value) and id(value) in self._changed
            ):
                self._change(key, value, current[key.value], wanted[key.value], bool(node.flow_style))
        explicit = {key.value for key, _ in node.value}
        new = {
            name: value
            for name, value in wanted.items()
            if name not in explicit and not (name in current and same(current[name], value))
        }
        if new:
            self._add(node, new)

    def _change(self, key: ScalarNode, value: Node, current: object, wanted: object, in_flow: bool) -> None:
        is_again = _is_alias(key, value)
        before = len(self._edits)
        if (
            not is_again
            and isinstance(value, MappingNode)
            and isinstance(current, Mapping)
            and isinstance(wanted, Mapping)
        ):
            try:
                self._revise(value, current, wanted)
                return
            except _TooIntricate:
                del self._edits[before:]
        colon = self._colon(key)
        end = self._end(key, value)
        gap = re.match(r"\s*", self._text[colon:])
        assert gap is not None
        space = gap.group()
        beside = ""
        if not is_again and isinstance(value, CollectionNode) and not value.flow_style:
            between = self._text[colon : value.start_mark.index]
            beside = between.splitlines()[0].rstrip() if "#" in between.splitlines()[0] else ""
            end = self._line_end(end)
            space = " "
        elif not space or "\n" in space or is_again:
            space = " "
        indent = " " * key.start_mark.column
        made = _value(wanted, indent, self._form, in_flow)
        self._edits.append(_Edit(colon, end, ("" if made.startswith(self._form.newline) else space) + made + beside))

    def _remove(self, key: ScalarNode, value: Node) -> None:
        start = key.start_mark.index - key.start_mark.column
        if self._text[start : key.start_mark.index].strip():
            raise _TooIntricate
        self._edits.append(_Edit(start, self._next_line(self._end(key, value)), ""))

    def _add(self, node: MappingNode, new: Mapping[str, Any]) -> None:
        """Add names below the last one of a mapping."""
        if not node.value:
            raise _TooIntricate
        key, value = node.value[-1]
        last = self._end(key, value)
        first, newline = node.value[0][0].start_mark, self._form.newline
        if node.flow_style:
            if self._text[last:].lstrip().startswith(","):
                raise _TooIntricate
            lead = f",{newline}{' ' * first.column}" if node.start_mark.line != first.line else ", "
            added = "".join(f"{lead}{_entry(name, each, '', self._form, True)}" for name, each in new.items())
            self._edits.append(_Edit(last, last, added))
            return
        indent = " " * first.column
        lines = "".join(f"{indent}{_entry(name, each, indent, self._form)}{newline}" for name, each in new.items())
        at = self._next_line(last)
        is_open = at == len(self._text) and not self._text.endswith("\n")
        self._edits.append(_Edit(at, at, (newline if is_open else "") + lines))

    def _colon(self, key: Node) -> int:
        found = _COLON.match(self._text, key.end_mark.index)
        if found is None:
            raise _TooIntricate
        return found.end()

    def _end(self, key: Node, value: Node) -> int:
        """The end of a value, without the comments behind it, which ruamel takes for a part of a block."""
        if _is_alias(key, value):
            found = _ALIAS.match(self._text, self._colon(key))
            if found is None:
                raise _TooIntricate
            return found.end()
        if isinstance(value, CollectionNode) and not value.flow_style and value.value:
            if isinstance(value, MappingNode):
                return self._end(*value.value[-1])
            item = value.value[-1]
            if self._places[id(item)] > 1:
                raise _TooIntricate
            return self._end(key, item)
        end: int = value.end_mark.index
        return len(self._text[:end].rstrip())

    def _line_end(self, position: int) -> int:
        """Behind the comment on a line."""
        found = _REST_OF_LINE.match(self._text, position)
        assert found is not None  # it may be empty
        return found.end()

    def _next_line(self, position: int) -> int:
        found = re.compile(r"[^\n]*\n?").match(self._text, position)
        assert found is not None
        return found.end()


def _is_alias(key: Node, value: Node) -> bool:
    """Whether the value of a name stands elsewhere, before it."""
    is_before: bool = value.start_mark.index < key.start_mark.index
    return is_before


def _bases(node: Node) -> list[Node]:
    return list(node.value) if isinstance(node, SequenceNode) else [node]


def _entry(name: str, value: Any, indent: str, form: _Form, in_line: bool = False) -> str:
    """A name and its value; groups have lines of their own, unless they stand in somebody's line."""
    made = _value(value, indent, form, in_line)
    return f"{_scalar(name, form)}:{'' if made.startswith(form.newline) else ' '}{made}"


def _value(value: Any, indent: str, form: _Form, in_line: bool) -> str:
    """A value as it stands behind a colon."""
    if isinstance(value, Mapping):
        if in_line or form.is_json or not value or "type" in value:
            return "{" + ", ".join(_entry(name, each, "", form, True) for name, each in value.items()) + "}"
        below = indent + _STEP
        return "".join(f"{form.newline}{below}{_entry(name, each, below, form)}" for name, each in value.items())
    if isinstance(value, list):
        return "[" + ", ".join(_value(each, "", form, True) for each in value) + "]"
    return _scalar(value, form)


def _scalar(value: object, form: _Form) -> str:
    """A single value, as YAML 1.2, YAML 1.1 (of PyYAML, of the master) and JSON read it alike."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and not form.is_json:
            return value
        # JSON's texts are YAML's, but for signs that YAML wants to be written as numbers
        return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False))
    made = json.dumps(value)
    # PyYAML takes 1e-05 for a text
    return made.replace("e", ".0e") if isinstance(value, float) and "." not in made and "e" in made else made
