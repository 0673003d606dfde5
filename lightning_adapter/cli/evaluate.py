"""`lightning-adapter evaluate`: what can be typed, and what is said of the values?"""

from __future__ import annotations

import argparse
import math
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.target import load_object

if TYPE_CHECKING:
    from lightning_adapter.evaluation.evaluate import Evaluated, Evaluation

DESCRIPTION = (
    "Compute torchmetrics, or functions of your own, over predictions that `predict` has stored, and over their targets: a "
    "table, metrics.json, and pictures of what is more than a number. NAME is a Metric, a MetricCollection, a list or a dict "
    "of metrics, a function without arguments that returns one of these, or a function (predictions, targets) that returns "
    "a number or a dict of numbers. Metrics are updated chunk by chunk; a function gets everything at once."
)
_FORM = "FILE_OR_MODULE:NAME, for example metrics.py:metrics or project.metrics:metrics"
_CLASS_ROWS = 20  # of more classes the table has a summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    parser.add_argument(
        "predictions",
        metavar="PREDICTIONS",
        type=pathlib.Path,
        help="a directory of predictions, or a run or a checkpoint that has one",
    )
    parser.add_argument(
        "--metrics", required=True, metavar="FILE_OR_MODULE:NAME", help="for example metrics.py:metrics"
    )
    parser.add_argument(
        "--targets",
        type=pathlib.Path,
        metavar="FILE",
        help="targets for predictions that have none: .pt, .npy, .csv or .parquet, in the order of the dataset, or with a column "
        "'index' or 'key' that says whose they are",
    )
    parser.add_argument(
        "--loader", type=int, metavar="N", help="only this loader, counted from 0; default each by itself"
    )
    parser.add_argument(
        "--prediction-key", metavar="NAME", help="the entry that metrics take, where a prediction is a dict or a tuple"
    )
    parser.add_argument(
        "--target-key", metavar="NAME", help="the entry, or the column of --targets, that holds targets"
    )
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="names of the classes: a,b,c or a file with one in each line, for tables and pictures",
    )
    parser.add_argument(
        "--out", type=pathlib.Path, metavar="DIR", help="where the files go; default evaluation/ in the predictions"
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; return the exit status.

    Raises:
        LightningAdapterError: what was typed cannot be used, or metrics do not fit the predictions.
    """
    from lightning_adapter.evaluation.evaluate import evaluate, plain
    from lightning_adapter.evaluation.evaluation_directory import METRICS, EvaluationDirectory
    from lightning_adapter.evaluation.metric_inputs import Keys
    from lightning_adapter.evaluation.metric_objects import metric_objects
    from lightning_adapter.evaluation.metric_pictures import Classes, Pictures
    from lightning_adapter.evaluation.target_file import read_targets
    from lightning_adapter.runs.summary import say, shown

    objects = metric_objects(load_object(arguments.metrics, kind="metrics", form=_FORM), arguments.metrics)
    targets = None if arguments.targets is None else read_targets(arguments.targets, arguments.target_key)
    keys = Keys(arguments.prediction_key, arguments.target_key if targets is None else None)
    evaluation = evaluate(arguments.predictions, objects, keys, targets, arguments.loader)
    classes = _class_names(arguments.classes)
    question = _question(arguments, evaluation.predictions.directory)
    if arguments.out is None:
        out = EvaluationDirectory.of(evaluation.predictions.directory, question)
    else:
        out = EvaluationDirectory.at(arguments.out)
    pictures, results = Pictures(Classes(classes)), []
    for result in evaluation.results():
        for measured in result.measured:
            pictures.add(measured)
        results.append(result)
    values = {name: plain(value) for result in results for name, value in result.values.items()}
    with out.writing(values, question) as aside:
        drawn = pictures.save(aside)
    say(_table(results, classes))
    for line in _taken(evaluation):
        say(line)
    files = [("values", out.path / METRICS), *(("picture", out.path / name) for name in drawn)]
    say("\n" + _places([(what, shown(path.absolute())) for what, path in files], pictures.missing))
    return 0


def _question(arguments: argparse.Namespace, predictions: pathlib.Path) -> dict[str, object]:
    """What is evaluated, as evaluation.json names it."""
    place, _, name = arguments.metrics.rpartition(":")
    file = pathlib.Path(place)
    return {
        "predictions": str(predictions.resolve()),
        "metrics": f"{file.resolve() if file.suffix == '.py' else place}:{name}",
        "targets": None if arguments.targets is None else str(arguments.targets.resolve()),
        "loader": arguments.loader,
        "prediction_key": arguments.prediction_key,
        "target_key": arguments.target_key,
    }


def _taken(evaluation: Evaluation) -> list[str]:
    """Which entries count, where predictions or targets have several: by name, so that somebody may want another one."""
    found: dict[str, list[int]] = {}
    for loader in evaluation.loaders:
        named = zip(("predictions", "targets"), evaluation.entries(loader), strict=True)
        text = ", ".join(f"{what} are {entry}" for what, entry in named if entry is not None)
        if text:
            found.setdefault(text, []).append(loader)
    lines = []
    for text, loaders in found.items():
        of = f"loader {', '.join(map(str, loaders))}: " if len(evaluation.loaders) > 1 else ""
        lines.append(f"\n{of}{text} (--prediction-key and --target-key name others)")
    return lines


def _class_names(given: str | None) -> tuple[str, ...]:
    """Names that were typed, or that stand in a file.

    Raises:
        ConfigurationError: the file is not there, or cannot be read.
    """
    if given is None:
        return ()
    path = pathlib.Path(given)
    if "," in given or not (path.suffix or path.exists()):
        return tuple(name.strip() for name in given.split(","))
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"--classes {given} cannot be read: {error}. To fix, give a file with a name in each line, or names: a,b,c"
        ) from error


def _table(results: Sequence[Evaluated], classes: Sequence[str]) -> str:
    """The values, a column for each loader."""
    from lightning_adapter.cli.tables import Column, fitted, terminal_width

    of_loaders = [_cells(result, classes) for result in results]
    names = list(dict.fromkeys(name for cells in of_loaders for name in cells))
    columns = [Column("metric", [*names, "(samples)"])]
    for result, cells in zip(results, of_loaders, strict=True):
        head = f"loader {result.loader}" if len(results) > 1 else "value"
        columns.append(Column(head, [*(cells.get(name, "") for name in names), str(result.samples)]))
    return fitted(columns, terminal_width()).text


def _places(files: Sequence[tuple[str, str]], missing: Sequence[str]) -> str:
    import tabulate

    rows = [*files, *(("no picture", why) for why in missing)]
    text: str = tabulate.tabulate(rows, tablefmt="plain", disable_numparse=True)
    return text


def _cells(result: Evaluated, classes: Sequence[str]) -> dict[str, str]:
    from lightning_adapter.evaluation.evaluate import plain
    from lightning_adapter.runs.metrics_table import plain as plain_name

    cells = {}
    for name, value in result.values.items():
        head = plain_name(name.removesuffix(f"/dataloader_idx_{result.loader}"))
        numbers = plain(value)
        if not isinstance(numbers, list):
            cells[head] = _number(numbers)
        elif 0 < len(numbers) <= _CLASS_ROWS and not any(isinstance(one, list) for one in numbers):
            names = classes if len(classes) == len(numbers) else range(len(numbers))
            cells |= {f"{head}[{plain_name(str(key))}]": _number(one) for key, one in zip(names, numbers, strict=True)}
        else:
            cells[head] = _many(value, numbers)
    return cells


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _many(value: object, numbers: Sequence[Any]) -> str:
    """What stands for more numbers than a table has room for."""
    if not any(isinstance(one, list) for one in numbers):
        finite = [one for one in numbers if isinstance(one, (int, float)) and math.isfinite(one)]
        if not finite:
            return f"{len(numbers)} values"
        return f"{len(numbers)} values, {min(finite):.4g} to {max(finite):.4g}, mean {sum(finite) / len(finite):.4g}"
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{' x '.join(map(str, shape))} values"
    if len(numbers) == 3 and all(isinstance(one, list) for one in numbers):  # x, y and thresholds
        is_several = any(isinstance(one, list) for one in numbers[0])
        return f"{len(numbers[0])} curves" if is_several else f"a curve of {len(numbers[0])} points"
    return f"{len(numbers)} lists of values"
