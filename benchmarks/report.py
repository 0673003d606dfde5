"""What do the measurements say, as a page?"""

from __future__ import annotations

import datetime
import os
import pathlib
import platform
import statistics
from importlib.metadata import version
from typing import Any

import psutil
import torch
from tabulate import tabulate

from benchmarks.measurements import Findings, Options
from benchmarks.names import ADAPTER, BARE_LOOP, CNN, COMPARED, KEEPING_LOOP, ONE_VALUE, PERCEPTRON, SEVERAL
from benchmarks.picture import draw
from benchmarks.promises import PROMISES, Results, ratios, spread, table_of
from benchmarks.tasks import MODELS, PREDICTED

CLOCK = {
    "wall": "Times are those of the wall clock.",
    "cpu": "The machine was shared with others: times per step are those that the processor spent on the thread.",
}
_OTHERS = tuple(system for system in COMPARED if system != ADAPTER)


def machine() -> str:
    """The machine and what is installed, in words."""
    processor = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        processor = names[0] if names else processor
    packages = ("torch", "determined", "pytorch-lightning", "torchmetrics")
    installed = ", ".join(f"{name} {version(name)}" for name in packages)
    memory = psutil.virtual_memory().total / 2**30
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    load = os.getloadavg()[1]
    return (
        f"{processor}, {os.cpu_count()} cores, {memory:.0f} GiB, {device}; {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {installed}. One thread for torch. The load of the last five minutes was "
        f"{load:.1f} at the end, of which this benchmark is 1."
    )


def table(rows: list[list[Any]], headers: list[str]) -> str:
    """A table in Markdown."""
    return str(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))


def promised(findings: Findings) -> str:
    """The table of promises, of what was asked for."""
    return table(table_of(findings.results, findings.parts), ["what", "at most", "measured", "met"])


def phase_rows(results: Results, phase: str) -> list[list[str]]:
    """Microseconds per step, and ratios."""
    rows = []
    for model, by_logging in results.get("steps", {}).items():
        for logging, found in by_logging.items():
            own = found[ADAPTER][phase]
            if own:
                times = [spread(found[system][phase]) for system in COMPARED]
                rows.append([model, logging, *times, *(spread(ratios(own, found[s][phase]), 2) for s in _OTHERS)])
    return rows


def keeping_rows(results: Results) -> list[list[str]]:
    """What a bare loop pays that keeps its values, and the adapter beside it."""
    rows = []
    for logging, found in results.get("steps", {}).get(PERCEPTRON, {}).items():
        bare, keeping, own = (found[system]["training"] for system in (BARE_LOOP, KEEPING_LOOP, ADAPTER))
        rows.append([logging, spread(keeping), spread(ratios(keeping, bare), 2), spread(ratios(own, keeping), 2)])
    return rows


def evaluation_rows(results: Results) -> list[list[str]]:
    """A trained model's validation, and metrics."""
    found = results["evaluation"]
    return [
        [
            what,
            *(spread(found[system][key], digits) for system in found),
            *(spread(ratios(found[ADAPTER][key], found[system][key]), 2) for system in found if system != ADAPTER),
        ]
        for what, key, digits in (
            ("validate, microseconds per step", "validate", 0),
            ("evaluate, milliseconds", "evaluate", 1),
        )
    ]


def call_rows(results: Results) -> list[list[str]]:
    """Function calls per step."""
    return [
        [phase, logging, *(_calls(found[system][phase]) for system in COMPARED)]
        for phase in ("training", "validation")
        for logging, found in results.get("calls", {}).items()
    ]


def _calls(counted: dict[str, float]) -> str:
    return f"{counted['python']:.0f} + {counted['built in']:.0f}"


def start_rows(results: Results) -> list[list[str]]:
    """From the interpreter and from the call to the first batch, and the command's help, by both clocks."""
    found = results.get("start", {})
    rows = [
        [f"{place} to first batch", system, *_by_both_clocks(found[system], found[ADAPTER], prefix)]
        for place, prefix in (("interpreter", ""), ("call", "call "))
        for system in found
    ]
    commands = results.get("help", {})
    return rows + [["to its end", f"`{name}`", *_by_both_clocks(taken)] for name, taken in commands.items()]


def _by_both_clocks(
    measured: dict[str, list[float]], own: dict[str, list[float]] | None = None, prefix: str = ""
) -> list[str]:
    clocks = [f"{prefix}{clock}" for clock in ("cpu", "wall")]
    times = [spread(measured[clock], 2) for clock in clocks]
    return times + ([spread(ratios(own[clock], measured[clock]), 2) for clock in clocks] if own else ["", ""])


def checkpoint_rows(results: Results) -> list[list[str]]:
    """What a checkpoint takes from training, a row for each system."""
    return [
        [system, spread(found["delay"], 1), spread(found["after"], 1)]
        for system, found in results["checkpoints"].items()
    ]


def length_rows(results: Results) -> list[list[str]]:
    """What a step costs and the peak memory as a run grows long, and both as multiples of the first ones."""
    return [
        [
            system,
            f"{batches:,}",
            f"{step:.1f}",
            f"{step / found['step'][0]:.2f}",
            f"{memory:.0f}",
            f"{memory / found['memory'][0]:.3f}",
        ]
        for system, found in results["length"].items()
        for batches, step, memory in zip(found["batches"], found["step"], found["memory"], strict=True)
    ]


def parallel_rows(results: Results) -> list[list[str]]:
    """Two processes."""
    return [
        [exchange, system, spread(values), spread(ratios(by_system[ADAPTER], values), 2)]
        for exchange, by_system in results.get("parallel", {}).items()
        for system, values in by_system.items()
    ]


def gpu_rows(by_model: Results) -> list[list[Any]]:
    """Time, use of the GPU and waits for it; the last two from steps under a profiler."""
    return [
        [
            model,
            system,
            spread(measured["step"]),
            spread(ratios(found[ADAPTER]["step"], measured["step"]), 2),
            f"{statistics.median(measured['busy']):.0%}",
            f"{statistics.median(measured['waits']):.2f}",
        ]
        for model, found in by_model.items()
        for system, measured in found.items()
    ]


def text(findings: Findings, options: Options) -> str:
    """The whole page; what was not measured has no section."""
    results = findings.results
    steps = [*("model", "logged"), *COMPARED, *(f"adapter / {system}" for system in _OTHERS)]
    parts = [
        "# Performance",
        "Written by `make bench`; do not edit.",
        f"Measured on {datetime.date.today().isoformat()} on {machine()}",
        "Compared are a bare PyTorch loop, a hand-written PyTorchTrial under Determined's Trainer in its default "
        "settings, Lightning's Trainer, and the adapter through `lightning_adapter.fit`: the same model, parameters "
        "and plain DataLoader over data in memory, no logger, no progress bar. The bare loop computes the values that the "
        "others log, and in training keeps none of them; in validation it takes their means, weighted by the batches' sizes.",
        "The loader notes when it is asked for a batch. A step is the time from one fetch to the next, averaged over a window "
        "of 100 steps, so that what is done once per report has its share; a run is the median of its windows, without "
        "start-up and checkpoints. All systems are measured in one process, once in each repetition, in an order in which "
        "each follows each other one equally often; garbage is collected before each. Each cell is the median of the "
        "repetitions, with the smallest and the largest in brackets; ratios are taken within a repetition, so that the median "
        "of the ratios is not quite the ratio of the medians. "
        f"{CLOCK[options.clock]}",
    ]
    if "steps" in results:
        parts.append("![Time per step relative to the bare loop](performance.png)")
    if any(promise.part in findings.parts for promise in PROMISES):
        parts += ["## What is promised", "A promise is met if the median is at most the limit.", promised(findings)]
    if findings.failed:
        parts.append("\n".join(f"- {what}: the measurement failed, {why}" for what, why in findings.failed.items()))
    if findings.left_out:
        parts.append("\n".join(f"- {what}: left out, {why}" for what, why in findings.left_out.items()))
    if "steps" in results:
        parts += _of_steps(results, steps)
    if "evaluation" in results:
        systems = list(results["evaluation"])
        compared = [f"adapter / {system}" for system in systems if system != ADAPTER]
        parts += [
            f"## After training ({PERCEPTRON})",
            f"`trial.validate()` with {SEVERAL} is done by Lightning's own Trainer, so that it can cost no less than that. "
            "The command `evaluate`, its imports left out, with five metrics of torchmetrics (accuracy, F1, area under the "
            f"ROC curve, average precision, calibration error) over {PREDICTED * MODELS[PERCEPTRON].batch_size:,} samples: the "
            "adapter and the bare loop read predictions that are stored, and Lightning's Trainer, which has no such thing, "
            "validates with the model.",
            table(evaluation_rows(results), ["what", *systems, *compared]),
        ]
    if "calls" in results:
        parts += [
            f"## Function calls per step ({PERCEPTRON})",
            "Of functions written in Python + of built-in ones, the loader's among them. They depend on the versions above, "
            "and not on the machine.",
            table(call_rows(results), ["phase", "logged", *COMPARED]),
        ]
    if results.keys() & {"start", "help"}:
        headers = ["what", "of", "CPU seconds", "seconds", "adapter / this, CPU", "adapter / this, wall"]
        parts += [
            "## Start",
            "Each time in a process of its own, which imports what a person would import for this system alone; Lightning's "
            "Trainer and the adapter have their default logger, bar and summary. The module has no hyperparameters, and the "
            "adapter's logger imports TensorBoard with the first of them or of the values, where Lightning's does so at once. "
            "CPU seconds are those of all threads and child processes. The start of the interpreter and the imports are in what "
            "is measured from the interpreter on, and in that of the commands. What the first optimizer imports of torch falls "
            "into the call of a bare loop and of a PyTorchTrial, and into the imports of the other two.",
            table(start_rows(results), headers),
        ]
    if "checkpoints" in results:
        parts += [
            f"## Checkpoints ({CNN}), milliseconds",
            "The delay is what the step takes longer after which a checkpoint is written; what follows is by how much the next "
            "five steps are longer, all together, while files may still be written beside them.",
            table(checkpoint_rows(results), ["system", "delay", "what follows"]),
        ]
    if "parallel" in results:
        parts += [
            f"## Two processes, microseconds per training step ({CNN}, {ONE_VALUE})",
            table(parallel_rows(results), ["exchange", "system", "step", "adapter / this"]),
        ]
    if "length" in results:
        parts += [
            "## Long runs",
            "One epoch of a module that computes nothing and logs one value, with files for TensorBoard and with ten validations "
            "and checkpoints. A step is the mean since the number of batches in the row above, in the first row since the "
            "hundredth; memory is the largest that the process has had until then. Lightning's Trainer has a twentieth of the "
            "batches.",
            table(
                length_rows(results), ["system", "batches", "microseconds per step", "/ first", "peak MiB", "/ first"]
            ),
        ]
    if "gpu" in results:
        headers = ["model", "system", "microseconds per step", "adapter / this", "GPU busy", "waits for it per step"]
        parts += [f"## Training on {torch.cuda.get_device_name()}, one value", table(gpu_rows(results["gpu"]), headers)]
    return "\n\n".join(parts) + "\n"


def _of_steps(results: Results, headers: list[str]) -> list[str]:
    parts = [
        "## Training, microseconds per step",
        table(phase_rows(results, "training"), headers),
        "## Validation, microseconds per step",
        table(phase_rows(results, "validation"), headers),
    ]
    if rows := keeping_rows(results):
        parts += [
            f"## What keeping the values costs a bare loop ({PERCEPTRON}, training)",
            "Every Trainer hands the step to the optimizer as a closure, which some optimizers call several times, and copies "
            "what is logged, which a step may change in place. A bare loop that does these two as well:",
            table(rows, ["logged", "microseconds per step", "this / bare loop", "adapter / this"]),
        ]
    return parts


def write(page: str, results: Results, directory: pathlib.Path) -> None:
    """Write performance.md and, where steps were measured, performance.png."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "performance.md").write_text(page, encoding="utf-8")
    if "steps" in results:
        draw(results, directory / "performance.png")
