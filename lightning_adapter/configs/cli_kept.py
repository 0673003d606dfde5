"""For how long are the parsers of a LightningCLI kept, and what they have read, where one configuration is read several times?

It is composed, checked, and asked for its metric before anything is built of it, and to make the parsers takes longer than
to read. Elsewhere each reading makes its own: classes, files and variables may be others by then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias

#: A LightningCLI, the arguments of its constructor, and the parsers that were made of both.
_Made: TypeAlias = tuple[type, Mapping[str, Any], Any]

#: None where nothing is kept.
_KEPT: ContextVar[list[_Made] | None] = ContextVar("lightning_adapter_parsers", default=None)


@contextlib.contextmanager
def reading_once() -> Iterator[None]:
    """Keep parsers until the block ends, or something is built; within another such block that one counts."""
    if _KEPT.get() is not None:
        yield
        return
    token = _KEPT.set([])
    try:
        yield
    finally:
        _KEPT.reset(token)


def end() -> None:
    """Keep nothing from here on: something is built, and what follows may last for days."""
    _KEPT.set(None)


def keep(cls: type, arguments: Mapping[str, Any], parsers: Any) -> None:
    """Keep the parsers of a LightningCLI, unless defaults stand in files: who composes makes the parsers forget these."""
    kept = _KEPT.get()
    if kept is not None and not any(parser.default_config_files for parser in (parsers.main, parsers.fit)):
        kept.append((cls, arguments, parsers))


def kept_parsers(cls: type, arguments: Mapping[str, Any]) -> Any:
    """Return the parsers that are kept of a LightningCLI with the very same arguments, or None."""
    for of_cls, of_arguments, parsers in _KEPT.get() or ():
        is_same = of_arguments.keys() == arguments.keys() and all(
            of_arguments[name] is value for name, value in arguments.items()
        )
        if of_cls is cls and is_same:
            return parsers
    return None
