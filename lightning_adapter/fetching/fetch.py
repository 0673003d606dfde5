"""How does a checkpoint of a cluster become a run directory, whole or absent?"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from determined.common.api import bindings
from determined.experimental.client import Determined, TrialState

from lightning_adapter.checkpoints import file
from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.errors import ConfigurationError, LightningAdapterError
from lightning_adapter.fetching import files, history
from lightning_adapter.fetching.choice import Choice
from lightning_adapter.fetching.target import target_of
from lightning_adapter.platform.experiment import searcher_metric
from lightning_adapter.platform.kept_files import FOLDER
from lightning_adapter.platform.login import asking
from lightning_adapter.runs import provenance
from lightning_adapter.runs.atomic import appearing
from lightning_adapter.runs.directory import RunDirectory
from lightning_adapter.runs.recorder import now
from lightning_adapter.versions import determined_client


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
            run = RunDirectory(aside, ranked_by=searcher_metric(choice.config))
            return _fill(client, choice, run)
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
    config = _config(choice, made)
    run.write_config(config)
    with asking(f"the metrics and the log of trial {choice.trial.id}"):
        history.write_metrics(choice.trial, run, _epoch_length(made))
        history.write_log(choice.trial, run)
    with asking(f"trial {choice.trial.id}"):
        trial = bindings.get_GetTrial(determined_client.session(client), trialId=choice.trial.id).trial
    times = {"start": _to_the_second(trial.startTime), "end": _to_the_second(trial.endTime)}
    run.recorder.begin({**_facts(choice, config, made, path), **_ending(choice), **times}, goes_on=False)
    run.show()
    run.finish()
    has_tensorboard = files.download_tensorboard(client, choice, run.tensorboard)
    files.place_kept(path / FOLDER, run.path)  # last: what a run directory has of its own goes before
    return has_tensorboard


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


#: What has ended a trial on a cluster -> what is said of a run here; one that may go on there is running.
_STATUS = {
    TrialState.COMPLETED: "finished",
    TrialState.STOPPING_COMPLETED: "finished",
    TrialState.ERROR: "failed",
    TrialState.STOPPING_ERROR: "failed",
    TrialState.CANCELED: "interrupted",
    TrialState.STOPPING_CANCELED: "interrupted",
    TrialState.STOPPING_KILLED: "interrupted",
}


def _facts(choice: Choice, config: Mapping[str, Any], made: Mapping[str, Any], path: pathlib.Path) -> dict[str, Any]:
    """What `run.json` says of how the trial was made, as far as a checkpoint and a master know it."""
    target = target_of(choice.config.get("entrypoint"))
    metadata = file.metadata(path)
    framework = str(metadata.get("framework", "")).partition("-")
    versions = {"determined": metadata.get("determined_version"), framework[0]: framework[2]}
    trial = None if target is None else target.rpartition(":")[2]
    resources = config.get("resources") or {}
    return {
        "name": trial or choice.experiment.name or f"experiment-{choice.experiment.id}",
        "trial": trial,
        "target": target,
        "command": provenance.command(),
        "working_directory": None,
        "versions": {name: version for name, version in versions.items() if name and version},
        "git": None,
        "host": None,
        "pid": None,
        "processes": resources.get("slots_per_trial", 1) or 1,
        "seed": made.get("seed"),
        "parent": None,
        "hyperparameters": config["hyperparameters"],
        "fetched": {"experiment": choice.experiment.id, "trial": choice.trial.id, "at": now()},
    }


def _ending(choice: Choice) -> dict[str, Any]:
    state = choice.trial.state
    status = _STATUS.get(state, "running") if state is not None else "running"
    return {
        "status": status,
        "error": f"trial {choice.trial.id} has failed on the cluster; see train.log" if status == "failed" else None,
    }


def _to_the_second(time: str | None) -> str | None:
    """A time as a master gives it, as other records have it."""
    return None if time is None else re.sub(r"(\.\d+)?Z$", "+00:00", time)


def _epoch_length(state: Mapping[str, Any]) -> int | None:
    """Batches of an epoch, as the position in the data has it."""
    ranks = state.get("ranks")
    data = ranks[0].get("data") if isinstance(ranks, list) and ranks and isinstance(ranks[0], Mapping) else None
    length = data.get("num_batches") if isinstance(data, Mapping) else None
    return length if isinstance(length, int) and length > 0 else None
