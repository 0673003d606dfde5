"""Which measurements are there, and what is found by those that are asked for?

Each is made in a process of its own (`benchmarks.worker`), one after the other, but for those that measure memory alone. One
that fails takes none of the others with it.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.length import LONG
from benchmarks.names import COMPARED, LIGHTNING, LOGGING
from benchmarks.promises import Results
from benchmarks.tasks import MODELS
from benchmarks.turns import in_turns

ROOT = pathlib.Path(__file__).resolve().parent.parent
#: Where one measurement has no number of its own.
REPETITIONS = 7
# Freed memory stays with the process. Otherwise the top of the heap is given back and taken again in each step or not,
# as chance has laid it out, which is a quarter of the perceptron's step.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_MMAP_THRESHOLD_": "1073741824"}


class MeasurementError(Exception):
    """A measurement failed; the message holds the end of what it wrote."""

    def reason(self) -> str:
        """The line that names the error."""
        lines = str(self).splitlines() or ["no output"]
        return next((line for line in lines if "Error" in line), lines[-1]).strip()


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        repetitions: None for the number that each measurement has of its own.
        clock: "wall" or "cpu".
    """

    repetitions: int | None = None
    memory_steps: int = 20_000
    models: Sequence[str] = tuple(MODELS)
    clock: str = "wall"

    def times(self, usual: int = REPETITIONS) -> int:
        """How often something is measured."""
        return self.repetitions or usual


@dataclass
class Findings:
    """What was measured, what failed, and what cannot be measured here.

    Attributes:
        parts: that were asked for.
        results: by part; see `benchmarks.promises`.
        failed: what -> reason.
        left_out: what -> reason.
    """

    parts: Sequence[str]
    results: Results = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def measure(self, what: str, path: Sequence[str], function: Callable[..., Any], *arguments: Any) -> None:
        """Say what is measured, measure it, and put what was found at its place in the results."""
        say(what)
        try:
            found = function(*arguments)
        except MeasurementError as error:
            self.failed[what] = error.reason()
            print(f"{error}\n  failed: {error.reason()}", flush=True)
            return
        into = self.results
        for key in path[:-1]:
            into = into.setdefault(key, {})
        into[path[-1]] = found

    def leave_out(self, what: str, reason: str) -> None:
        """Note what this machine does not have."""
        self.left_out[what] = reason
        print(f"  {what}: left out, {reason}", flush=True)


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
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "XDG_DATA_HOME": directory}
        if function not in ("memory", "length", "start"):
            environment |= ALLOCATOR
        if function != "gpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""  # two of the systems would take a GPU unasked
        # what waits for others, or for files, is not all on the processor
        environment["BENCHMARK_CLOCK"] = clock if function in ("steps", "evaluation", "length") else "wall"
        environment["BENCHMARK_LAUNCHED"] = repr(time.time())
        empty = pathlib.Path(directory, "code")  # Determined's checkpoints hold a copy of the working directory
        empty.mkdir()
        done = subprocess.run([*command, os.fspath(output)], cwd=empty, env=environment, capture_output=True, text=True)
        if done.returncode or not output.exists():
            raise MeasurementError((done.stdout + done.stderr).strip()[-3000:])
        return json.loads(output.read_text(encoding="utf-8"))


def steps(findings: Findings, options: Options) -> None:
    """Training and validation, microseconds per step."""
    for model in options.models:
        repetitions = options.times(MODELS[model].repetitions)
        for logging in LOGGING:
            arguments = {"model": model, "logging": logging, "repetitions": repetitions}
            path = ("steps", model, logging)
            findings.measure(f"{model}, {logging}", path, run_worker, "steps", arguments, options.clock)


def calls(findings: Findings, options: Options) -> None:
    """Function calls per step, which do not depend on the machine."""
    for logging in LOGGING:
        path = ("calls", logging)
        findings.measure(f"calls, {logging}", path, run_worker, "calls", {"logging": logging}, options.clock)


def evaluation(findings: Findings, options: Options) -> None:
    """What the adapter offers for a model that is trained."""
    arguments = {"repetitions": options.times(6)}
    findings.measure("evaluation", ("evaluation",), run_worker, "evaluation", arguments, options.clock)


def parallel(findings: Findings, options: Options) -> None:
    """Two processes that exchange gradients, microseconds per step."""
    for exchange, launcher in _launchers():
        if launcher is None:
            findings.leave_out(f"two processes, {exchange}", "horovodrun is not installed (`make horovod`)")
            continue
        # Lightning 2 has no such strategy as Horovod
        systems = [system for system in COMPARED if (exchange, system) != ("horovod", LIGHTNING)]
        arguments = {"exchange": exchange, "systems": systems, "repetitions": options.times()}
        path = ("parallel", exchange)
        findings.measure(f"two processes, {exchange}", path, run_worker, "parallel", arguments, options.clock, launcher)


def checkpoints(findings: Findings, options: Options) -> None:
    """What a checkpoint takes from training, milliseconds."""
    arguments = {"repetitions": options.times(9)}
    findings.measure("checkpoints", ("checkpoints",), run_worker, "checkpoints", arguments, options.clock)


def start(findings: Findings, options: Options) -> None:
    """Seconds from the start of the interpreter to the first batch, and of `--help`."""

    def first_batches() -> dict[str, list[float]]:
        found: dict[str, list[float]] = {system: [] for system in COMPARED}
        for system in in_turns(COMPARED, options.times(5)):
            found[system].append(run_worker("start", {"system": system}, options.clock))
        return found

    def helps() -> list[float]:
        return [_seconds_of("--help") for _ in range(options.times(5))]

    findings.measure("start", ("start",), first_batches)
    findings.measure("lightning-adapter --help", ("help",), helps)


def memory(findings: Findings, options: Options) -> None:
    """Peak memory, MiB."""

    def of_system(system: str) -> Any:
        return run_worker("memory", {"system": system, "count": options.memory_steps}, options.clock)

    def of_all() -> dict[str, Any]:
        with ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1))) as pool:
            return dict(zip(COMPARED, pool.map(of_system, COMPARED), strict=True))

    findings.measure(f"memory, {options.memory_steps:,} steps", ("memory",), of_all)


def length(findings: Findings, options: Options) -> None:
    """Steps and memory up to a million batches."""
    for system, (_, count) in LONG.items():
        what, path = f"length, {system}, {count:,} steps", ("length", system)
        findings.measure(what, path, run_worker, "length", {"system": system}, options.clock)


def gpu(findings: Findings, options: Options) -> None:
    """Steps on a GPU."""
    if not torch.cuda.is_available():
        findings.leave_out("steps on a GPU", "this machine has none")
        return
    for model in options.models:
        arguments = {"model": model, "repetitions": options.times(5)}
        findings.measure(f"{model}, on the GPU", ("gpu", model), run_worker, "gpu", arguments, options.clock)


#: By name, in the order in which they are made.
PARTS: dict[str, Callable[[Findings, Options], None]] = {
    part.__name__: part for part in (steps, evaluation, calls, parallel, checkpoints, start, memory, length, gpu)
}


def _launchers() -> Iterator[tuple[str, list[str] | None]]:
    """How two processes are started, by the way they exchange gradients; None where that is not installed."""
    yield "ddp", [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    beside = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.defpath])
    horovodrun = shutil.which("horovodrun", path=beside)
    yield "horovod", None if horovodrun is None else [horovodrun, "-np", "2", "--gloo", sys.executable]


def _seconds_of(argument: str) -> float:
    """What one call of the installed command takes."""
    command = pathlib.Path(sys.executable).parent / "lightning-adapter"
    started = time.perf_counter()
    try:
        subprocess.run([command, argument], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MeasurementError(f"{type(error).__name__}: {error}\n{getattr(error, 'stderr', None) or ''}") from error
    return time.perf_counter() - started


_STARTED = time.monotonic()


def say(what: str) -> None:
    """Tell how far it is."""
    print(f"{time.monotonic() - _STARTED:5.0f} s  {what}", flush=True)
