"""Predictions on the disk, as `predict` stores them, without a model that makes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lightning_adapter.evaluation.prediction_tables import columns_of, write
from lightning_adapter.evaluation.predictions import write_manifest


def store(directory: Path, *loaders: Mapping[str, Any], file_format: str = "pt", complete: bool = True) -> Path:
    """Store what each loader's predictions hold: prediction, target, key; the index where it is not 0, 1, 2, ..."""
    directory.mkdir(parents=True)
    rows = []
    for number, given in enumerate(loaders):
        samples = length(given["prediction"])
        content = {"index": torch.arange(samples), **given}
        file = directory / f"loader-{number}.{file_format}"
        row: dict[str, Any] = {"file": file.name, "samples": samples}
        if file_format == "pt":
            torch.save(content, file)
        else:
            row["columns"] = columns_of(content, file)
            write(content, row["columns"], file, samples)
        rows.append(row)
    write_manifest(directory, {"format": 1, "complete": complete, "file_format": file_format, "loaders": rows})
    return directory


def length(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else None
    return len(value) if parts is None else length(next(iter(parts)))
