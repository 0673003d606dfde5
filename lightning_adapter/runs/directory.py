"""What does a local run leave on the disk, and which of its checkpoints are kept?

    runs/<trial>/latest              relative link to the newest run
    runs/<trial>/<date>_<time>/
        experiment.yaml              the config as it was used, hyperparameters resolved
        metrics.csv                  one row per report: kind, batches, epoch, then one column per metric
        train.log                    what this package and Determined logged
        curves.png                   the metrics over batches
        checkpoints/<name>/          appears whole, in one move; what is being written has a name with a dot
        superseded/<name>/           checkpoints of a future that a resume has discarded
        tensorboard/

Only the chief process writes; other processes may make a `RunDirectory` of the same path to know the names.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import datetime
import json
import logging
import math
import os
import pathlib
import re
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping
from typing import IO, Any, Literal

import tabulate
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from ruamel.yaml import YAML

from lightning_adapter.errors import ConfigurationError

logger = logging.getLogger(__name__)

_FIXED_COLUMNS = ("kind", "batches", "epoch")
_LOGGED = ("lightning_adapter", "determined")
_REMOVING = ".removing-"
_WRITING = ".writing-"
_MAX_PANELS = 60  # a picture of more panels is neither readable nor quick to draw

Row = dict[str, Any]


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


class RunDirectory:
    """The files of one local run. Making one touches nothing on the disk; `create` does."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.superseded = self.path / "superseded"
        self.tensorboard = self.path / "tensorboard"
        self.metrics_file = self.path / "metrics.csv"
        self.log_file = self.path / "train.log"
        self.curves_file = self.path / "curves.png"
        self.config_file = self.path / "experiment.yaml"
        self._columns: tuple[str, ...] | None = None  # None: the file was not looked at yet
        self._table: IO[str] | None = None  # stays open between rows

    @classmethod
    def create(
        cls, trial_name: str, run_dir: str | os.PathLike[str] | None = None, root: str | os.PathLike[str] = "runs"
    ) -> RunDirectory:
        """Make the directory of a run, or open the given one.

        Args:
            trial_name: the trial's class name.
            run_dir: used as it is, and made where it is absent; what lies there stays.
            root: where runs without a `run_dir` are collected.

        Raises:
            ConfigurationError: the directory cannot be made or is not one.
        """
        try:
            if run_dir is not None:
                run = cls(run_dir)
                run.path.mkdir(parents=True, exist_ok=True)
            else:
                family = pathlib.Path(root) / trial_name
                family.mkdir(parents=True, exist_ok=True)
                run = cls(_make_unique(family, f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"))
                _point_to(family / "latest", run.path.name)
            run.checkpoints.mkdir(exist_ok=True)
            run.tensorboard.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the run directory {run_dir or root} cannot be used: {error}. Give run_dir= a directory you may "
                "write to"
            ) from error
        return run

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write experiment.yaml.

        Args:
            config: the config as used, as `experiment.read` returns it, with its hyperparameters resolved.
        """
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # keep the order of the user's file
        with _replacing(self.config_file) as aside, aside.open("w", encoding="utf-8") as file:
            yaml.dump(dict(config), file)

    def record(
        self, kind: Literal["train", "validation"], batch: int, epoch: int, metrics: Mapping[str, float]
    ) -> None:
        """Append one row to metrics.csv; a crash at any moment loses this row at most.

        Args:
            kind: which loop the values come from.
            batch: training batches completed.
            epoch: the running epoch, counted from 0.
            metrics: name -> value. A name never seen before becomes a new column, empty in the rows before.
        """
        row: Row = {"kind": kind, "batches": batch, "epoch": epoch}
        row.update({_column(name): repr(float(value)) for name, value in metrics.items()})
        columns = self._known_columns()
        new = [name for name in row if name not in columns]
        if self._table is not None and os.fstat(self._table.fileno()).st_nlink == 0:
            self.close()  # somebody has removed or replaced the file
        if new or (self._table is None and not self.metrics_file.exists()):
            self._rewrite([*self.rows(), row], (*columns, *new))
            return
        if self._table is None:
            self._table = self.metrics_file.open("a", newline="", encoding="utf-8")
        _writer(self._table, columns).writerow(row)
        self._table.flush()

    def close(self) -> None:
        """Let go of metrics.csv; a later row opens it again."""
        if self._table is not None:
            self._table.close()
            self._table = None

    def rows(self) -> list[Row]:
        """Read metrics.csv back: `batches` and `epoch` are ints, metrics are floats, absent values are left out."""
        result = []
        for raw in self._raw_rows():
            row: Row = {name: float(value) for name, value in raw.items() if name not in _FIXED_COLUMNS and value != ""}
            row.update(kind=raw["kind"], batches=int(raw["batches"]), epoch=int(raw["epoch"]))
            result.append(row)
        return result

    def truncate_after(self, batch: int) -> None:
        """Forget what lies after a batch: a run that resumes there in this directory will write it anew.

        Rows of later batches are dropped. Checkpoints of later batches are moved to `superseded/`, still whole, so that
        neither `newest` nor `best` takes them for results of the resumed run.
        """
        if self.metrics_file.exists():
            self._rewrite([row for row in self.rows() if row["batches"] <= batch], self._known_columns())
        for checkpoint in stored_checkpoints(self.checkpoints):
            if checkpoint.steps_completed > batch:
                self.superseded.mkdir(exist_ok=True)
                target = _make_unique(self.superseded, checkpoint.path.name)
                checkpoint.path.rename(target)  # over the empty directory just made
                logger.warning(
                    "resuming at batch %d: checkpoint %s of batch %d is moved to %s",
                    batch,
                    checkpoint.path.name,
                    checkpoint.steps_completed,
                    target,
                )

    @contextlib.contextmanager
    def store_checkpoint(self, metadata: Mapping[str, Any]) -> Iterator[tuple[pathlib.Path, str]]:
        """Give a directory to write a checkpoint to, and its id; it gets its place in one move when the block ends well.

        What a process that was killed left half written is cleared away by the next checkpoint.
        """
        for leftover in self.checkpoints.glob(f"{_WRITING}*"):
            shutil.rmtree(leftover)
        name = str(uuid.uuid4())
        aside = self.checkpoints / f"{_WRITING}{name}"
        aside.mkdir(parents=True)
        try:
            yield aside, name
        except BaseException:
            shutil.rmtree(aside)
            raise
        with (aside / "metadata.json").open("w", encoding="utf-8") as file:
            json.dump(dict(metadata), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        _sync_directory(aside)
        aside.rename(self.checkpoints / name)
        _sync_directory(self.checkpoints)

    def newest(self) -> pathlib.Path | None:
        """Return the whole checkpoint of the latest training step, None where there is none."""
        checkpoints = stored_checkpoints(self.checkpoints)
        return checkpoints[-1].path if checkpoints else None

    def best(self, metric: str, smaller_is_better: bool = True) -> pathlib.Path | None:
        """Return the checkpoint whose validation was best, None where none has a finite value.

        Args:
            metric: a validation metric; its value is that of the last validation at the checkpoint's batch.
            smaller_is_better: the direction.
        """
        ranked = self._ranked(metric, smaller_is_better)
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
        for leftover in self.checkpoints.glob(f"{_REMOVING}*"):  # a deletion that a crash interrupted
            shutil.rmtree(leftover)
        paths = [checkpoint.path for checkpoint in stored_checkpoints(self.checkpoints)]
        keep = set(paths[-max(save_latest, 1) :])
        if metric is not None:
            keep.update(self._ranked(metric, smaller_is_better)[:save_best])
        removed = [path for path in paths if path not in keep]
        for path in removed:
            aside = path.with_name(f"{_REMOVING}{path.name}")  # so that a half deleted one never looks whole
            path.rename(aside)
            shutil.rmtree(aside)
        return removed

    @contextlib.contextmanager
    def attach_log(self) -> Iterator[pathlib.Path]:
        """Copy what this package and Determined log to train.log, until the block ends.

        Both log at INFO meanwhile where nobody has configured logging; a user's own levels are left alone.
        """
        handler = _RunLogHandler(self.log_file, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        loggers = [logging.getLogger(name) for name in _LOGGED]
        levels = [log.level for log in loggers]
        configured = bool(logging.getLogger().handlers)
        for log in loggers:
            log.addHandler(handler)
            if not configured and log.level == logging.NOTSET:
                log.setLevel(logging.INFO)
        try:
            yield self.log_file
        finally:
            for log, level in zip(loggers, levels, strict=False):
                log.removeHandler(handler)
                log.setLevel(level)
            handler.close()

    def plot_curves(self) -> pathlib.Path | None:
        """Draw curves.png: one small panel per metric, training and validation of one metric together.

        Returns:
            Its path; None, and no file, where no metric was recorded.
        """
        panels = _group_series(self.rows())
        if not panels:
            return None
        shown = dict(list(panels.items())[:_MAX_PANELS])
        columns = min(3, len(shown))
        lines = math.ceil(len(shown) / columns)
        figure = Figure(figsize=(4.2 * columns, 3.0 * lines), dpi=100)
        FigureCanvasAgg(figure)
        # room for titles and labels as parts of a panel: a layout that measures them takes a second for a dozen panels
        figure.subplots_adjust(
            left=0.16 / columns,
            right=1 - 0.05 / columns,
            bottom=0.17 / lines,
            top=1 - 0.17 / lines,
            wspace=0.27,
            hspace=0.52,
        )
        for index, (title, series) in enumerate(shown.items()):
            axes = figure.add_subplot(lines, columns, index + 1)
            for label, points in series.items():
                batches, values = zip(*points, strict=False)
                axes.plot(
                    batches, values, label=label, linewidth=1.2, marker="o" if len(points) <= 25 else "", markersize=3
                )
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("batches", fontsize=8)
            axes.tick_params(labelsize=8)
            axes.ticklabel_format(axis="y", scilimits=(-3, 4))  # keeps labels short
            axes.yaxis.offsetText.set_fontsize(7)
            axes.grid(alpha=0.3)
            axes.legend(fontsize=7)
        if len(shown) < len(panels):
            told = f"{len(shown)} of {len(panels)} metrics; all are in {self.metrics_file.name}"
            figure.suptitle(told, fontsize=10, y=1 - 0.03 / lines)
        with _replacing(self.curves_file) as aside:
            figure.savefig(aside, format="png")
        return self.curves_file

    def summary(self, metrics: Mapping[str, float], best: pathlib.Path | None, latest: pathlib.Path | None) -> str:
        """Return what to print when a run has ended.

        Args:
            metrics: the final values.
            best: the best checkpoint, None where none is known.
            latest: the last checkpoint, None where none was written.
        """
        values = [(name, f"{float(value):.6g}") for name, value in sorted(metrics.items())]
        parts = []
        if values:
            parts.append(tabulate.tabulate(values, headers=("metric", "final value"), disable_numparse=True))
        places = [
            ("best checkpoint", best),
            ("last checkpoint", latest),
            ("curves", self.curves_file if self.curves_file.exists() else None),
            ("run directory", self.path),
        ]
        parts.append(tabulate.tabulate([(name, path) for name, path in places if path is not None], tablefmt="plain"))
        return "\n\n".join(parts)

    def _ranked(self, metric: str, smaller_is_better: bool) -> list[pathlib.Path]:
        """Return the checkpoints that have a finite value of a validation metric, best first, of equal ones newest."""
        column = _column(metric)
        at_batch = {
            row["batches"]: row[column]
            for row in self.rows()
            if row["kind"] == "validation" and math.isfinite(row.get(column, math.nan))
        }
        candidates = [c for c in reversed(stored_checkpoints(self.checkpoints)) if c.steps_completed in at_batch]
        sign = 1 if smaller_is_better else -1
        return [c.path for c in sorted(candidates, key=lambda c: sign * at_batch[c.steps_completed])]

    def _known_columns(self) -> tuple[str, ...]:
        """Return the columns of the file; the first call also repairs a last row that a crash cut short."""
        if self._columns is not None:
            return self._columns
        if not self.metrics_file.exists():
            self._columns = _FIXED_COLUMNS
            return self._columns
        with self.metrics_file.open(newline="", encoding="utf-8") as file:
            columns = tuple(next(csv.reader(file), ()))
        if columns[: len(_FIXED_COLUMNS)] != _FIXED_COLUMNS:
            raise ConfigurationError(
                f"{self.metrics_file} does not begin with the columns {', '.join(_FIXED_COLUMNS)}, so it is not "
                "a table of this package; move it away, or give another run_dir="
            )
        self._columns = columns
        self._rewrite(self.rows(), columns)
        return columns

    def _raw_rows(self) -> list[dict[str, str]]:
        """Read the rows as text, without a last line that has no end."""
        if not self.metrics_file.exists():
            return []
        with self.metrics_file.open(newline="", encoding="utf-8") as file:
            lines = file.readlines()
        return list(csv.DictReader(line for line in lines if line.endswith("\n")))

    def _rewrite(self, rows: list[Row], columns: tuple[str, ...]) -> None:
        """Replace metrics.csv in one move."""
        self.close()
        with _replacing(self.metrics_file) as aside, aside.open("w", newline="", encoding="utf-8") as file:
            writer = _writer(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        self._columns = columns


class _RunLogHandler(logging.FileHandler):
    """Writes a file, and keeps warnings on stderr where this handler is the only one.

    `logging` prints warnings by itself only while a logger has no handler at all; attaching a file would silence them.
    """

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if (
            logging.lastResort is not None
            and record.levelno >= logging.lastResort.level
            and self._is_alone(record.name)
        ):
            logging.lastResort.handle(record)

    def _is_alone(self, name: str) -> bool:
        log: logging.Logger | None = logging.getLogger(name)
        while log is not None:
            if any(handler is not self for handler in log.handlers):
                return False
            log = log.parent if log.propagate else None
        return True


def _sync_directory(path: pathlib.Path) -> None:
    """Have the names in a directory on the disk before what comes next."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_unique(family: pathlib.Path, name: str) -> pathlib.Path:
    """Make the empty directory `family/name`, or `family/name-2` and so on where that one is taken."""
    number = 1
    while True:
        path = family / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _point_to(link: pathlib.Path, target: str) -> None:
    """Make or replace a relative link in one move; a run goes on without it where the file system has no links."""
    aside = link.with_name(f".{link.name}-{target}")
    try:
        aside.symlink_to(target, target_is_directory=True)
        os.replace(aside, link)
    except OSError as error:
        aside.unlink(missing_ok=True)
        warnings.warn(f"the link {link} to the newest run could not be made: {error}", stacklevel=3)


@contextlib.contextmanager
def _replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Give a name to write to; it replaces `path` when the block ends well, so that `path` is never half written."""
    aside = path.with_name(f".{path.name}.new")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _column(metric: str) -> str:
    """Return the column of a metric; Lightning users like to log one named "epoch", which is a column already."""
    return f"logged/{metric}" if metric in _FIXED_COLUMNS else metric


def _writer(file: Any, columns: tuple[str, ...]) -> csv.DictWriter[str]:
    return csv.DictWriter(file, columns, restval="", lineterminator="\n")


def _group_series(rows: list[Row]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Sort recorded values into panels: title -> label -> points.

    `train_loss`, `train_loss_epoch` and `val_loss` are one quantity: they share the panel "loss". Losses come first.
    """
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        for name, value in row.items():
            if name in _FIXED_COLUMNS:
                continue
            label = name if _SPLIT.match(name) else f"{name} ({row['kind']})"
            panels.setdefault(_title(name), {}).setdefault(label, []).append((row["batches"], value))
    return dict(sorted(panels.items(), key=lambda item: ("loss" not in item[0].lower(), item[0])))


_SPLIT = re.compile(r"(train|training|val|valid|validation)[_/.-]", re.IGNORECASE)


def _title(name: str) -> str:
    """Return the quantity that a metric measures: its name without split, epoch mark and loader number."""
    quantity = _SPLIT.sub("", name, count=1) if _SPLIT.match(name) else name
    quantity = re.sub(r"/dataloader_idx_\d+$", "", quantity)
    return re.sub(r"_(step|epoch)$", "", quantity) or name
