"""Which run does somebody mean: a path, `name/date_time`, a part of it, or `latest`?"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from lightning_adapter.errors import ConfigurationError, guess
from lightning_adapter.runs.listing import Run, directories_below, read_run, runs_below

LATEST = "latest"
#: Of runs that a name could mean, so many are listed.
_SHOWN = 8


def find(text: str, root: pathlib.Path) -> Run:
    """Return the run that is meant.

    Args:
        text: the path of a run directory, or of a link to one; else, below `root`, a run's path or its end, or what only one
            of them begins with or has in it; `latest` is the run that began last.
        root: where runs lie.

    Raises:
        ConfigurationError: there is no such run, or several are meant.
    """
    for path in (pathlib.Path(text).expanduser(), root / text):
        if path.is_dir():
            return _at(path, root, text)
    if not root.is_dir():
        raise ConfigurationError(
            f"There is no run {text!r}: no directory of this name is here, and no directory {str(root)!r} to look into. Give the "
            "run's path, or the directory that runs lie in (--root)."
        )
    if text == LATEST:
        runs = runs_below(root)
        if runs:
            return runs[-1]
    labels = {path.relative_to(root).as_posix(): path for path in directories_below(root)}
    found = _meant(text, sorted(labels))
    if len(found) == 1:
        run = read_run(labels[found[0]], root)
        if run is not None:
            return run
    if not found:
        near = guess(text, [*labels, *(path.name for path in labels.values())])
        raise ConfigurationError(
            f"There is no run {text!r} below {root}{near or '.'} lightning-adapter runs {root} lists the runs that are there."
        )
    raise ConfigurationError(_ambiguous(text, found))


def _at(path: pathlib.Path, root: pathlib.Path, text: str) -> Run:
    # a link such as `latest` stands for what it leads to, which has a name of its own
    place = path.resolve() if path.is_symlink() else path
    base = root.resolve() if place.is_relative_to(root.resolve()) else root
    run = read_run(place, base)
    if run is not None:
        return run
    below = [one.relative_to(place).as_posix() for one in directories_below(place)]
    if len(below) == 1:
        run = read_run(place / below[0], base)
        if run is not None:
            return run
    if not below:
        raise ConfigurationError(f"{path} is no run's directory, and there is none below it: it holds no run.json.")
    raise ConfigurationError(_ambiguous(text, sorted(f"{text.rstrip('/')}/{one}" for one in below)))


def _meant(text: str, labels: Sequence[str]) -> list[str]:
    """The runs that fit best: the end of their path, else its beginning or that of their own name, else any part of it."""
    wanted = text.strip("/")
    ways = (
        [label for label in labels if label == wanted or label.endswith(f"/{wanted}")],
        [label for label in labels if label.startswith(wanted) or label.rpartition("/")[2].startswith(wanted)],
        [label for label in labels if wanted in label],
    )
    return next((way for way in ways if way), []) if wanted else []


def _ambiguous(text: str, found: Sequence[str]) -> str:
    shown = [f"  {label}" for label in found[-_SHOWN:]]
    more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return "\n".join([f"{text!r} can mean {len(found)} runs. Type one of them:", *shown, *more])
