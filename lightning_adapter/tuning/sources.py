"""Do all trials of a search train with the same code, though each of them imports it anew?"""

from __future__ import annotations

import hashlib
import os
import pathlib
import sys
import sysconfig
from collections.abc import Collection, Mapping


def fingerprints(names: Collection[str]) -> dict[str, str]:
    """Return file -> digest of those imported modules that are neither Python's nor installed, nor of this package.

    Args:
        names: of the modules.
    """
    others = [sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    foreign = tuple(path + os.sep for path in (*others, str(pathlib.Path(__file__).parents[1])))
    found = {}
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and file.endswith(".py") and not file.startswith(foreign) and os.path.isfile(file):
            found[file] = hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest()
    return found


class Sources:
    """The files of the project, as the first trial that imported each of them found it."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def note_of(self, number: int, files: Mapping[str, str]) -> str | None:
        """Return what to say of the files that a trial has imported; None where nothing has changed.

        Args:
            number: of the trial.
            files: its fingerprints.
        """
        changed = [file for file, digest in files.items() if self._known.get(file, digest) != digest]
        self._known.update(files)
        if not changed:
            return None
        return (
            f"{', '.join(map(os.path.relpath, sorted(changed)))} changed since the trials before: trial {number} and those that "
            "follow are trained with the code as it is now, and their values do not compare with earlier ones. Begin a new "
            "search, unless the change is of no effect."
        )
