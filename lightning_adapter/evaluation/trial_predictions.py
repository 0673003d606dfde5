"""Where do the predictions of a loaded trial lie, and with what were they made?"""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
from typing import Any

from lightning_adapter.checkpoints import location
from lightning_adapter.evaluation.loaders import Split
from lightning_adapter.evaluation.loading import LoadedTrial
from lightning_adapter.evaluation.predict import check, predict
from lightning_adapter.evaluation.predictions import DIRECTORY, Predictions
from lightning_adapter.evaluation.predictions_directory import Request
from lightning_adapter.versions import hosts


def store_predictions(
    trial: LoadedTrial,
    directory: str | os.PathLike[str] | None = None,
    *,
    split: Split | None = None,
    file_format: str = "pt",
    target_key: str | None = None,
    overwrite: bool = False,
    **trainer_arguments: Any,
) -> Predictions | None:
    """Predict with Lightning's own Trainer into a directory, or go on with what was begun there. All processes call this.

    Args:
        trial: a loaded one.
        directory: for the predictions; by default `predictions` in the run directory, of another split `predictions-val`.
        split: take the loaders of "train", "val" or "test"; no `predict_dataloader` is needed then.
        file_format: "pt", "csv" or "parquet"; the last two hold a number, a string or a vector for each sample.
        target_key: name of the targets in a batch, where it is none of the usual ones; or their number in a tuple.
        overwrite: delete predictions that lie there.
        **trainer_arguments: of Lightning's Trainer, which win over the trial's.

    Returns:
        The predictions, in the first process; None in the others.

    Raises:
        ConfigurationError: the trial, the directory or the format does not allow it.
        CheckpointError: the weights do not fit the module.
    """
    request = Request(
        default_directory(trial, split) if directory is None else pathlib.Path(directory).expanduser(),
        file_format,
        _identity(trial, split, trainer_arguments),
        target_key,
        overwrite,
        {
            "run": trial.run_dir,
            "checkpoint": trial.checkpoint,
            "lightning_adapter": importlib.metadata.version("lightning-adapter"),
        },
    )
    check(request)
    processes = trial.trial.context.distributed
    return predict(
        request,
        hosts.host_of(trial.trial.lightning_module),
        lambda callbacks: trial.predict(
            return_predictions=False, split=split, callbacks=callbacks, **trainer_arguments
        ),
        rank=processes.rank,
        processes=processes.size,
    )


def default_directory(trial: LoadedTrial, split: Split | None) -> pathlib.Path:
    """Where predictions go if nobody says where."""
    name = DIRECTORY if split in (None, "predict") else f"{DIRECTORY}-{split}"
    return (trial.run_dir or pathlib.Path()) / name


def _identity(trial: LoadedTrial, split: Split | None, trainer_arguments: dict[str, Any]) -> dict[str, Any]:
    found = {"checkpoint": _checkpoint(trial), "split": split or "predict", "hyperparameters": trial.hparams}
    return {**found, "trainer_arguments": trainer_arguments} if trainer_arguments else found


def _checkpoint(trial: LoadedTrial) -> dict[str, Any] | None:
    """What tells a checkpoint from others: the name of its directory or file, and of the file size and time."""
    place = trial.checkpoint
    if place is None:
        return None
    found: dict[str, Any] = {"name": pathlib.PurePath(str(place)).name}
    path = pathlib.Path(str(location.file_of(place)))
    if path.is_file():
        status = path.stat()
        found.update(size=status.st_size, modified_ns=status.st_mtime_ns)
    return found
