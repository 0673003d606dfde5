"""How is the traceback of a user's exception shown, so that the user's own lines can be found in it?

Frames of this package and of its hosts become one line where they stand; the frame in which the exception was raised is
always shown. The exception itself is left as it is: who catches it, a debugger or a test finds all frames.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from lightning_adapter.errors import ConfigurationError, LightningAdapterError
from lightning_adapter.platform.frame_owner import Owner, Owners

Raised = TypeVar("Raised", BaseException, traceback.TracebackException)

#: Where a user says whether all frames are shown.
VARIABLE = "LIGHTNING_ADAPTER_TRACEBACK"
_FOLDED, _WHOLE = "folded", "whole"
#: Places that call each other in a circle, and how often that is shown, as `traceback` does with a single one.
_LONGEST_CIRCLE, _CIRCLES_SHOWN = 8, 2


def wants_all_frames() -> bool:
    """Whether all frames are to be shown.

    Raises:
        ConfigurationError: the variable says what nobody knows.
    """
    value = os.environ.get(VARIABLE) or _FOLDED
    if value not in (_FOLDED, _WHOLE):
        raise ConfigurationError(
            f"{VARIABLE}={value!r} in the environment is not known. Set it to {_WHOLE} or {_FOLDED}."
        )
    return value == _WHOLE


def folded(error: BaseException) -> tuple[str, bool]:
    """The traceback as a person reads it, with those of causes, contexts and groups.

    Returns:
        The text, and whether frames were left out.
    """
    owners, left_out = Owners(), []
    found = traceback.TracebackException.from_exception(error)
    for each in _with_others(found):
        each.stack = stack = _Folded(each.stack)
        # an error of this package says where it comes from in its words
        stack.fold(owners, keep_last=each is not found or not isinstance(error, LightningAdapterError))
        left_out.append(stack.left_out)
    return "".join([*found.format(), *notes_before_311(error)]), any(left_out)


def whole(error: BaseException) -> str:
    """The traceback as Python prints it."""
    return "".join([*traceback.format_exception(type(error), error, error.__traceback__), *notes_before_311(error)])


def notes_before_311(error: BaseException) -> list[str]:
    """The lines that Python 3.10 does not print: notes; none where it does."""
    return [] if sys.version_info >= (3, 11) else [f"{note}\n" for note in getattr(error, "__notes__", [])]


def chained(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it was raised from, or while handling."""
    return _reached(error, lambda each: (each.__cause__, each.__context__))


def _with_others(error: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """An exception and all that is printed with it."""
    return _reached(error, lambda each: (each.__cause__, each.__context__, *(getattr(each, "exceptions", None) or ())))


def _reached(first: Raised, others: Callable[[Raised], Iterable[Raised | None]]) -> Iterator[Raised]:
    """One, and all that it leads to, each once: exceptions may lead to each other."""
    waiting, seen = [first], set()
    while waiting:
        each = waiting.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [other for other in others(each) if other is not None]


class _Folded(traceback.StackSummary):
    """Frames of which some are one line together; `TracebackException.format` asks it for its text.

    Attributes:
        left_out: whether there are any.
    """

    left_out = False
    _parts: Sequence[traceback.FrameSummary | str] = ()

    def fold(self, owners: Owners, keep_last: bool) -> None:
        """Decide which frames are shown.

        Args:
            owners: know whose code a frame is.
            keep_last: whether the frame in which the exception was raised is shown, whosever it is.
        """
        of_all = [owners.of(frame.filename) for frame in self]
        hidden = _hidden(of_all, len(self) - 1 if keep_last else len(self))
        parts: list[traceback.FrameSummary | str] = []
        run: list[Owner] = []
        for frame, owner, hide in zip(self, of_all, hidden, strict=True):
            if hide and owner is not None:
                run.append(owner)
                continue
            # a cell's traceback begins with the shell that has run it
            parts += [frame] if not parts and all(each.is_shell for each in run) else [*_line(run), frame]
            run = []
        self._parts = [*parts, *_line(run)]
        self.left_out = any(hidden)

    def format(self, **options: Any) -> list[str]:
        """The text of each frame that is shown, and a line for each run of those that are not."""
        texts = [
            part if isinstance(part, str) else "".join(traceback.StackSummary.from_list([part]).format(**options))
            for part in self._parts
        ]
        return list(_without_circles(texts))


def _hidden(owners: Sequence[Owner | None], end: int) -> list[bool]:
    """Which of the frames before `end` are left out: those of hosts, and of others that stand between or around them."""
    hidden = [False] * len(owners)
    start = 0
    while start < end:
        stop = start
        while stop < end and owners[stop] is not None:
            stop += 1
        # a run of frames that are not the user's; with what a user calls in the standard library it may begin or end
        run = owners[start:stop]
        if start == 0 or any(owner is not None and owner.is_host for owner in run):
            hidden[start:stop] = [True] * len(run)
        start = stop + 1
    return hidden


def _line(run: Sequence[Owner]) -> list[str]:
    """One line in the place of a run of frames; nothing in the place of none."""
    if not run:
        return []
    names = list(dict.fromkeys(owner.name for owner in run if owner.is_host)) or list(
        dict.fromkeys(owner.name for owner in run)
    )
    of = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return [f"  [{len(run)} frame{'s' if len(run) > 1 else ''} of {of}]\n"]


def _without_circles(texts: Sequence[str]) -> Iterator[str]:
    """What repeats itself is shown a few times: functions that call each other until Python ends it."""
    start = 0
    while start < len(texts):
        length, times = next(
            ((length, times) for length, times in _circles(texts, start) if times > _CIRCLES_SHOWN), (1, 1)
        )
        yield from texts[start : start + length * min(times, _CIRCLES_SHOWN)]
        if times > _CIRCLES_SHOWN:
            yield f"  [the same {times - _CIRCLES_SHOWN} more times]\n"
        start += length * times


def _circles(texts: Sequence[str], start: int) -> Iterator[tuple[int, int]]:
    """How often the first texts from `start` on follow upon each other, for each number of them."""
    for length in range(1, _LONGEST_CIRCLE + 1):
        circle, times = texts[start : start + length], 1
        while texts[start + length * times : start + length * (times + 1)] == circle:
            times += 1
        yield length, times
