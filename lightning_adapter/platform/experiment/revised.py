"""How is a YAML text changed in a few places, and left as it was typed in all others?

`ruamel.yaml` tells where each value stands, and only what differs is written anew. Its own way there and back keeps comments
too, and changes numbers: of 1.0007225413910534e-05 it writes other digits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, SequenceNode

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.experiment.reading import parse_value
from lightning_adapter.platform.experiment.spelling import Form, entry, spelled
from lightning_adapter.platform.experiment.values import plain_mapping

_MERGE = "tag:yaml.org,2002:merge"
_COLON = re.compile(r"\s*:")
_ALIAS = re.compile(r"\s*\*[^\s,\[\]{}]+")
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\r\n]*)?")


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
    return "".join(f"{entry(name, value, '', Form())}\n" for name, value in wanted.items())


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
        self._form = Form("\r\n" if "\r\n" in text else "\n", bool(self._root.flow_style))
        self._places: Counter[int] = Counter()
        self._count(self._root)
        self._changed: set[int] = set()  # nodes with aliases that shall say something else where their anchor is
        self._edits: list[_Edit] = []

    def made(self, wanted: Mapping[str, Any]) -> str:
        """Return the text with all changes in it."""
        if same(self._current, wanted):
            return self._text
        self._find_changed(self._root, self._current, wanted)
        self._revise(self._root, self._current, wanted)
        text, end = [], len(self._text)
        # stable, so that at one place a group's new names come before those of the group around it
        for edit in sorted(reversed(self._edits), key=lambda edit: (edit.start, edit.end), reverse=True):
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
        for below in _below(node):
            self._count(below)

    def _find_changed(self, node: Node, current: object, wanted: object) -> None:
        """Note anchors that shall say something else: their aliases would say it, too."""
        if same(current, wanted):
            return
        self._note(node)
        if not (isinstance(node, MappingNode) and isinstance(current, Mapping) and isinstance(wanted, Mapping)):
            self._note_all(node)
            return
        for key, value in node.value:
            if key.tag == _MERGE or _is_alias(key, value):
                continue
            if key.value in wanted:
                self._find_changed(value, current[key.value], wanted[key.value])
            else:
                self._note_all(value)

    def _note(self, node: Node) -> None:
        if self._places[id(node)] > 1:
            self._changed.add(id(node))

    def _note_all(self, node: Node) -> None:
        """Note anchors that may be gone with what is around them."""
        self._note(node)
        for below in _below(node):
            if below.start_mark.index >= node.start_mark.index:  # no alias
                self._note_all(below)

    def _is_changed(self, node: Node) -> bool:
        """Whether an anchor that shall say something else is here, or an alias of it."""
        return id(node) in self._changed or any(map(self._is_changed, _below(node)))

    def _revise(self, node: MappingNode, current: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """Let a mapping say what is wanted.

        Raises:
            _TooIntricate: it can only be written anew.
        """
        if any(
            self._text[: key.start_mark.index].rstrip(" ").endswith("?") for key, _ in node.value
        ):  # names of several lines
            raise _TooIntricate
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
            elif not same(current[key.value], wanted[key.value]) or self._is_changed(value):
                self._change(key, value, current[key.value], wanted[key.value], bool(node.flow_style))
        explicit = {key.value for key, _ in node.value}
        new = {
            name: value
            for name, value in wanted.items()
            if name not in explicit and not (name in current and same(current[name], value))
        }
        if new:
            self._add(node, new)

    def _change(self, key: Node, value: Node, current: object, wanted: object, in_line: bool) -> None:
        """Let a value say what is wanted: inside of it, as far as that can be."""
        before = len(self._edits)
        if not _is_alias(key, value):
            try:
                if isinstance(value, MappingNode) and isinstance(current, Mapping) and isinstance(wanted, Mapping):
                    return self._revise(value, current, wanted)
                if isinstance(value, SequenceNode) and isinstance(current, list) and isinstance(wanted, list):
                    return self._extend(key, value, current, wanted)
            except _TooIntricate:
                del self._edits[before:]
        self._replace(key, value, wanted, in_line)

    def _extend(self, key: Node, node: SequenceNode, current: list[Any], wanted: list[Any]) -> None:
        """Add items behind the last one of a list.

        Raises:
            _TooIntricate: items that are there shall change.
        """
        if not node.value or not same(current, wanted[: len(current)]) or self._is_changed(node):
            raise _TooIntricate
        end = self._end_of_item(key, node)
        lead = ", "
        if not node.flow_style:
            if self._text[node.start_mark.index] != "-":  # an anchor, which stands in another line
                raise _TooIntricate
            lead = f"{self._form.newline}{' ' * node.start_mark.column}- "
            end = self._line_end(end)
        added = "".join(f"{lead}{spelled(item, '', self._form, True)}" for item in wanted[len(current) :])
        self._edits.append(_Edit(end, end, added))

    def _replace(self, key: Node, value: Node, wanted: object, in_line: bool) -> None:
        """Write a value anew; what stands beside its name stays there."""
        colon = self._colon(key)
        end = self._end(key, value)
        space = self._text[colon : len(self._text) - len(self._text[colon:].lstrip(" \t"))]
        beside = ""
        if isinstance(value, CollectionNode) and not value.flow_style and not _is_alias(key, value):
            first_line = self._text[colon : self._line_end(colon)]
            beside = first_line.rstrip() if "#" in first_line else ""
            end = self._line_end(end)
            space = " "
        made = spelled(wanted, " " * key.start_mark.column, self._form, in_line)
        self._edits.append(
            _Edit(colon, end, ("" if made.startswith(self._form.newline) else space or " ") + made + beside)
        )

    def _remove(self, key: Node, value: Node) -> None:
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
            added = "".join(f"{lead}{entry(name, each, '', self._form, True)}" for name, each in new.items())
            self._edits.append(_Edit(last, last, added))
            return
        indent = " " * first.column
        lines = "".join(f"{indent}{entry(name, each, indent, self._form)}{newline}" for name, each in new.items())
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
            return self._end(*value.value[-1]) if isinstance(value, MappingNode) else self._end_of_item(key, value)
        end: int = value.end_mark.index
        return len(self._text[:end].rstrip())

    def _end_of_item(self, key: Node, node: CollectionNode) -> int:
        """The end of a list's last item.

        Raises:
            _TooIntricate: it is an alias, or may be one.
        """
        item = node.value[-1]
        if self._places[id(item)] > 1:
            raise _TooIntricate
        return self._end(key, item)

    def _line_end(self, position: int) -> int:
        """Behind the comment on a line."""
        found = _REST_OF_LINE.match(self._text, position)
        assert found is not None  # it may be empty
        return found.end()

    def _next_line(self, position: int) -> int:
        found = re.compile(r"[^\n]*\n?").match(self._text, position)
        assert found is not None
        return found.end()


def _below(node: Node) -> list[Node]:
    """The nodes that a node holds."""
    if isinstance(node, MappingNode):
        return [each for pair in node.value for each in pair]
    return node.value if isinstance(node, SequenceNode) else []


def _is_alias(key: Node, value: Node) -> bool:
    """Whether the value of a name stands elsewhere, before it."""
    is_before: bool = value.start_mark.index < key.start_mark.index
    return is_before


def _bases(node: Node) -> list[Node]:
    return list(node.value) if isinstance(node, SequenceNode) else [node]
