"""Run directories as a run leaves them, made by hand: nothing is trained."""

from __future__ import annotations

import datetime
import json
import socket
from pathlib import Path
from typing import Any

FIRST = datetime.datetime(2026, 11, 1, 12, 0, 0, tzinfo=datetime.timezone.utc)


def make_run(root: Path, number: int = 0, name: str = "MNISTTrial", best: float | None = None, **changes: Any) -> Path:
    """Make a run that began `number` minutes after the first one, with a checkpoint and a table.

    Args:
        root: as `runs/`.
        number: which of the runs of this name it is.
        name: of the trial.
        best: value of `val_loss`.
        **changes: of its record.
    """
    start = FIRST + datetime.timedelta(minutes=number)
    directory = root / name / f"{start:%Y-%m-%d_%H-%M-%S}"
    checkpoint = f"checkpoints/0000000{number % 10}-0000-4000-8000-{number:012x}"
    store_checkpoint(directory / checkpoint, 100, {} if best is None else {"val_loss": best})
    known = {"checkpoint": checkpoint, "batches": 100, "epoch": 2}
    record = {
        "format": 1,
        "name": name,
        "status": "finished",
        "error": None,
        "command": "lightning-adapter fit model_def.py:MNISTTrial",
        "target": "model_def.py:MNISTTrial",
        "working_directory": str(root.parent),
        "versions": {"torch": "2.13.0"},
        "git": {"commit": "a" * 40, "clean": True},
        "seed": 1,
        "host": socket.gethostname(),
        "pid": 1,
        "processes": 1,
        "start": start.isoformat(),
        "end": (start + datetime.timedelta(minutes=5)).isoformat(),
        "parent": None,
        "hyperparameters": {"lr": 0.1, "optimizer": {"name": "adam"}},
        "metric": {"name": "val_loss", "smaller_is_better": True},
        "epoch": 2,
        "global_step": 100,
        "batches": 100,
        "best": None if best is None else {**known, "value": best},
        "last": known,
        "metrics": {} if best is None else {"val_loss": best + 1},
        "loggers": [],
        **changes,
    }
    (directory / "run.json").write_text(json.dumps(record))
    write_table(directory, ["train,50,0,1.0,", "validation,50,0,,0.5", "validation,100,1,,0.25"])
    (directory / ".lock").touch()
    return directory


def store_checkpoint(directory: Path, batches: int, validation: dict[str, float]) -> None:
    directory.mkdir(parents=True)
    (directory / "metadata.json").write_text(json.dumps({"steps_completed": batches, "validation": validation}))
    (directory / "lightning.ckpt").write_bytes(b"x" * 5000)


def write_table(directory: Path, rows: list[str], columns: str = "train_loss,val_loss") -> None:
    (directory / "metrics.csv").write_text("\n".join([f"kind,batches,epoch,{columns}", *rows]) + "\n")


def make_older_run(root: Path, number: int = 0, best: float = 0.5) -> Path:
    """A run of a version that wrote no run.json."""
    directory = make_run(root, number, "Older", best)
    (directory / "run.json").unlink()
    (directory / "experiment.yaml").write_text(
        "hyperparameters: {lr: 1e-05, layers: 3}\nsearcher: {name: single, metric: val_loss, smaller_is_better: true}\n"
    )
    return directory
