"""`lightning-adapter runs compare`: in what do runs differ, and where is the picture of their curves?"""

from __future__ import annotations

import datetime
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from lightning_adapter.cli import runs_text
from lightning_adapter.cli.tables import Column, fitted, terminal_width
from lightning_adapter.errors import ConfigurationError, RunRecordError
from lightning_adapter.runs import words
from lightning_adapter.runs.comparison import Row, differences, letters, lines_of
from lightning_adapter.runs.listing import Run
from lightning_adapter.runs.naming import find
from lightning_adapter.runs.overlay import RunLines
from lightning_adapter.runs.summary import shown

#: Characters of a value in the table of differences that have room in any case; where there is more, it is used.
_VALUE = 14
_NAME = 30
#: A value that is longer stands below the table, in lines of its own.
_LONG = 28


def run(names: Sequence[str], root: pathlib.Path, out: str | None, over: str) -> int:
    """Compare; return the exit status.

    Args:
        names: of runs, as `find` takes them.
        root: where runs lie.
        out: the picture; None for one in `root`.
        over: "batches" or "epoch".

    Raises:
        ConfigurationError: there are not two such runs, or the picture cannot be written.
    """
    runs = _found(names, root)
    path = _place(out, root)
    lines = lines_of(runs, over_epochs=over == "epoch")
    now = datetime.datetime.now().astimezone()
    width = terminal_width()
    marks = letters(len(runs))
    columns = [
        Column("", marks),
        Column("run", [one.label for one in runs], is_path=True, least=21),
        Column("age", [runs_text.age(one, now) for one in runs], right=True),
    ]
    print(fitted(columns, width).text, flush=True)
    sections = differences(runs)
    for block in [*_blocks(sections, marks, width), *_long_values(sections, marks, width)]:
        print(f"\n{block}", flush=True)
    print(f"\n{_drawn(lines, path, over)}", flush=True)
    return 0


def _found(names: Sequence[str], root: pathlib.Path) -> list[Run]:
    found, faults = [], []
    for name in names:
        try:
            one = find(name, root)
            if one.problem is not None:
                raise RunRecordError(one.problem)
            found.append(one)
        except ConfigurationError as error:
            faults.append(str(error))
    if faults:
        raise ConfigurationError("\n".join(faults))
    # a pattern of the shell names the newest one twice, by `latest` too
    several = list({one.path.resolve(): one for one in reversed(found)}.values())[::-1]
    if len(several) < 2:
        raise ConfigurationError(f"{', '.join(names)}: this is one run; to compare, name two or more.")
    return several


def _place(out: str | None, root: pathlib.Path) -> pathlib.Path:
    """Where the picture goes, found before any work is done.

    Raises:
        ConfigurationError: it cannot go there.
    """
    from lightning_adapter.runs.picture_file import check_replaceable

    if out is None:
        folder = root if root.is_dir() else pathlib.Path()
        if not os.access(folder, os.W_OK):
            raise ConfigurationError(f"The picture cannot be written to {folder}; name another file with --out.")
        return folder / f"compare_{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}.png"
    path = pathlib.Path(out).expanduser()
    if path.suffix.lower() != ".png":
        raise ConfigurationError(f"--out {out}: the picture is a PNG, so its name ends in .png.")
    if not path.parent.is_dir():
        raise ConfigurationError(f"--out {out}: there is no directory {path.parent}; make it, or name another file.")
    check_replaceable(path)
    return path


def _drawn(lines: Sequence[RunLines], path: pathlib.Path, over: str) -> str:
    from lightning_adapter.runs import overlay

    try:
        drawn = overlay.draw(lines, path, "epochs" if over == "epoch" else "batches")
    except OSError as error:
        raise ConfigurationError(f"The picture cannot be written: {error}. Name another file with --out.") from error
    return f"curves  {shown(path)}" if drawn else "no picture: none of the runs has metrics in its metrics.csv"


def _blocks(sections: Mapping[str, list[Row]], marks: Sequence[str], width: int | None) -> Iterator[str]:
    """The table of differences, in as many parts beside each other as the terminal needs."""
    names: list[str] = []
    cells: list[list[str]] = []
    for title, rows in _divided(sections, long=False).items():
        names += [f"{title}:"] if not names else ["", f"{title}:"]
        cells += [[""] * len(marks)] * (len(names) - len(cells))
        for row in rows:
            names.append(row.name)
            cells.append(words.values(row.values))
    columns = [Column(mark, [row[index] for row in cells]) for index, mark in enumerate(marks)]
    first = 0
    while first < len(columns):
        count = _room(columns[first:], max(map(len, names)), width)
        yield fitted(
            [Column("", names, least=min(_NAME, max(map(len, names)))), *columns[first : first + count]], width
        ).text
        first += count


def _long_values(sections: Mapping[str, list[Row]], marks: Sequence[str], width: int | None) -> Iterator[str]:
    """What has no room in a table: an error, a path, what was typed."""
    for rows in _divided(sections, long=True).values():
        for row in rows:
            yield "\n".join([f"{row.name}:", *runs_text.pairs(dict(zip(marks, row.values, strict=True)), width)])


def _divided(sections: Mapping[str, list[Row]], long: bool) -> dict[str, list[Row]]:
    """The rows with, or without, a value that is too long for a table."""
    found = {
        title: [row for row in rows if any(len(text) > _LONG for text in words.values(row.values)) == long]
        for title, rows in sections.items()
    }
    return {title: rows for title, rows in found.items() if rows}


def _room(columns: Sequence[Column], names: int, width: int | None) -> int:
    """How many columns of values fit beside their names; one in any case."""
    if width is None:
        return len(columns)
    taken = min(names, _NAME)
    for index, column in enumerate(columns):
        taken += 2 + min(_VALUE, max(len(cell) for cell in (column.header, *column.cells)))
        if taken > width:
            return max(1, index)
    return len(columns)
