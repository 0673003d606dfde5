"""Where does a configuration say an argument of the Trainer that the job cannot have?

What the job has is known when the trial is made, by whoever knows the arguments alone.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lightning_adapter.configs.hydra_compose import primary
from lightning_adapter.configs.hydra_places import Places
from lightning_adapter.configs.place import place, says
from lightning_adapter.errors import LightningAdapterError

#: How a message about an argument begins: `devices=2 is not what this job has`.
_ARGUMENT = re.compile(r"(?:LightningAdapter (?:does not take|has no use for) )?(?P<name>\w+)=")
_TRAINER = "trainer"


@contextlib.contextmanager
def places_told(where: Callable[[str], str]) -> Iterator[None]:
    """Add to what is raised within the block where it is said.

    Args:
        where: gives the place of an argument of the Trainer, nothing where nobody says it.
    """
    try:
        yield
    except LightningAdapterError as error:
        error.args = ("\n".join(_told(line, where) for line in str(error).splitlines()),)
        raise


def _told(line: str, where: Callable[[str], str]) -> str:
    found = _ARGUMENT.match(line)
    at = where(found["name"]) if found else ""
    return f"{line} ({at})" if at else line


def in_cli(files: Sequence[str], overrides: Sequence[str]) -> Callable[[str], str]:
    """Where a configuration of LightningCLI's, or what was typed after it, says an argument."""

    def where(name: str) -> str:
        typed = [word for word in overrides if word.lstrip("-").partition("=")[0] == f"{_TRAINER}.{name}"]
        having = [file for file in files if says(file, [_TRAINER, name])]
        if typed:
            return f"the override {typed[-1]}"
        return place(having[-1], [_TRAINER, name]) if having else ""

    return where


def in_hydra(source: str, overrides: Sequence[str]) -> Callable[[str], str]:
    """Where a configuration of Hydra's, or an override, says an argument."""
    return lambda name: Places(*primary(Path(source), None), overrides).of(f"{_TRAINER}.{name}")
