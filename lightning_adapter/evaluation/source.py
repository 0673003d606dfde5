"""Which checkpoint is meant, of which run, and what is known of how it was made?

WHAT is a run directory, a checkpoint directory, a file of Lightning's, a URL, a package, or, of a cluster, the id of a
checkpoint or the number of an experiment. Of a run the best checkpoint is taken, or the newest.
"""

from __future__ import annotations

import difflib
import os
import pathlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_adapter.checkpoints import location
from lightning_adapter.errors import CheckpointError, ConfigurationError, RunRecordError
from lightning_adapter.evaluation.package.form import about, is_package
from lightning_adapter.fetching.target import target_of
from lightning_adapter.platform import experiment
from lightning_adapter.runs import record as records
from lightning_adapter.runs.directory import RunDirectory
from lightning_adapter.runs.listing import is_run
from lightning_adapter.runs.store import is_own_name, stored_checkpoints
from lightning_adapter.runs.summary import say, shown

#: Directories above a file among which that of its run is looked for: a callback may have written it deep below.
_LEVELS = 6
#: Seconds between two looks for what another process fetches.
_LOOK_EACH_S = 0.2
_GIVE = (
    "Give a run directory (runs/<trial>/latest), the directory of a checkpoint, a .ckpt file, a package, or, of a cluster, "
    "the id of a checkpoint or the number of an experiment."
)


@dataclass(frozen=True)
class Source:
    """A checkpoint, and what is known of its run.

    Attributes:
        run: directory of the run; None where the checkpoint is of none.
        checkpoint: its directory, or a file of Lightning's; a URL is text.
        target: `FILE_OR_MODULE:Class` of the trial; None where nobody knows.
        config: the experiment's configuration as it was used; empty where it is not known.
        working_directory: where the target was typed.
        record: of the run, as `runs.record.read` returns it; empty where there is none.
        is_choice_of_run: whether it is the checkpoint that is taken where nobody says which.
        is_package: whether `checkpoint` is a package, which brings the trial's source along.
    """

    run: pathlib.Path | None
    checkpoint: pathlib.Path
    target: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    working_directory: pathlib.Path | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    is_choice_of_run: bool = False
    is_package: bool = False


def find(what: str | os.PathLike[str], *, last: bool = False) -> Source:
    """Find a checkpoint.

    Args:
        what: see above.
        last: the newest checkpoint of a run, and not the best.

    Raises:
        ConfigurationError: there is no such thing, or it is no run and no checkpoint.
        CheckpointError: the run has no checkpoint.
        LightningAdapterError: a master does not give it.
    """
    text = os.fspath(what)
    if not isinstance(text, str) or not text.strip():
        raise ConfigurationError(f"No run and no checkpoint is named. {_GIVE}")
    if location.is_remote(text):
        return _single(text, last, Source(None, text))  # type: ignore[arg-type]  # documented: a URL is text
    path = location.local_path(text)
    try:
        path.lstat()
    except FileNotFoundError:
        if is_own_name(text.lower()) or text.isdecimal():
            return _of_cluster(text, last)
        raise ConfigurationError(_absent(path)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{shown(path)} is no usable path: {reason}. {_GIVE}") from error
    return _on_disk(path, last)


def _on_disk(path: pathlib.Path, last: bool) -> Source:
    try:
        place = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ConfigurationError(f"{path} is a link that leads nowhere: {error}. {_GIVE}") from error
    if place.is_file():
        if place.name == location.FILE and (place.parent / "metadata.json").exists():
            place = place.parent
        elif is_package(place):
            said = about(place)
            return _single(str(path), last, Source(None, place, said["target"], said["config"], is_package=True))
        else:
            return _single(str(path), last, _known(_run_above(place), place))
    if (place / location.FILE).exists() or (place / "metadata.json").exists():
        return _single(str(path), last, _known(_run_above(place), place))
    if is_run(place):
        return _of_run(place, last)
    if is_run(place.parent) and (place.name == "checkpoints" or stored_checkpoints(place)):
        return _of_run(place.parent, last)
    raise ConfigurationError(_foreign(path, place))


def _single(what: str, last: bool, source: Source) -> Source:
    """What is one checkpoint.

    Raises:
        ConfigurationError: the newest of several was asked for.
    """
    if last:
        raise ConfigurationError(f"{what} is one checkpoint: leave --last (last=True) out, or give its run.")
    return source


def _run_above(place: pathlib.Path) -> pathlib.Path | None:
    """The run that a checkpoint or a file is of."""
    return next((parent for parent in list(place.parents)[:_LEVELS] if is_run(parent)), None)


def _of_run(run: pathlib.Path, last: bool) -> Source:
    record, config = _record(run), _config(run)
    choice = _choice(run, record, config)
    if choice is None:
        raise CheckpointError(_without_checkpoint(run, record))
    newest = RunDirectory(run).newest() if last else None
    return _made(run, newest or choice, record, config, choice)


def _known(run: pathlib.Path | None, checkpoint: pathlib.Path) -> Source:
    """What is known of the run of a checkpoint."""
    if run is None:
        return Source(None, checkpoint)
    record, config = _record(run), _config(run)
    return _made(run, checkpoint, record, config, _choice(run, record, config))


def _choice(run: pathlib.Path, record: Mapping[str, Any], config: Mapping[str, Any]) -> pathlib.Path | None:
    """The checkpoint that stands for a run: its best one, or the newest where nothing ranks them; None where it has none."""
    metric, smaller = _metric(record, config)
    directory = RunDirectory(run)
    return (None if metric is None else directory.best(metric, smaller)) or directory.newest()


def _made(
    run: pathlib.Path,
    checkpoint: pathlib.Path,
    record: Mapping[str, Any],
    config: Mapping[str, Any],
    choice: pathlib.Path | None,
) -> Source:
    typed = record.get("working_directory")
    code = checkpoint / "code"
    return Source(
        run,
        checkpoint,
        record.get("target") or target_of(config.get("entrypoint")),
        config,
        # what was fetched of a cluster brings the code along
        pathlib.Path(typed) if typed else code if code.is_dir() else None,
        record,
        choice == checkpoint,
    )


def _record(run: pathlib.Path) -> Mapping[str, Any]:
    try:
        return records.read(run) or {}
    except RunRecordError as error:
        raise ConfigurationError(str(error)) from error


def _config(run: pathlib.Path) -> Mapping[str, Any]:
    path = run / "experiment.yaml"
    return experiment.load(path) if path.is_file() else {}


def _metric(record: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str | None, bool]:
    """What ranks the checkpoints of a run, and its direction."""
    metric = record.get("metric") or {}
    if isinstance(metric.get("name"), str):
        return metric["name"], metric.get("smaller_is_better") is not False
    return experiment.searcher_metric(config)


def _of_cluster(wanted: str, last: bool) -> Source:
    """Fetch as `lightning-adapter fetch` does, unless it is here already."""
    # they import torch, which may not be imported before the variables of a configuration are set
    from lightning_adapter.fetching.choice import choose
    from lightning_adapter.fetching.fetch import fetch
    from lightning_adapter.platform.login import connect

    try:
        client = connect()
    except ConfigurationError as error:
        raise ConfigurationError(f"There is no {wanted} on this machine, and it cannot be fetched: {error}") from error
    choice = choose(client, wanted, last=last, of_trial=False)
    run = pathlib.Path(choice.run_directory).absolute()
    checkpoint = run / "checkpoints" / choice.checkpoint.uuid
    if os.environ.get("RANK", "0") != "0":  # one process of a job fetches; where it fails, the launcher ends the others
        while not (checkpoint / "metadata.json").is_file():
            time.sleep(_LOOK_EACH_S)
    elif not (checkpoint / "metadata.json").is_file():
        say(f"fetching checkpoint {choice.checkpoint.uuid}, {choice.why}, to {shown(run)}")
        fetch(client, choice, run)
    return _known(run, checkpoint)


# --- what there is instead --------------------------------------------------------------------------------------------


def _absent(path: pathlib.Path) -> str:
    folder = path.parent
    try:
        near = difflib.get_close_matches(path.name, [each.name for each in folder.iterdir()], n=1)
    except OSError:
        near = []
    meant = f"; did you mean {str(folder / near[0])!r}?" if near else "."
    return f"{shown(path)} is not there{meant} {_GIVE}"


def _without_checkpoint(run: pathlib.Path, record: Mapping[str, Any]) -> str:
    """Why there is none, and what to do."""
    status = records.shown_status(record, run) if record else None
    log = run / "train.log"
    look = f" {shown(log)} has its log." if log.is_file() else ""
    if status == "running":
        return f"{shown(run)} has no checkpoint yet: the run is still going on. Wait for its first one."
    damaged = _damaged(run)
    if damaged:
        return (
            f"{shown(run)} has no whole checkpoint: metadata.json of {', '.join(damaged[:3])} is absent or damaged.{look} Give "
            "another run, or, where only that file is, the weights themselves: "
            f"{shown(run / 'checkpoints' / damaged[-1] / location.FILE)}"
        )
    if status is None:
        return f"{shown(run)} has no whole checkpoint.{look} Give another run."
    if (record.get("last") or {}).get("checkpoint"):
        had = record["last"]["checkpoint"]
        return f"The checkpoints of {shown(run)} were deleted, or moved away: it had {had}. Give another run."
    error = f", with: {record['error']}" if record.get("error") else ""
    return f"{shown(run)} has no checkpoint: the run {_ENDED.get(status, status)} before its first one{error}.{look}"


def _damaged(run: pathlib.Path) -> list[str]:
    """Names of checkpoints that have their weights, and nothing readable that says what they are."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    return sorted(
        path.name for path in folder.iterdir() if not path.name.startswith(".") and (path / location.FILE).is_file()
    )


_ENDED = {
    "failed": "failed",
    "killed": "was killed",
    "interrupted": "was interrupted",
    "pruned": "was pruned",
    "finished": "finished",
}


def _foreign(path: pathlib.Path, place: pathlib.Path) -> str:
    what = "no run and no checkpoint"
    if not place.is_dir():
        return f"{shown(path)} is {what}. {_GIVE}"
    runs = sorted(each.name for each in place.iterdir() if each.is_dir() and not each.is_symlink() and is_run(each))
    if runs:
        one = "latest" if (place / "latest").exists() else runs[-1]
        return f"{shown(path)} holds {len(runs)} run{'s' if len(runs) > 1 else ''}, and is none itself. Give one: {path / one}"
    files = sorted(each.name for each in place.glob("*.ckpt"))
    if files:
        return f"{shown(path)} is {what}, but has {', '.join(files[:3])}. Give the file: {path / files[-1]}"
    if place.name.startswith((".writing-", ".removing-")) or (place / "state_dict.pth").exists():
        return f"{shown(path)} is no whole checkpoint of fit(). {_GIVE}"
    return f"{shown(path)} is {what}: it has no {records.RUN}, no experiment.yaml and no {location.FILE}. {_GIVE}"
