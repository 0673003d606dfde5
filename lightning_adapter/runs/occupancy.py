"""May a run write to a directory: what lies there already, and who is using it?

A directory that is in use is locked by the operating system, so that the lock goes with its process, however that ends.
`.run.json` says who uses it or did so last, and that the files beside it are of this package.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import logging
import os
import pathlib
import shlex
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import filelock

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.atomic import make_unique, replacing
from lightning_adapter.runs.store import stored_checkpoints

logger = logging.getLogger("lightning_adapter")

LOCK = ".lock"
RECORD = ".run.json"
#: Seconds that the lock of a process that was killed may outlive it, in those that it has forked.
_GRACE_S = 10.0
#: Seconds for which somebody may look whether a directory is in use, which takes the lock for a moment.
_LOOK_S = 0.5
#: Seconds after which a run of another machine that holds no lock and writes nothing is taken for gone; not all file
#: systems show the locks of other machines.
_SILENCE_S = 24 * 3600.0
#: What a file system answers that knows no locks.
WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


class Holder(NamedTuple):
    """The process that uses a directory, or used it last.

    Attributes:
        pid: its number.
        host: its machine.
        since: when it began.
    """

    pid: int
    host: str
    since: str

    def is_gone(self) -> bool:
        """Whether it was a process of this machine, and has ended."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # somebody else's
            return False
        return False


class Occupancy:
    """A directory that this process alone writes to, from the constructor's return to `end`.

    Args:
        directory: of the run; it is there.

    Raises:
        ConfigurationError: another process uses it.
        OSError: it cannot be written to.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._lock = filelock.FileLock(directory / LOCK)
        holder = last_holder(directory)
        try:
            self._lock.acquire(timeout=_GRACE_S if holder is not None and holder.is_gone() else _LOOK_S)
        except filelock.Timeout as error:
            raise ConfigurationError(_in_use(directory, last_holder(directory))) from error
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in WITHOUT_LOCKS:
                raise
            logger.warning(
                "%s is on a file system without locks: see to it yourself that no second run writes there", directory
            )
        record = Holder(os.getpid(), socket.gethostname(), f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}")
        with replacing(directory / RECORD) as aside:
            aside.write_text(json.dumps(record._asdict()), encoding="utf-8")

    def end(self) -> None:
        """Let others use the directory."""
        self._lock.release()


def last_holder(directory: pathlib.Path) -> Holder | None:
    """Who uses a directory, or used it last; None where nobody has said so."""
    try:
        return Holder(**json.loads((directory / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def is_abandoned(directory: pathlib.Path, host: str | None, pid: int | None, written: Sequence[str]) -> bool:
    """Whether a run that has not said how it ended is over all the same. Nothing is written.

    Args:
        directory: of the run.
        host: the machine that it was begun on.
        pid: the number of its process there; None for one of a cluster, which leaves nothing to look at here.
        written: names of files that a run writes again and again.
    """
    locked = _is_locked(directory / LOCK)
    if locked or pid is None:
        return False
    if host != socket.gethostname():
        return locked is False and _silence_s(directory, written) > _SILENCE_S
    return locked is False or Holder(pid, host, "").is_gone()


def _is_locked(path: pathlib.Path) -> bool | None:
    """Whether a process holds a lock; None where its file system, or its owner, lets nobody know."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # which goes with the descriptor
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def _silence_s(directory: pathlib.Path, written: Sequence[str]) -> float:
    """Seconds since one of some files was written; none of them there is a long time."""
    times = [0.0]
    for name in written:
        with contextlib.suppress(OSError):
            times.append((directory / name).stat().st_mtime)
    return time.time() - max(times)


def _in_use(directory: pathlib.Path, holder: Holder | None) -> str:
    who = "another process"
    if holder is not None:
        who = f"process {holder.pid} on {holder.host}, since {holder.since}"
    return (
        f"The run directory {directory} is in use by {who}: two runs in one directory would ruin each other. Wait for that "
        "run to end, or stop it, or give another run_dir (--run-dir)."
    )


def check_room(directory: pathlib.Path, checkpoints: pathlib.Path, written: list[pathlib.Path]) -> None:
    """Refuse a directory in which a new run would mix its files with those of another, or write over them.

    Args:
        directory: of the run.
        checkpoints: where its checkpoints go.
        written: files that a run writes from their beginning.

    Raises:
        ConfigurationError: says what is there.
    """
    stored = stored_checkpoints(checkpoints)
    if stored:
        several = f"{len(stored)} checkpoints, the newest" if len(stored) > 1 else "a checkpoint"
        raise ConfigurationError(
            f"The run directory {directory} holds a run already, with {several} of batch {stored[-1].steps_completed}. "
            "Another run in it would mix its metrics with theirs, and delete checkpoints. To go on with that run, give "
            f"resume_from={str(directory)!r} (--resume-from {shlex.quote(str(directory))}); to start another, give another run_dir "
            "(--run-dir), or none."
        )
    there = [path.name for path in written if os.path.lexists(path)]
    if there and not (directory / RECORD).exists():
        raise ConfigurationError(
            f"The run directory {directory} holds {', '.join(there)}, which a run writes itself, and which would be lost. "
            "Give another run_dir (--run-dir), or none, or move what is there away."
        )


def set_aside(written: list[pathlib.Path], superseded: pathlib.Path) -> None:
    """Move the files of a run that left no checkpoint to go on from out of the way of the one that begins anew.

    Args:
        written: files that a run writes from their beginning, the table of metrics first; without it there is nothing to
            keep.
        superseded: where they go.
    """
    if not written[0].exists():
        return
    superseded.mkdir(exist_ok=True)
    folder = make_unique(superseded, f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}")
    for path in written:
        with contextlib.suppress(FileNotFoundError):
            shutil.move(path, folder / path.name)
    logger.warning("a run that wrote no checkpoint was here before; what it left is moved to %s", folder)


@contextlib.contextmanager
def kept_free(directory: pathlib.Path) -> Iterator[None]:
    """Keep other processes from using a directory until the block ends, without leaving a word of it there.

    Raises:
        ConfigurationError: another process uses it, or nobody can know, since its file system has no locks.
        OSError: it cannot be written to.
    """
    lock = filelock.FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise ConfigurationError(_in_use(directory, last_holder(directory))) from error
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in WITHOUT_LOCKS:
            raise
        raise ConfigurationError(
            f"{directory} is on a file system without locks, so nobody can know whether a run uses it; delete it yourself."
        ) from error
    try:
        yield
    finally:
        lock.release()
