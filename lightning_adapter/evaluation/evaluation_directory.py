"""Where do the values and the pictures of an evaluation lie, and may they be put there?

A directory of an evaluation holds `evaluation.json`, which says what was evaluated and which files belong to it. These files
may be replaced by a later evaluation; anything else stays as it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import json_file
from lightning_adapter.runs.atomic import make_unique
from lightning_adapter.runs.summary import shown

logger = logging.getLogger("lightning_adapter")

METRICS = "metrics.json"
RECORD = "evaluation.json"
#: In a directory of predictions: evaluations of those that lay there before.
SUPERSEDED = "superseded"


@dataclass(frozen=True)
class EvaluationDirectory:
    """The directory of one evaluation.

    Attributes:
        path: it is made when something is written.
        earlier: names of the files of an earlier evaluation in it.
    """

    path: pathlib.Path
    earlier: frozenset[str] = frozenset()

    @classmethod
    def at(cls, path: pathlib.Path) -> EvaluationDirectory:
        """Take the directory that somebody has named.

        Raises:
            ConfigurationError: there is something else than an evaluation.
        """
        found = _earlier(path)
        if found is None:
            raise ConfigurationError(
                f"--out {path} is {'a directory with other files in it' if path.is_dir() else 'a file'}, which is left as it is. "
                "To fix, name a directory that is not there yet, an empty one, or one of an earlier evaluation"
            )
        return cls(path, frozenset(map(str, found.get("files", ()))))

    @classmethod
    def of(cls, predictions: pathlib.Path, question: Mapping[str, object]) -> EvaluationDirectory:
        """Take the directory `evaluation` of some predictions.

        An earlier evaluation of other metrics stays as it is: then it is `evaluation-2`, and so on.

        Args:
            predictions: their directory.
            question: what is evaluated, as `write` gets it.
        """
        number = 1
        while True:
            path = predictions / ("evaluation" if number == 1 else f"evaluation-{number}")
            found = _earlier(path)
            if found is not None and (not found or all(found.get(key) == one for key, one in question.items())):
                return cls(path, frozenset(map(str, found.get("files", ()))))
            number += 1

    @contextlib.contextmanager
    def writing(self, values: Mapping[str, Any], question: Mapping[str, object]) -> Iterator[pathlib.Path]:
        """Give a directory for pictures; when the block ends well they are moved to their place, with the values.

        Args:
            values: for metrics.json.
            question: what was evaluated, for evaluation.json.

        Raises:
            ConfigurationError: a file that no evaluation has made has the name of one, or the directory cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            aside = make_unique(self.path, ".new")
            try:
                yield aside
                json_file.write(aside / METRICS, dict(values))
                self._move(aside, question)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise ConfigurationError(
                f"{self.path} cannot be written: {error}. To fix, name another one: --out DIR"
            ) from error

    def _move(self, aside: pathlib.Path, question: Mapping[str, object]) -> None:
        files = sorted(one.name for one in aside.iterdir())
        foreign = [name for name in files if name not in self.earlier and os.path.lexists(self.path / name)]
        if foreign:
            raise ConfigurationError(
                f"{self.path} has files of these names that no evaluation has made: {', '.join(foreign)}. To fix, name another "
                "directory: --out DIR"
            )
        record = {"format": 1, **question}
        # both while files are on their way, so that none of them is a stranger after a kill
        json_file.write(self.path / RECORD, {**record, "files": sorted({*files, *self.earlier})})
        for name in files:
            os.replace(aside / name, self.path / name)
        for name in self.earlier - set(files):
            (self.path / name).unlink(missing_ok=True)
        json_file.write(self.path / RECORD, {**record, "files": files})


def set_aside(predictions: pathlib.Path) -> None:
    """Move the evaluations of predictions that are to be overwritten out of the way: they are not of those that come.

    Args:
        predictions: their directory.
    """
    for path in sorted(predictions.iterdir()):
        if _is_evaluation(path):
            (predictions / SUPERSEDED).mkdir(exist_ok=True)
            place = make_unique(predictions / SUPERSEDED, path.name)
            path.rename(place)
            logger.warning("%s is of predictions that are overwritten: it is moved to %s", shown(path), shown(place))


def is_of_evaluations(path: pathlib.Path) -> bool:
    """Whether a directory among predictions is an evaluation, or holds those that `set_aside` has moved."""
    if path.name == SUPERSEDED and path.is_dir():
        return all(map(_is_evaluation, path.iterdir()))
    return _is_evaluation(path)


def _is_evaluation(path: pathlib.Path) -> bool:
    return path.is_dir() and not path.is_symlink() and bool(_earlier(path))


def _earlier(path: pathlib.Path) -> Mapping[str, Any] | None:
    """What an earlier evaluation noted; nothing where there is none yet, None where something else is there."""
    if not os.path.lexists(path):
        return {}
    if not path.is_dir():
        return None
    if not any(one for one in path.iterdir() if not one.name.startswith(".new")):
        return {}
    try:
        found = json_file.read(path / RECORD)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("format") == 1 else None
