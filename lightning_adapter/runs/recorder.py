"""How does a run that trains keep its record and its links `best` and `last` right, at every moment?"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import pathlib
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from lightning_adapter.errors import RunRecordError, text_of
from lightning_adapter.runs import record, retention
from lightning_adapter.runs.atomic import check_link, replace_link
from lightning_adapter.runs.store import StoredCheckpoint

logger = logging.getLogger("lightning_adapter")

#: What later commands have measured of a run stands beside the checkpoint too; a run that goes on has other weights.
_MEASURED = ("validate", "test")
#: What stays as it was when a run goes on in its own directory.
_OF_ALL = ("start", "parent")


def now() -> str:
    """The time to the second, with the offset of its zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


class Recorder:
    """Writes `run.json` and the links of one run. What the disk does not take is said once, and ends no run.

    Args:
        directory: of the run.
        metric: the metric that ranks checkpoints; where it is None, the last one is taken for the best.
        smaller_is_better: its direction.
    """

    def __init__(self, directory: pathlib.Path, metric: str | None, smaller_is_better: bool) -> None:
        self._directory = directory
        self._metric = metric
        self._smaller_is_better = smaller_is_better
        self._metrics: dict[str, float] = {}
        self._seconds: float | None = None
        self._shown: dict[str, Any] = {}
        self._told: set[str] = set()
        self._status: str | None = None

    def begin(self, facts: Mapping[str, Any], goes_on: bool) -> None:
        """Begin the record.

        Args:
            facts: how the run was made; of one that is over already, how it has ended.
            goes_on: whether the run that is here goes on: it keeps its beginning, its parent and what others have noted.
        """
        with self._saying(record.RUN):
            earlier = self._earlier() if goes_on else {}
            self._metrics, self._shown = {**earlier.get("metrics", {}), **self._metrics}, {}
            kept = {name: value for name, value in earlier.items() if name not in _MEASURED}
            if earlier:
                facts = {
                    **facts,
                    "resumed": facts["start"],
                    **{name: earlier[name] for name in _OF_ALL if name in earlier},
                }
            progress: dict[str, Any] = {
                "epoch": 0,
                "global_step": 0,
                "batches": 0,
                "best": None,
                "last": None,
                "metrics": {},
                "seconds": None,
            }
            status: dict[str, Any] = {"status": "running", "error": None, "end": None}
            metric = {"name": self._metric, "smaller_is_better": self._smaller_is_better}
            begun = {**status, **facts, "metric": metric, "loggers": []}
            record.write(self._directory, {**begun, **progress, **kept, **begun})

    def _earlier(self) -> Mapping[str, Any]:
        try:
            return record.read(self._directory) or {}
        except RunRecordError as error:  # the run is more than its record
            logger.warning("%s It is begun anew.", error)
            return {}

    def change(self, without: Collection[str] = (), **changes: Any) -> None:
        """Change the record, and leave out what it says of some names."""
        with self._saying(record.RUN):
            record.update(self._directory, without=without, **changes)

    def logged(self, metrics: Mapping[str, float]) -> None:
        """Metrics have these values now; written with what comes next."""
        self._metrics.update(metrics)

    def took(self, seconds: float | None) -> None:
        """The run has trained for so long, with those that it goes on from; written with what comes next."""
        self._seconds = seconds

    def show(self, checkpoints: Sequence[StoredCheckpoint]) -> None:
        """Let the links and the record name the best and the last of some checkpoints.

        Called before others are deleted or moved, so that a process that is killed leaves no link to nothing.

        Args:
            checkpoints: those that are here, or are to be left here, from the oldest training step to the newest.
        """
        last = checkpoints[-1] if checkpoints else None
        best = last
        if self._metric is not None:
            ranked = retention.rank(checkpoints, self._metric, self._smaller_is_better)
            best = ranked[0] if ranked else None
        self._point("last", last)
        self._point("best", best)
        shown: dict[str, Any] = {"best": None, "last": None, "metrics": dict(self._metrics)}
        if last is not None:
            shown["last"] = self._entry(last)
            shown |= {
                "batches": last.steps_completed,
                "epoch": last.epochs_completed or 0,
                "global_step": last.global_step or 0,
            }
        if best is not None:
            value = None if self._metric is None else best.validation[self._metric]
            shown["best"] = {**self._entry(best), "value": value}
        if shown != self._shown:
            moved = bool(self._shown) and _place(self._shown["best"]) != _place(shown["best"])
            self._shown = shown
            self.change(_MEASURED if moved else (), **shown, **self._trained_for())

    def _entry(self, checkpoint: StoredCheckpoint) -> dict[str, Any]:
        return {
            "checkpoint": checkpoint.path.relative_to(self._directory).as_posix(),
            "batches": checkpoint.steps_completed,
            "epoch": checkpoint.epochs_completed,
        }

    def _point(self, name: str, checkpoint: StoredCheckpoint | None) -> None:
        link = self._directory / name
        with self._saying(f"the link {name}"):
            if checkpoint is not None:
                target = checkpoint.path.relative_to(self._directory).as_posix()
                if not link.is_symlink() or os.readlink(link) != target:
                    replace_link(link, target)
            elif link.is_symlink():
                check_link(link, "checkpoints/-")
                link.unlink()

    def trained(self, status: str, metrics: Mapping[str, float]) -> None:
        """Training has ended, and a test may follow.

        Args:
            status: "finished" or "interrupted".
            metrics: the final values.
        """
        self._status = status
        self.logged(metrics)

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Say in the record how what is done in this block has ended."""
        try:
            yield
        except BaseException as error:
            # what ends a process that a signal has asked to end is no error of the run
            ended = isinstance(error, SystemExit) and self._status is not None
            stopped = isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)
            if ended or stopped:
                self._end(self._status or "interrupted")
            elif prunes(error):
                self._end("pruned", _first_line(error, named=False))
            else:
                self._end("failed", _first_line(error))
            raise
        self._end(self._status or "finished")

    def _end(self, status: str, error: str | None = None) -> None:
        self.change(
            status=status,
            error=error,
            end=now(),
            metrics=dict(self._metrics),
            **self._trained_for(),
        )

    def _trained_for(self) -> dict[str, Any]:
        """Nothing as long as nobody has said it: a run that goes on keeps what the one before has noted."""
        return {} if self._seconds is None else {"seconds": round(self._seconds, 3)}

    @contextlib.contextmanager
    def _saying(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RunRecordError) as error:
            if what not in self._told:
                self._told.add(what)
                logger.warning("%s of the run cannot be kept: %s", what, error)


def _place(entry: Mapping[str, Any] | None) -> Any:
    return None if entry is None else entry["checkpoint"]


def prunes(error: BaseException) -> bool:
    """Whether a study of Optuna's has ended the run: nothing is wrong with it. Who raises that has imported Optuna."""
    exceptions = sys.modules.get("optuna.exceptions")
    return exceptions is not None and isinstance(error, exceptions.TrialPruned)


def _first_line(error: BaseException, named: bool = True) -> str | None:
    lines = text_of(error).strip().splitlines()
    if not named:
        return lines[0] if lines else None
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
