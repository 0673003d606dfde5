"""Which of the processes of a job tells an error, and what do the others say?

An error that all ranks have, or that the failure of one brings about in the others, would stand in the log as often as there
are ranks. So the first one to fail tells it, and the others end with one line. Who is the first is decided on one machine by a file
that only one process can make: torchrun gives each job a directory, and horovodrun's address is each job's own. Between
machines it is decided by torch's store, once the processes have met there; before that, and under horovodrun, each machine
tells for itself.

Torch is not imported here, so that errors in what was typed are told as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time
from typing import NamedTuple

from lightning_adapter.errors import (
    CheckpointError,
    ConfigurationError,
    LightningAdapterError,
    SubmissionError,
    TargetError,
    UnsupportedError,
    text_of,
)
from lightning_adapter.versions import launcher_private

#: A file of horovodrun's address that is older than this before our own start is of a job that has long ended.
_STALE_S = 60.0
_STARTED = time.time()
#: What somebody gave cannot be used, whenever that was noticed; any other error of ours is a run that failed.
_BAD_INPUT = (ConfigurationError, TargetError, UnsupportedError, CheckpointError, SubmissionError)
#: Characters of an error in a line that only names it.
_SHORT = 300


class _First(NamedTuple):
    """The process that has told its error.

    Attributes:
        rank: as text.
        what: the error in one line.
    """

    rank: str
    what: str


def exit_status(error: LightningAdapterError) -> int:
    """2 for bad input, 1 for a run that failed."""
    return 2 if isinstance(error, _BAD_INPUT) else 1


def tell(error: LightningAdapterError, program: str) -> None:
    """Print an error that is a message, without traceback: the whole of it in the first process that fails.

    A log policy of `submit` leaves out restarts after an "error", which they cannot mend.
    """
    if not others_were_first(error):
        word, rank = "error" if exit_status(error) == 2 else "failed", of_job()
        print(
            f"{program}: {word}: {rank}: {error}" if rank else f"{program}: {word}: {error}",
            file=sys.stderr,
            flush=True,
        )


def others_were_first(error: BaseException) -> bool:
    """Whether another process of this job has told its error before; this one is then told in one line."""
    what = " ".join(f"{type(error).__name__}: {text_of(error)}".split())
    first = _first(what)
    if first is None:
        launcher_private.error_for_torchrun(_short(what))
        return False
    how = (
        f"with the same error as rank {first.rank}"
        if what == first.what
        else f"after rank {first.rank}: {_short(what)}"
    )
    line = f"{of_job()} ends too, {how}"
    print(line, file=sys.stderr, flush=True)
    if launcher_private.has_other_machines():
        launcher_private.error_for_torchrun(line)
    return True


def _short(what: str) -> str:
    return what if len(what) <= _SHORT else f"{what[: _SHORT - 3]}..."


def _first(what: str) -> _First | None:
    """The process that was the first to fail; None where it is this one, or where nobody can know.

    Args:
        what: this process's error in one line; the others find it if this is the first.
    """
    this = json.dumps(_First(_rank(), what))
    found = launcher_private.first_on_all_machines(this)
    if found is not None:
        return None if found == this else _First(*json.loads(found)) if found else _First("0", "")
    place = _place()
    if place is None:
        return None
    mine = place.with_name(f"{place.name}.{os.getpid()}")
    try:
        mine.write_text(this)
        with contextlib.suppress(FileNotFoundError):
            if place.stat().st_mtime < _STARTED - _STALE_S:
                place.unlink()
        try:
            os.link(mine, place)  # whole at once, and by one process alone
        except FileExistsError:
            return _First(*json.loads(place.read_text()))
        finally:
            mine.unlink()
    except (OSError, ValueError):  # no such directory, a file system without links, a file of somebody else
        return None
    return None


def _place() -> pathlib.Path | None:
    """Where the first process of a job says that it is; None for a single process, and for a launcher that we do not know."""
    directory, address = launcher_private.job_directory(), launcher_private.horovod_address()
    if directory is not None:
        return directory / "lightning_adapter.json"
    if address is None:
        return None
    user = os.getuid() if hasattr(os, "getuid") else ""
    return pathlib.Path(tempfile.gettempdir()) / f"lightning_adapter-{user}-{address}.json"


def _rank() -> str:
    return os.environ.get("HOROVOD_RANK") or os.environ.get("RANK") or ""


def of_job() -> str:
    """`rank 1 of 2`; nothing for a process that is not one of several."""
    size = os.environ.get("HOROVOD_SIZE") or os.environ.get("WORLD_SIZE") or "1"
    return "" if size == "1" else f"rank {_rank()} of {size}"
