"""How do the files of a checkpoint come here whole, and those of TensorBoard where their storage is in reach?"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from determined.experimental.client import Checkpoint, Determined, DownloadMode

from lightning_adapter.checkpoints import file
from lightning_adapter.errors import LightningAdapterError
from lightning_adapter.fetching.choice import Choice
from lightning_adapter.platform.login import asking
from lightning_adapter.runs.atomic import replacing
from lightning_adapter.versions import determined_storage

logger = logging.getLogger("lightning_adapter")


def download_checkpoint(choice: Choice, directory: pathlib.Path) -> None:
    """Bring a checkpoint here, from its storage or else through the master, and look whether it is whole.

    Its `metadata.json` gets what it has in a local run's directory, the values of its validation, and whose it is.

    Raises:
        LightningAdapterError: it cannot be had, or what came is not what was written.
        CheckpointError: its file is damaged.
    """
    checkpoint = choice.checkpoint
    with asking(f"checkpoint {checkpoint.uuid}"):
        _download(checkpoint, directory)
    missing = [
        name
        for name, size in (checkpoint.resources or {}).items()
        if not name.endswith("/") and not _is_of_size(directory / name, int(size))
    ]
    if missing:
        raise LightningAdapterError(
            f"Checkpoint {checkpoint.uuid} did not come whole: {', '.join(missing[:5])} "
            f"{'is' if len(missing) == 1 else 'are'} missing or cut short. Try again; if it comes so again, its storage is "
            "damaged."
        )
    file.check_whole(directory / file.FILE)
    _complete_metadata(choice, directory / "metadata.json")


def _download(checkpoint: Checkpoint, directory: pathlib.Path) -> None:
    try:
        try:
            checkpoint.download(str(directory), DownloadMode.AUTO)
        except OSError as error:  # its directory is here, and not ours to read: through the master it may be
            logger.info("the storage cannot be read from here (%s); asking the master", error)
            shutil.rmtree(directory, ignore_errors=True)
            checkpoint.download(str(directory), DownloadMode.MASTER)
    except LightningAdapterError:
        raise
    except Exception as error:  # each storage has errors of its own
        reason = f"{error}: {error.__cause__}" if error.__cause__ is not None else str(error)
        raise LightningAdapterError(
            f"Checkpoint {checkpoint.uuid} cannot be downloaded, from its storage or through the master: "
            f"{type(error).__name__}: {' '.join(reason.split())[:300]}"
        ) from error


def _is_of_size(path: pathlib.Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _complete_metadata(choice: Choice, path: pathlib.Path) -> None:
    metadata = json.loads(path.read_text(encoding="utf-8"))
    added: Mapping[str, Any] = {"experiment_id": choice.experiment.id, "trial_id": choice.trial.id}
    if choice.validation:
        added = {**added, "validation": choice.validation}
    with replacing(path) as aside:
        aside.write_text(json.dumps({**metadata, **added}, indent=2), encoding="utf-8")


def download_tensorboard(client: Determined, choice: Choice, directory: pathlib.Path) -> bool:
    """Bring the trial's TensorBoard files here, which no master hands out; return whether there are any.

    Args:
        client: knows which cluster it is.
        choice: its trial.
        directory: where they go.
    """
    storage = choice.config.get("checkpoint_storage") or {}
    try:
        determined_storage.download_tensorboard(client, storage, choice.experiment.id, choice.trial.id, directory)
    except Exception as error:  # each storage has errors of its own, and the checkpoint does not need it
        logger.info("no TensorBoard files from the storage: %s: %s", type(error).__name__, error)
        shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(exist_ok=True)
    return any(directory.iterdir())


def place_kept(kept: pathlib.Path, run: pathlib.Path) -> None:
    """Move the files that a run has written on a cluster to where a local run would have them, below its directory.

    A file whose name the directory has already stays with its checkpoint.
    """
    stay = []
    for path in sorted(kept.rglob("*"), reverse=True):  # what is in a directory before the directory
        place = run / path.relative_to(kept)
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif os.path.lexists(place) or not _can_hold(place.parent, run):
            stay.append(path.relative_to(kept))
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
    if stay:
        logger.warning(
            "%s: these names are taken in %s, so the files stay here: %s", kept, run, ", ".join(map(str, stay))
        )
    elif kept.is_dir():
        kept.rmdir()


def _can_hold(directory: pathlib.Path, run: pathlib.Path) -> bool:
    """Whether nothing but directories of the run is on the way to a file."""
    parents = [directory, *directory.parents]
    below = parents[: parents.index(run)]
    return all(not os.path.lexists(place) or (place.is_dir() and not place.is_symlink()) for place in below)
