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
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
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
from lightning_adapter.platform.folded import VARIABLE, alone, folded, wants_all_frames, whole
from lightning_adapter.runs.summary import shown
from lightning_adapter.versions import launcher_private

#: A file of horovodrun's address that is older than this before our own start is of a job that has long ended.
_STALE_S = 60.0
_STARTED = time.time()
#: What somebody gave cannot be used, whenever that was noticed; any other error of ours is a run that failed.
_BAD_INPUT = (ConfigurationError, TargetError, UnsupportedError, CheckpointError, SubmissionError)
#: On an error that other processes of the job may have too.
_MARK = "_lightning_adapter_of_job"
#: On an error whose place in the run is noted, and on one whose whole traceback stands in a file, which it names.
_NOTED, _LOG = "_lightning_adapter_noted", "_lightning_adapter_log"
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
    if not _others_were_first(error):
        word, rank = "error" if exit_status(error) == 2 else "failed", _of_job()
        print(
            f"{program}: {word}: {rank}: {error}" if rank else f"{program}: {word}: {error}",
            file=sys.stderr,
            flush=True,
        )


def tell_at_exit(error: Exception) -> None:
    """See to it that an error is told once, with its traceback folded, if it ends this process and others too."""
    # not kept by the hook: a script may go on without it, and its frames hold the memory of the run that has failed
    vars(error)[_MARK] = True
    if _in_ipython():
        vars(error)["_render_traceback_"] = _lines_for_ipython
    if not isinstance(sys.excepthook, _TellOnce):  # a study goes on after each trial that it has pruned
        sys.excepthook = _TellOnce(sys.excepthook)
    if threading.current_thread() is not threading.main_thread() and not isinstance(
        threading.excepthook, _TellOfThread
    ):
        threading.excepthook = _TellOfThread(threading.excepthook)


class _TellOnce:
    """In the place of `sys.excepthook`: tells an error of the job once, and leaves all others to whoever stood there before."""

    def __init__(self, usual: Callable[[type[BaseException], BaseException, TracebackType | None], object]) -> None:
        self._usual = usual

    def __call__(self, kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if not vars(value).pop(_MARK, False):
            self._usual(kind, value, traceback)
        elif not _others_were_first(value):
            if _of_job():
                print(f"{_of_job()} failed:", file=sys.stderr, flush=True)
            if self._usual is sys.__excepthook__:
                _print(_told(value))
                return
            # somebody who shows tracebacks in a way of their own, or watches over the process
            self._usual(kind, value, traceback)
            _print(alone(value) + _where_whole(value, left_out=False))


class _TellOfThread:
    """In the place of `threading.excepthook`: the same for an error that ends a thread."""

    def __init__(self, usual: Callable[[threading.ExceptHookArgs], object]) -> None:
        self._usual = usual

    def __call__(self, ended: threading.ExceptHookArgs) -> None:
        value = ended.exc_value
        if value is None or not vars(value).pop(_MARK, False) or self._usual is not threading.__excepthook__:
            self._usual(ended)
            return
        name = "" if ended.thread is None else f" {ended.thread.name}"
        _print(f"Exception in thread{name}:\n{_told(value)}")


@contextlib.contextmanager
def kept_whole(log: pathlib.Path) -> Iterator[None]:
    """Write the whole traceback of an error that ends the block to the run's log, which whoever prints it then names."""
    try:
        yield
    except Exception as error:
        with contextlib.suppress(OSError):  # a disk that is full: then it names none
            with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{_of_job()} failed:\n{whole(error)}" if _of_job() else whole(error))
            vars(error)[_LOG] = str(log)
        raise


def add_note(error: BaseException, note: str) -> None:
    """Note on an error where it was raised, which Python 3.11 and later print after its message."""
    vars(error)[_NOTED] = True
    if hasattr(error, "add_note"):
        error.add_note(note)
    else:
        vars(error).setdefault("__notes__", []).append(note)


def is_noted(error: BaseException) -> bool:
    """Whether it is noted on an error where it was raised."""
    return _NOTED in vars(error)


def _told(error: BaseException) -> str:
    """What is printed of an error that ends a process: last, where people look, what has gone wrong and where."""
    if wants_all_frames():
        return whole(error) + _where_whole(error, left_out=False)
    text, left_out = folded(error)
    if left_out and _LOG not in vars(error) and _on_cluster():  # the task's log is the only one
        return f"The whole traceback:\n{whole(error)}\nWithout the frames of the hosts:\n{text}"
    return text + _where_whole(error, left_out)


def _where_whole(error: BaseException, left_out: bool) -> str:
    log = vars(error).get(_LOG)
    if log is not None:
        return f"the whole traceback: {shown(pathlib.Path(log))}\n"
    return f"to see the frames that are left out, set {VARIABLE}=whole\n" if left_out else ""


def _on_cluster() -> bool:
    from lightning_adapter.platform.environment import managed_trial  # which imports Determined: `--help` is quick

    return managed_trial() is not None


def _print(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)


def _in_ipython() -> bool:
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def _lines_for_ipython() -> list[str]:
    """The traceback as a notebook shows it: `InteractiveShell.showtraceback` asks an exception for `_render_traceback_`.

    It gives no argument, and has put the exception into `sys.last_value`; a function that knew it would keep it alive.
    """
    error = sys.last_value
    return [] if error is None else _told(error).rstrip("\n").split("\n")


def speak_as_the_command() -> None:
    """Behind an entrypoint that names the class, an error of ours is a message too, with the command's exit status."""
    usual = sys.excepthook

    def tell_once(kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(value, LightningAdapterError):
            tell(value, "lightning-adapter")
            raise SystemExit(exit_status(value))
        if not isinstance(value, Exception):
            usual(kind, value, traceback)
        elif not _others_were_first(value):
            _print(_told(value))

    sys.excepthook = tell_once


def _others_were_first(error: BaseException) -> bool:
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
    line = f"{_of_job()} ends too, {how}"
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


def _of_job() -> str:
    """`rank 1 of 2`; nothing for a process that is not one of several."""
    size = os.environ.get("HOROVOD_SIZE") or os.environ.get("WORLD_SIZE") or "1"
    return "" if size == "1" else f"rank {_rank()} of {size}"
