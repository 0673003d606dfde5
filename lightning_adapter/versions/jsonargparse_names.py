"""Under which names does the installed jsonargparse take what has had other names in its releases?"""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

from packaging.version import Version


@functools.cache
def _version() -> Version:
    return Version(importlib.metadata.version("jsonargparse"))


def dump_everything() -> dict[str, bool]:
    """Arguments of `ArgumentParser.dump` by which it writes None too, and checks nothing."""
    return {"skip_unset" if _version() >= Version("4.50") else "skip_none": False, "skip_validation": True}


def dump_differences() -> dict[str, bool]:
    """Arguments of `ArgumentParser.dump` by which it leaves defaults out; before 4.52 it fails where a default is None."""
    return {"skip_default": True} if _version() >= Version("4.52") else {}


def is_path(value: Any) -> bool:
    """True for jsonargparse's own paths, which know from which directory they were read; no public class says so."""
    return type(value).__module__.startswith("jsonargparse.") and hasattr(value, "cwd") and hasattr(value, "relative")


def is_no_data(value: object) -> bool:
    """True for what stands in a dump for an object that cannot be written, which is a default then."""
    return isinstance(value, str) and value.startswith("Unable to serialize instance ")


def class_of_group(parser: Any, key: str) -> type | None:
    """The class whose arguments `add_class_arguments` has put below a key; None where nothing says it."""
    found = getattr(parser.groups.get(key), "group_class", None)
    return found if isinstance(found, type) else None
