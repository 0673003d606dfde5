"""What holds for every test: one thread for torch, no leaked environment variable or thread, and a fake cluster."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader

from fake_master import FakeMaster, fake_cluster

# What torch and Lightning (seed_everything(), deterministic mode, launchers) leave behind by design. It is restored
# after each test like the rest, but is nobody's fault.
HOST_VARIABLES = {
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_MODULE_LOADING",
    "OMP_NUM_THREADS",
    "PL_GLOBAL_SEED",
    "PL_SEED_WORKERS",
    "PYTEST_CURRENT_TEST",
    "PYTORCH_NVML_BASED_CUDA_CHECK",  # the first import of Lightning sets it
    "TORCHINDUCTOR_CACHE_DIR",
}
THREAD_END_S = 2.0


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    """The machine is shared, and the sums of several threads are not bitwise the same every time."""
    torch.set_num_threads(1)


def put_back(kind: type) -> None:
    """Undo what `_replace_dunder_methods` of Lightning leaves in a class and its subclasses where a hook for loaders raises.

    In such a process Lightning would keep each attribute that a loader is given, in each test that follows.
    """
    for name in ("__init__", "__setattr__", "__delattr__"):
        if f"__old{name}" in vars(kind):
            setattr(kind, name, vars(kind)[f"__old{name}"])
            delattr(kind, f"__old{name}")
    for each in kind.__subclasses__():
        put_back(each)


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves environment variables changed or non-daemon threads running; restore the former."""
    variables, threads = dict(os.environ), set(threading.enumerate())
    yield
    put_back(DataLoader)
    put_back(BatchSampler)
    names = variables.keys() | os.environ.keys()
    changed = sorted(name for name in names if variables.get(name) != os.environ.get(name))
    for name in changed:
        if name in variables:
            os.environ[name] = variables[name]
        else:
            del os.environ[name]
    faults = [f"environment variable {name} was changed" for name in changed if name not in HOST_VARIABLES]
    started = [t for t in threading.enumerate() if t not in threads and not t.daemon]
    deadline = time.monotonic() + THREAD_END_S
    for thread in started:
        thread.join(max(0.0, deadline - time.monotonic()))
    faults += [f"thread {thread.name} is still running" for thread in started if thread.is_alive()]
    if faults:
        pytest.fail("the test leaks: " + "; ".join(faults))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[..., contextlib.AbstractContextManager[FakeMaster]]]:
    """`fake_cluster` on this test's directory; a request that no master would accept fails the test at its end."""
    masters: list[FakeMaster] = []

    @contextlib.contextmanager
    def start(**arguments: Any) -> Iterator[FakeMaster]:
        with fake_cluster(tmp_path, **arguments) as master:
            masters.append(master)
            yield master

    yield start
    unexpected = [line for master in masters for line in master.unexpected]
    if unexpected:
        pytest.fail("requests that a master would refuse, or that fake_master does not know: " + "; ".join(unexpected))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project as the current directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if name not in before and str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
