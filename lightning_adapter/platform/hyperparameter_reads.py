"""Which of the hyperparameters that were given has nobody read, and which one was probably meant?"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, NoReturn

from lightning_adapter.errors import MissingHyperparameterError, guess
from lightning_adapter.platform.experiment import plain
from lightning_adapter.platform.experiment.faults import dotted

Name = tuple[str, ...]


class HyperparameterReads:
    """What a trial asked for while it was constructed and set up.

    Args:
        values: all hyperparameters, nested.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._given = list(_names(values, ()))
        self._read: set[Name] = set()
        self._asked: set[Name] = set()

    def asked(self, name: Name) -> None:
        """Somebody has asked for a hyperparameter, which may have no value."""
        self._asked.add(name)

    def read(self, name: Name) -> None:
        """Somebody has got the value of a hyperparameter, or a group of them, which notes itself what is read of it."""
        self._asked.add(name)
        self._read.add(name)

    def read_all(self, group: Name) -> None:
        """A group has left our hands, with all that is in it."""
        self._read.update(name for name in self._given if name[: len(group)] == group)

    def unread(self, of: Collection[str] | None = None) -> list[str]:
        """The hyperparameters that nobody has read, each with a guess at the one that was meant.

        Args:
            of: those that count, with dots; all where it is None.
        """
        unread = [dotted(name) for name in self._given if name not in self._read]
        meant = {dotted(name) for name in self._asked} - set(unread)
        return [f"{name}{guess(name, meant)}" for name in unread if of is None or name in of]


def names(values: Mapping[str, Any]) -> Iterator[str]:
    """The names of hyperparameters, with dots."""
    return map(dotted, _names(values, ()))


def added(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Name]:
    """The names of hyperparameters that were not there before."""
    had = set(_names(before, ()))
    return [name for name in _names(after, ()) if name not in had]


def _names(values: Mapping[str, Any], group: Name) -> Iterator[Name]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _names(value, (*group, key))
        else:
            yield (*group, key)


class ReadHyperparameters(dict[str, Any]):
    """A dict of hyperparameters that notes which of them are read.

    A copy of it, deep or shallow, pickled or not, is a plain dict, and counts as read.

    Args:
        values: the values of a group.
        reads: what is told.
        group: the name of the group; empty for all hyperparameters.
    """

    def __init__(self, values: Mapping[str, Any], reads: HyperparameterReads, group: Name = ()) -> None:
        super().__init__(
            (key, ReadHyperparameters(value, reads, (*group, key)) if isinstance(value, dict) and value else value)
            for key, value in values.items()
        )
        self._reads = reads
        self._group = group

    def __getitem__(self, key: str) -> Any:
        self._reads.asked((*self._group, key))
        value = super().__getitem__(key)
        self._reads.read((*self._group, key))
        return value

    def __missing__(self, key: object) -> NoReturn:
        """Say what there is.

        Raises:
            MissingHyperparameterError: always.
        """
        name = dotted((*self._group, key))
        known = [dotted((*self._group, other)) for other in dict.keys(self)]
        raise MissingHyperparameterError(
            f"The trial asks for the hyperparameter {name!r}, which has no value (given: "
            f"{', '.join(sorted(known)) or 'none'}){guess(name, known) or '.'} Add it to 'hyperparameters:' in the experiment "
            f"YAML, or type --hparam {name}=VALUE, or fit(hparams={{{name!r}: ...}})."
        )

    def get(self, key: str, default: Any = None) -> Any:
        """As of any dict."""
        if key not in self:
            return default
        return self[key]

    def __contains__(self, key: object) -> bool:
        self._reads.asked((*self._group, str(key)))
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> Any:
        """As of any dict; who asks for the names is taken to use them all, and so with `**`."""
        for key in super().__iter__():
            self._reads.read((*self._group, key))
        return super().keys()

    def values(self) -> Any:
        """As of any dict."""
        self.keys()
        return super().values()

    def items(self) -> Any:
        """As of any dict."""
        self.keys()
        return super().items()

    def pop(self, key: str, *default: Any) -> Any:
        """As of any dict."""
        if key in self:
            self._reads.read((*self._group, key))
        return super().pop(key, *default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As of any dict."""
        if key not in self:
            self[key] = default
        return self[key]

    def copy(self) -> dict[str, Any]:
        """A plain dict."""
        self._reads.read_all(self._group)
        copied: Any = plain(dict(self))
        return dict(copied)

    def __copy__(self) -> dict[str, Any]:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.copy(),)

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        return other | self.copy()
