"""What is known of a run without opening anything else: how it was made, how far it came, how it ended?

`run.json` in the run directory:

    format                  1
    name, trial             of the folder that runs of this kind are collected in; of the trial's class
    status                  "running", "finished", "interrupted", "pruned" or "failed"; see `shown_status`
    error                   first line of what ended a failed run, or of why Optuna has pruned it
    command, target         what was typed, and how the trial's class is found again
    working_directory, versions, git, seed, host, pid, processes
    start, end              with the offset of their time zone
    parent                  the run directory, or file, that the run goes on from, or has its first weights from
    hyperparameters         of the trial
    metric                  that ranks checkpoints: name, smaller_is_better
    epoch, global_step, batches     of the last checkpoint; epochs that are complete
    best, last              checkpoints: a path from the run directory on, batches, epoch; the best one's value
    metrics                 the final values
    seconds                 that it has trained, with the runs that it goes on from; null where nobody knows
    validate, test          measured later, by name
    loggers                 class, name, version, save_dir

Only the first process of a run writes it. Numbers that JSON does not have are read as `runs/json_file.py` has them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import filelock

from lightning_adapter.errors import RunRecordError
from lightning_adapter.runs import json_file
from lightning_adapter.runs.occupancy import WITHOUT_LOCKS, is_abandoned

RUN = "run.json"
FORMAT = 1

_LOCK = ".run.json.lock"
#: Seconds for which another process may hold a record that is being written.
_PATIENCE_S = 10.0
_NUMBER = (int, float)
_NOTHING = type(None)
#: What readers may count on where a name is there.
_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "trial": (str, _NOTHING),
    "status": (str,),
    "error": (str, _NOTHING),
    "command": (str,),
    "target": (str, _NOTHING),
    "working_directory": (str, _NOTHING),
    "versions": (dict,),
    "git": (dict, _NOTHING),
    "seed": (int, _NOTHING),
    "host": (str, _NOTHING),
    "pid": (int, _NOTHING),
    "processes": (int,),
    "start": (str, _NOTHING),
    "end": (str, _NOTHING),
    "parent": (str, _NOTHING),
    "hyperparameters": (dict,),
    "metric": (dict,),
    "epoch": _NUMBER,
    "global_step": _NUMBER,
    "batches": _NUMBER,
    "seconds": (int, float, _NOTHING),
    "best": (dict, _NOTHING),
    "last": (dict, _NOTHING),
    "metrics": (dict,),
    "validate": (dict,),
    "test": (dict,),
    "loggers": (list,),
}
#: Where "NaN" is a number, and no text.
_OF_NUMBERS = {"hyperparameters", "best", "metrics", "validate", "test"}


def read(directory: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return what `run.json` of a run directory holds; None where there is none, as in runs of earlier versions.

    Raises:
        RunRecordError: it is damaged, not of this package, or of a newer version.
    """
    path = pathlib.Path(directory) / RUN
    try:
        found = json_file.read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise RunRecordError(_unreadable(path, str(error))) from error
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise RunRecordError(_unreadable(path, "it has no number of its format"))
    if found["format"] > FORMAT:
        raise RunRecordError(
            f"{path} is of format {found['format']}, and this version of lightning_adapter knows format {FORMAT}: a newer one "
            "has written it. Update lightning_adapter here."
        )
    wrong = [name for name, types in _TYPES.items() if name in found and not isinstance(found[name], types)]
    if wrong:
        raise RunRecordError(_unreadable(path, f"of another type than it is written with: {', '.join(wrong)}"))
    return {name: json_file.numbers(value) if name in _OF_NUMBERS else value for name, value in found.items()}


def _unreadable(path: pathlib.Path, reason: str) -> str:
    return (
        f"{path} cannot be read as the record of a run: {reason}. Move it away; the run is then taken for one without a "
        "record, and its checkpoints can be used."
    )


def write(directory: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Begin the record of a run, in place of one that may be there.

    Raises:
        OSError: it cannot be written.
    """
    with _alone(directory):
        json_file.write(directory / RUN, {"format": FORMAT, **content})


def update(directory: str | os.PathLike[str], *, without: Collection[str] = (), **changes: Any) -> None:
    """Replace some values of a run's record in one move; all others stay. A run without a record stays without one.

    The first process of a run calls this, and whoever has measured something of a run.

    Args:
        directory: of the run.
        without: names that are left out.
        **changes: name -> value.

    Raises:
        RunRecordError: there is one that cannot be read; it is left as it is.
        OSError: it cannot be written; it is left as it is.
    """
    path = pathlib.Path(directory)
    if not (path / RUN).exists():
        return
    with _alone(path):
        found = read(path)
        if found is not None:
            kept = {name: value for name, value in found.items() if name not in without}
            json_file.write(path / RUN, {**kept, **changes})


@contextlib.contextmanager
def _alone(directory: pathlib.Path) -> Iterator[None]:
    """No other process changes the record meanwhile: a test of a run that still trains, say."""
    lock = filelock.FileLock(directory / _LOCK)
    try:
        lock.acquire(timeout=_PATIENCE_S)
    except filelock.Timeout as error:
        raise OSError(errno.EAGAIN, "another process holds it", str(directory / RUN)) from error
    except NotImplementedError:
        yield
        return
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        yield
        return
    try:
        yield
    finally:
        lock.release()


def shown_status(record: Mapping[str, Any], directory: str | os.PathLike[str]) -> str:
    """How a run stands: its status, and "killed" where it is said to run and its process is gone.

    Args:
        record: as `read` returns it.
        directory: of the run.

    Raises:
        RunRecordError: as `read` does.
    """
    status = str(record.get("status"))
    written = [RUN, "metrics.csv", "train.log"]
    if status != "running" or not is_abandoned(pathlib.Path(directory), record.get("host"), record.get("pid"), written):
        return status
    later = read(directory)  # it may have ended well since its record was read
    return "killed" if later is None or later.get("status") == status else str(later.get("status"))
