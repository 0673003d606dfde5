"""A run that is trained once, for tests that change nothing in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from .trained import trained


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run with two checkpoints, the first of which is the best."""
    directory = tmp_path_factory.mktemp("runs") / "Trial" / "one"
    trained(directory)
    return directory
