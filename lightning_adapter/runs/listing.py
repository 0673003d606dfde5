"""Which runs lie below a directory, and what is known of each without reading more than its record?

A directory is a run's where it holds `run.json`, or, of earlier versions, the files that they wrote. Nothing is looked for
below it, nor behind links and names with a dot. Torch and matplotlib are not imported: a thousand runs are listed at once.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math
import os
import pathlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lightning_adapter.errors import RunRecordError
from lightning_adapter.runs import older_run, record, table_epochs

#: Name the class of a group, in a configuration of LightningCLI's or of Hydra's.
_CLASS = ("class_path", "_target_")
#: Which groups of values a record has, and how each is named where a value is asked for.
GROUPS = {"hparams": "hyperparameters", "metrics": "metrics", "validate": "validate", "test": "test"}
#: Of a run whose record cannot be read.
DAMAGED = "damaged"
STATUSES = ("running", "finished", "interrupted", "pruned", "failed", "killed", older_run.ENDED, DAMAGED)

#: A run holds the first; of an earlier version one of the others, and a project has an experiment.yaml too.
_MARKS = ({record.RUN}, {".run.json"}, {"experiment.yaml", "metrics.csv"}, {"experiment.yaml", "checkpoints"})
_DATE_TIME = re.compile(r"(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-(\d\d)(-\d+)?")


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of a run.

    Attributes:
        path: its directory.
        label: how it is named where runs are listed: its path from there on.
        record: as `record.read` returns it; of an earlier version's run what its files tell; empty where it is damaged.
        status: as `record.shown_status` has it.
        problem: why the record cannot be read.
        has_record: whether there is one that can.
    """

    path: pathlib.Path
    label: str
    record: Mapping[str, Any]
    status: str
    problem: str | None = None
    has_record: bool = True

    @property
    def name(self) -> str:
        """Of the trial, which several runs may have in common."""
        return str(self.record.get("name") or self.path.resolve().parent.name)

    @functools.cached_property
    def start(self) -> datetime.datetime | None:
        """When it began, as far as that is written down, else as its directory's name has it."""
        return _moment(self.record.get("start")) or _moment_in(self.path.name)

    @property
    def end(self) -> datetime.datetime | None:
        """When it ended; None of one that runs, or was killed."""
        return _moment(self.record.get("end"))

    @functools.cached_property
    def epochs(self) -> float | None:
        """Complete ones; of a run that has not come to its end what its table says, which is ahead of the last checkpoint."""
        known = self.record.get("epoch")
        if self.status in ("running", "killed"):
            seen = table_epochs.complete_epochs(self.path / "metrics.csv")
            return known if seen is None else seen if known is None else max(known, seen)
        return known

    @property
    def metric(self) -> str | None:
        """What ranks its checkpoints."""
        name = (self.record.get("metric") or {}).get("name")
        return name if isinstance(name, str) else None

    @property
    def smaller_is_better(self) -> bool:
        """The direction of its metric."""
        return bool((self.record.get("metric") or {}).get("smaller_is_better", True))

    @property
    def best(self) -> float | None:
        """The best value of its metric, None where no checkpoint has a finite one."""
        value = (self.record.get("best") or {}).get("value")
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            return None
        return float(value)

    @functools.cached_property
    def hyperparameters(self) -> dict[str, Any]:
        """Flat: those in dictionaries have names with dots."""
        return dict(flat(self.record.get("hyperparameters") or {}))

    def value(self, key: str) -> Any:
        """What is known under a name, None where nothing is.

        Args:
            key: a fact (`status`, `epochs`, `best`, `age` in seconds ...), a hyperparameter, a metric, in this order, or one
                of them with its group before it: `hparams.lr`, `metrics.val_loss`, `test.test_acc`. The name of the metric
                that ranks its checkpoints means the best value. The last part of a hyperparameter's name is enough where
                that is one alone.
        """
        facts = self.facts
        if key in facts:
            return facts[key]
        for group in GROUPS:
            if group != "hparams" and key == self.metric:
                return self.best
            if f"{group}.{key}" in facts:
                return facts[f"{group}.{key}"]
        near = [name for name in self.hyperparameters if name.endswith(f".{key}")]
        return self.hyperparameters[near[0]] if len(near) == 1 else None

    @functools.cached_property
    def facts(self) -> dict[str, Any]:
        """All that can be asked for, by name."""
        simple = {
            "run": self.label,
            "name": self.name,
            "status": self.status,
            "start": None if self.start is None else self.start.isoformat(),
            "age": None if self.start is None else time.time() - self.start.timestamp(),
            "epochs": self.epochs,
            "best": self.best,
        }
        simple |= {
            key: self.record.get(key) for key in ("batches", "global_step", "seed", "host", "error", "target", "end")
        }
        groups = {
            f"{group}.{name}": value
            for group, key in GROUPS.items()
            for name, value in flat(self.record.get(key) or {})
        }
        return simple | groups

    @property
    def names(self) -> Iterator[str]:
        """What `value` answers, for a guess at a name that it does not know."""
        for name in self.facts:
            group, dot, rest = name.partition(".")
            yield rest if dot and group in GROUPS else name


def runs_below(root: pathlib.Path) -> list[Run]:
    """List the runs below a directory, or the one that it is, the newest last.

    Args:
        root: the directory.
    """
    found = [_read(path, root) for path in directories_below(root)]
    return sorted(found, key=_age_order)


def read_run(path: pathlib.Path, root: pathlib.Path) -> Run | None:
    """What is known of one run; None where the directory is none's."""
    return _read(path, root) if is_run(path) else None


def is_run(path: pathlib.Path) -> bool:
    """Whether a directory is a run's; not where it cannot be looked into."""
    return any(all(os.path.lexists(path / name) for name in marks) for marks in _MARKS)


def directories_below(root: pathlib.Path) -> Iterator[pathlib.Path]:
    """Where runs lie, in no order; what cannot be read is left out."""
    return (path for path, _, is_one in walk(root) if is_one)


def walk(root: pathlib.Path) -> Iterator[tuple[pathlib.Path, set[str], bool]]:
    """The directories in which runs are looked for: each with the names in it, and whether it is a run's itself."""
    waiting = [root]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                inside = list(entries)
        except OSError:
            continue
        names = {entry.name for entry in inside}
        is_one = any(marks <= names for marks in _MARKS)
        yield directory, names, is_one
        if not is_one:
            waiting += [
                directory / entry.name
                for entry in inside
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]


def differing(runs: Sequence[Run]) -> list[str]:
    """The hyperparameters that not all of some runs have with one value, in the order of the newest run.

    A run of which nothing is known is left aside.
    """
    known = [run.hyperparameters for run in runs if run.hyperparameters]
    names = dict.fromkeys(name for values in reversed(known) for name in values)
    return [name for name in names if len({_comparable(values.get(name, _ABSENT)) for values in known}) > 1]


def comparable(names: Sequence[str]) -> list[str]:
    """Leave out the arguments of groups whose class differs, as a configuration names it: they are of no common kind."""
    groups = {name.rpartition(".")[0] for name in names if name.rpartition(".")[2] in _CLASS}
    return [
        name
        for name in names
        if not any(
            name.startswith(f"{group}.") and name not in [f"{group}.{key}" for key in _CLASS] for group in groups
        )
    ]


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested dictionaries, under names with dots."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


_ABSENT = object()


def _comparable(value: object) -> str:
    # 1 and 1.0 are one learning rate, and True is none
    if value is _ABSENT:
        return ""
    return repr(float(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else repr(value)


def same(values: Iterable[object]) -> bool:
    """Whether values are equal as those of a hyperparameter are: 1 and 1.0 are, NaN and NaN too."""
    return len({_comparable(value) for value in values}) <= 1


def _read(path: pathlib.Path, root: pathlib.Path) -> Run:
    label = _label(path, root)
    try:
        found = record.read(path)
    except RunRecordError as error:
        return Run(path, label, {}, DAMAGED, str(error), has_record=False)
    if found is None:
        older = older_run.record_of(path)
        return Run(path, label, older, older["status"], has_record=False)
    return Run(path, label, found, record.shown_status(found, path))


def _label(path: pathlib.Path, root: pathlib.Path) -> str:
    try:
        label = path.relative_to(root).as_posix()
    except ValueError:
        return str(path)
    return path.resolve().name if label == "." else label


def _moment(text: object) -> datetime.datetime | None:
    if not isinstance(text, str):
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone() if found.tzinfo is None else found


def _moment_in(name: str) -> datetime.datetime | None:
    found = _DATE_TIME.fullmatch(name)
    return None if found is None else _moment(f"{found[1]}T{found[2]}:{found[3]}:{found[4]}")


def _age_order(run: Run) -> tuple[bool, float, str]:
    return run.start is not None, 0.0 if run.start is None else run.start.timestamp(), run.label
