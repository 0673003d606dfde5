"""In what do several runs differ, in how they were made and in what came of them?"""

from __future__ import annotations

import shlex
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.course_so_far import best_of
from lightning_adapter.runs.listing import Run, differing, flat, same
from lightning_adapter.runs.metrics_table import read_points
from lightning_adapter.runs.older_run import configuration
from lightning_adapter.runs.overlay import RunLines
from lightning_adapter.runs.table_epochs import Epochs

#: Hyperparameters of one run that its line in a legend names.
_NAMED = 6


class Row(NamedTuple):
    """One thing in which runs may differ.

    Attributes:
        name: of it.
        values: one for each run, None where there is none.
    """

    name: str
    values: list[Any]


def letters(count: int) -> list[str]:
    """Short names for runs: A, B ... Z, AA, AB ..."""
    single = string.ascii_uppercase
    return [(single[index // 26 - 1] if index >= 26 else "") + single[index % 26] for index in range(count)]


def differences(runs: Sequence[Run]) -> dict[str, list[Row]]:
    """What differs between runs, by section; what came of them is there in any case.

    Args:
        runs: two or more.
    """
    sections = {
        "results": list(_results(runs)),
        "hyperparameters": [Row(name, [run.hyperparameters.get(name) for run in runs]) for name in differing(runs)],
        "made with": [*_unequal(_making(run) for run in runs), *_commands(runs)],
        "versions": _unequal(run.record.get("versions") or {} for run in runs),
        "configuration": _unequal(_configuration(run) for run in runs),
    }
    return {title: rows for title, rows in sections.items() if rows}


def lines_of(runs: Sequence[Run], over_epochs: bool) -> list[RunLines]:
    """The curves of runs, from their tables, each with what tells it from the others.

    Args:
        runs: in the order of the legend.
        over_epochs: whether values lie over epochs; else over batches.

    Raises:
        ConfigurationError: a table is damaged.
    """
    names = differing(runs)
    found = []
    for letter, run in zip(letters(len(runs)), runs, strict=True):
        path = run.path / "metrics.csv"
        try:
            points = read_points(path)
        except ConfigurationError:
            raise
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"{path} cannot be read: {error}. Leave this run out, or mend the table."
            ) from error
        epochs = Epochs(path)
        lines = {
            key: (epochs.before(batches) if over_epochs else list(map(float, batches)), values)
            for key, (batches, values) in points.items()
        }
        best = best_of(points, epochs, (run.metric, run.smaller_is_better))
        mark = None
        if best is not None:
            place = epochs.before([best.batch])[0] if over_epochs else float(best.batch)
            mark = (("validation", best.column), place, best.value)
        told = [f"{name}={_short(run.hyperparameters[name])}" for name in names if name in run.hyperparameters]
        more = ["..."] if len(told) > _NAMED else []
        more += [] if lines else ["(no metrics)"]
        found.append(RunLines("  ".join([letter, run.label, *told[:_NAMED], *more]), lines, mark))
    return found


def _results(runs: Sequence[Run]) -> Iterator[Row]:
    yield Row("status", [run.status for run in runs])
    yield Row("epochs", [run.epochs for run in runs])
    yield Row("batches", [run.record.get("batches") for run in runs])
    metrics = list(dict.fromkeys(run.metric for run in runs if run.best is not None))
    for metric in metrics:
        yield Row(f"best {metric}", [run.best if run.metric == metric else None for run in runs])
    for key, title in (("metrics", "final"), ("validate", "validate"), ("test", "test")):
        values = [dict(flat(run.record.get(key) or {})) for run in runs]
        for name in sorted({name for found in values for name in found}):
            yield Row(f"{title} {name}" if key != "test" else f"test: {name}", [found.get(name) for found in values])


def _making(run: Run) -> dict[str, Any]:
    git = run.record.get("git") or {}
    keys = ("target", "working_directory", "seed", "host", "processes", "parent", "error")
    return {
        **{key.replace("_", " "): run.record.get(key) for key in keys},
        "commit": git.get("commit"),
        "all committed": git.get("clean"),
    }


def _commands(runs: Sequence[Run]) -> Iterator[Row]:
    """What was typed for one run and not for all."""
    typed = [_options(str(run.record.get("command") or "")) for run in runs]
    common = {run.record.get("target") for run in runs} | set(typed[0]).intersection(*typed)
    rest = [" ".join(part for part in parts if part not in common) or None for parts in typed]
    if any(rest):
        yield Row("typed", rest)


def _options(command: str) -> list[str]:
    """The words of a command line, an option with its value in one."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    found: list[str] = []
    for word in words:
        is_value = found and found[-1].startswith("-") and " " not in found[-1] and not word.startswith("-")
        if is_value:
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def _configuration(run: Run) -> dict[str, Any]:
    return {name: value for name, value in flat(configuration(run.path)) if not name.startswith("hyperparameters.")}


def _unequal(runs: Iterator[Mapping[str, Any]]) -> list[Row]:
    values = list(runs)
    names = dict.fromkeys(name for found in values for name in found)
    rows = [Row(name, [found.get(name) for found in values]) for name in names]
    return [row for row in rows if not same(row.values)]


def _short(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"
