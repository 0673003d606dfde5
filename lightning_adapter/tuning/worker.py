"""What does a process do that trains one trial of a search?

It lives for one trial, so that the numbers are those of `fit` in a process of its own, whatever the trial before it has
left in its: modules and their globals, torch's flags and threads, what the GPU's allocator holds, processes of loaders.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import importlib
import io
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import cast

from lightning_adapter.errors import LightningAdapterError
from lightning_adapter.platform.target import imported_to, load_target
from lightning_adapter.runs.provenance import typed_target
from lightning_adapter.runs.run_log import shown_on_console
from lightning_adapter.tuning.job import Ended, Job, Validated
from lightning_adapter.tuning.messages import Answer, Beginning, Imported, receive, send
from lightning_adapter.tuning.sources import fingerprints

#: Seconds in which a process ends whose search is gone: the step that it is in, a checkpoint, loggers.
ALONE_S = 30.0


def main(descriptor: int) -> None:
    """Train the trial that is asked for.

    Args:
        descriptor: of the pipe to the search.
    """
    faulthandler.enable()  # a crash then leaves in the log where it was
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # whatever the end is, the log has it
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    # a loader's forked processes would hold the pipe open, and the search would not see that this process is gone
    os.register_at_fork(after_in_child=connection.close)
    beginning, job = cast(Beginning, receive(connection)), cast(Job, receive(connection))
    sys.path[:], sys.argv[:], sys.orig_argv[:] = beginning.path, beginning.argv, beginning.orig_argv
    search = _Search(connection)
    atexit.register(search.leave_nothing)
    search.told(_trained(beginning, job, search))


def _trained(beginning: Beginning, job: Job, search: _Search) -> Ended:
    before = set(sys.modules)
    try:
        with imported_to("search its hyperparameters"):
            trial_class = load_target(beginning.target)
    except LightningAdapterError as error:
        return Ended(job.number, "refused", str(error).partition("\n")[0], str(error))
    search.told(Imported(fingerprints(sys.modules.keys() - before)))
    module, _, name = beginning.trained_by.partition(":")
    train = getattr(importlib.import_module(module), name)
    with shown_on_console(), typed_target(beginning.target):
        ended: Ended = train(trial_class, job, search.judge)
    return ended


class _Search:
    """The search, as the process knows it that trains one of its trials.

    Args:
        connection: to it; a thread reads it, to notice when the search is gone.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._gone = threading.Event()
        threading.Thread(target=self._listen, name="search", daemon=True).start()

    def judge(self, validated: Validated) -> str | None:
        """Ask whether the trial goes on, and wait for the word.

        Raises:
            KeyboardInterrupt: nobody is there to say it. A checkpoint from here on would let the trial go on later without it,
                so that the run ends with the one that it has.
        """
        with contextlib.suppress(OSError):  # which `_listen` finds too
            send(self._connection, validated)
        answer = self._answers.get()
        if answer is None:
            raise KeyboardInterrupt("the search is gone, and has not judged the validation")
        return answer.stop

    def told(self, message: Imported | Ended) -> None:
        """Say how far the trial is."""
        try:
            send(self._connection, message)
        except OSError:
            print(f"the search is gone, and does not hear: {message}", file=sys.stderr)

    def leave_nothing(self) -> None:
        """End this process and those that it has forked, where the search is not there to do it."""
        if self._gone.is_set():
            os.killpg(os.getpid(), signal.SIGKILL)

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(cast(Answer, receive(self._connection)))
        except (EOFError, OSError):
            self._end_alone()

    def _end_alone(self) -> None:
        """End as at a SIGTERM, with a checkpoint, and otherwise by force, the processes of loaders included."""
        self._gone.set()
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # nothing is trained yet, or no more
            self.leave_nothing()
        # to the main thread: another one would take it, and leave that one where it waits
        signal.pthread_kill(cast(int, threading.main_thread().ident), signal.SIGTERM)
        self._answers.put(None)  # where it waits for one
        time.sleep(ALONE_S)
        self.leave_nothing()
