"""A local run that is told to stop ends with a checkpoint from which it goes on to the very same result."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from determined import core

from lightning_adapter.checkpoints.file import read
from lightning_adapter.platform import signals
from lightning_adapter.runs import record

PROGRAM = """
import os, signal, sys, time, torch
from torch.utils.data import DataLoader, TensorDataset
from lightning_adapter import DETLM, LightningAdapter, fit

class Net(DETLM):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.4), torch.nn.Linear(4, 1))
    def training_step(self, batch, batch_idx):
        if os.environ.get("ANNOUNCE") and self.trainer.fit_loop.total_batch_idx == 7:
            print("at batch 8", flush=True)
            time.sleep(float(os.environ["ANNOUNCE"]))
        return self.layer(batch[0]).pow(2).mean()
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)
    def train_dataloader(self):
        x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(x), batch_size=4, shuffle=True)

class Trial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, Net(), enable_model_summary=False, accumulate_grad_batches=3)

if __name__ == "__main__":
    resume = sys.argv[2] if len(sys.argv) > 2 else None
    trial = fit(Trial, max_epochs=3, seed=3, run_dir=sys.argv[1], resume_from=resume)
    print("after fit", flush=True)
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "program.py"
    path.write_text(PROGRAM)
    return path


def start(program: Path, *arguments: object, announce: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "ANNOUNCE": announce, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, str(program), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stop_at_batch_8(program: Path, directory: Path, *numbers: signal.Signals, announce: str = "1") -> tuple[int, str]:
    process = start(program, directory, announce=announce)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("at batch 8"):
            break
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.2)
    output, _ = process.communicate(timeout=60)
    return process.returncode, "".join(lines) + output


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, None)])
def test_signal_ends_the_run_at_an_optimizer_step_and_it_resumes_exactly(
    program: Path, tmp_path: Path, number: signal.Signals, status: int | None
) -> None:
    returned, output = stop_at_batch_8(program, tmp_path / "it's stopped", number)
    assert "after fit" not in output
    assert "Detected KeyboardInterrupt" not in output  # said when it is over, it would read like a second one
    assert returned == status if status is not None else returned != 0
    found = re.search(r"has stopped the run after batch 9\..*\n\s+resume_from=(.+)", output)
    assert found, output  # batch 8 only accumulates, batch 9 steps

    stopped = record.read(tmp_path / "it's stopped")
    assert stopped is not None
    assert (stopped["status"], stopped["error"], stopped["batches"]) == ("interrupted", None, 9) and stopped["end"]

    checkpoint = ast.literal_eval(found[1])  # as Python takes what was printed
    resumed = start(program, tmp_path / "resumed", checkpoint)
    whole = start(program, tmp_path / "whole")
    for process in (resumed, whole):
        assert process.communicate(timeout=90)[0].endswith("after fit\n")
    states = [read(next((tmp_path / name / "checkpoints").iterdir()))["state_dict"] for name in ("resumed", "whole")]
    for name, value in states[1].items():
        assert torch.equal(states[0][name], value), name


def test_second_signal_ends_the_run_at_once(program: Path, tmp_path: Path) -> None:
    begun = time.monotonic()
    returned, output = stop_at_batch_8(program, tmp_path, signal.SIGTERM, signal.SIGTERM, announce="40")

    # the first one is answered when the sleep is cut short by it, the second by the system
    assert time.monotonic() - begun < 35
    assert returned in (-signal.SIGTERM, 143)
    assert "after fit" not in output


def test_process_that_cannot_answer_is_ended_after_the_grace_period() -> None:
    # Locking a mutex twice in C releases the interpreter's lock and is not cut short by a signal, like a collective.
    code = (
        "import ctypes\n"
        "from lightning_adapter.platform import signals\n"
        "signals.GRACE_S = 0.5\n"
        "mutex = ctypes.create_string_buffer(128)\n"
        "lock = ctypes.CDLL(None).pthread_mutex_lock\n"
        "lock(mutex)\n"
        "with signals.Interruption().listening(several=True):\n"
        "    print('stuck', flush=True)\n"
        "    lock(mutex)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "stuck\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)

    assert time.monotonic() - begun < 10
    assert process.returncode == 143
    assert "did not come to its next step" in errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_handler_of_the_user_is_called_too(number: signal.Signals) -> None:
    called: list[int] = []
    before = signal.signal(number, lambda heard, frame: called.append(heard))
    try:
        interruption = signals.Interruption()
        with interruption.listening(several=False):
            os.kill(os.getpid(), number)
        assert (called, interruption.signal) == ([number], number)
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("answer", [signal.SIG_DFL, signal.SIG_IGN, signal.default_int_handler])
def test_answers_that_nobody_wrote_are_not_called(answer: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, answer)
    try:
        interruption = signals.Interruption()
        with interruption.listening(several=False):
            os.kill(os.getpid(), signal.SIGINT)
        assert interruption.signal is signal.SIGINT
        assert signal.getsignal(signal.SIGINT) == answer
    finally:
        signal.signal(signal.SIGINT, before)


def test_forked_worker_of_a_loader_answers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals.logger, "warning", lambda *_: os._exit(3))
    interruption = signals.Interruption()
    with interruption.listening(several=False):
        worker = os.fork()
        if worker == 0:
            signal.raise_signal(signal.SIGINT)
            os._exit(0)  # alive, and silent: the loader ends it
        status = os.waitpid(worker, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 0
    assert interruption.signal is None


def test_handlers_are_those_of_before_once_a_run_is_over() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    for several in (False, True):
        with signals.Interruption().listening(several):
            assert signal.getsignal(signal.SIGTERM) != before[0]
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_answer_to_another_signal_is_that_of_before_once_a_run_is_over() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with signals.answers_kept():
        core.init()
        assert signal.getsignal(signal.SIGUSR1) != before
    assert signal.getsignal(signal.SIGUSR1) == before
