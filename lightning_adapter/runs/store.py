"""Which whole checkpoints lie in a run's directory, and how does one come there, leave, or make room for a resume?

A checkpoint counts from the moment that its directory has a name without a dot and a readable `metadata.json` in it.
Writing and deleting both happen under a name with a dot, so that a process killed meanwhile leaves nothing that looks
like a checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import math
import os
import pathlib
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lightning_adapter.errors import CheckpointError
from lightning_adapter.runs.atomic import link_or_copy, make_unique, replacing, sync_directory

logger = logging.getLogger(__name__)

_REMOVING = ".removing-"
_WRITING = ".writing-"
_COUNTS = ("validation_epoch", "epochs_completed", "global_step")
_METADATA = "metadata.json"
_OWN_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclasses.dataclass(frozen=True)
class StoredCheckpoint:
    """A whole checkpoint on the disk.

    Attributes:
        path: its directory.
        steps_completed: training batches that it has seen, from its `metadata.json`.
        validation: the finite values of the validation at that batch, likewise; empty where there was none.
        validated_in: the epoch of that validation, counted from 0, likewise; None where nobody has noted it.
        epochs_completed: epochs that were complete, likewise; None where an earlier version has written it.
        global_step: optimizer steps, likewise.
    """

    path: pathlib.Path
    steps_completed: int
    validation: Mapping[str, float] = dataclasses.field(default_factory=dict)
    validated_in: int | None = None
    epochs_completed: int | None = None
    global_step: int | None = None

    @property
    def is_own(self) -> bool:
        """Whether its name is one that this package gives, and no person's."""
        return is_own_name(self.path.name)


def is_own_name(name: str) -> bool:
    """Whether a checkpoint's name is an id, and not what a person has given it."""
    return _OWN_NAME.fullmatch(name) is not None


def stored_checkpoints(directory: str | os.PathLike[str]) -> list[StoredCheckpoint]:
    """List the whole checkpoints directly below a directory, from the oldest training step to the newest.

    A directory whose `metadata.json` is absent or cut short was being written when its process died; it does not count.
    Of two checkpoints of one step the one written later comes later.
    """
    found = []
    root = pathlib.Path(directory)
    for path in root.iterdir() if root.is_dir() else ():
        if path.name.startswith(".") or not path.is_dir():
            continue
        try:
            written = os.stat(path / _METADATA)
            if not stat.S_ISREG(written.st_mode):
                continue
            metadata = json.loads((path / _METADATA).read_text(encoding="utf-8"))
            steps = metadata.get("steps_completed") if isinstance(metadata, dict) else None
            if isinstance(steps, int):
                values = metadata.get("validation")
                validation = _finite(values if isinstance(values, dict) else {})
                counts = [value if isinstance(value := metadata.get(name), int) else None for name in _COUNTS]
                found.append((steps, written.st_mtime_ns, StoredCheckpoint(path, steps, validation, *counts)))
        except (
            OSError,
            ValueError,
            RecursionError,
            OverflowError,
        ):  # absent, cut short, a loop of links, no end of levels
            continue
    return [checkpoint for _, _, checkpoint in sorted(found, key=lambda one: (one[0], one[1], one[2].path))]


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among some values."""
    numbers = {name: float(value) for name, value in values.items() if isinstance(value, (int, float))}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def run_of(place: pathlib.Path) -> pathlib.Path | None:
    """The run directory that a checkpoint, or its file, lies in; None where it lies in none."""
    directory = place.absolute().parent if place.is_file() else place.absolute()
    return directory.parent.parent if directory.parent.name in ("checkpoints", "superseded") else None


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        directory: where they lie; it may be absent until the first is written.
        superseded: where those go that a resume has discarded.
    """

    def __init__(self, directory: pathlib.Path, superseded: pathlib.Path) -> None:
        self.directory = directory
        self.superseded = superseded
        self._newest: StoredCheckpoint | None = None
        self._validated: tuple[int, Mapping[str, Any]] = (-1, {})  # batches, and what its metadata say of it
        self._stuck: set[pathlib.Path] = set()

    def checkpoints(self) -> list[StoredCheckpoint]:
        """List the whole ones, from the oldest training step to the newest."""
        return stored_checkpoints(self.directory)

    @contextlib.contextmanager
    def write(self, metadata: Mapping[str, Any]) -> Iterator[tuple[pathlib.Path, str]]:
        """Give a directory to write a checkpoint to, and its id; it gets its place in one move when the block ends well.

        What a process that was killed left half written is cleared away by the next checkpoint.

        Args:
            metadata: the content of its `metadata.json`; `steps_completed` among it.
        """
        self._clear(_WRITING)
        name, steps = str(uuid.uuid4()), metadata["steps_completed"]
        batch, noted = self._validated
        content = {**metadata, **noted} if batch == steps else dict(metadata)
        aside = self.directory / f"{_WRITING}{name}"
        with self._naming(steps):
            aside.mkdir(parents=True)
        try:
            yield aside, name
            # Last, as `CheckpointContext.store_path` of Determined does: a checkpoint with metadata.json has all its other
            # files.
            with self._naming(steps):
                _write_metadata(aside, content)
                aside.rename(self.directory / name)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)  # the next checkpoint clears away what is left
            raise
        sync_directory(self.directory)
        self._newest = StoredCheckpoint(self.directory / name, steps)

    @contextlib.contextmanager
    def _naming(self, steps: int) -> Iterator[None]:
        """Say which checkpoint it is that the disk does not take.

        Raises:
            CheckpointError: it cannot be written.
        """
        try:
            yield
        except OSError as error:
            raise CheckpointError(
                f"The checkpoint of batch {steps} cannot be written: {error}. See that {self.directory} may be written to and "
                "has room, then go on from the checkpoint before (--resume-from)."
            ) from error

    def validated(self, batches: int, metrics: Mapping[str, float], epoch: int) -> None:
        """A validation is over: its values are those of the checkpoint of this batch, whichever of the two comes first."""
        noted = {"validation": _finite(metrics), "validation_epoch": epoch}
        self._validated = batches, noted
        newest = self._newest
        if newest is None or newest.steps_completed != batches or not (newest.path / _METADATA).exists():
            return  # the last: somebody has taken it away
        _change_metadata(newest.path, lambda metadata: {**metadata, **noted})

    def carry(self, source: pathlib.Path, name: str, validation: Mapping[str, float]) -> None:
        """Bring a whole checkpoint of elsewhere here, as links to its files where the file system has such, else as a copy.

        Args:
            source: its directory; nothing in it is changed.
            name: of its directory here; where that is there already, it is only told its values.
            validation: values that are known of it, for its metadata where they lack them.

        Raises:
            OSError: it cannot be read or written, and is not here.
        """

        def completed(metadata: dict[str, Any]) -> dict[str, Any]:
            known = metadata.get("validation")
            return {**metadata, "validation": {**validation, **(known if isinstance(known, dict) else {})}}

        place = self.directory / name
        if (place / _METADATA).exists():
            _change_metadata(place, completed)
            return
        self._clear(_WRITING)
        aside = self.directory / f"{_WRITING}{name}"
        try:
            shutil.copytree(
                source,
                aside,
                symlinks=True,
                copy_function=link_or_copy,
                ignore=shutil.ignore_patterns(_METADATA, ".*.new"),
            )
            written = (source / _METADATA).stat()
            content = json.loads((source / _METADATA).read_text(encoding="utf-8"))
            _write_metadata(aside, completed(content))
            # of two checkpoints of one step the one written later comes later
            os.utime(aside / _METADATA, ns=(written.st_atime_ns, written.st_mtime_ns))
            aside.rename(place)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync_directory(self.directory)

    def remove(self, paths: list[pathlib.Path]) -> None:
        """Delete checkpoints, and what a deletion that a crash interrupted has left of earlier ones."""
        self._clear(_REMOVING)
        for path in paths:
            self._remove(path)

    def _remove(self, path: pathlib.Path) -> None:
        aside = path.with_name(f"{_REMOVING}{path.name}")  # so that a half deleted one never looks whole
        try:
            path.rename(aside)
        except OSError as error:
            self._tell_stuck(path, error)
        else:
            self._delete(aside)

    def _delete(self, path: pathlib.Path) -> None:
        """Delete a directory, or a link to one, which stays where it is; one that cannot be deleted ends no run."""
        try:
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)
        except OSError as error:
            self._tell_stuck(path, error)

    def _tell_stuck(self, path: pathlib.Path, error: OSError) -> None:
        if path not in self._stuck:
            self._stuck.add(path)
            logger.warning("%s is no longer needed and could not be deleted: %s", path, error)

    def supersede_after(self, batch: int, before: Callable[[Sequence[StoredCheckpoint]], None]) -> None:
        """Move the checkpoints of later batches aside, still whole: they are of a future that a resume has discarded.

        Args:
            batch: the last one that is kept.
            before: called before each move, the newest checkpoint's first, with those that stay for now.
        """
        stored = self.checkpoints()
        while stored and stored[-1].steps_completed > batch:
            checkpoint = stored.pop()
            before(stored)
            self.superseded.mkdir(exist_ok=True)
            target = make_unique(self.superseded, checkpoint.path.name)
            self._move(checkpoint.path, target)
            logger.warning(
                "resuming at batch %d: checkpoint %s of batch %d is moved to %s",
                batch,
                checkpoint.path.name,
                checkpoint.steps_completed,
                target,
            )
        self._newest = stored[-1] if stored else None

    def _move(self, path: pathlib.Path, target: pathlib.Path) -> None:
        """Move a checkpoint over an empty directory, from another disk too; it is whole in one place at every moment."""
        try:
            path.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            aside = target.with_name(f".{target.name}.new")
            shutil.copytree(path, aside, symlinks=True)
            aside.rename(target)
            self._remove(path)

    def _clear(self, prefix: str) -> None:
        """Delete what a process that was killed has left; names that this package does not give are somebody else's."""
        for leftover in self.directory.glob(f"{prefix}*"):
            if is_own_name(leftover.name.removeprefix(prefix)):
                self._delete(leftover)


def _write_metadata(directory: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Write the last file of a checkpoint, and have all of them on the disk."""
    with (directory / _METADATA).open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(directory)


def _change_metadata(directory: pathlib.Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace the metadata of a checkpoint in one move; its place among others of its step is kept."""
    path = directory / _METADATA
    before, written = json.loads(path.read_text(encoding="utf-8")), path.stat()
    after = change(before)
    if after == before:
        return
    with replacing(path) as aside:
        aside.write_text(json.dumps(after, indent=2), encoding="utf-8")
        os.utime(aside, ns=(written.st_atime_ns, written.st_mtime_ns))
