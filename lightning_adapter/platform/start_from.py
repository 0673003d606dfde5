"""Which checkpoint does a run begin with?"""

from __future__ import annotations

import logging
import pathlib
from typing import Any

from lightning_adapter.checkpoints import file, form, location, restore
from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.errors import CheckpointError
from lightning_adapter.loop import run_state
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.runs.store import stored_checkpoints

logger = logging.getLogger("lightning_adapter")


def starting_point(given: location.Location, weights_only: bool = False) -> tuple[StartingPoint, location.Location]:
    """Read the checkpoint that a run begins with.

    Args:
        given: its directory, a directory of checkpoints or that of a run (the newest whole one is taken), a Lightning
            `.ckpt`, or the URL of a checkpoint or file.
        weights_only: take its weights alone.

    Returns:
        The checkpoint, and where it lies.

    Raises:
        CheckpointError: there is none, or it cannot be used.
    """
    saved, source = read_checkpoint(given)
    if not weights_only:
        check_form(saved)
    # as it was given, as in `resume_start`; of a directory of ours the file, which is what can be loaded
    path = location.below(source, file.FILE) if location.is_directory(source) else given
    return StartingPoint(saved, weights_only, path), source


def check_form(saved: dict[str, Any]) -> None:
    """Look whether a run can go on from what a checkpoint holds.

    Raises:
        CheckpointError: it holds weights alone, was written by a newer version, or something in it is not as it should be.
    """
    restore.batches_trained(saved)
    form.check(saved, form.LightningContent, "")
    if OURS in saved:
        run_state.check_form(saved[OURS])


def read_checkpoint(given: location.Location) -> tuple[dict[str, Any], location.Location]:
    """Read a checkpoint.

    Args:
        given: as of `starting_point`.

    Returns:
        Its content, and where it lies.

    Raises:
        CheckpointError: there is none, or it cannot be used.
    """
    if location.is_remote(given):
        return file.read(given), given
    path = location.local_path(given)
    if path.is_dir():
        path = path.resolve()  # `runs/<trial>/latest` will be another run's when this one has begun
    if path.is_dir() and not (path / file.FILE).exists() and not (path / "metadata.json").exists():
        return _newest(path)
    return file.read(path), path


def _newest(directory: pathlib.Path) -> tuple[dict[str, Any], pathlib.Path]:
    """The newest whole checkpoint in a directory of them, or in that of a run; damaged ones are named and passed by.

    Raises:
        CheckpointError: there is none.
    """
    inner = directory / "checkpoints"
    stored = stored_checkpoints(inner if inner.is_dir() else directory)
    faults = []
    for found in reversed(stored):
        try:
            saved = file.read(found.path)
        except CheckpointError as error:
            logger.warning("passing by a checkpoint: %s", error)
            faults.append(f"\n- {error}")
            continue
        return saved, found.path
    raise CheckpointError(
        f"{directory} is no checkpoint, and there is no whole one in it. Give the directory of a checkpoint, one below "
        "runs/<trial>/<date-time>/checkpoints/, that directory itself, or a Lightning .ckpt file." + "".join(faults)
    )
