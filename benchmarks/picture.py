"""What do the measurements of training look like as a picture?"""

from __future__ import annotations

import pathlib
import statistics

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.names import BARE_LOOP, COMPARED
from benchmarks.promises import Results, ratios


def draw(results: Results, path: pathlib.Path) -> None:
    """Bars of the time per training step relative to the bare loop, one panel for each model."""
    models = results["steps"]
    figure = Figure(figsize=(4.2 * len(models), 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    width = 0.8 / len(COMPARED)
    for axes, (model, by_logging) in zip(panels, models.items(), strict=True):
        for index, system in enumerate(COMPARED):
            values = [ratios(found[system]["training"], found[BARE_LOOP]["training"]) for found in by_logging.values()]
            middle = [statistics.median(v) for v in values]
            error = [
                [m - min(v) for m, v in zip(middle, values, strict=True)],
                [max(v) - m for m, v in zip(middle, values, strict=True)],
            ]
            places = [place + (index - (len(COMPARED) - 1) / 2) * width for place in range(len(values))]
            axes.bar(places, middle, width, label=system, yerr=error, error_kw={"linewidth": 0.8})
            for place, high in zip(places, middle, strict=True):
                label = f"{high:.2f}" if high < 10 else f"{high:.0f}"
                axes.text(place, 0.03, label, rotation=90, ha="center", va="bottom", fontsize=7, color="white")
        axes.set_xticks(range(len(by_logging)), [name.replace(" and ", "\nand ") for name in by_logging], fontsize=8)
        axes.set_title(model, fontsize=10)
        axes.axhline(1.0, color="black", linewidth=0.6)
    panels[0].set_ylabel("training step / bare loop")
    panels[0].legend(fontsize=8)
    figure.savefig(path)
