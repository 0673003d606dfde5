"""Which runs are kept when somebody wants room, why, and how does one go so that nothing half deleted looks whole?

Of each trial (the runs of one name) the best ones and the newest ones are kept. Whatever the numbers say, a run is kept
that may be running, of which not everything is known, from which a kept run needs something, or in which there is what no
run has written.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import json_file, record
from lightning_adapter.runs.atomic import point_to
from lightning_adapter.runs.listing import DAMAGED, Run, read_run, runs_below, walk
from lightning_adapter.runs.occupancy import LOCK, RECORD, kept_free
from lightning_adapter.runs.searches import may_go_on
from lightning_adapter.runs.store import stored_checkpoints

BEST, NEWEST = "among the best", "among the newest"
_OVER = ("finished", "interrupted", "pruned", "failed", "killed")
_LATEST = "latest"
#: How a run is called while it goes; a person gives no such name.
_REMOVING = ".removing-run-"
_OWN_REMOVING = re.compile(rf"{re.escape(_REMOVING)}[0-9a-f]{{32}}")
#: What this package, its commands and Lightning's loggers write into a run directory. An exported model is none of these: it
#: was made to be handed on.
_WRITTEN = (
    *("experiment.yaml", "metrics.csv", "train.log", "curves.png", "checkpoints", "superseded", "tensorboard"),
    *(record.RUN, f".{record.RUN}.lock", f".{record.RUN}.new", LOCK, RECORD, f".{RECORD}.new"),
    *("best", "last", "validate.json", "test.json", "pictures", "lightning_logs", "wandb", "mlruns", "hparams.yaml"),
    *("predictions", "predictions-train", "predictions-val", "predictions-test"),
)
#: What is there while a command predicts, or where it was cut off.
_UNFINISHED = "predictions*/.parts"
#: What `superseded/` makes of a checkpoint's name that is taken.
_OWN_COPY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d+")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a prune would do.

    Attributes:
        superfluous: the runs that would go, the oldest first.
        kept: why each of the others stays.
        leftovers: what an earlier prune, killed meanwhile, has left half deleted.
    """

    superfluous: list[Run]
    kept: list[tuple[Run, str]]
    leftovers: list[pathlib.Path]

    @property
    def directories(self) -> list[pathlib.Path]:
        """All that would go."""
        return [*(run.path for run in self.superfluous), *self.leftovers]


def plan(
    root: pathlib.Path,
    keep_best: int = 1,
    keep_last: int = 1,
    names: Sequence[str] = (),
    statuses: Sequence[str] = (),
    also: Sequence[str] = (),
) -> Plan:
    """Find what may go; nothing is changed.

    Args:
        root: the directory that runs lie in.
        keep_best: how many of the best runs of each name stay, by the best value of the metric that ranks their checkpoints;
            those of another metric or direction are ranked by themselves.
        keep_last: how many of the newest of each name stay.
        names: of trials whose runs may go, with `*` and `?` for any characters; empty for all.
        statuses: of runs that may go; empty for all that are over.
        also: names of files that a run directory may hold besides what is known, with `*` and `?`.
    """
    runs = runs_below(root)
    reasons: dict[pathlib.Path, str] = {}
    for group in _groups(runs):
        reasons |= {run.path: NEWEST for run in group[max(0, len(group) - keep_last) :]}
        reasons |= {run.path: BEST for run in _best_of(group, keep_best)}
    for run in runs:
        protected = _protection(run, also)
        if protected is not None:
            reasons[run.path] = protected
        elif names and not any(fnmatch.fnmatchcase(run.name, pattern) for pattern in names):
            reasons.setdefault(run.path, "of another name")
        elif statuses and run.status not in statuses:
            reasons.setdefault(run.path, run.status)
    _keep_what_is_needed(runs, reasons)
    return Plan(
        [run for run in runs if run.path not in reasons],
        [(run, reasons[run.path]) for run in runs if run.path in reasons],
        list(_leftovers(root)),
    )


def _groups(runs: Sequence[Run]) -> Iterator[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if run.has_record:
            groups.setdefault(run.name, []).append(run)
    yield from groups.values()


def _best_of(group: Sequence[Run], count: int) -> Iterator[Run]:
    ranked: dict[tuple[str | None, bool], list[tuple[float, Run]]] = {}
    for run in reversed(group):  # of equal ones the newest
        if run.best is not None:
            sign = 1 if run.smaller_is_better else -1
            ranked.setdefault((run.metric, run.smaller_is_better), []).append((sign * run.best, run))
    for values in ranked.values():
        for _, run in sorted(values, key=lambda one: one[0])[:count]:
            yield run


def _protection(run: Run, also: Sequence[str]) -> str | None:
    """Why a run stays whatever its value and its age are."""
    if run.status == DAMAGED:
        return "its record cannot be read"
    if not run.has_record:
        return "an earlier version's, without a record"
    if run.status not in _OVER:
        return run.status
    if pathlib.Path.cwd().is_relative_to(run.path.resolve()):
        return "you are in it"
    if may_go_on(run.path):
        return "of a search that can go on"
    try:
        foreign = foreign_files(run.path, also)
        unfinished = next(run.path.glob(_UNFINISHED), None)
        named = sorted(
            checkpoint.path.name
            for folder in ("checkpoints", "superseded")
            for checkpoint in stored_checkpoints(run.path / folder)
            if not checkpoint.is_own and not _OWN_COPY.fullmatch(checkpoint.path.name)
        )
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if named:
        return f"somebody has named a checkpoint: {', '.join(named)}"
    if unfinished is not None:
        return f"{unfinished.parent.name} is not complete"
    if foreign:
        return f"no run writes {', '.join(foreign)} (--also)"
    return None


def foreign_files(directory: pathlib.Path, also: Sequence[str] = ()) -> list[str]:
    """Names in a run directory that neither this package nor Lightning's loggers write.

    Args:
        directory: of the run.
        also: names that are no reason to keep it, with `*` and `?`.
    """
    known = (*_WRITTEN, *also)
    return sorted(name for name in os.listdir(directory) if not any(fnmatch.fnmatchcase(name, one) for one in known))


def _keep_what_is_needed(runs: Sequence[Run], reasons: dict[pathlib.Path, str]) -> None:
    """Keep the runs whose checkpoints a kept run has as its own best or last, or begins from and has none of its own yet."""
    places = {run.path.resolve(): run for run in runs}
    waiting = [run for run in runs if run.path in reasons]
    while waiting:
        run = waiting.pop()
        for needed in _needs(run):
            owner = next((places[place] for place in (needed, *needed.parents) if place in places), None)
            if owner is not None and owner.path not in reasons:
                reasons[owner.path] = f"{run.label} needs a checkpoint of it"
                waiting.append(owner)


def _needs(run: Run) -> Iterator[pathlib.Path]:
    for key in ("best", "last"):
        checkpoint = (run.record.get(key) or {}).get("checkpoint")
        if isinstance(checkpoint, str):
            yield (run.path / checkpoint).resolve()
        yield (run.path / key).resolve()  # the link
    parent = run.record.get("parent")
    if isinstance(parent, str) and not run.record.get("last"):
        yield pathlib.Path(run.record.get("working_directory") or ".", parent).expanduser().resolve()


def _leftovers(root: pathlib.Path) -> Iterator[pathlib.Path]:
    for directory, names, _ in walk(root):
        yield from (directory / name for name in sorted(names) if _OWN_REMOVING.fullmatch(name))


def remove(run: Run) -> str | None:
    """Delete a run, unless it is in use or has changed since it was listed.

    Returns:
        Why it is still there, or a part of it under a name with a dot; None where it is gone.
    """
    aside = run.path.with_name(f"{_REMOVING}{uuid.uuid4().hex}")
    try:
        with kept_free(run.path):
            now = read_run(run.path, run.path.parent)
            # not its status, which says that a run without an end is going on where somebody has its lock, as this process
            if now is None or json_file.text(now.record) != json_file.text(run.record):
                return "it has changed meanwhile"
            _lead_latest_elsewhere(run)
            run.path.rename(aside)
    except ConfigurationError:
        return "it is in use"
    except OSError as error:
        return str(error)
    return delete(aside)


def delete(aside: pathlib.Path) -> str | None:
    """Delete what has been moved aside; return why it could not be."""
    try:
        shutil.rmtree(aside)
    except OSError as error:
        return f"{aside} is left of it: {error}"
    return None


def _lead_latest_elsewhere(run: Run) -> None:
    """Let `latest` beside a run that goes lead to the newest one that stays."""
    link = run.path.parent / _LATEST
    if not link.is_symlink() or link.resolve() != run.path.resolve():
        return
    others = [one for one in runs_below(run.path.parent) if one.path.parent == run.path.parent and one.path != run.path]
    if others:
        point_to(link, others[-1].path.name)
    else:
        link.unlink()
