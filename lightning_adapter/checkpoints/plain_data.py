"""What of a run is plain data that a checkpoint may hold, what is not, and how does the rest come back?

Three kinds of what is no plain data come back all the same: values that are converted to it (`conversions`);
functions and classes in states of optimizers, schedulers, callbacks and the datamodule, which are code and not data: a
resume takes them from the objects that it constructs; and objects with a `state_dict` there, such as a scheduler within
a scheduler, which are constructed likewise and given their state.
"""

from __future__ import annotations

import collections
import copy
import functools
import io
import operator
import pickle
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from lightning_adapter.checkpoints.conversions import from_plain, to_plain
from lightning_adapter.errors import CheckpointError

#: Key of a checkpoint under which the notes are; absent where there are none.
NOTES = "lightning_adapter_types"

#: Values that cannot change.
CONSTANTS = frozenset((int, float, str, bool, bytes, type(None), complex, torch.dtype, torch.device, torch.Size))
_PLAIN = CONSTANTS | {torch.Tensor}
#: What the restricted loader itself can make besides `_PLAIN`.
MAPPINGS = (dict, collections.OrderedDict, collections.Counter)
_SEQUENCES = (list, tuple, set)
_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial, np.ufunc)
_CODE_LEFT_OUT, _OBJECT = "code", "object"

#: Keys and indices that lead to a value.
Place = tuple[Any, ...]


class Refused(NamedTuple):
    """An object that the restricted loader would not take.

    Attributes:
        place: leads to it.
        what: the classes or functions that it is made of, or why it cannot be pickled.
    """

    place: Place
    what: str

    def __str__(self) -> str:
        return f"- {_shown(self.place)}: {self.what}"


class Note(NamedTuple):
    """What was done to a value so that a checkpoint may hold it.

    Attributes:
        place: leads to it.
        kind: of `conversions.Converted`, or that it is code, or an object of which the state is kept.
        detail: of `conversions.Converted`.
    """

    place: Place
    kind: str
    detail: Any


@dataclass
class PlainData:
    """What is made of some content.

    Args:
        constructed: the keys below which functions and objects may stand, since a resume constructs them, and how deep.

    Attributes:
        notes: what was changed, the inner value of two before the outer one.
        refused: what can stand in no checkpoint.
    """

    constructed: Mapping[str, int] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    _within: set[int] = field(default_factory=set)
    # a checkpoint has some collections in two places; what is kept here are things of that checkpoint
    _unchanged: dict[int, Any] = field(default_factory=dict)

    def of(self, value: Any, place: Place) -> Any:
        """A value as the restricted loader takes it: the value itself, wherever nothing in it has to change."""
        if type(value) in _PLAIN or isinstance(value, torch.Tensor) or id(value) in self._unchanged:
            return value
        if id(value) in self._within:
            self.refused.append(Refused(place, "a collection that contains itself"))
            return None
        self._within.add(id(value))
        said = len(self.notes), len(self.refused)
        try:
            plain = self._of_other(value, place)
        finally:
            self._within.discard(id(value))
        if plain is value and said == (len(self.notes), len(self.refused)):
            self._unchanged[id(value)] = value
        return plain

    def _of_other(self, value: Any, place: Place) -> Any:
        # Exact types: a subclass is pickled by the name of its class, which is for the restricted loader to judge.
        if isinstance(value, MAPPINGS) and type(value) in MAPPINGS:
            return value if are_of(_PLAIN, value) and are_of(_PLAIN, value.values()) else self._of_mapping(value, place)
        if isinstance(value, (list, tuple)) and type(value) in _SEQUENCES:
            return value if are_of(_PLAIN, value) else self._of_sequence(value, place)
        if isinstance(value, set) and type(value) in _SEQUENCES:
            return {self._of_key(entry, place) for entry in value}
        converted = to_plain(value)
        if converted is not None:
            plain = self.of(converted.plain, place)
            self.notes.append(Note(place, converted.kind, converted.detail))
            return plain
        if len(place) > self.constructed.get(place[0], len(place)):
            if isinstance(value, _CODE):
                self.notes.append(Note(place, _CODE_LEFT_OUT, None))
                return None
            if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
                state = self.of(value.state_dict(), place)
                self.notes.append(Note(place, _OBJECT, None))
                return state
        self._judge(value, place)
        return value

    def _of_mapping(self, value: Any, place: Place) -> Any:
        before = len(self.notes)
        is_same = True
        plain: dict[Any, Any] = {}
        for key, entry in value.items():
            # most are plain, and a checkpoint has a thousand of them
            name = key if type(key) in _PLAIN else self._of_key(key, place)
            mine = entry if type(entry) in _PLAIN else self.of(entry, (*place, name))
            is_same = is_same and name is key and mine is entry
            plain[name] = mine
        # of states, what is code is taken from the new object: a key that is absent leaves it as it is
        for note in self.notes[before:]:
            if note.kind == _CODE_LEFT_OUT and note.place[:-1] == place:
                del plain[note.place[-1]]
        if is_same and len(plain) == len(value):
            return value
        made = copy.copy(value)  # an OrderedDict of weights has attributes, which go along
        made.clear()
        made.update(plain)
        return made

    def _of_sequence(self, value: Sequence[Any], place: Place) -> Any:
        plain = [
            entry if type(entry) in _PLAIN else self.of(entry, (*place, index)) for index, entry in enumerate(value)
        ]
        return value if all(map(operator.is_, plain, value)) else type(value)(plain)  # type: ignore[call-arg]

    def _of_key(self, key: Any, place: Place) -> Any:
        """A key, or an entry of a set: equal to what it was, since it is not given back as what it was."""
        if type(key) in _PLAIN:
            return key
        if type(key) is tuple:
            return tuple(self._of_key(entry, place) for entry in key)
        converted = to_plain(key)
        if converted is not None and type(converted.plain) in _PLAIN and converted.plain == key:
            return converted.plain
        self._judge(key, place)
        return key

    def _judge(self, value: object, place: Place) -> None:
        """Ask torch whether its restricted loader would take a value."""
        written = io.BytesIO()
        try:
            torch.save(value, written)
        except (pickle.PicklingError, AttributeError, TypeError, RuntimeError, RecursionError) as error:
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            self.refused.append(Refused(place, f"{kind}, which cannot be pickled: {error}"))
            return
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(written.getvalue()))
        if unknown:
            self.refused.append(Refused(place, ", ".join(sorted(unknown))))


def are_of(kinds: frozenset[Any], values: Iterable[Any]) -> bool:
    """Whether all values are of these very types: in most collections of a checkpoint none has to be looked at by itself."""
    return kinds.issuperset(map(type, values))


# --- the way back -----------------------------------------------------------------------------------------------------


def restore_types(checkpoint: dict[str, Any]) -> None:
    """Convert plain data back to what it was, in place; what is constructed is left to `with_constructed`.

    Raises:
        CheckpointError: a note does not fit what the checkpoint holds, or a class is not there.
    """
    notes = _notes(checkpoint)
    for place, kind, detail in notes:
        if kind not in (_CODE_LEFT_OUT, _OBJECT):
            try:
                _change(checkpoint, place, functools.partial(from_plain, kind, detail))
            except Exception as error:  # a type raises what it likes where its value is of another
                raise CheckpointError(
                    f"The checkpoint's {_shown(place)} cannot be given back as {kind}: {error}. Use another checkpoint."
                ) from error


def with_constructed(checkpoint: Mapping[str, Any], place: Place, state: Any, owner: Any) -> Any:
    """The state of an object, with the functions and objects that the checkpoint could not hold as the object has them now.

    Args:
        checkpoint: whole.
        place: where the state stands in it.
        state: what stands there, a copy of which is changed.
        owner: the object that was constructed, whose `state_dict` has them.

    Raises:
        CheckpointError: it has not.
    """
    notes = [note for note in _notes(checkpoint) if note.place[: len(place)] == place]
    notes = [note for note in notes if note.kind in (_CODE_LEFT_OUT, _OBJECT)]
    if not notes:
        return state
    state, now = copy.deepcopy(state), owner.state_dict()
    for note in notes:
        inner = note.place[len(place) :]
        try:
            made = functools.reduce(lambda value, key: value[key], inner, now)
            keeps = note.kind == _OBJECT
            _change(state, inner, functools.partial(_with_state if keeps else _in_place_of, made), absent=not keeps)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"The checkpoint's {_shown(note.place)} was of an object that {type(owner).__name__} held when it was "
                f"written, and that the one of this run does not hold ({type(error).__name__}: {error}). Construct it as "
                "then, or use warm_start_from to take the weights alone."
            ) from error
    return state


def _with_state(made: Any, state: Any) -> Any:
    made.load_state_dict(state)
    return made


def _in_place_of(made: Any, nothing: object) -> Any:
    return made


def _notes(checkpoint: Mapping[str, Any]) -> list[Note]:
    notes = checkpoint.get(NOTES, [])
    try:
        return [Note(tuple(place), kind, detail) for place, kind, detail in notes]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"The checkpoint's {NOTES} is no list of notes: {error}. Use another one.") from error


def _change(value: Any, place: Place, change: Callable[[Any], Any], absent: bool = False) -> Any:
    """The value with another one at a place in it, in place where it can be changed.

    Args:
        value: a collection; the value itself where the place is empty.
        place: leads into it.
        change: from what stands there to what shall.
        absent: whether nothing may stand there yet.
    """
    if not place:
        return change(value)
    key, rest = place[0], place[1:]
    here = value.get(key) if absent and not rest and isinstance(value, dict) else value[key]
    inner = _change(here, rest, change, absent)
    if isinstance(value, tuple):
        return type(value)(inner if index == key else entry for index, entry in enumerate(value))
    value[key] = inner
    return value


def _shown(place: Place) -> str:
    return f"{place[0]}{''.join(f'[{key!r}]' for key in place[1:])}" if place else "content"
