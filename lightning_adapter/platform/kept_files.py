"""Which files of the user's code and callbacks on a cluster are put into its checkpoints, and how do they come back?

A container's working directory is lost with it, and that is where callbacks write what they are given no other place for:
`trainer.default_root_dir`. So each checkpoint holds, below `files/`, what has appeared there since the data was prepared:
pictures, exported models, the files of a ModelCheckpoint. Each holds all of it, since Determined deletes checkpoints one by
one, and a trial that goes on in another container finds the files of its checkpoint where they were. What lies beside the
event files of TensorBoard is uploaded with these.
"""

from __future__ import annotations

import logging
import os
import pathlib
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from determined import pytorch

from lightning_adapter.platform.size_limit import MB, largest, limit_mb
from lightning_adapter.runs.atomic import replacing

logger = logging.getLogger("lightning_adapter")

#: Below a checkpoint's directory.
FOLDER = "files"
#: Set it under `environment.environment_variables` of the experiment.
LIMIT = "LIGHTNING_ADAPTER_FILES_LIMIT_MB"
_DEFAULT_MB = 500.0
_DATA_MB = 10.0  # what appears of one folder before the first batch, and is more, is data
_DATA_FILES = (
    10_000  # a folder that has more of them before the first batch is data, and each look at it would take seconds
)


class _State(NamedTuple):
    """By which a file is known to be another one than before."""

    size: int
    changed: int


class KeptFiles:
    """The files that checkpoints of a trial get from its working directory.

    Args:
        directory: the working directory.
        limit_mb: of all files together; the largest are left out.
    """

    def __init__(self, directory: pathlib.Path, limit_mb: float = _DEFAULT_MB) -> None:
        self._directory = directory
        self._limit_mb = limit_mb
        self._before: Mapping[str, _State] = _listed(directory)
        self._brought: frozenset[str] = frozenset()
        self._told: frozenset[str] = frozenset()
        self._stored: Mapping[str, _State] | None = None
        self._data: frozenset[str] = frozenset()

    @classmethod
    def of_experiment(cls) -> KeptFiles:
        """Those of the trial that this process is of, with the limit that its environment sets.

        Raises:
            ConfigurationError: the limit is no number of megabytes.
        """
        return cls(pathlib.Path.cwd(), limit_mb(os.environ, LIMIT, _DEFAULT_MB))

    def data_prepared(self) -> None:
        """What lies there by now is code and data; what comes is the run's."""
        self._before = {name: state for name, state in _listed(self._directory).items() if name not in self._brought}

    def training_starts(self) -> None:
        """Loaders are made, and some download what they load: so much at once, before a batch is trained, is data too."""
        listed = _listed(self._directory)
        files = Counter(name.partition("/")[0] for name in listed.keys() - self._brought)
        self._data = frozenset(folder for folder, count in files.items() if count > _DATA_FILES)
        folders: dict[str, dict[str, _State]] = {}
        for name, state in self._newer(listed).items():
            folders.setdefault(name.partition("/")[0], {})[name] = state
        for new in folders.values():
            if sum(state.size for state in new.values()) > _DATA_MB * MB:
                self._before = {**self._before, **{name: new[name] for name in new.keys() - self._brought}}

    def bring_back(self, checkpoint: pathlib.Path) -> None:
        """Put the files of the checkpoint that the trial goes on from where they were; files that are there stay."""
        kept = checkpoint / FOLDER
        self._brought = frozenset(_listed(kept)) if kept.is_dir() else frozenset()
        self._before = {name: state for name, state in self._before.items() if name not in self._brought}
        for name in sorted(self._brought):
            place = self._directory / name
            if not os.path.lexists(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                with replacing(place) as aside:  # else half of a file would be taken for the whole after a kill
                    shutil.copy2(kept / name, aside)

    def write(self, checkpoint: pathlib.Path) -> None:
        """Put the files below `files/` of a checkpoint's directory; what is left out is named once."""
        new = self._new()
        taken, left_out = _within(new, self._limit_mb * MB)
        for name in taken:
            place = checkpoint / FOLDER / name
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copy2(self._directory / name, place)
            except (FileNotFoundError, PermissionError):
                continue  # deleted meanwhile, by a thread of a logger for one, or not ours to read
        self._stored = taken
        self._tell(left_out)

    @property
    def wrote(self) -> bool:
        """Whether a checkpoint was written by this process."""
        return self._stored is not None

    def tell_unstored(self) -> None:
        """Name what has appeared since the last checkpoint: it ends with the container."""
        new = _within(self._new(), self._limit_mb * MB)[0]
        stored = self._stored or {}
        lost = {name: state for name, state in new.items() if stored.get(name) != state}
        if lost:
            logger.warning(
                "written after the last checkpoint, and so kept in none: %s. To keep such files, write them in "
                "on_train_end or before, or to a place that outlives the container",
                _named(lost),
            )

    def _new(self) -> dict[str, _State]:
        return self._newer(_listed(self._directory, self._data))

    def _newer(self, files: Mapping[str, _State]) -> dict[str, _State]:
        return {name: state for name, state in files.items() if self._before.get(name) != state}

    def _tell(self, left_out: Mapping[str, _State]) -> None:
        if left_out.keys() <= self._told:
            return
        self._told |= left_out.keys()
        logger.warning(
            "checkpoints hold the files that the run writes to %s, up to %g MB of them, without the largest: %s. To keep "
            "more, set %s under environment.environment_variables",
            self._directory,
            self._limit_mb,
            _named(left_out),
            LIMIT,
        )


class FilesBeside(pytorch.PyTorchCallback):
    """Puts files of the run into the checkpoints of Determined's own Trainer.

    Args:
        kept: of the trial.
    """

    def __init__(self, kept: KeptFiles) -> None:
        self._kept = kept

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        """The chief has written a checkpoint, which is not reported yet."""
        self._kept.write(pathlib.Path(checkpoint_dir))

    def on_trial_shutdown(self) -> None:
        """The last hooks are called."""
        if self._kept.wrote:  # this is the chief
            self._kept.tell_unstored()


def _listed(directory: pathlib.Path, without: Collection[str] = ()) -> dict[str, _State]:
    """The files below a directory, by their paths from there; none that is hidden or compiled, and no links."""
    return dict(_walk(str(directory), "", without))


def _walk(directory: str, prefix: str, without: Collection[str] = ()) -> Iterator[tuple[str, _State]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__pycache__" or entry.name in without:
                continue
            try:
                # no link is followed: it may lead to data, or around in a circle
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(entry.path, f"{prefix}{entry.name}/")
                elif entry.is_file(follow_symlinks=False):
                    found = entry.stat(follow_symlinks=False)
                    yield f"{prefix}{entry.name}", _State(found.st_size, found.st_mtime_ns)
            except (FileNotFoundError, PermissionError):  # gone meanwhile, or not ours to read
                continue


def _within(files: Mapping[str, _State], limit: float) -> tuple[dict[str, _State], dict[str, _State]]:
    """As many files as there is room for, from the smallest on, and those that are left out."""
    taken: dict[str, _State] = {}
    total = 0
    for name, state in sorted(files.items(), key=lambda item: (item[1].size, item[0])):
        total += state.size
        if total > limit:
            break
        taken[name] = state
    return taken, {name: state for name, state in files.items() if name not in taken}


def _named(files: Mapping[str, _State]) -> str:
    return largest({name: (state.size, 1) for name, state in files.items()})
