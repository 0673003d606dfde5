"""How are a run's metrics kept in a table that a crash cannot spoil?

`metrics.csv` has one row per report: kind, batches, epoch, then one column per metric. A row is appended in one write;
a table with other columns replaces the file in one move. A last row that a crash cut short is dropped by the next reader.
"""

from __future__ import annotations

import csv
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import IO, Any, Literal, TypeAlias

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.atomic import replacing

FIXED_COLUMNS = ("kind", "batches", "epoch")

#: `kind` is text, `batches` and `epoch` are ints, every other name is a metric's float; to be written, text in its place.
Row: TypeAlias = dict[str, Any]


class MetricsTable:
    """The table of one run. Making one touches nothing on the disk."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._columns: tuple[str, ...] | None = None  # None: the file was not looked at yet
        self._file: IO[str] | None = None  # stays open between rows

    def record(
        self, kind: Literal["train", "validation"], batch: int, epoch: int, metrics: Mapping[str, float]
    ) -> None:
        """Append one row; a crash at any moment loses this row at most.

        Args:
            kind: which loop the values come from.
            batch: training batches completed.
            epoch: the running epoch, counted from 0.
            metrics: name -> value. A name never seen before becomes a new column, empty in the rows before.

        Raises:
            ConfigurationError: the file is there and is not a table of this package.
        """
        row: Row = {"kind": kind, "batches": batch, "epoch": epoch}
        row.update({column_of(name): repr(float(value)) for name, value in metrics.items()})
        columns = self._known_columns()
        new = [name for name in row if name not in columns]
        if self._file is not None and os.fstat(self._file.fileno()).st_nlink == 0:
            self.close()  # somebody has removed or replaced the file
        if new or (self._file is None and not self.path.exists()):
            self._rewrite([*self.rows(), row], (*columns, *new))
            return
        if self._file is None:
            self._file = self.path.open("a", newline="", encoding="utf-8")
        _writer(self._file, columns).writerow(row)
        self._file.flush()

    def close(self) -> None:
        """Let go of the file; a later row opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def rows(self) -> list[Row]:
        """Read the table back: `batches` and `epoch` are ints, metrics are floats, absent values are left out."""
        result = []
        for raw in self._raw_rows():
            row: Row = {name: float(value) for name, value in raw.items() if name not in FIXED_COLUMNS and value != ""}
            row.update(kind=raw["kind"], batches=int(raw["batches"]), epoch=int(raw["epoch"]))
            result.append(row)
        return result

    def truncate_after(self, batch: int) -> None:
        """Drop the rows of later batches."""
        if self.path.exists():
            self._rewrite([row for row in self.rows() if row["batches"] <= batch], self._known_columns())

    def _known_columns(self) -> tuple[str, ...]:
        """Return the columns of the file; the first call also repairs a last row that a crash cut short."""
        if self._columns is not None:
            return self._columns
        if not self.path.exists():
            self._columns = FIXED_COLUMNS
            return self._columns
        with self.path.open(newline="", encoding="utf-8") as file:
            columns = tuple(next(csv.reader(file), ()))
        if columns[: len(FIXED_COLUMNS)] != FIXED_COLUMNS:
            raise ConfigurationError(
                f"{self.path} does not begin with the columns {', '.join(FIXED_COLUMNS)}, so it is not "
                "a table of this package; move it away, or give another run_dir="
            )
        self._columns = columns
        self._rewrite(self.rows(), columns)
        return columns

    def _raw_rows(self) -> list[dict[str, str]]:
        """Read the rows as text, without a last line that has no end."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            lines = file.readlines()
        return list(csv.DictReader(line for line in lines if line.endswith("\n")))

    def _rewrite(self, rows: Iterable[Row], columns: tuple[str, ...]) -> None:
        """Replace the file in one move."""
        self.close()
        with replacing(self.path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
            writer = _writer(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        self._columns = columns


def column_of(metric: str) -> str:
    """Return the column of a metric; Lightning users like to log one named "epoch", which is a column already."""
    return f"logged/{metric}" if metric in FIXED_COLUMNS else metric


def _writer(file: IO[str], columns: tuple[str, ...]) -> csv.DictWriter[str]:
    return csv.DictWriter(file, columns, restval="", lineterminator="\n")
