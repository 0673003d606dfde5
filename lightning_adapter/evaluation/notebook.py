"""How does a trial that was loaded show itself in a notebook?"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from lightning_adapter.evaluation.source import Source
from lightning_adapter.platform.notebook import best_value, measured
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.runs import notebook
from lightning_adapter.runs.record import shown_status
from lightning_adapter.runs.store import stored_checkpoints
from lightning_adapter.runs.summary import shown


def of_loaded(trial: LightningTrial, source: Source | None) -> str:
    """A loaded trial in HTML, with what is known of the run that its checkpoint is of.

    Args:
        trial: constructed.
        source: the checkpoint; None where there is none.
    """
    name = type(trial).__name__
    module = type(trial.lightning_module).__name__
    if source is None:
        return notebook.page(
            name, "not trained; the weights are those of its constructor", {}, [("module", module)], None
        )
    kept, run = source.record, source.run
    values: dict[str, Mapping[str, Any]] = {
        "at the checkpoint": _validation(source.checkpoint),
        "at the end of the run": kept.get("metrics") or {},
        **measured(kept),
    }
    status = "loaded"
    image = None
    if run is not None:
        status = f"loaded, of a run that is {shown_status(kept, run)}" if kept else status
        image = notebook.small_curves(run)
    places: list[tuple[str, object]] = [("module", module), ("checkpoint", _place(source.checkpoint)), *_best(kept)]
    places.append(("run directory", None if run is None else shown(run)))
    return notebook.page(name, status, values, places, image)


def _best(kept: Mapping[str, Any]) -> list[tuple[str, object]]:
    best = kept.get("best")
    return [("best checkpoint", best.get("checkpoint")), *best_value(kept)] if best else []


def _validation(checkpoint: pathlib.Path) -> Mapping[str, Any]:
    """The values of the validation at a checkpoint; none of a file of Lightning's, or a URL."""
    if not isinstance(checkpoint, pathlib.Path):
        return {}
    stored = [one for one in stored_checkpoints(checkpoint.parent) if one.path == checkpoint]
    return stored[0].validation if stored else {}


def _place(checkpoint: pathlib.Path) -> str:
    return shown(checkpoint) if isinstance(checkpoint, pathlib.Path) else str(checkpoint)  # a URL is text
