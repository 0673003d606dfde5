"""What do the measurements look like as a table and as a picture?"""

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
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tabulate import tabulate

ADAPTER = "adapter"
ONE_VALUE = "one value"
SEVERAL = "ten values and a metric"
#: (what, model, logging, phase, reference, largest ratio): what is promised.
TARGETS = (
    ("perceptron", ONE_VALUE, "training", "Lightning", 0.55),
    ("perceptron", ONE_VALUE, "training", "PyTorchTrial", 0.90),
    ("perceptron", ONE_VALUE, "training", "bare loop", 1.25),
    ("MNIST CNN", ONE_VALUE, "training", "bare loop", 1.05),
    ("perceptron", SEVERAL, "training", "Lightning", 0.55),
    ("perceptron", ONE_VALUE, "validation", "bare loop", 1.35),
    ("MNIST CNN", ONE_VALUE, "validation", "bare loop", 1.05),
    ("perceptron", ONE_VALUE, "validation", "Lightning", 0.70),
)
MEMORY_TARGET = 1.02
CLOCK = {
    "wall": "Times are those of the wall clock.",
    "cpu": "The machine was shared with others: times per step are those that the processor spent on the thread.",
}


def spread(values: list[float], digits: int = 0) -> str:
    """Median, and the smallest and the largest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def ratios(measured: list[float], reference: list[float]) -> list[float]:
    """One for each repetition: what ran next to each other is compared."""
    return [a / b for a, b in zip(measured, reference, strict=True)]


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
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def targets(results: dict[str, Any]) -> list[list[Any]]:
    """What is promised and what was measured."""
    rows = []
    for model, logging, phase, reference, limit in TARGETS:
        found = results["steps"].get(model, {}).get(logging)
        if found is None:
            continue
        values = ratios(found[ADAPTER][phase], found[reference][phase])
        met = "yes" if statistics.median(values) <= limit else "no"
        rows.append([f"{phase}, {model}, {logging}: adapter / {reference}", f"{limit:.2f}", spread(values, 2), met])
    memory = results["memory"][ADAPTER]
    growth = memory["late"] / memory["early"]
    what = f"peak memory after {results['memory steps']:,} steps / after 1,000"
    rows.append([what, f"{MEMORY_TARGET:.2f}", f"{growth:.3f}", "yes" if growth <= MEMORY_TARGET else "no"])
    return rows


def phase_rows(results: dict[str, Any], phase: str) -> list[list[Any]]:
    """Microseconds per step, and ratios."""
    rows = []
    for model, by_logging in results["steps"].items():
        for logging, found in by_logging.items():
            if not found[ADAPTER][phase]:
                continue
            times = [spread(measured[phase]) for measured in found.values()]
            own = found[ADAPTER][phase]
            compared = [spread(ratios(own, found[s][phase]), 2) for s in found if s != ADAPTER]
            rows.append([model, logging, *times, *compared])
    return rows


def gpu_rows(by_model: dict[str, Any]) -> list[list[Any]]:
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


def text(results: dict[str, Any]) -> str:
    """The whole page."""
    systems = list(next(iter(next(iter(results["steps"].values())).values())))
    compared = [f"adapter / {system}" for system in systems if system != ADAPTER]
    headers = ["model", "logged", *systems, *compared]
    first = next(iter(results["steps"].values()))[ONE_VALUE]
    other = []
    for system in systems:
        memory = results["memory"][system]
        other.append(
            [
                system,
                spread([1e3 * s for s in first[system]["first step"]]),
                spread(results["start"][system], 1),
                spread(results["checkpoints"][system], 1),
                f"{memory['early']:.0f}",
                f"{memory['late']:.0f}",
                f"{memory['late'] / memory['early']:.3f}",
            ]
        )
    parallel = [
        [
            exchange,
            system,
            spread(values),
            spread(ratios(by_system[ADAPTER], values), 2) if ADAPTER in by_system else "",
        ]
        for exchange, by_system in results["parallel"].items()
        for system, values in by_system.items()
    ]
    parts = [
        "# Performance",
        "Written by `make bench`; do not edit.",
        f"Measured on {datetime.date.today().isoformat()} on {machine()}",
        "Compared are a bare PyTorch loop, a hand-written PyTorchTrial under Determined's Trainer in its default "
        "settings, Lightning's Trainer, and the adapter through `lightning_adapter.fit`: the same model, parameters "
        "and plain DataLoader over data in memory, no logger, no progress bar. The loader notes when it is asked for a "
        "batch. A step is the time from one fetch to the next, averaged over a window of 100 steps, so that what is "
        "done once per report has its share; a run is the median of its windows, without start-up and checkpoints. In "
        f"each of the {results['repetitions']} repetitions the four run one after the other in one process. Each cell "
        "is the median of the repetitions, with the smallest and the largest in brackets; ratios are taken within a "
        f"repetition. {CLOCK[results['clock']]}",
        "![Time per step relative to the bare loop](performance.png)",
        "## What is promised",
        table(targets(results), ["adapter / reference", "at most", "measured", "met"]),
        "## Training, microseconds per step",
        table(phase_rows(results, "training"), headers),
        "## Validation, microseconds per step",
        table(phase_rows(results, "validation"), headers),
        "## Start, checkpoints, memory",
        table(
            other,
            [
                "system",
                "call to first batch, ms",
                "interpreter to first batch, s",
                "checkpoint (MNIST CNN), ms",
                "peak MiB after 1,000 steps",
                f"after {results['memory steps']:,}",
                "ratio",
            ],
        ),
        "A checkpoint's time is what a step takes longer if one is written after it.",
        "## Two processes, microseconds per training step (MNIST CNN, one value)",
    ]
    if parallel:
        parts.append(table(parallel, ["exchange", "system", "step", "adapter / this"]))
    if results["gpu"]:
        headers = ["model", "system", "microseconds per step", "adapter / this", "GPU busy", "waits for it per step"]
        parts += [f"## Training on {torch.cuda.get_device_name()}, one value", table(gpu_rows(results["gpu"]), headers)]
    if results["skipped"]:
        parts.append("\n".join(f"- {what}: skipped, {reason}" for what, reason in results["skipped"].items()))
    return "\n\n".join(parts) + "\n"


def draw(results: dict[str, Any], path: pathlib.Path) -> None:
    """Bars of the time per training step relative to the bare loop, one panel for each model."""
    models = results["steps"]
    figure = Figure(figsize=(4.2 * len(models), 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    for axes, (model, by_logging) in zip(panels, models.items(), strict=True):
        systems = list(next(iter(by_logging.values())))
        width = 0.8 / len(systems)
        for index, system in enumerate(systems):
            values = [
                ratios(found[system]["training"], found["bare loop"]["training"]) for found in by_logging.values()
            ]
            middle = [statistics.median(v) for v in values]
            error = [
                [m - min(v) for m, v in zip(middle, values, strict=True)],
                [max(v) - m for m, v in zip(middle, values, strict=True)],
            ]
            places = [place + (index - (len(systems) - 1) / 2) * width for place in range(len(values))]
            axes.bar(places, middle, width, label=system, yerr=error, error_kw={"linewidth": 0.8})
        axes.set_xticks(range(len(by_logging)), [name.replace(" and ", "\nand ") for name in by_logging], fontsize=8)
        axes.set_title(model, fontsize=10)
        axes.axhline(1.0, color="black", linewidth=0.6)
    panels[0].set_ylabel("training step / bare loop")
    panels[0].legend(fontsize=8)
    figure.savefig(path)


def write(results: dict[str, Any], directory: pathlib.Path) -> str:
    """Write performance.md and performance.png.

    Returns:
        The table of promises.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "performance.md").write_text(text(results), encoding="utf-8")
    draw(results, directory / "performance.png")
    return table(targets(results), ["adapter / reference", "at most", "measured", "met"])
