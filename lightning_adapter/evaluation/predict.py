"""How do the predictions of a model come to lie in a directory, made by Lightning's own Trainer?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation import joining, prediction_tables, predictions
from lightning_adapter.evaluation.prediction_writer import PredictionWriting
from lightning_adapter.evaluation.predictions import Manifest, Predictions, write_manifest
from lightning_adapter.evaluation.predictions_directory import Request, Standing, delete_parts, look, used_alone
from lightning_adapter.runs.atomic import sync_directory
from lightning_adapter.versions import lightning_prediction
from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import Callback


def check(request: Request) -> Standing:
    """Refuse a directory or a format before any work.

    Raises:
        ConfigurationError: what is wrong with it.
    """
    if request.file_format not in predictions.FILE_FORMATS:
        raise ConfigurationError(
            f"file_format={request.file_format!r} has to be one of {', '.join(predictions.FILE_FORMATS)}."
        )
    if request.file_format == "parquet":
        prediction_tables.check_parquet()
    return look(request, None)


def predict(
    request: Request,
    host: Host,
    run: Callable[[list[Callback]], Any],
    *,
    rank: int = 0,
    processes: int = 1,
    writing: PredictionWriting | None = None,
) -> Predictions | None:
    """Predict into a directory, or go on with what was begun there. All processes call this.

    Args:
        request: what predictions are wanted, and where.
        host: the Lightning package of the module.
        run: calls `Trainer.predict(return_predictions=False)` with these callbacks besides the others.
        rank: of this process.
        processes: how many there are.
        writing: instead of one with the usual sizes of shards.

    Returns:
        The predictions, in the first process; None in the others, which do not wait for it.

    Raises:
        ConfigurationError: the directory, the format or the loaders do not allow it.
    """
    check(request)
    with used_alone(request) if rank == 0 else contextlib.nullcontext():
        # again: another process may have written there until now
        if not look(request, processes).is_all_done(processes):
            run([lightning_prediction.writer(host, writing or PredictionWriting(request))])
        return join(request, processes) if rank == 0 else None


def join(request: Request, processes: int) -> Predictions:
    """Make one file for each loader of what all processes have finished, and say in the manifest that it is complete.

    Raises:
        ConfigurationError: something is missing, or a table cannot hold it.
    """
    standing = look(Request(request.directory, request.file_format, request.identity, request.target_key), processes)
    if standing.manifest is None or not standing.is_all_done(processes):
        raise ConfigurationError(
            f"Not all of the {processes} processes have written their predictions to {request.directory}. Give --out a "
            "directory that is the same one on all machines, and type the command again."
        )
    count = max(standing.done_processes.values())
    rows = standing.manifest["loaders"]
    if len(rows) > count:
        raise ConfigurationError(
            f"The predictions in {request.directory} were begun with {len(rows)} dataloaders, and there are {count} now. "
            "Type --overwrite to predict anew."
        )
    rows += [{} for _ in range(count - len(rows))]
    described = [_join_loader(request, standing, number, rows[number], processes) for number in range(count)]
    manifest: Manifest = {
        **standing.manifest,
        "complete": True,
        "file_format": request.file_format,
        "loaders": described,
    }
    sync_directory(request.directory)
    write_manifest(request.directory, manifest)
    delete_parts(request.directory)
    return Predictions.open(request.directory)


def _join_loader(
    request: Request, standing: Standing, number: int, row: dict[str, Any], processes: int
) -> dict[str, Any]:
    chains = [standing.chains.get((number, rank), []) for rank in range(processes)]
    whole = request.parts / f"joined-{number}.pt"
    joined = joining.join(request.parts, chains, whole)
    file = request.directory / f"loader-{number}.{request.file_format}"
    content = predictions.load(whole)
    holds = {name: prediction_tables.describe(content[name]) for name in joining.COLUMNS if name in content}
    described = {"file": file.name, "samples": joined.samples, "holds": holds, **row, **joined._asdict()}
    if request.file_format == "pt":
        whole.replace(file)
        return described
    columns = prediction_tables.columns_of(content, file)
    aside = whole.with_suffix(file.suffix)
    prediction_tables.write(content, columns, aside, joined.samples)
    aside.replace(file)
    left_out = [f"{name} ({holds.pop(name)})" for name in list(holds) if name not in columns]
    return {**described, "columns": columns, "left_out": left_out}
