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
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_adapter.errors import CheckpointError
from lightning_adapter.runs.atomic import make_unique, replacing, sync_directory

logger = logging.getLogger(__name__)

_REMOVING = ".removing-"
_WRITING = ".writing-"
_OWN_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclasses.dataclass(frozen=True)
class StoredCheckpoint:
    """A whole checkpoint on the disk.

    Attributes:
        path: its directory.
        steps_completed: training batches that it has seen, from its `metadata.json`.
        validation: the finite values of the validation at that batch, likewise; empty where there was none.
    """

    path: pathlib.Path
    steps_completed: int
    validation: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def is_own(self) -> bool:
        """Whether its name is one that this package gives, and no person's."""
        return _OWN_NAME.fullmatch(self.path.name) is not None


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
            written = os.stat(path / "metadata.json")
            if not stat.S_ISREG(written.st_mode):
                continue
            metadata = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
            steps = metadata.get("steps_completed") if isinstance(metadata, dict) else None
            if isinstance(steps, int):
                values = metadata.get("validation")
                validation = _finite(values if isinstance(values, dict) else {})
                found.append((steps, written.st_mtime_ns, StoredCheckpoint(path, steps, validation)))
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
        self._validated: tuple[int, Mapping[str, float]] = (-1, {})
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
        batch, values = self._validated
        content = {**metadata, "validation": dict(values)} if batch == steps else dict(metadata)
        aside = self.directory / f"{_WRITING}{name}"
        with self._naming(steps):
            aside.mkdir(parents=True)
        try:
            yield aside, name
            # Last, as `CheckpointContext.store_path` of Determined does: a checkpoint with metadata.json has all its other
            # files.
            with self._naming(steps):
                with (aside / "metadata.json").open("w", encoding="utf-8") as file:
                    json.dump(content, file, indent=2)
                    file.flush()
                    os.fsync(file.fileno())
                sync_directory(aside)
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

    def validated(self, batches: int, metrics: Mapping[str, float]) -> None:
        """A validation is over: its values are those of the checkpoint of this batch, whichever of the two comes first."""
        self._validated = batches, _finite(metrics)
        newest = self._newest
        if newest is None or newest.steps_completed != batches:
            return
        path = newest.path / "metadata.json"
        if not path.exists():  # somebody has taken it away
            return
        metadata = {**json.loads(path.read_text(encoding="utf-8")), "validation": dict(self._validated[1])}
        with replacing(path) as aside:
            aside.write_text(json.dumps(metadata, indent=2), encoding="utf-8")

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

    def supersede_after(self, batch: int) -> None:
        """Move the checkpoints of later batches aside, still whole: they are of a future that a resume has discarded."""
        for checkpoint in self.checkpoints():
            if checkpoint.steps_completed <= batch:
                self._newest = checkpoint
                continue
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
            if _OWN_NAME.fullmatch(leftover.name.removeprefix(prefix)):
                self._delete(leftover)
