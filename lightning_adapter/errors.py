"""Which errors can this package raise? One family, so that callers and the command line catch one name.

Every message says what was found, why it cannot work here, and what to type instead. Where Lightning has an
exception of its own for the same mistake (`MisconfigurationException` for an illegal `self.log`), that one is raised.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 4, 100, 100


def shown(value: object) -> str:
    """Return a value as a message shows it: on at most 120 characters, whatever its `repr` does."""
    try:
        # the library's short form of a collection, whose own form may be endless: a list can hold itself many times over
        text = _SHORT.repr(value) if isinstance(value, (dict, list, tuple, set, frozenset)) else repr(value)
    except Exception:  # a user's own class may do anything, and Python writes no integer of more than 4,300 digits
        return f"<{type(value).__name__}>"
    return text if len(text) <= 120 else f"{text[:117]}..."


def text_of(error: BaseException) -> str:
    """Return the message of an exception of whatever class."""
    try:
        return str(error)
    except Exception:  # a user's own class may do anything; in the words of `traceback`
        return "<exception str() failed>"


def guess(name: object, candidates: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" where a name is near enough, else nothing."""
    if not isinstance(name, str) or len(name) > 100:
        return ""
    near = difflib.get_close_matches(name, [text for text in candidates if isinstance(text, str)], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


class LightningAdapterError(Exception):
    """Base class of every error that is raised on purpose by this package."""


class ConfigurationError(LightningAdapterError, ValueError):
    """An argument, an experiment YAML, a hyperparameter, a loader or an optimizer configuration is not usable."""


class MissingHyperparameterError(ConfigurationError, KeyError):
    """The trial asks for a hyperparameter that has no value; a dict raises a KeyError there."""

    __str__ = Exception.__str__  # KeyError shows its argument's `repr`


class MonitorError(ConfigurationError, RuntimeError):
    """A callback monitors a name that is not logged; Lightning raises a RuntimeError there."""


class RunRecordError(ConfigurationError):
    """The `run.json` of a run directory is damaged, or of a newer version; the message names the file and why."""


class UnsupportedError(LightningAdapterError):
    """The module or a trainer argument asks for something that is rejected; the message names all of them."""


class CheckpointError(LightningAdapterError):
    """A checkpoint is absent, damaged, foreign, or belongs to another model; the message names the file and why."""


class TargetError(LightningAdapterError):
    """The `FILE_OR_MODULE:Class` given to the command line cannot be loaded."""


class MasterAwayError(LightningAdapterError):
    """The master of a cluster has not answered for as long as it is waited for; what is not delivered is not reported."""


class SubmissionError(LightningAdapterError):
    """An experiment was not created: the message holds everything that stands against it."""


class SearchError(LightningAdapterError):
    """A search comes to nothing: trial after trial fails; the message holds the error of the last one."""


class ExportError(LightningAdapterError):
    """A model cannot be exported, or the file would not compute what the module does; nothing is left of it."""


class NonFiniteError(LightningAdapterError):
    """A loss or a logged value became NaN or infinite and `on_nan="raise"` was asked for."""


class RanksDriftedError(LightningAdapterError):
    """The processes of a run no longer hold the same parameters; the message names them and the ranks."""
