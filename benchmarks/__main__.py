"""Which measurements make a benchmark run, in which order, and where do the results go?

Each is a process of its own (`benchmarks.worker`), one after the other, except for those that measure memory alone.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from benchmarks import report
from benchmarks.systems import SYSTEMS
from benchmarks.tasks import CLOCKS, LOGGING, MODELS

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPETITIONS = 5
MEMORY_STEPS = 100_000
# Freed memory stays with the process. Otherwise the top of the heap is given back and taken again in each step or not,
# as chance has laid it out, which is a quarter of the perceptron's step.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "1073741824", "MALLOC_MMAP_THRESHOLD_": "1073741824"}


def run_worker(function: str, arguments: dict[str, Any], launcher: list[str] | None = None) -> Any:
    """Measure in a process, or in those that a launcher starts.

    Returns:
        What it measured.

    Raises:
        RuntimeError: it failed; the message holds the end of what it wrote.
    """
    command = [*(launcher or [sys.executable]), "-m", "benchmarks.worker", function, json.dumps(arguments)]
    with tempfile.TemporaryDirectory() as directory:
        output = pathlib.Path(directory, "found.json")
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        allocator = {} if function in ("memory", "start") else ALLOCATOR
        environment = {
            **os.environ,
            **allocator,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": path,
            "XDG_DATA_HOME": directory,
        }
        empty = pathlib.Path(directory, "code")  # Determined's checkpoints hold a copy of the working directory
        empty.mkdir()
        if function != "gpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""  # two of the systems would take a GPU unasked
        if function not in ("steps", "checkpoints"):
            environment["BENCHMARK_CLOCK"] = "wall"  # what waits for others, or for files, is not all on the processor
        environment["BENCHMARK_LAUNCHED"] = repr(time.time())
        done = subprocess.run([*command, os.fspath(output)], cwd=empty, env=environment, capture_output=True, text=True)
        if done.returncode or not output.exists():
            raise RuntimeError((done.stdout + done.stderr).strip()[-3000:])
        return json.loads(output.read_text(encoding="utf-8"))


def launchers() -> dict[str, list[str]]:
    """How two processes are started, by the way they exchange gradients."""
    found = {"ddp": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]}
    horovodrun = shutil.which(
        "horovodrun", path=os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.defpath])
    )
    if horovodrun is not None:
        found["horovod"] = [horovodrun, "-np", "2", "--gloo", sys.executable]
    else:
        print("horovod: skipped, horovodrun is not installed (make horovod)", flush=True)
    return found


def run_all(repetitions: int, memory_steps: int, models: list[str]) -> dict[str, Any]:
    """All measurements; what cannot run here is left out, with its reason printed."""
    results: dict[str, Any] = {"steps": {}, "gpu": {}, "parallel": {}, "skipped": {}}
    for model in models:
        for logging in LOGGING:
            say(f"{model}, {logging}")
            arguments = {"model": model, "logging": logging, "repetitions": repetitions}
            results["steps"].setdefault(model, {})[logging] = run_worker("steps", arguments)
    if torch.cuda.is_available():
        for model in models:
            say(f"{model}, on the GPU")
            results["gpu"][model] = run_worker("gpu", {"model": model, "repetitions": repetitions})
    for exchange, launcher in launchers().items():
        # Lightning 2 has no such strategy as Horovod
        systems = [system for system in SYSTEMS if (exchange, system) != ("horovod", "Lightning")]
        say(f"two processes, {exchange}")
        arguments = {"exchange": exchange, "systems": systems, "repetitions": repetitions}
        try:
            results["parallel"][exchange] = run_worker("parallel", arguments, launcher)["times"]
        except RuntimeError as error:
            lines = str(error).splitlines()
            reason = next((line for line in lines if "Error" in line), lines[-1])
            results["skipped"][exchange] = reason.strip()
            print(f"  skipped: {reason.strip()}", flush=True)
    say("checkpoints")
    results["checkpoints"] = run_worker("checkpoints", {"repetitions": repetitions})
    say("start")
    results["start"] = {
        system: [run_worker("start", {"system": system})["seconds"] for _ in range(2)] for system in SYSTEMS
    }
    say("memory")
    with ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1))) as pool:
        measured = pool.map(lambda system: run_worker("memory", {"system": system, "count": memory_steps}), SYSTEMS)
        results["memory"] = dict(zip(SYSTEMS, measured, strict=True))
    return results


_STARTED = time.monotonic()


def say(what: str) -> None:
    """Tell how far it is."""
    print(f"{time.monotonic() - _STARTED:5.0f} s  {what}", flush=True)


def main() -> None:
    """Measure everything and write docs/performance.md and its picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--memory-steps", type=int, default=MEMORY_STEPS)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument(
        "--output", type=pathlib.Path, default=ROOT / "docs", help="directory of performance.md and .png"
    )
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: for a machine that others use too")
    options = parser.parse_args()
    os.environ["BENCHMARK_CLOCK"] = options.clock
    results = run_all(options.repetitions, options.memory_steps, options.models)
    results["repetitions"], results["memory steps"] = options.repetitions, options.memory_steps
    results["clock"] = options.clock
    text = report.write(results, options.output)
    print(text)
    say("done")


if __name__ == "__main__":
    main()
