"""Which measurements are there, and what is found by those that are asked for?

Each is made in processes of its own (`benchmarks.processes`), one after the other. One that fails takes none of the others with
it.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.names import ADAPTER, COMPARED, HELP, LIGHTNING, LOGGING
from benchmarks.processes import MeasurementError, run_worker
from benchmarks.promises import Results
from benchmarks.start import first_batches, helps
from benchmarks.tasks import MODELS

#: Where one measurement has no number of its own.
REPETITIONS = 7


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        repetitions: None for the number that each measurement has of its own.
        clock: "wall" or "cpu".
    """

    repetitions: int | None = None
    length_steps: int = 1_000_000
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
    arguments = {"repetitions": options.times(5)}
    findings.measure("evaluation", ("evaluation",), run_worker, "evaluation", arguments, options.clock)


def parallel(findings: Findings, options: Options) -> None:
    """Two processes that exchange gradients, microseconds per step."""
    for exchange, launcher in _launchers():
        if launcher is None:
            findings.leave_out(f"two processes, {exchange}", "horovodrun is not installed (`make horovod`)")
            continue
        # Lightning 2 has no such strategy as Horovod
        systems = [system for system in COMPARED if (exchange, system) != ("horovod", LIGHTNING)]
        arguments = {"exchange": exchange, "systems": systems, "repetitions": options.times(5)}
        path = ("parallel", exchange)
        findings.measure(f"two processes, {exchange}", path, run_worker, "parallel", arguments, options.clock, launcher)


def checkpoints(findings: Findings, options: Options) -> None:
    """What a checkpoint takes from training, milliseconds."""
    arguments = {"repetitions": options.times()}
    findings.measure("checkpoints", ("checkpoints",), run_worker, "checkpoints", arguments, options.clock)


def start(findings: Findings, options: Options) -> None:
    """Seconds to the first batch, and of `--help`."""
    findings.measure("start", ("start",), first_batches, options.times(5))
    findings.measure(HELP, ("help",), helps, options.times(5))


def length(findings: Findings, options: Options) -> None:
    """What a step costs and what memory is taken as a run grows long."""
    for system in (ADAPTER, LIGHTNING):
        arguments = {"system": system, "count": options.length_steps}
        findings.measure(f"a long run, {system}", ("length", system), run_worker, "length", arguments, options.clock)


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
    part.__name__: part for part in (steps, evaluation, calls, parallel, checkpoints, start, length, gpu)
}


def _launchers() -> Iterator[tuple[str, list[str] | None]]:
    """How two processes are started, by the way they exchange gradients; None where that is not installed."""
    yield "ddp", [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    beside = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.defpath])
    horovodrun = shutil.which("horovodrun", path=beside)
    yield "horovod", None if horovodrun is None else [horovodrun, "-np", "2", "--gloo", sys.executable]


_STARTED = time.monotonic()


def say(what: str) -> None:
    """Tell how far it is."""
    print(f"{time.monotonic() - _STARTED:5.0f} s  {what}", flush=True)
