"""`lightning-adapter runs show`: what is all that is known of one run?"""

from __future__ import annotations

import datetime
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import tabulate

from lightning_adapter.cli import runs_text
from lightning_adapter.runs import room, words
from lightning_adapter.runs.listing import Run, flat
from lightning_adapter.runs.metrics_table import plain
from lightning_adapter.runs.summary import shown

#: Of the log of a run that did not end well.
_LINES = 15
_BLOCK = 65536
_MEASURED = {"metrics": "final", "validate": "validate", "test": "test"}


def text(run: Run, width: int | None, now: datetime.datetime) -> str:
    """Everything about a run, in paragraphs.

    Args:
        run: to be shown.
        width: of the terminal, None for lines of any length.
        now: ages are counted to it.
    """
    parts = [
        "\n".join([shown(run.path), *runs_text.pairs(_course(run, now), width)]),
        _section("made with", _making(run.record), width),
        _section("hyperparameters", run.hyperparameters, width),
        _values(run.record),
        _section("checkpoints", _checkpoints(run), width),
        _section("loggers", _loggers(run.record), width),
        _section("files", _files(run.path), width),
        _log(run) if run.status in ("failed", "killed") else "",
    ]
    return "\n\n".join(part for part in parts if part)


def pictures(run: Run) -> str:
    """Draw what was logged to TensorBoard; return which pictures there are now.

    Raises:
        ConfigurationError: a picture would replace a file of somebody else's.
    """
    from lightning_adapter.runs import tensorboard_pictures

    drawn = tensorboard_pictures.draw(run)
    lines = [f"\npictures\n  {shown(path)}" if i == 0 else f"  {shown(path)}" for i, path in enumerate(drawn.paths)]
    return "\n".join(
        [*(lines or ["\nno pictures: nothing was logged to TensorBoard files of this run"]), *drawn.remarks]
    )


def _section(title: str, rows: Mapping[str, Any], width: int | None) -> str:
    lines = runs_text.pairs(rows, width)
    return "\n".join([title, *lines]) if lines else ""


def _course(run: Run, now: datetime.datetime) -> dict[str, Any]:
    status = run.status if run.record.get("error") is None else f"{run.status}: {run.record['error']}"
    end = run.end
    took = None if run.start is None or end is None else words.duration((end - run.start).total_seconds())
    return {
        "name": run.name,
        "status": status,
        "start": None if run.start is None else f"{_local(run.start)} ({runs_text.age(run, now)} ago)",
        "end": None if end is None else f"{_local(end)} (after {took})" if took else _local(end),
        "epochs": run.epochs,
        "batches": run.record.get("batches"),
        "optimizer steps": run.record.get("global_step"),
        "goes on from": run.record.get("parent"),
    }


def _local(moment: datetime.datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _making(record: Mapping[str, Any]) -> dict[str, Any]:
    git = record.get("git") or {}
    clean = ", with changes that are not committed" if git.get("clean") is False else ""
    processes = record.get("processes")
    where = f"{record.get('host')}, process {record.get('pid')}" if record.get("host") else None
    return {
        "command": record.get("command"),
        "target": record.get("target"),
        "directory": record.get("working_directory"),
        "git": f"{git['commit']}{clean}" if git.get("commit") else None,
        "seed": record.get("seed"),
        "machine": f"{where}, {processes} processes"
        if where and isinstance(processes, int) and processes > 1
        else where,
        "versions": ", ".join(f"{name} {found}" for name, found in (record.get("versions") or {}).items()) or None,
    }


def _values(record: Mapping[str, Any]) -> str:
    columns = {title: dict(flat(record[key])) for key, title in _MEASURED.items() if record.get(key)}
    names = sorted({name for found in columns.values() for name in found})
    if not names:
        return ""
    rows = [
        [plain(name), *("" if name not in found else words.value(found[name]) for found in columns.values())]
        for name in names
    ]
    return str(tabulate.tabulate(rows, headers=["metric", *columns], disable_numparse=True))


def _checkpoints(run: Run) -> dict[str, Any]:
    ranked = run.metric
    found = {}
    for key in ("best", "last"):
        checkpoint = run.record.get(key)
        if not checkpoint:
            continue
        place = run.path / str(checkpoint.get("checkpoint"))
        facts = [f"batch {checkpoint['batches']}"] if checkpoint.get("batches") is not None else []
        facts += [f"epoch {checkpoint['epoch']}"] if checkpoint.get("epoch") is not None else []
        if key == "best" and ranked is not None and checkpoint.get("value") is not None:
            facts.append(f"{ranked} {words.value(checkpoint['value'])}")
        facts += [] if place.exists() else ["is gone"]
        found[key] = f"{shown(place)} ({', '.join(facts)})" if facts else shown(place)
    return found


def _loggers(record: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for number, logger in enumerate(record.get("loggers") or []):
        if isinstance(logger, Mapping):
            facts = [str(logger[key]) for key in ("name", "version", "save_dir") if logger.get(key) not in (None, "")]
            name = str(logger.get("class", "")).rpartition(".")[2]
            found[name if name not in found else f"{name} {number + 1}"] = ", ".join(facts)
    return found


def _files(path: pathlib.Path) -> dict[str, Any]:
    found = {}
    for name in sorted(os.listdir(path)):
        place = path / name
        if name.startswith("."):
            continue
        if place.is_symlink():
            found[name] = f"-> {os.readlink(place)}"
        else:
            found[f"{name}/" if place.is_dir() else name] = runs_text.size(room.taken_by(place))
    return found


def _log(run: Run) -> str:
    try:
        with (run.path / "train.log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _BLOCK))
            lines = file.read().decode("utf-8", "replace").splitlines()[-_LINES:]
    except OSError:
        return ""
    return "\n".join(["the end of train.log", *(f"  {plain(line)}" for line in lines)]) if lines else ""
