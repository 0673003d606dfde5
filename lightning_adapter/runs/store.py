"""Which whole checkpoints lie in a run's directory, and how does one come there, leave, or make room for a resume?

A checkpoint counts from the moment that its directory has a name without a dot and a readable `metadata.json` in it.
Writing and deleting both happen under a name with a dot, so that a process killed meanwhile leaves nothing that looks
like a checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_adapter.runs.atomic import make_unique, sync_directory

logger = logging.getLogger(__name__)

_REMOVING = ".removing-"
_WRITING = ".writing-"


@dataclasses.dataclass(frozen=True)
class StoredCheckpoint:
    """A whole checkpoint on the disk.

    Attributes:
        path: its directory.
        steps_completed: training batches that it has seen, from its `metadata.json`.
    """

    path: pathlib.Path
    steps_completed: int


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
            metadata = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
            written = (path / "metadata.json").stat().st_mtime_ns
        except (FileNotFoundError, ValueError):
            continue
        steps = metadata.get("steps_completed") if isinstance(metadata, dict) else None
        if isinstance(steps, int):
            found.append((steps, written, path))
    return [StoredCheckpoint(path, steps) for steps, _, path in sorted(found)]


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        directory: where they lie; it may be absent until the first is written.
        superseded: where those go that a resume has discarded.
    """

    def __init__(self, directory: pathlib.Path, superseded: pathlib.Path) -> None:
        self.directory = directory
        self.superseded = superseded

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
        name = str(uuid.uuid4())
        aside = self.directory / f"{_WRITING}{name}"
        aside.mkdir(parents=True)
        try:
            yield aside, name
        except BaseException:
            shutil.rmtree(aside)
            raise
        # Last, as `CheckpointContext.store_path` of Determined does: a checkpoint with metadata.json has all its other files.
        with (aside / "metadata.json").open("w", encoding="utf-8") as file:
            json.dump(dict(metadata), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(aside)
        aside.rename(self.directory / name)
        sync_directory(self.directory)

    def remove(self, paths: list[pathlib.Path]) -> None:
        """Delete checkpoints, and what a deletion that a crash interrupted has left of earlier ones."""
        self._clear(_REMOVING)
        for path in paths:
            aside = path.with_name(f"{_REMOVING}{path.name}")  # so that a half deleted one never looks whole
            path.rename(aside)
            shutil.rmtree(aside)

    def supersede_after(self, batch: int) -> None:
        """Move the checkpoints of later batches aside, still whole: they are of a future that a resume has discarded."""
        for checkpoint in self.checkpoints():
            if checkpoint.steps_completed <= batch:
                continue
            self.superseded.mkdir(exist_ok=True)
            target = make_unique(self.superseded, checkpoint.path.name)
            checkpoint.path.rename(target)  # over the empty directory just made
            logger.warning(
                "resuming at batch %d: checkpoint %s of batch %d is moved to %s",
                batch,
                checkpoint.path.name,
                checkpoint.steps_completed,
                target,
            )

    def _clear(self, prefix: str) -> None:
        for leftover in self.directory.glob(f"{prefix}*"):
            shutil.rmtree(leftover)
