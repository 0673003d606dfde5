"""Where does this process run, and how are a configuration's environment variables set in it?

Torch reads some of them when it is imported, and the user's code others. So nothing here imports torch, except to ask for
the kind of device.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import determined as det

from lightning_adapter.platform.experiment import Device

#: Whoever sets one of them has decided how many threads torch uses, which reads both.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def managed_trial() -> det.ClusterInfo | None:
    """What Determined says about the trial whose process this is; None off a cluster."""
    info = det.get_cluster_info()
    return info if info is not None and info.task_type == "TRIAL" else None


def device_kind() -> Device:
    """Determined's name for the kind of slots that this machine would have."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return "rocm" if torch.version.hip else "cuda"


@contextmanager
def variables_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables until the block ends; then all of them are as before."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
