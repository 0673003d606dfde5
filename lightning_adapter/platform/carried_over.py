"""Which checkpoints of the run that a local run goes on with come along into its own directory?

The best one does, so that it is still known and kept when retention deletes here and somebody deletes there. Where that is
older than the one that the run goes on from, that one comes first: a run that is killed before it has written a
checkpoint of its own goes on where it stood, and not at its best.
"""

from __future__ import annotations

import logging
import pathlib
import uuid
from dataclasses import dataclass

from lightning_adapter.checkpoints.file import FILE
from lightning_adapter.errors import CheckpointError
from lightning_adapter.platform.checkpoint_writer import BestCheckpoint, best_before
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.runs.atomic import link_or_copy
from lightning_adapter.runs.directory import RunDirectory
from lightning_adapter.runs.store import is_own_name

logger = logging.getLogger("lightning_adapter")


@dataclass(frozen=True)
class CarriedOver:
    """What an earlier run has left that this one needs.

    Attributes:
        best: its best checkpoint, and where that lies; None where there is none, or it is gone.
        source: the checkpoint that this run goes on from: its directory, or a file; None where it is not on this machine.
        steps: training batches that the source has seen.
    """

    best: BestCheckpoint | None = None
    source: pathlib.Path | None = None
    steps: int = 0

    @classmethod
    def of(
        cls, start: StartingPoint, resumed: pathlib.Path | None, steps: int, directory: RunDirectory, metric: str | None
    ) -> CarriedOver:
        """Look for the best checkpoint of the run that this one goes on with: here, and where that run wrote.

        Args:
            start: the checkpoint that the run begins with.
            resumed: where that lies on this machine.
            steps: training batches that it has seen.
            directory: of this run.
            metric: the searcher's.
        """
        best = best_before(start, metric)
        if best is None or metric is None:
            return cls()
        source = None if resumed is None else _directory_of(resumed.absolute())
        there = [directory.checkpoints]
        if source is not None:
            there.append(source.parent)
        if best["directory"] is not None:
            there.append(pathlib.Path(best["directory"]))
        for folder in there:
            if (folder / best["uuid"] / "metadata.json").exists():
                return cls({**best, "directory": str(folder)}, source, steps)
        logger.warning(
            "the best checkpoint so far, %s, is not there any more; the best one from here on is kept", best["uuid"]
        )
        return cls()

    def bring(self, directory: RunDirectory) -> bool:
        """Bring them here, as links to the same files where the file system has such; return whether the best is here."""
        best = self.best
        if best is None or best["directory"] is None or best["metric"] is None:
            return False
        place = pathlib.Path(best["directory"]) / best["uuid"]
        is_here = place.parent == directory.checkpoints
        if not is_here and self.source is None:
            logger.warning(
                "the best checkpoint so far stays in %s, and is not compared with those of this run, since the one that the "
                "run goes on from is not on this machine",
                place,
            )
            return False
        try:
            if (
                not is_here
                and self.source is not None
                and self.source not in (place, directory.checkpoints / self.source.name)
            ):
                self._bring_source(self.source, directory)
            directory.carry(place, best["uuid"], {best["metric"]: best["value"]})
        except (OSError, ValueError, CheckpointError) as error:  # ValueError: its metadata are damaged
            logger.warning("the best checkpoint so far stays in %s: it cannot be brought here: %s", place, error)
            return False
        if not is_here:
            logger.info("the best checkpoint so far comes along from %s", place)
        return True

    def _bring_source(self, source: pathlib.Path, directory: RunDirectory) -> None:
        if source.is_dir():
            # under an id, since what a person has named is never deleted
            name = source.name if is_own_name(source.name) else str(uuid.uuid4())
            directory.carry(source, name, {})
            return
        with directory.store_checkpoint({"steps_completed": self.steps, "format": "lightning"}) as (path, _):
            link_or_copy(source, path / FILE)


def _directory_of(resumed: pathlib.Path) -> pathlib.Path:
    """The directory of a checkpoint that was given as that or as its file; any other file as it is."""
    is_ours = resumed.name == FILE and resumed.is_file() and (resumed.parent / "metadata.json").is_file()
    return resumed.parent if is_ours else resumed
