"""How many threads does torch use in a process that shares its machine with other ranks?

One, as under torchrun, which sets `OMP_NUM_THREADS=1` where it starts several processes on a machine: the same job is then as
quick, and gives the same sums, whoever starts it. Torch's own default is a thread per core, in each of the processes.
"""

from __future__ import annotations

import logging
import os
import pathlib
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import torch
from determined.core import DistributedContext

from lightning_adapter.platform.environment import THREAD_VARIABLES

logger = logging.getLogger("lightning_adapter")


@contextmanager
def cores_shared(
    distributed: DistributedContext, variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    """Share this machine's cores with other ranks until the block ends.

    Args:
        distributed: the ranks.
        variables: environment variables that the configuration sets: torch has read them where `fit` is what imports it, and
            in a script that has imported it before they are to mean the same.
    """
    before = torch.get_num_threads()
    named = next((variables[name] for name in THREAD_VARIABLES if name in variables), "")
    if named.isdecimal() and int(named):
        torch.set_num_threads(int(named))
    share_cores(distributed)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def share_cores(distributed: DistributedContext) -> None:
    """Take one thread where several ranks share this machine, and nobody says otherwise; all ranks call it together.

    A trial whose constructor calls `torch.set_num_threads` wins.
    """
    ranks = distributed.allgather(_machine()).count(_machine()) if distributed.size > 1 else 1
    if ranks == 1 or torch.get_num_threads() == 1 or any(os.environ.get(name) for name in THREAD_VARIABLES):
        return
    torch.set_num_threads(1)
    logger.info(
        "%d processes share the cores of this machine: torch uses one thread in each, as under torchrun. Set "
        "OMP_NUM_THREADS for another number.",
        ranks,
    )


def _machine() -> str:
    """The same in all containers of a machine, whose names differ."""
    try:
        return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:  # not Linux
        return socket.gethostname()
