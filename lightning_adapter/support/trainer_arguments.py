"""Does an argument of Lightning's Trainer that has no effect here ask for nothing, for what the job has, or for more?

A project brings its whole trainer section along, most of it Lightning's defaults. What asks for nothing is taken, and so
is what the job has anyway; of the rest the table says why it cannot be had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lightning_adapter.errors import shown
from lightning_adapter.support.row import Row, Support
from lightning_adapter.support.table import rows


@dataclass(frozen=True)
class Job:
    """What Determined, or torchrun, has started.

    Attributes:
        device: the kind of device that each process has, as torch names it: "cpu" or "cuda".
        processes: on each node.
        nodes: number of them.
    """

    device: str = "cpu"
    processes: int = 1
    nodes: int = 1

    def __str__(self) -> str:
        kind = {"cuda": "GPU", "cpu": "CPU"}.get(self.device, self.device)
        nodes = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
        return f"{nodes} with {self.processes} {kind} {'process' if self.processes == 1 else 'processes'}"


def row_of(name: str) -> Row | None:
    """The row of an argument that the adapter does not take, or takes without effect; None for any other name."""
    found = (row for row in rows("Trainer argument") if row.name == name and row.support is not Support.SUPPORTED)
    return next(found, None)


def asks_for_nothing(row: Row, value: object, job: Job | None) -> bool:
    """Whether the value of an argument is Lightning's default, or what the job has anyway; without a job, any that one may have."""
    if any(value is none or (type(value) is type(none) and value == none) for none in row.accepted):
        return True
    agrees = _AGREES.get(row.name)
    return agrees is not None and (job is None or agrees(value, job))


def may_agree(row: Row) -> bool:
    """Whether an argument is about what the job has."""
    return row.name in _AGREES


def message(row: Row, value: object, job: Job) -> str:
    """What is wrong with an argument, why, and what to do instead."""
    if row.support is Support.WARNED:
        found = f"LightningAdapter has no use for {row.name}={shown(value)}"
    elif may_agree(row):
        found = f"{row.name}={shown(value)} is not what this job has, which is {job}"
    else:
        found = f"LightningAdapter does not take {row.name}={shown(value)}"
    return f"{found}: {row.reason}. Instead, {row.instead}."


def _devices(value: object) -> int | None:
    """How many devices are asked for, as `_parse_gpu_ids` counts them: the first so many; None for other ones."""
    if isinstance(value, str):
        numbers = [part.strip() for part in value.split(",") if part.strip()]
        if not all(number.isdigit() for number in numbers):
            return None
        value = int(numbers[0]) if numbers and "," not in value else [int(number) for number in numbers]
    if isinstance(value, (list, tuple)):
        return len(value) if list(value) == list(range(len(value))) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _has_accelerator(value: object, job: Job) -> bool:
    return isinstance(value, str) and {"gpu": "cuda"}.get(value.lower(), value.lower()) == job.device


def _has_devices(value: object, job: Job) -> bool:
    return _devices(value) == job.processes


def _has_gpus(value: object, job: Job) -> bool:
    if job.device != "cuda":
        return _devices(value) == 0
    return value in (-1, "-1") or _has_devices(value, job)


def _has_nodes(value: object, job: Job) -> bool:
    return value == job.nodes and not isinstance(value, bool)


def _has_processes(value: object, job: Job) -> bool:
    return value == job.processes and not isinstance(value, bool)


_AGREES: dict[str, Callable[[object, Job], bool]] = {
    "accelerator": _has_accelerator,
    "devices": _has_devices,
    "gpus": _has_gpus,
    "num_nodes": _has_nodes,
    "num_processes": _has_processes,
}
