"""How are a run's metrics kept in a table that a crash cannot spoil, at a cost that does not grow with the run?

`metrics.csv` has one row per report: kind, batches, epoch, then one column per metric. A row is appended; a table with
more columns replaces the file in one move, once for each new name. A last row that a crash cut short is taken away
before anything is read or written. Rows follow the batches, so that a resume looks at the end of the table alone.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import operator
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Literal, NamedTuple, TypeAlias

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.atomic import replacing

FIXED_COLUMNS = ("kind", "batches", "epoch")

Kind: TypeAlias = Literal["train", "validation"]
#: (kind, column) -> batches and values, in the order of the table.
Points: TypeAlias = dict[tuple[str, str], tuple[list[int], list[float]]]

_BEGIN = ",".join(FIXED_COLUMNS).encode()
_BLOCK = 65536
_ROWS_AT_ONCE = 500  # few enough to stay in the processor's cache
#: Line ends and control characters would break the line that a row is, and lone surrogates cannot be written.
_NOT_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class MetricsTable:
    """The table of one run. Making one touches nothing on the disk."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._columns: tuple[str, ...] = ()  # of the open file; none as long as it is empty
        self._file: IO[bytes] | None = None  # stays open between rows

    def record(self, kind: Kind, batch: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Append one row; a crash at any moment loses this row at most.

        Args:
            kind: which loop the values come from.
            batch: training batches completed.
            epoch: the running epoch, counted from 0.
            metrics: name -> value. A name never seen before becomes a new column, empty in the rows before.

        Raises:
            ConfigurationError: the file is there and is not a table of this package.
            OSError: it cannot be written; the rows before are whole.
        """
        row = {"kind": kind, "batches": str(batch), "epoch": str(epoch)}
        row.update({column_of(name): repr(float(value)) for name, value in metrics.items()})
        if self._file is not None and os.fstat(self._file.fileno()).st_nlink == 0:
            self.close()  # somebody has removed or replaced the file
        file = self._file or self._open()
        new = [name for name in row if name not in self._columns]
        header = b""
        if not self._columns:
            self._columns = tuple(row)
            header = _line(self._columns)
        elif new:
            self._add_columns(new)
            file = self._file or self._open()
        self._append(file, header + _line(row.get(name, "") for name in self._columns))

    def close(self) -> None:
        """Let go of the file; a later row opens it again."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def truncate_after(self, batch: int) -> None:
        """Drop the rows of later batches."""
        if not self.path.exists():
            return
        self._repair()
        with self.path.open("rb") as file:
            begin = len(file.readline())
            keep = file.seek(0, os.SEEK_END)
            for start, line in _lines_backwards(file, begin, keep):
                if _is_of(line, batch):
                    break
                keep = start
        os.truncate(self.path, keep)

    def _open(self) -> IO[bytes]:
        """Open the file for further rows, and know its columns."""
        self._columns = self._repair()
        self._file = self.path.open("ab", buffering=0)
        return self._file

    def _repair(self) -> tuple[str, ...]:
        """Take a last row away that has no end, and return the columns; none where there is no table yet.

        Raises:
            ConfigurationError: it is not a table of this package.
        """
        if not self.path.exists():
            return ()
        with self.path.open("rb") as file:
            header = file.readline()
            end = file.seek(0, os.SEEK_END)
            last, line = next(_lines_backwards(file, 0, end), (0, b"\n"))
        whole = header.endswith(b"\n")
        columns = tuple(next(csv.reader([header.decode("utf-8", "replace")]), ()))
        if header and columns[: len(FIXED_COLUMNS)] != FIXED_COLUMNS and (whole or not _BEGIN.startswith(header)):
            raise ConfigurationError(_no_table(self.path))
        if not line.endswith(b"\n"):
            os.truncate(self.path, last)
        return columns if whole else ()

    def _append(self, file: IO[bytes], line: bytes) -> None:
        """Write all of a line, or nothing."""
        size = os.fstat(file.fileno()).st_size
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def _add_columns(self, new: list[str]) -> None:
        """Replace the file in one move by one with more columns."""
        self.close()
        columns = (*self._columns, *new)
        empty = b"," * len(new) + b"\n"
        with replacing(self.path) as aside, aside.open("wb") as written, self.path.open("rb") as read:
            read.readline()
            written.write(_line(columns))
            written.writelines(line.rstrip(b"\r\n") + empty for line in read)


class Block(NamedTuple):
    """Some rows of a table that follow each other.

    Attributes:
        kinds: of each row.
        batches: likewise.
        epochs: likewise, as they are written.
        columns: name -> what each row has there, an empty text where it has no value; columns without any are left out.
    """

    kinds: tuple[str, ...]
    batches: list[int]
    epochs: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]

    def by_kind(self, name: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The kinds whose rows have a value in a column, each with the values that they have, empty texts between them."""
        values = self.columns[name]
        there = dict.fromkeys(itertools.compress(self.kinds, values))
        for kind in there:
            if len(there) == 1:
                yield kind, values
            else:
                yield (
                    kind,
                    tuple(value if other == kind else "" for value, other in zip(values, self.kinds, strict=True)),
                )


def read_blocks(path: pathlib.Path) -> Iterator[Block]:
    """Read a table, block by block, without a last row that has no end; nothing is written. None of an absent one.

    Raises:
        ConfigurationError: it is not a table of this package.
    """
    try:
        file = path.open(newline="", encoding="utf-8")
    except FileNotFoundError:
        return
    with file:
        reader = csv.reader(filter(operator.methodcaller("endswith", "\n"), file))
        columns = next(reader, [])
        if columns and tuple(columns[: len(FIXED_COLUMNS)]) != FIXED_COLUMNS:
            raise ConfigurationError(_no_table(path))
        while rows := list(itertools.islice(reader, _ROWS_AT_ONCE)):
            kinds, texts, epochs, *cells = itertools.zip_longest(*rows, fillvalue="")
            named = zip(columns[len(FIXED_COLUMNS) :], cells, strict=False)
            yield Block(kinds, list(map(int, texts)), epochs, {name: values for name, values in named if any(values)})


def read_points(path: pathlib.Path) -> Points:
    """Read a table as `read_blocks` does, by column, absent values left out.

    Raises:
        ConfigurationError: it is not a table of this package.
    """
    found: Points = {}
    for block in read_blocks(path):
        for name in block.columns:
            for kind, values in block.by_kind(name):
                at, numbers = found.setdefault((kind, name), ([], []))
                at.extend(itertools.compress(block.batches, values))
                numbers.extend(map(float, itertools.compress(values, values)))
    return found


def _no_table(path: pathlib.Path) -> str:
    return (
        f"{path} does not begin with the columns {', '.join(FIXED_COLUMNS)}, so it is not "
        "a table of this package; move it away, or give another run_dir="
    )


def column_of(metric: str) -> str:
    """Return the column of a metric; Lightning users like to log one named "epoch", which is a column already."""
    name = plain(metric)
    return f"logged/{name}" if name in FIXED_COLUMNS else name


def plain(name: str) -> str:
    """A name in one line that can be written and printed."""
    return _NOT_PLAIN.sub(lambda found: repr(found[0])[1:-1], name)


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _is_of(line: bytes, batch: int) -> bool:
    """Whether a line is a row of a batch up to `batch`."""
    cells = line.split(b",", 2)
    return len(cells) > 2 and cells[1].isdigit() and int(cells[1]) <= batch


def _lines_backwards(file: IO[bytes], begin: int, end: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a part of a file from the last to the first, each with the place where it starts."""
    tail = b""
    while end > begin:
        start = max(begin, end - _BLOCK)
        file.seek(start)
        lines = (file.read(end - start) + tail).splitlines(keepends=True)
        first = 1 if start > begin and len(lines) > 0 else 0  # what the block begins with may be the rest of a line
        place = end + len(tail)
        for line in reversed(lines[first:]):
            place -= len(line)
            yield place, line
        tail = b"".join(lines[:first])
        end = start
