"""Where in a run was an exception raised: in which hook, in which epoch, with which batch?

Noted once on the exception, when it ends the run. Nothing is written down for it while the run trains: the hook is kept by who
has called it, the counters stand where they stood, and the frames of the traceback tell what was being done.
"""

from __future__ import annotations

import contextlib
import pathlib
import traceback
from collections.abc import Sequence
from types import FrameType

from lightning_adapter.data.fetching import FETCHES, DataFetcher
from lightning_adapter.errors import LightningAdapterError
from lightning_adapter.loop.components import Components
from lightning_adapter.loop.hooks import CALLS_A_HOOK
from lightning_adapter.loop.progress import Counter, TrainingProgress
from lightning_adapter.loop.raised_in import RaisedIn, take_hook
from lightning_adapter.loop.training_batch import LOGS, TRAINS
from lightning_adapter.loop.validation_loop import VALIDATES
from lightning_adapter.platform.frame_owner import Owner, Owners
from lightning_adapter.runs.summary import shown
from lightning_adapter.runs.words import out_of

#: On an exception whose place is noted.
_NOTED = "_lightning_adapter_noted"
#: Of a batch that is about to be the one in work.
_TRANSFER = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def note_where(error: Exception, parts: Components | None = None, batch: str = "") -> None:
    """Note on an exception that ends a run where it was raised, unless that is noted already.

    Args:
        error: the exception.
        parts: the run; None where there is none, or none any more.
        batch: the one in work, in words, where Lightning's own Trainer knows it.
    """
    if _NOTED in vars(error) or isinstance(error, LightningAdapterError):  # whose words say it
        return
    hook, frames = take_hook(error), [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    fetcher = _fetching(frames)
    if fetcher is not None and parts is not None:
        _note(error, f"raised while {_fetched(fetcher, frames, parts)} was fetched")
        return
    name = _name(hook, frames)
    place = [batch] * bool(batch) if parts is None else _place(hook, frames, parts)
    if name or place:
        _note(error, ", ".join([f"raised in {name}" if name else "raised", *place]))


def _note(error: Exception, note: str) -> None:
    vars(error)[_NOTED] = True
    if hasattr(error, "add_note"):
        with contextlib.suppress(Exception):  # a class of the user's may refuse: the error is theirs all the same
            error.add_note(note)
    else:  # Python 3.10, whose tracebacks show none: `folded` does
        vars(error).setdefault("__notes__", []).append(note)


# --- in what ----------------------------------------------------------------------------------------------------------


def _fetching(frames: Sequence[FrameType]) -> DataFetcher[object] | None:
    """What was fetching a batch; None where the exception was raised elsewhere, or in a hook that came after."""
    last = next((frame for frame in reversed(frames) if frame.f_code in FETCHES or frame.f_code in CALLS_A_HOOK), None)
    return None if last is None or last.f_code in CALLS_A_HOOK else last.f_locals.get("self")


def _name(hook: RaisedIn | None, frames: Sequence[FrameType]) -> str:
    """The hook, or the function of the user's that was called first; nothing where there is neither."""
    owners = Owners()
    of_all = [owners.of(frame.f_code.co_filename) for frame in frames]
    if hook is None:
        first = _first_called(of_all)
        return "" if first is None else _named(frames[first])
    running = max((index for index, frame in enumerate(frames) if frame.f_code in CALLS_A_HOOK), default=-1)
    called = next(
        (frame for frame, owner in zip(frames[running + 1 :], of_all[running + 1 :], strict=True) if owner is None),
        None,
    )
    if called is not None:
        # what a strategy wraps a step in is no method of the module
        return _named(called) if not hook.owner and called.f_code.co_name == hook.hook else str(hook)
    # a hook that could not be called, or one of a host that was given something odd: no frame says where it is written
    is_told = not hook.file or owners.of(hook.file) is not None
    return str(hook) if is_told else f"{hook} ({shown(pathlib.Path(hook.file))}:{hook.line})"


def _first_called(owners: Sequence[Owner | None]) -> int | None:
    """The first frame of the user's that this package, or a host on its behalf, has called; None where there is none."""
    last = max((index for index, owner in enumerate(owners) if owner is None), default=-1)
    ours = [index for index, owner in enumerate(owners[: last + 1]) if owner is not None and owner.is_package]
    return owners.index(None, ours[-1]) if ours else None


def _named(frame: FrameType) -> str:
    """A function as a note names it, with the class of the object that it is a method of."""
    code = frame.f_code
    if code.co_name.startswith("<"):  # of a module, a lambda
        return f"{pathlib.Path(code.co_filename).name}, line {code.co_firstlineno}"
    first = code.co_varnames[0] if code.co_argcount else ""
    return f"{code.co_name} of {type(frame.f_locals[first]).__name__}" if first == "self" else code.co_name


# --- at which position ------------------------------------------------------------------------------------------------


def _place(hook: RaisedIn | None, frames: Sequence[FrameType], parts: Components) -> list[str]:
    progress, codes = parts.progress, {frame.f_code for frame in frames}
    epoch, count = _epoch(parts), progress.batch.current
    # of several validations in an epoch it says which one
    in_middle = progress.in_epoch and count.completed and not progress.last_batch_reached
    after = [f"after batch {out_of(count.completed, progress.num_training_batches)}"] if in_middle else []
    if VALIDATES in codes:
        return [*epoch, *after, *_validation_batch(hook, parts)]
    if TRAINS in codes:
        number = count.completed if LOGS in codes else max(count.ready, count.completed + 1)
        return [*epoch, f"batch {out_of(number, progress.num_training_batches)}"]
    if not epoch:
        return []
    if progress.epoch.current.ready == progress.epoch.current.completed:
        return [f"after {epoch[0]}"]
    return [*epoch, *after]


def _validation_batch(hook: RaisedIn | None, parts: Components) -> list[str]:
    """The batch of a validation that is in work, if one is."""
    count, total = parts.progress.validation.current, _validation_batches(parts)
    number = _in_work(count, hook is not None and hook.hook in _TRANSFER)
    word = "sanity check" if parts.trainer.sanity_checking else "validation"
    return [f"{word} batch {out_of(number, total)}"] if number else []


def _in_work(count: Counter, is_next: bool) -> int:
    if count.ready > count.completed:
        return count.ready
    return count.completed + 1 if is_next else 0


def _fetched(fetcher: DataFetcher[object], frames: Sequence[FrameType], parts: Components) -> str:
    starts = not any(frame.f_code in FETCHES and frame.f_code is not DataFetcher.start.__code__ for frame in frames)
    number = 1 if starts else fetcher.fetched + 1
    epoch = "".join(f" of {words}" for words in _epoch(parts))
    if any(frame.f_code is VALIDATES for frame in frames):
        word = "sanity check batch" if parts.trainer.sanity_checking else "validation batch"
        return f"{word} {out_of(number, _validation_batches(parts))}{epoch}"
    return f"batch {out_of(number, parts.progress.num_training_batches)}{epoch}"


def _validation_batches(parts: Components) -> float:
    data = parts.data.validation
    if data is None:
        return float("inf")
    sanity = parts.trainer.sanity_checking
    return data.length_of_pass(parts.data.num_sanity_val_batches if sanity else data.max_batches)


def _epoch(parts: Components) -> list[str]:
    """The epoch that is under way, or was last; nothing before the first one."""
    progress: TrainingProgress = parts.progress
    return [f"epoch {progress.epoch_in_words(parts.settings.max_epochs)}"] if progress.epoch.current.ready else []
