"""What has a validation or a test given: by metric and loader, in a file beside the checkpoint, and in the run's record?"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from lightning_adapter.errors import LightningAdapterError
from lightning_adapter.evaluation.loaders import DEFAULT_SPLITS, Split, Stage
from lightning_adapter.evaluation.source import Source, find
from lightning_adapter.runs import json_file
from lightning_adapter.runs import record as records
from lightning_adapter.runs.summary import shown

#: What Lightning puts behind the names of values of one of several loaders.
_LOADER = "/dataloader_idx_"


def by_metric(found: Sequence[dict[str, float]]) -> dict[str, dict[int, float]]:
    """The values of each metric by the number of the loader, in the order of the metrics' names."""
    rows: dict[str, dict[int, float]] = {}
    for number, values in enumerate(found):
        for name, value in values.items():
            rows.setdefault(name.removesuffix(f"{_LOADER}{number}"), {})[number] = value
    return dict(sorted(rows.items()))


def merged(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """The values of all loaders, whose names tell them apart."""
    return {name: float(value) for values in found for name, value in values.items()}


def file_of(checkpoint: pathlib.Path, stage: Stage, split: Split | None) -> pathlib.Path:
    """Where values are kept: in the checkpoint's directory, or beside a file of Lightning's."""
    other = "" if split in (None, DEFAULT_SPLITS[stage]) else f"-{split}"
    name = f"{stage}{other}.json"
    return checkpoint.with_name(f"{checkpoint.stem}.{name}") if checkpoint.is_file() else checkpoint / name


def keep(source: Source, stage: Stage, split: Split | None, found: Sequence[dict[str, float]]) -> pathlib.Path | None:
    """Write the values beside the checkpoint, and into the record of the run where it is the checkpoint that stands for it.

    Returns:
        The file; None where the checkpoint lies at a URL.

    Raises:
        LightningAdapterError: it cannot be written.
    """
    if not isinstance(source.checkpoint, pathlib.Path):
        return None
    path, values = file_of(source.checkpoint, stage, split), merged(found)
    if not source.checkpoint.exists():
        raise LightningAdapterError(
            f"{shown(source.checkpoint)} was deleted while it was measured: its run goes on, and keeps others. The values stand "
            "nowhere else; type the command again once the run has ended."
        )
    try:
        json_file.write(path, values)
        if source.is_choice_of_run and split in (None, DEFAULT_SPLITS[stage]) and _is_choice_still(source):
            assert source.run is not None
            records.update(source.run, **{stage: values})
    except OSError as error:
        raise LightningAdapterError(f"The values were measured, and cannot be written: {error}") from error
    return path


def _is_choice_still(source: Source) -> bool:
    """Whether the run, which may have gone on meanwhile, still has no better checkpoint."""
    return source.run is not None and find(source.run).checkpoint == source.checkpoint
