"""What do the files of a run tell that an earlier version made, which wrote no record?"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import yaml

from lightning_adapter.runs import retention, table_epochs
from lightning_adapter.runs.occupancy import is_abandoned, last_holder
from lightning_adapter.runs.store import stored_checkpoints


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads `1e-05` as a number, as YAML 1.2 has it."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))

#: It is over, and how it ended nobody has written down.
ENDED = "ended"


def record_of(path: pathlib.Path) -> dict[str, Any]:
    """Make a record, as `runs/record.py` describes it, of what is known.

    Args:
        path: the run directory.
    """
    config = configuration(path)
    searcher = config.get("searcher")
    metric = str((searcher.get("metric") if isinstance(searcher, Mapping) else None) or "")
    smaller = searcher.get("smaller_is_better", True) if isinstance(searcher, Mapping) else True
    hyperparameters = config.get("hyperparameters")
    checkpoints = stored_checkpoints(path / "checkpoints")
    best = retention.rank(checkpoints, metric, bool(smaller))[:1]
    return {
        "name": path.resolve().parent.name,
        "status": _status(path),
        "hyperparameters": hyperparameters if isinstance(hyperparameters, Mapping) else {},
        "metric": {"name": metric or None, "smaller_is_better": bool(smaller)},
        "epoch": table_epochs.complete_epochs(path / "metrics.csv"),
        "best": {
            "checkpoint": f"checkpoints/{best[0].path.name}",
            "batches": best[0].steps_completed,
            "value": best[0].validation[metric],
        }
        if best
        else None,
        "last": {
            "checkpoint": f"checkpoints/{checkpoints[-1].path.name}",
            "batches": checkpoints[-1].steps_completed,
        }
        if checkpoints
        else None,
    }


def configuration(path: pathlib.Path) -> dict[str, Any]:
    """What a run's experiment.yaml holds; nothing where it is absent or cut short.

    Read by libyaml, which is twenty times as quick as the reader of what users write.
    """
    try:
        found = yaml.load((path / "experiment.yaml").read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _status(path: pathlib.Path) -> str:
    holder = last_holder(path)
    if holder is None or is_abandoned(path, holder.host, holder.pid, ["metrics.csv", "train.log"]):
        return ENDED
    return "running"
