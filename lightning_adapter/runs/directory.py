"""What does a local run leave on the disk?

    runs/<name>/latest               relative link to the newest run; the name is the trial's class, or what was given
    runs/<name>/<date>_<time>/
        run.json                     how the run was made, how far it came, how it ended
        best, last                   relative links to checkpoints
        experiment.yaml              the config as it was used, hyperparameters resolved
        metrics.csv                  one row per report: kind, batches, epoch, then one column per metric
        train.log                    what this package and Determined logged
        curves.png                   the metrics over batches; drawn anew while it trains
        checkpoints/<name>/          appears whole, in one move; what is being written has a name with a dot
        superseded/<name>/           checkpoints of a future that a resume has discarded
        tensorboard/
        .lock, .run.json             who uses the directory

Only the chief process writes; other processes may make a `RunDirectory` of the same path to know the names.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from ruamel.yaml import YAML

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import retention, run_log, summary
from lightning_adapter.runs.atomic import make_unique, point_to, replacing
from lightning_adapter.runs.live_curves import LiveCurves
from lightning_adapter.runs.metrics_table import Kind, MetricsTable
from lightning_adapter.runs.occupancy import Occupancy, check_room, set_aside
from lightning_adapter.runs.record import RUN
from lightning_adapter.runs.recorder import Recorder
from lightning_adapter.runs.store import CheckpointStore, StoredCheckpoint
from lightning_adapter.runs.words import counted, position

logger = logging.getLogger("lightning_adapter")


class RunDirectory:
    """The files of one local run. Making one touches nothing on the disk; `create` does.

    Args:
        path: its directory; user code may change the working directory later, so it is made absolute.
        occupancy: what keeps other processes out.
        ranked_by: the metric that says which checkpoint `best` links to, and whether a smaller value is better; without a
            metric it is the last one, as `ModelCheckpoint` takes it without a monitor.

    Attributes:
        recorder: writes `run.json` and the links `best` and `last`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        occupancy: Occupancy | None = None,
        ranked_by: tuple[str | None, bool] = (None, True),
    ) -> None:
        self.path = pathlib.Path(path).expanduser().absolute()
        self.checkpoints = self.path / "checkpoints"
        self.superseded = self.path / "superseded"
        self.tensorboard = self.path / "tensorboard"
        self.metrics_file = self.path / "metrics.csv"
        self.log_file = self.path / "train.log"
        self.curves_file = self.path / "curves.png"
        self.config_file = self.path / "experiment.yaml"
        self._occupancy = occupancy
        self._metrics = MetricsTable(self.metrics_file)
        self._curves = LiveCurves(self.curves_file, self.metrics_file, ranked_by)
        self._store = CheckpointStore(self.checkpoints, self.superseded)
        self.recorder = Recorder(self.path, *ranked_by)

    @classmethod
    def create(
        cls,
        name: str,
        run_dir: str | os.PathLike[str] | None = None,
        root: str | os.PathLike[str] = "runs",
        source: pathlib.Path | None = None,
        ranked_by: tuple[str | None, bool] = (None, True),
    ) -> RunDirectory:
        """Make the directory of a run, or open the given one; until `close` no other process may.

        Args:
            name: of the folder below `root` that the run goes to.
            run_dir: used as it is, and made where it is absent; what lies there stays.
            root: where runs without a `run_dir` are collected.
            source: the checkpoint that the run goes on from, None for a new run.
            ranked_by: see the class.

        Raises:
            ConfigurationError: the directory cannot be made or is not one, holds another run, or is in use.
        """
        try:
            if run_dir is not None:
                run = cls(run_dir)
                run.path.mkdir(parents=True, exist_ok=True)
                run._check_room(source)  # before anything is written to it
            else:
                family = pathlib.Path(root) / name
                family.mkdir(parents=True, exist_ok=True)
                run = cls(make_unique(family, f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"))
            run = cls(run.path, Occupancy(run.path), ranked_by)
            with contextlib.ExitStack() as undo:
                undo.callback(run.close)
                if run_dir is not None:
                    run._make_room(source)
                family = pathlib.Path(root) / name
                if run_dir is None or (source is None and run.path.parent == family.absolute()):
                    point_to(family / "latest", run.path.name)
                run.checkpoints.mkdir(exist_ok=True)
                run.tensorboard.mkdir(exist_ok=True)
                undo.pop_all()
        except OSError as error:
            raise ConfigurationError(
                f"The run directory {run_dir or root} cannot be used: {error}. Give run_dir= (--run-dir) a directory you "
                "may write to."
            ) from error
        return run

    def holds(self, source: pathlib.Path) -> bool:
        """Whether a checkpoint is of this directory, so that a run that goes on from it is the run that is here."""
        place = source.resolve()
        if place.is_file():
            return place.is_relative_to(self.path.resolve())
        return place.parent in (self.checkpoints.resolve(), self.superseded.resolve())

    def _check_room(self, source: pathlib.Path | None) -> None:
        """Refuse to mix two runs."""
        if source is None or not self.holds(source):
            check_room(self.path, self.checkpoints, self._written)

    def _make_room(self, source: pathlib.Path | None) -> None:
        """Move what a run without a checkpoint has left out of the way; asked once more, now that nobody else writes."""
        self._check_room(source)
        if source is None or not self.holds(source):
            set_aside(self._written, self.superseded)

    @property
    def _written(self) -> list[pathlib.Path]:
        return [self.metrics_file, self.config_file, self.curves_file, self.path / RUN]

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write experiment.yaml.

        Args:
            config: the config as used, as `experiment.read` returns it, with its hyperparameters resolved.
        """
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # keep the order of the user's file
        with replacing(self.config_file) as aside, aside.open("w", encoding="utf-8") as file:
            yaml.dump(dict(config), file)

    def record(self, kind: Kind, batch: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Append one row to metrics.csv, as `MetricsTable.record` does; validations rank checkpoints too."""
        if kind == "validation":
            self._store.validated(batch, metrics, epoch)
        self._metrics.record(kind, batch, epoch, metrics)
        if kind == "validation":
            self.recorder.logged(metrics)
            self.show()
        self._curves.row(kind, batch, epoch, metrics)

    def draw_while_training(self) -> None:
        """From now on curves.png is drawn anew from time to time, where a row is recorded."""
        self._curves.begin()

    def close(self) -> None:
        """Let go of metrics.csv, which a later row opens again, and let other processes use the directory."""
        self._metrics.close()
        if self._occupancy is not None:
            self._occupancy.end()

    def finish(self) -> None:
        """Do what follows a run, however it ended; what cannot be done is said in a line, and hides no error of the run."""
        try:
            self._metrics.close()
        except Exception as error:  # a disk fails in any way
            logger.warning("%s could not be written: %s: %s", self.metrics_file.name, type(error).__name__, error)
        self._curves.end()

    def truncate_after(self, batch: int) -> None:
        """Forget what lies after a batch: a run that resumes there in this directory will write it anew.

        Rows of later batches are dropped. Checkpoints of later batches are moved to `superseded/`, still whole, so that
        neither `newest` nor `best` takes them for results of the resumed run.
        """
        self._metrics.truncate_after(batch)
        self._store.supersede_after(batch, self.recorder.show)

    @contextlib.contextmanager
    def store_checkpoint(
        self, metadata: Mapping[str, Any], then: Callable[[], object] | None = None
    ) -> Iterator[tuple[pathlib.Path, str]]:
        """Give a directory to write a checkpoint to, and its id; it gets its place in one move when the block ends well.

        Args:
            metadata: the content of its `metadata.json`, as `CheckpointStore.write` has it.
            then: called when it has its place, in place of `show`.
        """
        with self._store.write(metadata) as place:
            yield place
        self.recorder.logged(metadata.get("metrics", {}))
        (then or self.show)()

    def carry(self, source: pathlib.Path, name: str, validation: Mapping[str, float]) -> None:
        """Bring a checkpoint of an earlier run here, as `CheckpointStore.carry` does.

        Raises:
            OSError: it cannot be had, or written.
        """
        self._store.carry(source, name, validation)

    def show(self) -> None:
        """Let `best` and `last`, and the record, name the checkpoints that are here."""
        self.recorder.show(self._store.checkpoints())

    def newest(self) -> pathlib.Path | None:
        """Return the whole checkpoint of the latest training step, None where there is none."""
        checkpoints = self._store.checkpoints()
        return checkpoints[-1].path if checkpoints else None

    def best(self, metric: str, smaller_is_better: bool = True) -> pathlib.Path | None:
        """Return the directory of `best_checkpoint`."""
        best = self.best_checkpoint(metric, smaller_is_better)
        return None if best is None else best.path

    def best_checkpoint(self, metric: str, smaller_is_better: bool = True) -> StoredCheckpoint | None:
        """Return the checkpoint whose validation was best, None where none has a finite value.

        Args:
            metric: a validation metric; its value is that of the last validation at the checkpoint's batch.
            smaller_is_better: the direction.
        """
        ranked = retention.rank(self._store.checkpoints(), metric, smaller_is_better)
        return ranked[0] if ranked else None

    def apply_retention(
        self, save_best: int, save_latest: int, metric: str | None = None, smaller_is_better: bool = True
    ) -> list[pathlib.Path]:
        """Delete the checkpoints that are neither among the best nor among the latest.

        The newest whole one always stays: a resume needs it. Incomplete ones stay too, one may just be written.

        Args:
            save_best: how many of the best by `metric` to keep.
            save_latest: how many of the latest to keep.
            metric: None keeps by age alone.
            smaller_is_better: the direction of `metric`.

        Returns:
            The paths that are gone.
        """
        checkpoints = self._store.checkpoints()
        ranked = [] if metric is None else retention.rank(checkpoints, metric, smaller_is_better)
        removed = retention.superfluous(checkpoints, ranked, save_best, save_latest)
        self.recorder.show([checkpoint for checkpoint in checkpoints if checkpoint.path not in removed])
        self._store.remove(removed)
        return removed

    def attach_log(self, head: str = "") -> AbstractContextManager[run_log.RunLogger]:
        """Write what the run says to train.log, until the block ends, as `run_log.attach_log` does."""
        return run_log.attach_log(self.log_file, head)

    def plot_curves(self) -> pathlib.Path | None:
        """Draw curves.png from all rows: one small panel per metric, training and validation of one metric together.

        Returns:
            Its path; None, and no file, where no metric was recorded.
        """
        return self.curves_file if self._curves.draw() else None

    def summary(
        self,
        final: Mapping[str, float],
        ranked_by: str | None,
        best: StoredCheckpoint | None,
        latest: pathlib.Path | None,
        trained: str | None = None,
    ) -> str:
        """Return what to print when a run has ended.

        Args:
            final: the final values.
            ranked_by: the metric that says which checkpoint is the best; None where none is named.
            best: the best checkpoint, None where none is known.
            latest: the last checkpoint, None where none was written.
            trained: how long; None where nobody knows.
        """
        known = best is not None and ranked_by is not None
        values = summary.Values(
            final,
            ranked_by,
            best.validation if best is not None and known else {},
            _at(best) if best is not None and known else "",
            self.metrics_file.name,
        )
        others = {"curves": self.curves_file} if self.curves_file.exists() else {}
        place = None if best is None else best.path
        rows = {} if trained is None else {"trained": trained}
        rows |= summary.places(ranked_by, place, latest, {**others, "run directory": self.path})
        return summary.text(values, rows)


def _at(checkpoint: StoredCheckpoint) -> str:
    """Where its validation was."""
    if checkpoint.validated_in is None:
        return counted(checkpoint.steps_completed, "batch", "batches")
    return position(checkpoint.validated_in + 1, checkpoint.steps_completed)


def place_for(name: str, root: str | os.PathLike[str] = "runs") -> pathlib.Path:
    """Return where a run of a name would write that is to begin later; nothing is made, and no other run goes there."""
    return pathlib.Path(root).absolute() / name / f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
