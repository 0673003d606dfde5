"""Which files go along with an experiment, how large are they, and which stay here?

The rules are Determined's: `.detignore` in the context's directory, and its own list of what is never sent.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from determined.common import constants, detignore

from lightning_adapter.errors import ConfigurationError, shown

#: The master refuses more; `determined` itself measures by the same number.
LIMIT = constants.MAX_CONTEXT_SIZE
#: From this size on it is likely that there are data among the files.
_MUCH = 20 * 1024 * 1024
_NAMED = 5
#: A file that each local run has, in the directory that runs are in.
_OF_A_RUN = re.compile(r"((?:.*/)?runs/)[^/]+/[^/]+/metrics\.csv")
#: Left out of every context; nobody misses them.
_NEVER_SENT = (".detignore", ".git", "__pycache__", ".mypy_cache", ".vscode", ".idea", ".terraform")


@dataclass(frozen=True)
class Context:
    """The files of a project, as they will lie in the container.

    Attributes:
        root: the directory that they are in.
        files: path below the root, with slashes -> bytes.
        directories: paths below the root, each before what lies in it.
        ignored: what `.detignore` leaves out, the topmost of it.
        skipped: what cannot be sent, and why.
    """

    root: pathlib.Path
    files: Mapping[str, int]
    directories: tuple[str, ...]
    ignored: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all files, as Determined counts them."""
        return counted(self.files.values())

    def notes(self) -> list[str]:
        """Say what cannot be sent, and what is sent that no trial needs."""
        runs = {found[1] for found in map(_OF_A_RUN.fullmatch, self.files) if found is not None}
        notes = [line for line in self.skipped if not any(line.startswith(folder) for folder in runs)]
        for folder in sorted(runs):
            size = sum(size for path, size in self.files.items() if path.startswith(folder))
            notes.append(
                f"{folder} holds runs of this machine, {human(size)}, which go along. To leave them here, write the line "
                f"{folder} into {self.root / '.detignore'}"
            )
        return notes

    def fault(self, more: int = 0) -> str | None:
        """Say that the master would refuse the files, and which are the largest.

        Args:
            more: bytes of what is sent beside them.
        """
        total = self.size + more
        if total <= LIMIT:
            return None
        return (
            f"the context {self.root} has {human(total)} in {len(self.files)} files, and the master takes {human(LIMIT)}. The "
            f"largest: {self._largest()}. To fix, name what the trial does not need in {self.root / '.detignore'}, and give "
            "it data through bind_mounts: or a place that all agents can read"
        )

    def advice(self) -> str | None:
        """Say what a large context costs."""
        if self.size < _MUCH:
            return None
        return (
            f"{human(self.size)} go along with every submission; the largest: {self._largest()}. Data are better named in "
            f".detignore, and read from a place that all agents have"
        )

    def _largest(self) -> str:
        files = sorted(self.files.items(), key=lambda item: item[1], reverse=True)[:_NAMED]
        named = ", ".join(f"{path} ({human(size)})" for path, size in files)
        folders: dict[str, int] = {}
        for path, size in self.files.items():
            top, slash, _ = path.partition("/")
            if slash:
                folders[top] = folders.get(top, 0) + size
        largest = max(folders.items(), key=lambda item: item[1], default=("", 0))
        # a thousand small files are seen in their folder alone
        return f"{largest[0]}/ with {human(largest[1])}; {named}" if largest[1] > self.size / 2 else named


def read_context(root: pathlib.Path) -> Context:
    """Look through a directory; nothing is read but names and sizes.

    Raises:
        ConfigurationError: it is no directory, or cannot be looked into.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise ConfigurationError(
            f"the context {shown(str(root))} {what}; give the directory that holds the trial's files, such as ."
        )
    if not os.access(root, os.R_OK | os.X_OK):
        raise ConfigurationError(f"the context {shown(str(root))} may not be looked into by you")
    root = root.resolve()
    ignore = detignore.make_shutil_ignore(root)
    files: dict[str, int] = {}
    directories: list[str] = []
    ignored: list[str] = []
    skipped: list[str] = []
    for parent, folders, names in os.walk(root):
        out = ignore(parent, [*folders, *names])
        here = pathlib.Path(parent).relative_to(root)
        ignored += [(here / name).as_posix() for name in sorted(out) if _is_missed(name)]
        folders[:] = sorted(name for name in folders if name not in out)
        for name in folders:
            directories.append((here / name).as_posix())
            if os.path.islink(os.path.join(parent, name)):
                skipped.append(f"{(here / name).as_posix()}/ is a link to a directory, which arrives empty")
        for name in sorted(set(names) - set(out)):
            path, place = (here / name).as_posix(), os.path.join(parent, name)
            if os.path.isfile(place) and os.access(place, os.R_OK):
                files[path] = os.stat(place).st_size
            else:
                skipped.append(f"{path} cannot be read")
    return Context(root, files, tuple(directories), tuple(ignored), tuple(skipped))


def counted(sizes: Iterable[int]) -> int:
    """Return the bytes of files as `v1File_size` of Determined's counts them: each in whole groups of three."""
    return sum(-(-size // 3) * 3 for size in sizes)


def human(size: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "kB", "MB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"


def _is_missed(name: str) -> bool:
    return name not in _NEVER_SENT and not name.endswith((".pyc", ".pyo"))
