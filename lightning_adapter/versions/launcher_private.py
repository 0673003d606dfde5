"""What do launchers leave in the environment of a process, and where do they look for its error? Nothing here imports torch.

`_get_default_store` (torch 2.1 to 2.13) is where the processes of a group have met; rank 0 holds it, or torchrun's agent.
`TORCHELASTIC_ERROR_FILE` and the form of that file are torch 2.1 to 2.13's (`ErrorHandler.record_exception`,
`ChildFailedError._format_failure`); `HOROVOD_GLOO_RENDEZVOUS_*` are Horovod 0.28's.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import sys
import time

_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
_RENDEZVOUS = ("HOROVOD_GLOO_RENDEZVOUS_ADDR", "HOROVOD_GLOO_RENDEZVOUS_PORT")


def job_directory() -> pathlib.Path | None:
    """A directory of this job alone, shared by its processes on this machine; None where torchrun has not started it."""
    path = os.environ.get(_ERROR_FILE)
    return None if path is None else pathlib.Path(path).parent.parent


def horovod_address() -> str | None:
    """What no other running job has in its environment; None where horovodrun has not started this one."""
    found = [os.environ.get(name) for name in _RENDEZVOUS]
    return None if None in found else "-".join(filter(None, found))


def first_on_all_machines(mine: str) -> str | None:
    """What the first process wrote that called this, `mine` if it is this one; nothing where that one has ended with the store.

    Returns:
        None where the processes have not met, or are those of one machine.
    """
    # not imported: who has not done so has met nobody
    torch_distributed = sys.modules.get("torch.distributed")
    if torch_distributed is None or not torch_distributed.is_available() or not torch_distributed.is_initialized():
        return None
    if not has_other_machines():
        return None
    try:
        # the store's own client tells of a peer that is gone in twenty lines of C++
        socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), timeout=2.0).close()
        found = torch_distributed.distributed_c10d._get_default_store().compare_set("lightning_adapter", "", mine)
    except (OSError, RuntimeError):
        return ""
    return str(found.decode())


def has_other_machines() -> bool:
    """Whether torchrun has started processes elsewhere too, each machine with last lines of its own."""
    return os.environ.get("LOCAL_WORLD_SIZE") != os.environ.get("WORLD_SIZE")


def only_names_the_rank(excepthook: object) -> bool:
    """Whether a `sys.excepthook` is the one that `init_process_group` puts before Python's own (torch 2.13)."""
    return getattr(excepthook, "__name__", "") == "_distributed_excepthook"


def error_for_torchrun(message: str) -> None:
    """Leave the error where torchrun looks for it: its last lines name the error then, in place of a link to its manual.

    Where that cannot be written, as on a disk that is full, the error itself is still to be told.
    """
    path = os.environ.get(_ERROR_FILE)
    if path is not None:
        content = {"message": {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}}
        with contextlib.suppress(OSError):
            pathlib.Path(path).write_text(json.dumps(content))
