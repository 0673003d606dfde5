"""What do a search and the processes that train its trials say to each other, and how does it cross the pipe?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeAlias

from lightning_adapter.tuning.job import Ended, Job, Validated


@dataclass(frozen=True)
class Beginning:
    """Comes first: how a process becomes like the search's own.

    Attributes:
        target: `FILE_OR_MODULE:TrialClass`.
        trained_by: `module:function` with the signature of `training.train`.
        path: `sys.path` of the search.
        argv: its `sys.argv`, which user code may read.
        orig_argv: its `sys.orig_argv`, which the record of a run names as what was typed.
    """

    target: str
    trained_by: str
    path: Sequence[str]
    argv: Sequence[str]
    orig_argv: Sequence[str]


@dataclass(frozen=True)
class Imported:
    """The target is imported.

    Attributes:
        files: `sources.fingerprints` of what came with it.
    """

    files: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """The searcher's word on a validation.

    Attributes:
        stop: why the trial is to stop; None to go on.
    """

    stop: str | None


Message: TypeAlias = Beginning | Job | Imported | Validated | Answer | Ended
_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Beginning, Job, Imported, Validated, Answer, Ended)
}


def send(connection: Connection, message: Message) -> None:
    """Write a message; numbers that are not finite pass.

    Raises:
        OSError: nobody is there to read it.
    """
    connection.send_bytes(json.dumps([type(message).__name__, vars(message)]).encode())


def receive(connection: Connection) -> Message:
    """Wait for a message.

    Raises:
        EOFError, OSError: the other process is gone.
    """
    kind, values = json.loads(connection.recv_bytes())
    return _KINDS[kind](**values)
