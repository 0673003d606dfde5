"""`lightning-adapter predict`: what can be typed, and what is said of the predictions?"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning_adapter.cli import evaluation

if TYPE_CHECKING:
    from lightning_adapter.evaluation.predictions import Predictions

DESCRIPTION = (
    "Predict with the best checkpoint of a run, or one that is named, with Lightning's own Trainer, and store the predictions "
    "in the order of the dataset, with the samples' keys and targets where the batches have them. What was finished before a "
    "kill is not predicted again: type the same command. Several processes: torchrun -m lightning_adapter predict ..."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    evaluation.add_arguments(parser, splits=("train", "val", "test"))
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="for the predictions; default predictions/ in the run directory, with --split val predictions-val/",
    )
    parser.add_argument(
        "--format",
        choices=("pt", "csv", "parquet"),
        default="pt",
        help="pt (default) takes whatever predict_step returns; csv and parquet a number, a string or a vector per sample",
    )
    parser.add_argument(
        "--target-key",
        metavar="NAME",
        help="where the targets stand in a batch: a name (dots nest), or a number in a tuple; by default target, label, y, or "
        "the second of (x, y)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="delete predictions that lie there; evaluations of them are moved to superseded/",
    )


def run(arguments: argparse.Namespace) -> int:
    """Predict; return the exit status.

    Raises:
        LightningAdapterError: what was typed cannot be used, or what was predicted cannot be stored.
    """
    if arguments.format == "parquet":
        from lightning_adapter.evaluation.prediction_tables import check_parquet

        check_parquet()
    with evaluation.loaded(arguments) as trial:
        from lightning_adapter.evaluation.trial_predictions import store_predictions
        from lightning_adapter.runs.summary import say

        found = store_predictions(
            trial,
            arguments.out,
            split=arguments.split,
            file_format=arguments.format,
            target_key=arguments.target_key,
            overwrite=arguments.overwrite,
        )
        if found is not None:
            say(f"\n{_summary(found)}")
    return 0


def _summary(predictions: Predictions) -> str:
    import tabulate

    from lightning_adapter.cli.tables import Column, fitted, terminal_width
    from lightning_adapter.runs.summary import shown

    rows = [_row(loader.description) for loader in predictions.loaders]
    headers = ("file", "samples", "prediction", "target", "key")
    columns = [Column(head, cells) for head, *cells in zip(headers, *rows, strict=True)]
    parts = [fitted(columns, terminal_width()).text]
    remarks = [remark for loader in predictions.loaders for remark in _remarks(loader.description)]
    if remarks:
        parts.append("\n".join(remarks))
    place = shown(predictions.directory)
    typed = f"lightning-adapter evaluate {shlex.quote(place)} --metrics FILE_OR_MODULE:NAME"
    parts.append(tabulate.tabulate([("predictions", place), ("evaluate", typed)], tablefmt="plain"))
    return "\n\n".join(parts)


def _row(loader: Mapping[str, Any]) -> tuple[str, ...]:
    holds = loader["holds"]
    beside = [f"{holds[name]}, {loader.get(name)}" if name in holds else "none" for name in ("target", "key")]
    return (loader["file"], str(loader["samples"]), holds.get("prediction", "none"), *beside)


def _remarks(loader: Mapping[str, Any]) -> list[str]:
    """What a reader has to know of a file."""
    file, remarks = loader["file"], []
    if loader["order"] == "batches":
        remarks.append(
            f"{file}: the loader gives no indices; samples stand in the order of the batches, process by process."
        )
    if loader["without_prediction"]:
        remarks.append(
            f"{file}: predict_step returned None for {loader['without_prediction']} batches, which are left out."
        )
    if loader["duplicates_dropped"]:
        remarks.append(f"{file}: {loader['duplicates_dropped']} samples that two processes had stand there once.")
    if loader.get("left_out"):
        remarks.append(
            f"{file}: no table can hold {', '.join(loader['left_out'])}, which is left out; --format pt keeps it."
        )
    if loader["per_batch"]:
        remarks.append(f"{file}: per batch, and not per sample: {', '.join(loader['per_batch'])}.")
    return remarks
