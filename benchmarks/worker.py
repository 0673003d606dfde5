"""What is measured in one process? Started by `benchmarks` with a working directory and an environment of its own."""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import itertools
import json
import pathlib
import statistics
import tempfile
from collections.abc import Iterator
from typing import Any

import torch

from benchmarks.evaluation import Prepared
from benchmarks.length import length
from benchmarks.names import CNN, COMPARED, KEEPING_LOOP, LIGHTNING, NOTHING, ONE_VALUE, PERCEPTRON, SEVERAL
from benchmarks.systems import Measurement, keep_quiet, measure
from benchmarks.tasks import MODELS, PREDICTED, WARM_UP, WINDOW, Clock, Counter, Profile, now
from benchmarks.turns import in_turns

US = 1e6


def steps(model: str, logging: str, repetitions: int) -> dict[str, Any]:
    """Microseconds per step."""
    systems = [*COMPARED, KEEPING_LOOP] if model == PERCEPTRON else list(COMPARED)
    found: dict[str, Any] = {system: {"training": [], "validation": []} for system in systems}
    validated = 1 if logging == NOTHING else WARM_UP + WINDOW + 1
    for system in systems:  # imports, and fills caches
        measure(system, Measurement(model, logging, WARM_UP))
    gc.collect()
    gc.freeze()  # what is imported is not searched for garbage again, whichever system's turn it is
    for system in in_turns(systems, repetitions):
        what = Measurement(model, logging, MODELS[model].steps, validated)
        measure(system, what)
        found[system]["training"].append(what.training.step_time() * US)
        if logging != NOTHING and system != KEEPING_LOOP:
            found[system]["validation"].append(what.validation.step_time() * US)
    return found


def calls(logging: str) -> dict[str, Any]:
    """Function calls per step of the perceptron's training and validation."""
    found = {}
    for system in COMPARED:
        count = WARM_UP + WINDOW + 1
        training, validation = Counter(), Counter()
        measure(system, Measurement(PERCEPTRON, logging, count, count, training=training, validation=validation))
        found[system] = {"training": training.calls, "validation": validation.calls}
    return found


def evaluation(repetitions: int) -> dict[str, dict[str, list[float]]]:
    """What becomes of a perceptron that is trained.

    Returns:
        By system: `validate`, microseconds per batch with ten values and a metric; `evaluate`, milliseconds that several
        metrics over `PREDICTED` batches take.
    """
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as directory:
        what = Measurement(PERCEPTRON, SEVERAL, WARM_UP, 200)
        prepared = Prepared(what, PREDICTED, pathlib.Path(directory))
        validations, evaluations = prepared.validations(), prepared.evaluations()
        for system in evaluations:  # imports, and fills caches
            validations[system]()
            if system != LIGHTNING:  # does nothing but validate, at length
                evaluations[system]()
            found[system] = {"validate": [], "evaluate": []}
        for system in in_turns(list(evaluations), repetitions):
            gc.collect()  # as `measure`
            what.validation = Clock()
            validations[system]()
            found[system]["validate"].append(what.validation.step_time() * US)
            started = now()
            evaluations[system]()
            found[system]["evaluate"].append((now() - started) * 1e3)
    return found


def checkpoints(repetitions: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds that a checkpoint of the MNIST CNN takes from training.

    Returns:
        Of each system: `delay`, by which the step is longer after which it is written; `after`, by which the five steps that
        follow are longer, all together, while a file may still be written beside them.
    """
    found: dict[str, dict[str, list[float]]] = {system: {"delay": [], "after": []} for system in COMPARED}
    every, after, count = 10, 5, 6
    for system in in_turns(COMPARED, repetitions):
        what = Measurement(CNN, ONE_VALUE, (count + 1) * every, checkpoint_every=every)
        measure(system, what)
        # of each checkpoint: the step that it lengthens, and those up to the next one
        intervals = [what.training.ticks[number * every - 1 :][: every + 1] for number in range(1, count + 1)]
        times = [[later - sooner for sooner, later in itertools.pairwise(ticks)] for ticks in intervals]
        usual = statistics.median(step for interval in times for step in interval[1 + after :])
        found[system]["delay"].append((statistics.median(interval[0] for interval in times) - usual) * 1e3)
        following = statistics.median(sum(interval[1 : 1 + after]) for interval in times)
        found[system]["after"].append((following - after * usual) * 1e3)
    return found


def gpu(model: str, repetitions: int, device: str = "cuda") -> dict[str, Any]:
    """Microseconds per training step on a GPU, how busy it is, and how often a step waits for it."""
    found: dict[str, Any] = {system: {"step": [], "busy": [], "waits": []} for system in COMPARED}
    count = WARM_UP + WINDOW + 2
    for system in COMPARED:
        measure(system, Measurement(model, ONE_VALUE, WARM_UP, device=device))
    for system in in_turns(COMPARED, repetitions):
        timed = measure(system, Measurement(model, ONE_VALUE, count, device=device))
        found[system]["step"].append(timed.training.step_time() * US)
        watched = Profile()
        measure(system, Measurement(model, ONE_VALUE, count, device=device, training=watched))
        found[system]["busy"].append(watched.busy)
        found[system]["waits"].append(watched.waits)
    return found


def parallel(exchange: str, systems: list[str], repetitions: int) -> dict[str, list[float]] | None:
    """Microseconds per training step of a job of two processes, all systems in this one job.

    Returns:
        As the first process sees them; None in the other.
    """
    found: dict[str, list[float]] = {system: [] for system in systems}
    count = WARM_UP + WINDOW + 1
    with joined(exchange) as rank:
        for system in systems:
            measure(system, Measurement(CNN, ONE_VALUE, WARM_UP, exchange=exchange))
        for system in in_turns(systems, repetitions):
            what = Measurement(CNN, ONE_VALUE, count, exchange=exchange)
            measure(system, what)
            found[system].append(what.training.step_time() * US)
    return None if rank else found


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


def main() -> None:
    """Measure and write the outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    functions = (steps, calls, evaluation, gpu, parallel, checkpoints, length)
    parser.add_argument("function", choices=[function.__name__ for function in functions])
    parser.add_argument("arguments", type=json.loads)
    parser.add_argument("output", type=pathlib.Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_quiet()
    with contextlib.redirect_stdout(io.StringIO()):
        found = globals()[options.function](**options.arguments)
    if found is not None:
        options.output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
