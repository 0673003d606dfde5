"""How does a checkpoint of a cluster become a run directory, whole or absent?"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from determined.experimental.client import Determined

from lightning_adapter.checkpoints import file
from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.errors import ConfigurationError, LightningAdapterError
from lightning_adapter.fetching import files, history
from lightning_adapter.fetching.choice import Choice
from lightning_adapter.platform.login import asking
from lightning_adapter.runs.atomic import appearing
from lightning_adapter.runs.directory import RunDirectory


def check_absent(directory: pathlib.Path) -> None:
    """Refuse a directory that is there.

    Raises:
        ConfigurationError: it is.
    """
    if os.path.lexists(directory):
        raise ConfigurationError(
            f"{directory} is there already, and nothing is written over. Name another directory, as in lightning-adapter "
            "fetch NUMBER DIR, or move it away."
        )


def fetch(client: Determined, choice: Choice, directory: pathlib.Path) -> bool:
    """Make a run directory of what a trial has left; it is there when all of it is.

    Args:
        client: logged in.
        choice: the checkpoint.
        directory: absent.

    Returns:
        Whether TensorBoard files are in it.

    Raises:
        ConfigurationError: the directory is there, or cannot be made.
        LightningAdapterError: something of it cannot be had, or written.
    """
    check_absent(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with appearing(directory) as aside:
            return _fill(client, choice, RunDirectory(aside))
    except FileExistsError:
        check_absent(directory)  # somebody else has made it meanwhile
        raise ConfigurationError(f"{directory.parent} is no directory.") from None
    except PermissionError as error:
        raise ConfigurationError(f"{directory} cannot be written: {error}") from error
    except OSError as error:
        raise LightningAdapterError(f"{directory} cannot be written: {error}") from error


def _fill(client: Determined, choice: Choice, run: RunDirectory) -> bool:
    run.checkpoints.mkdir()
    path = run.checkpoints / choice.checkpoint.uuid
    files.download_checkpoint(choice, path)
    state = file.peek(path / file.FILE).get(OURS)
    made: Mapping[str, Any] = state if isinstance(state, Mapping) else {}
    run.write_config(_config(choice, made))
    with asking(f"the metrics and the log of trial {choice.trial.id}"):
        history.write_metrics(choice.trial, run, _epoch_length(made))
        history.write_log(choice.trial, run)
    run.finish()
    return files.download_tensorboard(client, choice, run.tensorboard)


def _config(choice: Choice, made: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment's configuration with the values, and the seed, that the trial had.

    The checkpoint knows them best: `fit(hparams=...)` wins over what the master has drawn.
    """
    kept = made.get("hyperparameters")
    config = {**choice.config, "hyperparameters": kept if isinstance(kept, dict) else choice.trial.hparams or {}}
    seed = made.get("seed")
    if isinstance(seed, int):
        config["reproducibility"] = {**(config.get("reproducibility") or {}), "experiment_seed": seed}
    return config


def _epoch_length(state: Mapping[str, Any]) -> int | None:
    """Batches of an epoch, as the position in the data has it."""
    ranks = state.get("ranks")
    data = ranks[0].get("data") if isinstance(ranks, list) and ranks and isinstance(ranks[0], Mapping) else None
    length = data.get("num_batches") if isinstance(data, Mapping) else None
    return length if isinstance(length, int) and length > 0 else None
