"""What does the project ask for beside this package, and where is that written?"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from lightning_adapter.errors import shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "requirements.txt"
_PROJECT = "pyproject.toml"


@dataclass(frozen=True)
class Requirements:
    """Where a project names what it needs.

    Attributes:
        source: the file, for messages; None where no file names any.
        lines: those that are written down anew for pip, out of a `pyproject.toml`; pip reads a `requirements.txt` itself.
        faults: what keeps them from being used.
        notes: what somebody should know of them.
    """

    source: str | None = None
    lines: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_requirements(root: pathlib.Path) -> Requirements:
    """Look for `requirements.txt`, else for the dependencies in `pyproject.toml`, in the directory of a project."""
    if (root / FILE).is_file():
        return Requirements(source=FILE)
    path = root / _PROJECT
    if not path.is_file():
        return Requirements()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return Requirements(faults=(f"{path} cannot be read: {' '.join(str(error).split())}",))
    return _of_project(content)


def _of_project(content: Mapping[str, Any]) -> Requirements:
    project = content.get("project") or {}
    lines = project.get("dependencies")
    if lines is None:
        tool = content.get("tool") or {}
        written_elsewhere = "dependencies" in (project.get("dynamic") or []) or "dependencies" in (
            tool.get("poetry") or {}
        )
        note = f"{_PROJECT} leaves its dependencies to a build tool, and pip alone cannot read them: nothing of them is installed"
        return Requirements(notes=(f"{note}. Write a {FILE} beside it",) if written_elsewhere else ())
    faults = []
    for line in lines:
        try:
            url = Requirement(line).url
        except (InvalidRequirement, TypeError):
            faults.append(f"{_PROJECT}: project.dependencies has {shown(line)}, which is no requirement")
            continue
        if url and "@" in urlsplit(url).netloc and not urlsplit(url).netloc.startswith("git@"):
            # the line would be written into a second file, and be kept with the experiment
            faults.append(
                f"{_PROJECT}: the dependency {Requirement(line).name} has a password in its address, which the experiment would "
                "keep. To fix, install it in the image, or name an address without one"
            )
    return Requirements(source=_PROJECT, lines=() if faults else tuple(lines), faults=tuple(faults))
