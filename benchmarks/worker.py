"""What is measured in one process? Started by `benchmarks` with a working directory and an environment of its own."""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import itertools
import json
import os
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from benchmarks.systems import SYSTEMS, Measurement, keep_quiet, measure
from benchmarks.tasks import MODELS, NOTHING, ONE_VALUE, WARM_UP, WINDOW, Clock, Profile, now, peak_memory

US = 1e6
MEMORY_FROM = 1_000


def in_turns(systems: Sequence[str], repetitions: int) -> Iterator[str]:
    """Each system once per repetition, in an order in which each follows each other one equally often.

    Rows of a balanced Latin square (Williams 1949): 0, 1, n - 1, 2, n - 2, ..., and one more for each in the next row; of an
    odd number of systems, every other square is read backwards.
    """
    count = len(systems)
    first = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(count)]
    for repetition in range(repetitions):
        row = [(index + repetition) % count for index in first]
        if count % 2 and repetition // count % 2:
            row.reverse()
        for index in row:
            gc.collect()  # what one system has left is not collected in the time of the next
            yield systems[index]


def steps(model: str, logging: str, repetitions: int) -> dict[str, Any]:
    """Microseconds per step and seconds to the first step."""
    found: dict[str, Any] = {system: {"training": [], "validation": [], "first step": []} for system in SYSTEMS}
    count = MODELS[model].steps
    validated = 1 if logging == NOTHING else WARM_UP + WINDOW + 1
    for system in SYSTEMS:  # imports, and fills caches
        measure(system, Measurement(model, logging, WARM_UP))
    for system in in_turns(list(SYSTEMS), repetitions):
        what = Measurement(model, logging, count, validated)
        started = now()
        measure(system, what)
        found[system]["training"].append(what.training.step_time() * US)
        if logging != NOTHING:
            found[system]["validation"].append(what.validation.step_time() * US)
        found[system]["first step"].append(what.training.ticks[0] - started)
    return found


def checkpoints(repetitions: int) -> dict[str, list[float]]:
    """Milliseconds that a step takes longer if a checkpoint is written after it; the MNIST CNN."""
    found: dict[str, list[float]] = {system: [] for system in SYSTEMS}
    every = 10
    for system in in_turns(list(SYSTEMS), repetitions):
        what = Measurement("MNIST CNN", ONE_VALUE, 5 * every + 1, checkpoint_every=every)
        measure(system, what)
        ticks = what.training.ticks
        times = [later - sooner for sooner, later in itertools.pairwise(ticks)]
        with_checkpoint = times[every - 1 :: every]
        others = [t for index, t in enumerate(times, start=1) if index % every]
        found[system].append((_median(with_checkpoint) - _median(others)) * 1e3)
    return found


def memory(system: str, count: int) -> dict[str, float]:
    """Peak memory in MiB after the first 1,000 steps and after all of them, in one epoch."""
    last = count - 1
    what = Measurement("perceptron", ONE_VALUE, count, training=Clock(memory_at=(MEMORY_FROM, last)))
    measure(system, what)
    return {"early": what.training.memory[MEMORY_FROM], "late": what.training.memory[last], "end": peak_memory()}


def start(system: str) -> dict[str, float]:
    """Seconds from the start of the interpreter, imports included, to the first batch."""
    what = Measurement("perceptron", ONE_VALUE, 2)
    launched = float(os.environ["BENCHMARK_LAUNCHED"])
    offset = time.time() - time.perf_counter()
    measure(system, what)
    return {"seconds": what.training.ticks[0] + offset - launched}


def gpu(model: str, repetitions: int, device: str = "cuda") -> dict[str, Any]:
    """Microseconds per training step on a GPU, how busy it is, and how often a step waits for it."""
    found: dict[str, Any] = {system: {"step": [], "busy": [], "waits": []} for system in SYSTEMS}
    count = WARM_UP + WINDOW + 2
    for system in SYSTEMS:
        measure(system, Measurement(model, ONE_VALUE, WARM_UP, device=device))
    for system in in_turns(list(SYSTEMS), repetitions):
        timed = measure(system, Measurement(model, ONE_VALUE, count, device=device))
        found[system]["step"].append(timed.training.step_time() * US)
        watched = Profile()
        measure(system, Measurement(model, ONE_VALUE, count, device=device, training=watched))
        found[system]["busy"].append(watched.busy)
        found[system]["waits"].append(watched.waits)
    return found


def parallel(exchange: str, systems: list[str], repetitions: int) -> dict[str, Any]:
    """Microseconds per training step of a job of two processes, as its first process sees them; all systems in this one."""
    found: dict[str, list[float]] = {system: [] for system in systems}
    count = WARM_UP + WINDOW + 1
    with joined(exchange) as rank:
        for system in systems:
            measure(system, Measurement("MNIST CNN", ONE_VALUE, WARM_UP, exchange=exchange))
        for system in in_turns(systems, repetitions):
            what = Measurement("MNIST CNN", ONE_VALUE, count, exchange=exchange)
            measure(system, what)
            found[system].append(what.training.step_time() * US)
    return {"rank": rank, "times": found}


@contextlib.contextmanager
def joined(exchange: str) -> Iterator[int]:
    """Join the job that the launcher started."""
    if exchange == "horovod":
        import horovod.torch as hvd

        hvd.init()
        yield hvd.rank()
        return
    torch.distributed.init_process_group("gloo")
    try:
        yield torch.distributed.get_rank()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _median(values: list[float]) -> float:
    return float(torch.tensor(values).median())


def main() -> None:
    """Measure and write the outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("function", choices=[f.__name__ for f in (steps, gpu, parallel, checkpoints, memory, start)])
    parser.add_argument("arguments", type=json.loads)
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_quiet()
    with contextlib.redirect_stdout(io.StringIO()):
        found = globals()[options.function](**options.arguments)
    if found.get("rank", 0) == 0:
        options.output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
