"""What does a search leave on the disk?

    runs/<name>/search-<date>_<time>/
        search.json          what was asked for, how far it is
        experiment.yaml      the searched experiment, as it was given
        study.db             Optuna's study, in SQLite
        trial-000/ ...       a run directory for each trial
        worker-0.log ...     what a process that trains trials has printed
        best.yaml            the experiment of the best trial
        search.png           Optuna's pictures of the study

A search holds a lock, so that no second process goes on with it at the same time.
"""

from __future__ import annotations

import datetime
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import filelock
import sqlalchemy

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import json_file
from lightning_adapter.runs.atomic import make_unique, replacing
from lightning_adapter.runs.searches import SEARCH

EXPERIMENT = "experiment.yaml"
FORMAT = 1
_TRIAL = "trial-"
_NOTHING = type(None)
#: What somebody may count on who goes on with a search.
_TYPES: dict[str, tuple[type, ...]] = {
    "seed": (int,),
    "trials": (int, _NOTHING),
    "target": (str, _NOTHING),
    "hparams": (dict,),
    "hyperparameters": (dict, _NOTHING),
    "options": (dict,),
    "suggests": (bool,),
}
#: Seconds for which the lock of a process that was killed may outlive it.
_GRACE_S = 10.0


class SearchDirectory:
    """The files of a search; nobody else writes to them until `close`.

    Args:
        path: it is there.

    Raises:
        ConfigurationError: another process goes on with the search, or it cannot be written to.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path.absolute()
        self.record = self.path / SEARCH
        self.study = self.path / "study.db"
        self.picture = self.path / "search.png"
        self.best = self.path / "best.yaml"
        self._lock = filelock.FileLock(self.path / ".lock")
        try:
            self._lock.acquire(timeout=_GRACE_S)
        except filelock.Timeout:
            raise ConfigurationError(
                f"{self.path} is a search that another process goes on with. Wait for its end, or stop it."
            ) from None
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written to: {error}.") from error

    @classmethod
    def create(
        cls, name: str, path: str | os.PathLike[str] | None, record: Mapping[str, Any], text: str
    ) -> SearchDirectory:
        """Make the directory of a new search.

        Args:
            name: of the folder below `runs/`.
            path: used as it is, where it is empty or not there.
            record: what was asked for.
            text: of the experiment's YAML.

        Raises:
            ConfigurationError: it cannot be made, or holds something.
        """
        try:
            if path is None:
                family = pathlib.Path("runs") / name
                family.mkdir(parents=True, exist_ok=True)
                place = make_unique(family, f"search-{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}")
            else:
                place = pathlib.Path(path).expanduser()
                place.mkdir(parents=True, exist_ok=True)
                if any(place.iterdir()):
                    hint = f" To go on with the search there, give --resume-from {place}." if is_search(place) else ""
                    raise ConfigurationError(
                        f"{place} is not empty, and a new search needs a directory of its own.{hint}"
                    )
            made = cls(place)
            with replacing(made.path / EXPERIMENT) as aside:
                aside.write_text(text, encoding="utf-8")
            made.write(record)
        except OSError as error:
            raise ConfigurationError(
                f"The directory of the search cannot be made: {error}. Give search_dir= (--search-dir) one that you may write to."
            ) from error
        return made

    @property
    def url(self) -> str:
        """Of the study, as Optuna takes it."""
        return url_of(self.study)

    @property
    def text(self) -> str:
        """Of the searched experiment."""
        return (self.path / EXPERIMENT).read_text(encoding="utf-8")

    def trial(self, number: int) -> pathlib.Path:
        """Where a trial writes."""
        return self.path / f"{_TRIAL}{number:03d}"

    def trials_from(self, number: int) -> list[pathlib.Path]:
        """Return the run directories of trials with this number and higher ones."""
        found = {int(each.name[len(_TRIAL) :]): each for each in self.path.glob(f"{_TRIAL}*") if _is_trial(each)}
        return [found[each] for each in sorted(found) if each >= number]

    def write(self, record: Mapping[str, Any]) -> None:
        """Write what was asked for, and how far it is."""
        json_file.write(self.record, {"format": FORMAT, **record})

    def write_best(self, text: str) -> None:
        """Write best.yaml, whole."""
        with replacing(self.best) as aside:
            aside.write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Let others go on with the search."""
        self._lock.release()


def _is_trial(path: pathlib.Path) -> bool:
    return path.name[len(_TRIAL) :].isdecimal() and path.is_dir()


def url_of(study: pathlib.Path) -> str:
    """Return how Optuna takes a file of SQLite."""
    return sqlalchemy.URL.create("sqlite", database=str(study)).render_as_string()


def is_search(path: pathlib.Path) -> bool:
    """Return whether a directory is that of a search."""
    return (path / SEARCH).is_file()


def record_of(path: pathlib.Path) -> dict[str, Any]:
    """Return what was asked of a search.

    Raises:
        ConfigurationError: there is none, or it cannot be read.
    """
    try:
        found = json_file.read(path / SEARCH)
    except FileNotFoundError:
        near = sorted(each.parent for each in path.glob(f"*/{SEARCH}")) if path.is_dir() else []
        hint = f" Searches below it: {', '.join(map(str, near))}." if near else ""
        if is_search(path.parent):
            hint = f" It belongs to the search {path.parent}: name that one."
        raise ConfigurationError(f"{path} is no directory of a search: it has no {SEARCH}.{hint}") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path / SEARCH} cannot be read: {error}.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ConfigurationError(
            f"{path / SEARCH} is not of format {FORMAT}: another version of lightning_adapter wrote it."
        )
    wrong = [name for name, types in _TYPES.items() if not isinstance(found.get(name, ...), types)]
    if wrong:
        raise ConfigurationError(
            f"{path / SEARCH} cannot be read: absent, or of another type than it is written with: {', '.join(wrong)}. Somebody has "
            "changed it; put a copy of it back, or begin a new search."
        )
    return found
