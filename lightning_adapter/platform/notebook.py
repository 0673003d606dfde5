"""How does a trial show itself in a notebook: before `fit`, meanwhile, and when it has returned, here or on a cluster?"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from lightning_adapter.errors import RunRecordError
from lightning_adapter.platform.driver import Driver
from lightning_adapter.runs import notebook, record
from lightning_adapter.runs.summary import shown
from lightning_adapter.runs.words import position
from lightning_adapter.versions.types import LightningModule


class Shown(Protocol):
    """What is asked of a trial."""

    lightning_module: LightningModule
    run_dir: pathlib.Path | None
    latest_checkpoint: pathlib.Path | None
    best_checkpoint: pathlib.Path | None
    latest_checkpoint_uuid: str | None
    best_checkpoint_uuid: str | None
    test_metrics: dict[str, float] | None

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Name to 0-d tensor."""

    @property
    def driver(self) -> Driver | None:
        """None until training begins."""

    @property
    def built(self) -> object | None:
        """None where `fit` makes a trial of its own."""


def of_trial(trial: Shown) -> str:
    """A trial in HTML."""
    run, driver = trial.run_dir, trial.driver
    kept = known(run)
    values: dict[str, Mapping[str, object]] = {
        "final value": {name: float(value) for name, value in trial.callback_metrics.items()},
        **measured(kept),
    }
    if trial.test_metrics:
        values["test"] = trial.test_metrics
    places: list[tuple[str, object]] = [("module", _size(trial.lightning_module))]
    if run is not None:
        places += [
            ("best checkpoint", _place(trial.best_checkpoint)),
            *best_value(kept),
            ("last checkpoint", _place(trial.latest_checkpoint)),
        ]
        places.append(("run directory", shown(run)))
        image = notebook.small_curves(run)
    else:
        uuid = trial.best_checkpoint_uuid or trial.latest_checkpoint_uuid
        places += [("best checkpoint", trial.best_checkpoint_uuid), ("last checkpoint", trial.latest_checkpoint_uuid)]
        places.append(("to get it", None if uuid is None else f"lightning-adapter fetch {uuid}"))
        image = None
    return notebook.page(type(trial).__name__, _status(trial, driver, kept), values, places, image)


def known(run: pathlib.Path | None) -> Mapping[str, object]:
    """The record of a run; nothing where there is none, or none that can be read."""
    try:
        return {} if run is None else record.read(run) or {}
    except RunRecordError:
        return {}


def measured(kept: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """What was measured of a run after its training, by name."""
    found = {name: kept.get(name) for name in ("validate", "test")}
    return {name: values for name, values in found.items() if isinstance(values, dict)}


def best_value(kept: Mapping[str, Any]) -> list[tuple[str, object]]:
    """`best val_loss` and its value, of the best checkpoint of a run; nothing where nobody knows."""
    value, metric = (kept.get("best") or {}).get("value"), (kept.get("metric") or {}).get("name")
    return [(f"best {metric}", value)] if metric and isinstance(value, float) else []


def _status(trial: Shown, driver: Driver | None, kept: Mapping[str, object]) -> str:
    if driver is None:
        if trial.built is not None:
            return "not trained yet: fit(trial) trains these very objects"
        return "not trained yet: fit() trains one that it makes, and returns that"
    progress = driver.parts.progress
    epoch = progress.epoch_in_words(driver.parts.settings.max_epochs)
    where = position(epoch, progress.total_batches)
    if trial.run_dir is None and trial.latest_checkpoint_uuid is None:
        return f"in training: {where}"
    ended = "trained" if driver.finished else "paused"
    return f"{kept.get('status', ended)}: {where}"


def _size(module: LightningModule) -> str:
    count = sum(parameter.numel() for parameter in module.parameters())
    return f"{type(module).__name__}, {count:,} parameters"


def _place(path: pathlib.Path | None) -> str | None:
    return None if path is None else shown(path)
