"""A kernel for notebooks that tests run."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import nbclient
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parent.parent


class ThisPython(KernelManager):
    """A kernel of the interpreter that runs the tests, which nobody has to register."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="this Python", language="python")


def execute(notebook: Any, directory: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    """Run the cells of a notebook, with this project and no settings of the user's.

    Args:
        notebook: its content.
        directory: that it runs in.
        monkeypatch: of the test.
        **options: of `nbclient.NotebookClient`.
    """
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(directory / "ipython"))
    resources = {"metadata": {"path": str(directory)}}
    client = nbclient.NotebookClient(
        notebook, kernel_manager_class=ThisPython, timeout=120, resources=resources, **options
    )
    return client.execute()
