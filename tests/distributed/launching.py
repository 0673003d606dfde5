"""How does a test start a job of two processes, and end it for certain?"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

HERE = pathlib.Path(__file__).parent
PROCESSES = 2
LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def need_horovod() -> None:
    """Skip where Horovod is absent and cannot be built; where there is a compiler its absence is a failure."""
    if importlib.util.find_spec("horovod") is not None:
        return
    if shutil.which("g++") is None and shutil.which("c++") is None:
        pytest.skip("Horovod is not built, and there is no C++ compiler to build it with")
    pytest.fail("Horovod is not built: run `make horovod`", pytrace=False)


def command(backend: str, script: str, *arguments: object) -> list[str]:
    tail = [str(HERE / script), *map(str, arguments)]
    if backend == "torch":
        port = ["--master_port", str(free_port())]
        return [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(PROCESSES), *port, *tail]
    if backend == "horovod":
        horovodrun = pathlib.Path(sys.executable).with_name("horovodrun")
        return [sys.executable, str(horovodrun), "--gloo", "-np", str(PROCESSES), sys.executable, *tail]
    return [sys.executable, *tail]


def environment() -> dict[str, str]:
    """What a process is given that no launcher has started, and that imports the modules beside this one."""
    variables = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    return {**variables, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}


@contextmanager
def started(backend: str, log: pathlib.Path, script: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Start a job in a session of its own; whatever is left of it afterwards is killed."""
    with log.open("wb") as output:
        job = subprocess.Popen(
            command(backend, script, *arguments),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**environment(), "OMP_NUM_THREADS": "1"},
            cwd=log.parent,
            start_new_session=True,
        )
        try:
            yield job
        finally:
            with suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.wait()


def ended(job: subprocess.Popen[bytes], log: pathlib.Path, seconds: float) -> str:
    """Wait for a job; returns what it printed."""
    try:
        job.wait(seconds)
    except subprocess.TimeoutExpired:
        pytest.fail(
            f"the job did not end within {seconds:g} s:\n{log.read_text(errors='replace')[-4000:]}", pytrace=False
        )
    return log.read_text(errors="replace")


def printed_by_each(script: pathlib.Path, *arguments: object) -> list[str]:
    """Run a job of one process for each of two agents, as Determined starts them; returns what each process printed.

    Both are on this machine; whatever is left of them is killed.
    """
    sizes = {"WORLD_SIZE": str(PROCESSES), "GROUP_WORLD_SIZE": str(PROCESSES), "LOCAL_WORLD_SIZE": "1"}
    job = {**environment(), **sizes, "MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            env={**job, "RANK": rank, "GROUP_RANK": rank, "LOCAL_RANK": "0"},
            cwd=script.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in map(str, range(PROCESSES))
    ]
    try:
        return [process.communicate(timeout=100)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
