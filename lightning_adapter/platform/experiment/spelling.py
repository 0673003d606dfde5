"""How is a value spelled so that YAML 1.2, YAML 1.1 (of PyYAML, of Determined's master) and this package read it alike?"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_STEP = "  "
#: Texts that every version reads as texts, in a line of several values too.
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null|none)$)[A-Za-z_][\w./-]*", re.ASCII | re.IGNORECASE)
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


@dataclass(frozen=True)
class Form:
    """How a text writes values.

    Attributes:
        newline: between lines.
        is_json: all in brackets, and every text quoted.
    """

    newline: str = "\n"
    is_json: bool = False


def entry(name: str, value: Any, indent: str, form: Form, in_line: bool = False) -> str:
    """A name and its value; groups have lines of their own, unless they stand in somebody's line."""
    made = spelled(value, indent, form, in_line)
    return f"{_scalar(name, form)}:{'' if made.startswith(form.newline) else ' '}{made}"


def spelled(value: Any, indent: str, form: Form, in_line: bool) -> str:
    """A value as it stands behind a colon."""
    if isinstance(value, Mapping):
        if in_line or form.is_json or not value or "type" in value:
            return "{" + ", ".join(entry(name, each, "", form, True) for name, each in value.items()) + "}"
        below = indent + _STEP
        return "".join(f"{form.newline}{below}{entry(name, each, below, form)}" for name, each in value.items())
    if isinstance(value, list):
        items = [spelled(each, "", form, True) for each in value]
        if not (in_line or form.is_json) and any(isinstance(each, Mapping) for each in value):
            return "".join(f"{form.newline}{indent}{_STEP}- {item}" for item in items)
        return f"[{', '.join(items)}]"
    return _scalar(value, form)


def _scalar(value: object, form: Form) -> str:
    """A single value: plain data, finite."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and not form.is_json:
            return value
        # JSON's texts are YAML's, but for signs that YAML wants to be written as numbers
        return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False))
    made = json.dumps(value)
    # PyYAML takes 1e-05 for a text
    return made.replace("e", ".0e") if isinstance(value, float) and "." not in made and "e" in made else made
