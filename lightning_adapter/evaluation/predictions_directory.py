"""May predictions be written to a directory, and what is finished in it already?"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import filelock

from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.evaluation import evaluation_directory, shards
from lightning_adapter.evaluation.predictions import FORMAT, MANIFEST, PARTS, Manifest, read_manifest, write_manifest
from lightning_adapter.evaluation.shards import Shard
from lightning_adapter.runs import json_file
from lightning_adapter.runs.atomic import replacing
from lightning_adapter.runs.occupancy import WITHOUT_LOCKS

_JOINED = re.compile(r"loader-\d+\.(pt|csv|parquet)")
_LOCK = ".lock"
#: Seconds that the lock of a process that was killed may outlive it, in the loader's workers.
_GRACE_S = 10.0
#: What a manifest says of a prediction that is no part of what was asked for.
_STANDING = {"format", "complete", "file_format", "loaders", "about"}


@dataclass(frozen=True)
class Request:
    """What predictions are wanted, and where.

    Attributes:
        directory: for the predictions.
        file_format: "pt", "csv" or "parquet".
        identity: what decides what the predictions are: checkpoint, split and the like, as JSON has it. Predictions go on
            only where it is the same.
        target_key: name of the targets in a batch; None for the usual ones.
        overwrite: whether predictions that lie there are deleted.
        about: what a reader may want to know besides.
    """

    directory: pathlib.Path
    file_format: str
    identity: Mapping[str, Any] = field(default_factory=dict)
    target_key: str | None = None
    overwrite: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> pathlib.Path:
        """Where finished batches lie."""
        return self.directory / PARTS

    def asked(self, processes: int) -> dict[str, Any]:
        """What the manifest says of the request."""
        asked: dict[str, Any] = json_file.plain(
            {**self.identity, "target_key": self.target_key, "processes": processes}
        )
        return asked


@dataclass(frozen=True)
class Standing:
    """What is finished in a directory.

    Attributes:
        manifest: of the predictions that are gone on with; None where they begin.
        chains: by loader and process, the shards that follow each other from the first batch on.
        done: by loader and process, how many batches there are in all, where the last one is finished.
        done_processes: those that have been through all loaders, with the number of loaders.
    """

    manifest: Manifest | None
    chains: Mapping[tuple[int, int], list[Shard]]
    done: Mapping[tuple[int, int], int]
    done_processes: Mapping[int, int]

    def finished(self, loader: int, processes: int) -> int | None:
        """How many batches of a loader need not be predicted again; None where that is all of them.

        All processes begin at the same batch, since a predict_step may exchange something with the other ones.
        """
        if all((loader, rank) in self.done for rank in range(processes)):
            return None
        return min(chain[-1].end if (chain := self.chains.get((loader, rank))) else 0 for rank in range(processes))

    def is_all_done(self, processes: int) -> bool:
        """Whether nothing is left but to join."""
        return all(rank in self.done_processes for rank in range(processes))


def look(request: Request, processes: int | None) -> Standing:
    """What is in a directory; nothing is written.

    Args:
        request: what is wanted.
        processes: how many predict; None where that is not known yet, and not looked at.

    Raises:
        ConfigurationError: it holds something else, or predictions that are not to be gone on with.
    """
    directory = request.directory
    if directory.exists() and not directory.is_dir():
        raise ConfigurationError(f"{directory} is a file. Give --out a directory that is not there yet.")
    manifest = read_manifest(directory)
    if manifest is None:
        _check_foreign(directory)
        return Standing(None, {}, {}, {})
    if request.overwrite:
        return Standing(None, {}, {}, {})
    if manifest.get("complete"):
        raise ConfigurationError(
            f"{directory} holds complete predictions ({_in_words(manifest)}). Type --out with another directory, or "
            "--overwrite to delete them and predict again."
        )
    asked = request.asked(processes or int(manifest.get("processes", 1)))
    had = {name: value for name, value in manifest.items() if name not in _STANDING}
    differences = [name for name in sorted({*asked, *had}) if asked.get(name) != had.get(name)]
    if differences:
        rows = [f"- {name}: {shown(had.get(name))} then, {shown(asked.get(name))} now" for name in differences]
        raise ConfigurationError(
            f"{directory} holds a part of other predictions, which cannot be gone on with:\n"
            + "\n".join(rows)
            + "\nType --out with another directory, or --overwrite to delete them and predict anew."
        )
    return _standing(request.parts, manifest)


def _standing(parts: pathlib.Path, manifest: Manifest) -> Standing:
    found = shards.found(parts)
    chains = {place: shards.row(found, *place) for place in {(shard.loader, shard.rank) for shard in found}}
    done: dict[tuple[int, int], int] = {}
    done_processes: dict[int, int] = {}
    for path in parts.glob("*.done") if parts.is_dir() else ():
        names = [int(text) for text in re.findall(r"\d+", path.name)]
        count = int(path.read_text(encoding="utf-8"))
        if len(names) == 1:
            done_processes[names[0]] = count
        elif count == 0 or ((chain := chains.get((names[0], names[1]))) and chain[-1].end == count):
            done[names[0], names[1]] = count
    return Standing(manifest, chains, done, done_processes)


def _check_foreign(directory: pathlib.Path) -> None:
    try:
        others = sorted(path.name for path in directory.iterdir() if not _is_of_a_beginning(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be read: {error}. Give --out another directory.") from error
    if others:
        raise ConfigurationError(
            f"{directory} is not empty and holds no predictions, but {', '.join(others[:3])}"
            f"{' and more' if len(others) > 3 else ''}. Type --out with a directory that is not there yet."
        )


def _is_of_a_beginning(path: pathlib.Path) -> bool:
    """Whether a process that was killed at once, or has failed at once, has left this, before there was a manifest."""
    if path.name == PARTS and path.is_dir():
        return {part.name for part in path.iterdir()} <= {_LOCK}
    # evaluations of predictions that were deleted, by somebody or by a process that has failed since
    return path.name == f".{MANIFEST}.new" or evaluation_directory.is_of_evaluations(path)


def _in_words(manifest: Manifest) -> str:
    rows = manifest["loaders"]
    samples = sum(int(row.get("samples") or 0) for row in rows)
    return f"{samples} samples, {len(rows)} loader{'s' if len(rows) != 1 else ''}, {manifest['file_format']}"


def say_done(parts: pathlib.Path, count: int, rank: int, loader: int | None = None) -> None:
    """Note that a process has finished a loader of `count` batches, or all `count` loaders."""
    name = f"rank-{rank}.done" if loader is None else f"loader-{loader}.rank-{rank}.done"
    with replacing(parts / name) as aside:
        aside.write_text(f"{count}\n", encoding="utf-8")


def forget(parts: pathlib.Path, loader: int, rank: int) -> None:
    """Delete what a process has finished of a loader."""
    shards.cut(parts, loader, rank, 0)
    (parts / f"loader-{loader}.rank-{rank}.done").unlink(missing_ok=True)


@contextlib.contextmanager
def used_alone(request: Request) -> Iterator[None]:
    """Keep other processes from the directory until the block ends, the joined files included; the first process does.

    Raises:
        ConfigurationError: another process writes there, or the directory cannot be written to.
    """
    is_new = not request.directory.exists()
    lock = filelock.FileLock(request.parts / _LOCK)
    try:
        _acquire(lock, request.parts)
    except filelock.Timeout as error:
        raise ConfigurationError(
            f"Another process is writing predictions to {request.directory}. Wait for it, or type --out with another directory."
        ) from error
    except NotImplementedError:
        pass  # a file system without locks
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise _not_written(request.directory, error) from error
    try:
        yield
    finally:
        if request.parts.is_dir() and os.listdir(request.parts) == [_LOCK]:  # nothing was begun
            with contextlib.suppress(OSError):  # another process waits there, or the directory has something else in it
                (request.parts / _LOCK).unlink()
                request.parts.rmdir()
                if is_new:
                    request.directory.rmdir()
        lock.release()


def _acquire(lock: filelock.BaseFileLock, parts: pathlib.Path) -> None:
    until = time.monotonic() + _GRACE_S
    while True:
        parts.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=_GRACE_S)
        except FileNotFoundError:  # who had it has finished, and deleted its parts
            if time.monotonic() > until:
                raise
        else:
            return


def begin(request: Request, standing: Standing, processes: int) -> None:
    """Make the directory ready; the first process does, and uses it alone.

    Raises:
        ConfigurationError: the directory cannot be written to.
    """
    directory = request.directory
    try:
        request.parts.mkdir(parents=True, exist_ok=True)
        if standing.manifest is None:
            evaluation_directory.set_aside(directory)
            _clear(directory)
            manifest = {
                "format": FORMAT,
                "complete": False,
                "file_format": request.file_format,
                **request.asked(processes),
                "about": request.about,
                "loaders": [],
            }
            write_manifest(directory, manifest)
    except OSError as error:
        raise _not_written(directory, error) from error


def _not_written(directory: pathlib.Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"Predictions cannot be written to {directory}: {error}. Type --out with another directory."
    )


def _clear(directory: pathlib.Path) -> None:
    """Delete what `predict` has written, and nothing else; the lock stays."""
    (directory / MANIFEST).unlink(missing_ok=True)
    for path in directory.iterdir():
        if _JOINED.fullmatch(path.name):
            path.unlink()
    for path in (directory / PARTS).iterdir():
        if path.name != _LOCK:
            path.unlink()


def delete_predictions(directory: pathlib.Path) -> None:
    """Delete what `predict` has written, and the directory where nothing else is in it."""
    _clear(directory)
    delete_parts(directory)
    with contextlib.suppress(OSError):  # there is something else in it
        directory.rmdir()


def delete_parts(directory: pathlib.Path) -> None:
    """Delete finished batches, which nobody but this package writes there."""
    if (directory / PARTS).is_dir():
        shutil.rmtree(directory / PARTS)
