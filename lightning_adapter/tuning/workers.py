"""Which processes train trials at the same time, and on which GPU does each?

Each trial has a process of its own, begun for it and gone after it. Importing torch and the hosts takes each of them a few
seconds; in return a trial's numbers depend on nothing that another trial has left behind.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing.connection import wait
from typing import cast

from lightning_adapter import notices
from lightning_adapter.runs.recorder import now
from lightning_adapter.tuning import pinning
from lightning_adapter.tuning.job import Ended, Job, Judge, Validated
from lightning_adapter.tuning.messages import Answer, Beginning, Imported, receive, send
from lightning_adapter.tuning.sources import Sources

#: The package may lie where only the search's own path leads.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[2]); from lightning_adapter.tuning.worker import main; main(int(sys.argv[1]))"
)
#: With these, progress bars of rich believe that they write to a terminal, whatever they write to.
_AS_IF_A_TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
#: Seconds that a process has for what it does at its exit, once its trial is over: loggers that upload, for one.
EXIT_S = 60.0
#: Seconds after which it is looked whether a process is gone that has left its end of the pipe to another.
_LOOK_S = 0.5
#: Characters of a log that are shown of a process that has died.
_LOG_END = 4000


class Workers:
    """A `Crew` of processes.

    What trials print goes to `worker-<n>.log` in the search's directory, n below `size`.

    Args:
        size: trials that are trained at the same time.
        target: `FILE_OR_MODULE:TrialClass`, from the current directory.
        variables: environment variables of the experiment, which processes have before they import anything.
        directory: of the search.
        trained_by: `module:function` that trains a trial there, as `training.train` does.

    Attributes:
        size: as given.
        variables: those that say how many threads a trial has, on which its numbers depend: added here, or set by somebody.
    """

    def __init__(
        self,
        size: int,
        target: str,
        variables: Mapping[str, str],
        directory: pathlib.Path,
        trained_by: str = "lightning_adapter.tuning.training:train",
    ) -> None:
        self.size = size
        self._beginning = Beginning(target, trained_by, sys.path, sys.argv, sys.orig_argv)
        environment = {**os.environ, **variables}
        for name in _AS_IF_A_TERMINAL:
            environment.pop(name, None)
        gpus = pinning.visible_gpus(environment) if size > 1 else []
        self.variables = pinning.thread_variables(size, gpus, environment)
        self._pins = pinning.pins(size, gpus)
        self._environment = {**environment, **self.variables}
        self._working_directory, self._directory = os.getcwd(), directory
        self._workers: dict[int, _Worker] = {}  # by number of the worker
        self._sources = Sources()
        self._stops = 0
        note = pinning.shared_note(size, gpus)
        if note is not None:
            notices.warn(note)

    def start(self, job: Job) -> None:
        """Begin to train a trial; fewer than `size` are being trained."""
        free = [number for number in range(self.size) if number not in self._workers]
        taken = [self._pins[number] for number in self._workers]
        number = min(free, key=lambda number: (taken.count(self._pins[number]), number))
        self._workers[number] = _Worker(
            self._beginning,
            job,
            self._directory / f"worker-{number}.log",
            {**self._environment, **self._pins[number]},
            self._working_directory,
            self._sources,
        )
        if self._stops:  # a signal came meanwhile
            self._workers[number].ask_to_stop()

    def wait(self, judge: Judge, timeout_s: float) -> list[Ended]:
        """Let trials train, and answer those that are validated, until one ends or the time is over.

        A validation whose judge has raised an exception is judged again.
        """
        until = time.monotonic() + timeout_s
        ended: list[Ended] = []
        while self._workers and not ended:
            left = max(0.0, until - time.monotonic())
            wait([worker.connection for worker in self._workers.values()], min(left, _LOOK_S))
            for number, worker in list(self._workers.items()):
                worker.hear(judge)
                if worker.is_gone:
                    ended.append(worker.ended(stopped=self._stops > 0))
                    del self._workers[number]
            if left == 0:
                break
        return ended

    def stop(self) -> None:
        """Ask trials to end soon, with a checkpoint each; asked once more, end their processes at once."""
        self._stops += 1
        for worker in self._workers.values():
            if self._stops == 1:
                worker.ask_to_stop()
            else:
                worker.kill()

    def close(self) -> None:
        """Leave no process behind."""
        for worker in self._workers.values():
            worker.kill()
        for worker in self._workers.values():
            worker.reap()
        self._workers.clear()


class _Worker:
    """A process and the trial that it trains.

    Args:
        beginning: what makes it like the search's own process.
        job: the trial.
        log: where it prints.
        environment: its variables.
        working_directory: where it runs.
        sources: of all trials.
    """

    def __init__(
        self,
        beginning: Beginning,
        job: Job,
        log: pathlib.Path,
        environment: Mapping[str, str],
        working_directory: str,
        sources: Sources,
    ) -> None:
        self._job, self._log, self._sources = job, log, sources
        self._told: Ended | None = None
        self._over_at = 0.0
        self._waiting: Validated | None = None
        self.connection, theirs = multiprocessing.Pipe()
        package = pathlib.Path(__file__).parents[2]
        with theirs, open(log, "ab") as output:
            output.write(f"--- {now()}: trial {job.number} in {job.run_dir}\n".encode())
            output.flush()
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), str(package)],
                env=environment,
                cwd=working_directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                # a group of its own, which a terminal's Ctrl-C does not reach, and no terminal
                start_new_session=True,
            )
        self._send(beginning, job)

    @property
    def is_gone(self) -> bool:
        """Whether there is no process any more."""
        return self._process.returncode is not None

    def hear(self, judge: Judge) -> None:
        """Take in what the process has to say, and answer it.

        Args:
            judge: is asked about a validation.
        """
        # what a process has said before it ended is in the pipe by then
        gone = self._process.poll() is not None
        while self._waiting is not None or self.connection.poll():
            if self._waiting is None:
                try:
                    message = receive(self.connection)
                except (EOFError, OSError):
                    gone = True
                    break
                if isinstance(message, Imported):
                    note = self._sources.note_of(self._job.number, message.files)
                    if note is not None:
                        notices.warn(note)
                    continue
                if isinstance(message, Ended):
                    self._told, self._over_at = message, time.monotonic()
                    continue
                self._waiting = cast(Validated, message)
            answer = Answer(judge(self._waiting))
            self._waiting = None
            self._send(answer)
        if gone or (self._told is not None and time.monotonic() > self._over_at + EXIT_S):
            self.reap()

    def ended(self, stopped: bool) -> Ended:
        """How the trial has ended whose process is gone.

        Args:
            stopped: whether it was asked to stop.
        """
        if self._told is not None:
            return self._told
        status = self._process.wait()
        # before it could answer; whoever ends a machine's jobs asks all processes, not the search alone
        if -status == signal.SIGTERM or (stopped and -status == signal.SIGKILL):  # or asked twice
            return Ended(self._job.number, "interrupted")
        return Ended(self._job.number, "failed", _death(status), self._log_end())

    def ask_to_stop(self) -> None:
        """End with a checkpoint."""
        if self._told is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process, and those that it has forked."""
        # macOS answers so for a group of processes that have ended
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def reap(self) -> None:
        """Leave nothing of the process; one that still ends is ended."""
        self.kill()
        self._process.wait()
        self.connection.close()

    def _send(self, *messages: Beginning | Job | Answer) -> None:
        with contextlib.suppress(OSError):  # it is gone, which `hear` finds
            for message in messages:
                send(self.connection, message)

    def _log_end(self) -> str:
        with open(self._log, "rb") as file:
            file.seek(max(self._log_start, os.path.getsize(self._log) - _LOG_END))
            return file.read().decode(errors="replace").strip()


def _death(status: int) -> str:
    """What is said of a process that has ended without a word."""
    if status >= 0:
        return f"its process ended with exit status {status}"
    name = signal.Signals(-status).name
    return f"its process was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
