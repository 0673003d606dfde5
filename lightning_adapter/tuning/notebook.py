"""How does a search show itself in a notebook when it has returned?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lightning_adapter.runs import notebook
from lightning_adapter.runs.summary import shown
from lightning_adapter.tuning.lines import OVER, counted

if TYPE_CHECKING:
    from lightning_adapter.tuning.request import SearchResult


def of_search(result: SearchResult) -> str:
    """A search in HTML."""
    best = result.view.best
    values: dict[str, Mapping[str, object]] = {}
    if best is not None:
        values["best trial"] = {result.view.metric: best.value, **best.hyperparameters}
    files = [(path.name, path) for path in (result.directory / "best.yaml", result.directory / "search.png")]
    places: list[tuple[str, object]] = [
        ("best run", None if result.best_run is None else shown(result.best_run)),
        *((name, shown(path)) for name, path in files if path.exists()),
        ("search", shown(result.directory)),
    ]
    picture = result.directory / "search.png"
    image = picture.read_bytes() if picture.exists() else None
    return notebook.page(result.directory.name, in_words(result), values, places, image)


def in_words(result: SearchResult) -> str:
    """`8 of 8 trials over, the best is trial 2`."""
    view = result.view
    over = sum(row.state in OVER for row in view.rows)
    best = "none is complete" if view.best is None else f"the best is trial {view.best.number}"
    return f"{over} of {counted(view.planned, 'trial')} over, {best}"
