"""Where does the file of an entrypoint's target lie, if not where it is looked for?"""

from __future__ import annotations

import pathlib


def elsewhere(target: str, directory: pathlib.Path, folder: pathlib.Path) -> pathlib.Path | None:
    """Return the file of a target that is not in a directory and lies in another one; None where there is none.

    Args:
        target: `FILE_OR_MODULE:TrialClass`.
        directory: where it is looked for.
        folder: where else it may lie: that of the experiment YAML.
    """
    place = target.rpartition(":")[0]
    module = place.removesuffix(".py") if place.endswith(".py") else place.replace(".", "/")
    files = [f"{top}{module}{end}" for top in ("", "src/") for end in (".py", "/__init__.py")]
    if any((directory / file).exists() for file in files):
        return None
    return next((folder / file for file in files if (folder / file).is_file()), None)
