"""Which GPU, and how many threads, does each of several processes get that train at the same time?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from lightning_adapter.platform.environment import THREAD_VARIABLES

#: CUDA's own: indices, or UUIDs of GPUs and of parts of them. An entry that is none ends the list.
VISIBLE = "CUDA_VISIBLE_DEVICES"
_COUNT = "import torch; print(torch.cuda.device_count())"


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Return the GPUs that a process with these variables would see, as `CUDA_VISIBLE_DEVICES` names them.

    Another process is asked: this one neither imports torch for it, nor initialises CUDA.
    """
    named = environment.get(VISIBLE)
    if named is not None and named.strip() in ("", "-1"):
        return []
    done = subprocess.run(
        [sys.executable, "-c", _COUNT],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return []  # whoever trains imports torch too, and says what is wrong with it
    count = int(done.stdout.split()[-1])
    return [name.strip() for name in named.split(",")][:count] if named is not None else list(map(str, range(count)))


def pins(size: int, gpus: list[str]) -> list[dict[str, str]]:
    """Return the variables that give each of `size` processes a GPU of its own, as far as there are enough; else in turn."""
    if size == 1 or len(gpus) < 2:  # nothing to choose
        return [{} for _ in range(size)]
    return [{VISIBLE: gpus[number % len(gpus)]} for number in range(size)]


def shared_note(size: int, gpus: list[str]) -> str | None:
    """What to say where GPUs are shared; None where they are not."""
    if not gpus or size <= len(gpus):
        return None
    there = "one GPU" if len(gpus) == 1 else f"{len(gpus)} GPUs"
    return (
        f"{size} trials are trained at the same time on {there}, so that some share a GPU and its memory. For one trial on "
        f"each, ask for {len(gpus)} at a time."
    )


def thread_variables(size: int, gpus: list[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return what says how many threads each of several processes has, on which sums depend in their last bits.

    Torch takes a thread for each core, and where several processes compute on the cores of this machine, the whole is then
    slower than with one thread each. Whoever has set one of the variables has decided. With GPUs, and for a single process,
    nothing is chosen: the numbers are to be those of `fit` as it is.
    """
    decided = {name: environment[name] for name in THREAD_VARIABLES if environment.get(name)}
    if size == 1 or gpus or decided:
        return decided
    return {THREAD_VARIABLES[0]: "1"}
