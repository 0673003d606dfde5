"""Before anything is trained: can it be that a validation logs the searcher's metric?

A search whose metric nobody logs ends at its first validation, an epoch late. What a sanity check logs tells earlier,
though not all: it sees a few batches, and user code may leave out in it what it logs later. A run is ended only where the
code has no text either that the name could be made of.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import CodeType
from typing import Any

from lightning_adapter.errors import guess
from lightning_adapter.versions.hosts import is_host_class
from lightning_adapter.versions.wrappers import code_within, underlying

#: Shorter texts are parts of too many names to say anything.
_PART = 3


class CodeOfRun:
    """What stands in the code of the objects of a run, and of the files that their classes are from.

    Args:
        owners: module, datamodule and callbacks.
        values: hyperparameters, from which code may take a name.

    Attributes:
        texts: all text in it.
        names: the attributes and globals that it reads.
    """

    def __init__(self, owners: Iterable[object], values: object = None) -> None:
        self.texts: set[str] = set(_texts(values))
        self.names: set[str] = set()
        for function in {code for owner in owners for code in _code_of(owner)}:
            for code in code_within(function):
                self.names.update(code.co_names)
                self.texts.update(_texts(code.co_consts))

    def may_log(self, name: str) -> bool:
        """Whether a text is the name, or a part that it could be made of."""
        return any(text == name or (len(text) >= _PART and text in name) for text in self.texts)

    @property
    def knows_sanity_check(self) -> bool:
        """Whether it does something else in a sanity check, `trainer.sanity_checking`."""
        return "sanity_checking" in self.names


def missing(metric: str, logged: Collection[str], where: str) -> str:
    """What is wrong, with what was logged and a guess.

    Args:
        metric: the searcher's.
        logged: the names that were logged.
        where: by whom.
    """
    return (
        f"searcher.metric is {metric!r}, which {where} did not log; it logged {', '.join(sorted(logged)) or 'nothing'}"
        + (guess(metric, logged) or ". Log it in validation_step with self.log().")
    )


def _code_of(owner: object) -> Iterator[CodeType]:
    functions = [value for value in getattr(owner, "__dict__", {}).values() if callable(value)]
    for cls in type(owner).__mro__:
        if not is_host_class(cls):
            functions += _functions_around(cls)
    for function in functions:
        code = getattr(underlying(function), "__code__", None)
        if isinstance(code, CodeType):
            yield code


def _functions_around(cls: type) -> list[Any]:
    """The methods of a class, and what the file that it is from has of functions, imported ones too, and other classes."""
    file = sys.modules.get(cls.__module__)
    around = list(vars(file).values()) if file is not None else []
    found: list[Any] = [value for value in around if inspect.isfunction(value)]
    for one in {cls, *(value for value in around if inspect.isclass(value) and value.__module__ == cls.__module__)}:
        for value in vars(one).values():
            found += [value.fget, value.fset] if isinstance(value, property) else [value]
    return found


def _texts(value: object) -> Iterator[str]:
    """All text in a value, as deep as collections hold it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts(key)
            yield from _texts(each)
    elif isinstance(value, Mapping):  # OmegaConf's raises where a value is still to be given
        yield from re.findall(r"[\w/.-]+", str(value))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from _texts(each)
