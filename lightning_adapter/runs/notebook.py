"""How does a run show itself in a notebook: its values, its curves, what it has left and where?"""

from __future__ import annotations

import base64
import html
import pathlib
from collections.abc import Mapping, Sequence

from lightning_adapter.errors import ConfigurationError, RunRecordError
from lightning_adapter.runs import curves, record
from lightning_adapter.runs.course_so_far import best_of
from lightning_adapter.runs.metrics_table import plain, read_points
from lightning_adapter.runs.table_epochs import Epochs

#: In a run directory.
TABLE = "metrics.csv"

_TABLE = "border-collapse:collapse;margin:0.3em 1.5em 0.3em 0;float:left"
_CELL = "text-align:left;padding:0.1em 0.8em 0.1em 0"


def page(
    title: str,
    status: str,
    values: Mapping[str, Mapping[str, object]],
    places: Sequence[tuple[str, object]],
    curves: bytes | None,
) -> str:
    """HTML without any script or style sheet, as notebooks show and keep it.

    Args:
        title: name of the trial.
        status: in words.
        values: tables, from their headings to names and values; empty ones are left out.
        places: what there is, and where; those that are None are left out.
        curves: a PNG file's content.
    """
    parts = [f"<b>{html.escape(plain(title))}</b> &middot; {html.escape(plain(status))}"]
    tables = [_table(heading, sorted(rows.items())) for heading, rows in values.items() if rows]
    if tables:
        parts.append(f'<div style="overflow:hidden">{"".join(tables)}</div>')
    if curves is not None:
        image = base64.b64encode(curves).decode("ascii")
        parts.append(f'<img alt="curves" style="display:block;max-width:100%" src="data:image/png;base64,{image}">')
    rows = [(name, place) for name, place in places if place is not None]
    if rows:
        parts.append(f'<table style="{_TABLE};float:none">{"".join(_row(*row) for row in rows)}</table>')
    return f"<div>{''.join(parts)}</div>"


def _table(heading: str, rows: Sequence[tuple[str, object]]) -> str:
    head = f'<tr><th style="{_CELL}">metric</th><th style="{_CELL}">{html.escape(heading)}</th></tr>'
    return f'<table style="{_TABLE}">{head}{"".join(_row(*row) for row in rows)}</table>'


def _row(name: str, value: object) -> str:
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    cells = (html.escape(plain(text)) for text in (name, shown))
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def small_curves(directory: pathlib.Path) -> bytes | None:
    """The curves of a run, a PNG file's content; None where its table is not there or not of this package."""
    table = directory / TABLE
    try:
        points, epochs = read_points(table), Epochs(table)
        return curves.small(points, table.name, epochs, best_of(points, epochs, _ranked_by(directory)))
    except (ConfigurationError, OSError, ValueError):  # a notebook shows what there is
        return None


def _ranked_by(directory: pathlib.Path) -> tuple[str | None, bool]:
    try:
        metric = (record.read(directory) or {}).get("metric") or {}
    except RunRecordError:
        metric = {}
    return metric.get("name"), bool(metric.get("smaller_is_better", True))
