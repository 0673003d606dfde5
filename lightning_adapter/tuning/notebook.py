"""How does a search show itself in a notebook when it has returned?"""

from __future__ import annotations

from collections.abc import Mapping

from lightning_adapter.runs import notebook
from lightning_adapter.runs.summary import shown
from lightning_adapter.runs.words import counted
from lightning_adapter.tuning.lines import OVER
from lightning_adapter.tuning.view import View


def of_search(view: View) -> str:
    """A search in HTML."""
    best = view.best
    values: dict[str, Mapping[str, object]] = {}
    if best is not None:
        values["best trial"] = {view.metric: best.value, **best.hyperparameters}
    files = [(path.name, path) for path in (view.directory / "best.yaml", view.directory / "search.png")]
    places: list[tuple[str, object]] = [
        ("best run", None if best is None or best.run_dir is None else shown(best.run_dir)),
        *((name, shown(path)) for name, path in files if path.exists()),
        ("search", shown(view.directory)),
    ]
    picture = view.directory / "search.png"
    image = picture.read_bytes() if picture.exists() else None
    return notebook.page(view.directory.name, in_words(view), values, places, image)


def in_words(view: View) -> str:
    """`8 of 8 trials over, the best is trial 2`."""
    over = sum(row.state in OVER for row in view.rows)
    best = "none is complete" if view.best is None else f"the best is trial {view.best.number}"
    return f"{over} of {counted(view.planned, 'trial')} over, {best}"
