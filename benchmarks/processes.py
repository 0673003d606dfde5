"""How is a measurement made in a process of its own?"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Freed memory stays with the process. Otherwise the top of the heap is given back and taken again in each step or not,
# as chance has laid it out, which is a quarter of the perceptron's step.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_MMAP_THRESHOLD_": "1073741824"}


class MeasurementError(Exception):
    """A measurement failed; the message holds the end of what it wrote."""

    def reason(self) -> str:
        """The line that names the error."""
        lines = str(self).splitlines() or ["no output"]
        return next((line for line in lines if "Error" in line), lines[-1]).strip()


def run(
    command: Sequence[str], directory: str | os.PathLike[str], environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with this environment besides the own one.

    Raises:
        MeasurementError: there is no such command.
    """
    path = os.pathsep.join([os.fspath(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # the compiled files of a package that is installed are there; without this the adapter's were made at each start
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    common = {**own, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    try:
        return subprocess.run(command, cwd=directory, env=common | environment, capture_output=True, text=True)
    except OSError as error:
        raise MeasurementError(f"{type(error).__name__}: {error}") from error


def failed(done: subprocess.CompletedProcess[str]) -> MeasurementError:
    """What a command that failed has to say."""
    return MeasurementError((done.stdout + done.stderr).strip()[-3000:])


def run_worker(function: str, arguments: dict[str, Any], clock: str, launcher: Sequence[str] = ()) -> Any:
    """Measure in a process, or in those that a launcher starts.

    Returns:
        What it measured.

    Raises:
        MeasurementError: it failed.
    """
    command = [*(launcher or [sys.executable]), "-m", "benchmarks.worker", function, json.dumps(arguments)]
    with tempfile.TemporaryDirectory() as directory:
        output = pathlib.Path(directory, "found.json")
        environment = {"XDG_DATA_HOME": directory}
        if function != "length":
            environment |= ALLOCATOR
        if function != "gpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""  # two of the systems would take a GPU unasked
        # what waits for others, or for files, is not all on the processor
        environment["BENCHMARK_CLOCK"] = clock if function in ("steps", "evaluation", "length") else "wall"
        empty = pathlib.Path(directory, "code")  # Determined's checkpoints hold a copy of the working directory
        empty.mkdir()
        done = run([*command, os.fspath(output)], empty, environment)
        if done.returncode or not output.exists():
            raise failed(done)
        return json.loads(output.read_text(encoding="utf-8"))
