"""Was this process started as one of several, by whom, and how does it join the others?"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import torch
from determined.core import DistributedContext
from lightning_utilities.core.rank_zero import rank_zero_only
from torch import distributed as dist

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.strategies.horovod import horovod_module
from lightning_adapter.platform.folded import wants_all_frames
from lightning_adapter.platform.uncaught import tell_at_exit
from lightning_adapter.versions import determined_private

Launcher: TypeAlias = Literal["torch", "horovod"]

#: What torchrun sets for each process.
_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
#: Seconds in which threads let go of the tensors of a last collective.
_LAST_TENSORS_S = 0.2


def launcher() -> Launcher | None:
    """Who started this process as one of several: "torch", "horovod", or None.

    Raises:
        ConfigurationError: the environment speaks of several processes but lacks what is needed to find them.
    """
    variables = os.environ
    if variables.get(determined_private.HOROVOD_VARIABLE) or _number("HOROVOD_SIZE", "1") > 1:
        return "horovod"
    if variables.get(determined_private.TORCH_VARIABLE):
        return "torch"
    size = variables.get("WORLD_SIZE", "1")
    if not size.isdigit() or int(size) < 2:
        return None
    missing = [name for name in _TORCHRUN if name not in variables]
    if missing:
        raise ConfigurationError(
            f"WORLD_SIZE={size} says that this is one of {size} processes, but {', '.join(missing)} is not set. Start them "
            "with torchrun or horovodrun, or unset WORLD_SIZE to train in a single process."
        )
    return "torch"


@contextmanager
def join_job(managed: bool) -> Iterator[DistributedContext | None]:
    """Join the job that this process is part of, for the time of one `fit`.

    Args:
        managed: Determined's own `pytorch.init` makes the context; only what it reads is prepared.

    Yields:
        Determined's distributed context; None for a single process, and where Determined makes it.
    """
    wants_all_frames()  # what is said there is looked at before anything has to be told
    backend = launcher()
    try:
        if backend is None:
            yield None
        else:
            with _joined(backend) as context:
                yield None if managed else context()
    except (Exception, KeyboardInterrupt) as error:
        tell_at_exit(error)
        raise


@contextmanager
def _joined(backend: Launcher) -> Iterator[Callable[[], DistributedContext | None]]:
    """Be one of several processes until the block ends; gives what makes Determined's context."""
    variable = determined_private.HOROVOD_VARIABLE if backend == "horovod" else determined_private.TORCH_VARIABLE
    before = os.environ.get(variable)
    os.environ[variable] = before or "1"
    try:
        if backend == "horovod":
            horovod_module()
            determined_private.require_horovod().init()
        # Lightning's `_get_rank` reads torchrun's variables alone, and at its import
        rank = _rank(backend)
        rank_zero_only.rank = rank  # type: ignore[attr-defined]
        with _chief_alone_tells(rank):
            yield lambda: _context(backend)
    finally:
        if before is None:
            del os.environ[variable]


@contextmanager
def _chief_alone_tells(rank: int) -> Iterator[None]:
    """What the other processes have to say is what the chief says, errors excepted."""
    loggers = [logging.getLogger(name) for name in ("lightning_adapter", "determined")] if rank else []
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _number(name: str, default: str = "") -> int:
    """A number that a launcher leaves in the environment.

    Raises:
        ConfigurationError: it is none.
    """
    text = os.environ.get(name, default)
    if not text.isdecimal():
        raise ConfigurationError(
            f"{name}={text!r} in the environment is no number. Start the processes with torchrun or horovodrun, or unset it."
        )
    return int(text)


def _rank(backend: Launcher) -> int:
    return _number("RANK") if backend == "torch" else int(determined_private.require_horovod().rank())


@dataclass(frozen=True)
class _Ranks:
    """Where this process stands in its job, in the words of Determined's context: a node is one of `cross_size`."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    cross_rank: int
    cross_size: int

    def context(self, address: str, ports: list[int]) -> DistributedContext:
        """Determined's context of these ranks.

        Args:
            address: of the chief; on a cluster Determined says it.
            ports: two that are free on the chief.
        """
        return DistributedContext(
            **asdict(self),
            chief_ip=os.environ.get("DET_CHIEF_IP") or address,
            pub_port=ports[0],
            pull_port=ports[1],
        )


def _context(backend: Launcher) -> DistributedContext | None:
    """A context of Determined's on ports that are free, so that several jobs fit on one machine; None for one process.

    `DistributedContext.from_torch_distributed` and `from_horovod` take ports that are always the same.
    """
    return _horovod_context() if backend == "horovod" else _torch_context()


def _horovod_context() -> DistributedContext | None:
    hvd = determined_private.require_horovod()
    if hvd.size() == 1:
        return None
    ranks = _Ranks(hvd.rank(), hvd.size(), hvd.local_rank(), hvd.local_size(), hvd.cross_rank(), hvd.cross_size())
    address = os.environ.get("HOROVOD_HOSTNAME") or socket.gethostname()
    address, ports = hvd.broadcast_object((address, _free_ports() if ranks.rank == 0 else []), root_rank=0)
    return ranks.context(address, ports)


def _torch_context() -> DistributedContext | None:
    ranks = _torchrun_ranks()
    if ranks.size == 1:
        return None
    _check_devices(ranks.local_size)
    if not dist.is_initialized():
        _init_process_group(ranks.local_rank)
    found: list[Any] = [_free_ports() if ranks.rank == 0 else None]
    dist.broadcast_object_list(found, 0)
    return ranks.context(os.environ["MASTER_ADDR"], found[0])


def _torchrun_ranks() -> _Ranks:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
    rank, size, local_rank, local_size, group = (_number(name) for name in names)
    return _Ranks(rank, size, local_rank, local_size, group, _number("GROUP_WORLD_SIZE", str(size // local_size)))


def _check_devices(processes: int) -> None:
    devices = torch.cuda.device_count()
    if 0 < devices < processes:
        raise ConfigurationError(
            f"This node has {processes} processes and {devices} CUDA device(s); each process needs one of its own. Start "
            f"{devices} process(es) per node (torchrun --nproc_per_node {devices}), or set CUDA_VISIBLE_DEVICES= to train on CPU."
        )


def _init_process_group(local_rank: int) -> None:
    atexit.register(_leave_process_group)
    if not torch.cuda.is_available():
        dist.init_process_group("gloo")
        return
    torch.cuda.set_device(local_rank)  # before NCCL looks for it, as `CUDAAccelerator.setup_device` does
    dist.init_process_group("nccl", device_id=torch.device("cuda", local_rank))


def _leave_process_group() -> None:
    """End the group before the interpreter ends.

    A thread of gloo takes Python's lock to let go of a collective's tensors. One that still waits for the lock when the
    interpreter ends is ended by it, and aborts the process; in a sleep the lock is free.
    """
    if dist.is_initialized():
        dist.destroy_process_group()
    time.sleep(_LAST_TENSORS_S)


def _free_ports() -> list[int]:
    """Two ports that nobody listens on."""
    with socket.socket() as first, socket.socket() as second:
        for found in (first, second):
            found.bind(("", 0))
        return [first.getsockname()[1], second.getsockname()[1]]
