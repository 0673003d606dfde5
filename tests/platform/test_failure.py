"""Which process of a job tells an error, and what do the others say?"""

from __future__ import annotations

import json
import os
import pathlib
import sys
import time
from typing import Any

import pytest

from distributed.launching import printed_by_each
from lightning_adapter.errors import ConfigurationError, NonFiniteError
from lightning_adapter.platform import failure, uncaught

HOROVOD = {"HOROVOD_GLOO_RENDEZVOUS_ADDR": "10.0.0.1", "HOROVOD_GLOO_RENDEZVOUS_PORT": "40001"}


def torchrun(rank: int, file: pathlib.Path, local_size: int = 2) -> dict[str, str]:
    sizes = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": str(local_size)}
    return {"RANK": str(rank), "TORCHELASTIC_ERROR_FILE": str(file), **sizes}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    for name in (
        "RANK",
        "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        "TORCHELASTIC_ERROR_FILE",
        "HOROVOD_RANK",
        "HOROVOD_SIZE",
        *HOROVOD,
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(failure.tempfile, "gettempdir", lambda: str(tmp_path))


@pytest.fixture(params=["torch", "horovod"])
def rank(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Any:
    """Become a rank of one job of two."""

    def become(number: int) -> None:
        if request.param == "horovod":
            given = {**HOROVOD, "HOROVOD_RANK": str(number), "HOROVOD_SIZE": "2"}
        else:
            (tmp_path / str(number)).mkdir(exist_ok=True)
            file = tmp_path / str(number) / "error.json"
            given = torchrun(number, file)
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return become


def told(capsys: pytest.CaptureFixture[str], error: Exception) -> str:
    failure.tell(error, "program")  # type: ignore[arg-type]
    return capsys.readouterr().err


def test_process_alone_tells_its_error_without_a_rank(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, ConfigurationError("no")) == "program: error: no\n"
    assert told(capsys, ConfigurationError("no")) == "program: error: no\n"


def test_first_to_fail_tells_the_error_and_the_others_a_line(rank: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rank(1)
    assert told(capsys, ConfigurationError("two\nlines")) == "program: error: rank 1 of 2: two\nlines\n"
    rank(0)
    assert told(capsys, ConfigurationError("two\nlines")) == "rank 0 of 2 ends too, with the same error as rank 1\n"
    line = "rank 0 of 2 ends too, after rank 1: ConfigurationError: another one\n"
    assert told(capsys, ConfigurationError("another\none")) == line


def test_traceback_is_told_once_if_the_error_ends_the_process(rank: Any, capsys: pytest.CaptureFixture[str]) -> None:
    error = ValueError("broken")
    for number in (1, 0):
        rank(number)
        uncaught.tell_at_exit(error)
        sys.excepthook(ValueError, error, None)
        sys.excepthook = sys.__excepthook__
    assert capsys.readouterr().err.splitlines() == [
        "rank 1 of 2 failed:", "ValueError: broken", "rank 0 of 2 ends too, with the same error as rank 1",
    ]  # fmt: skip


def test_errors_that_a_script_survives_are_many_and_the_hook_is_one(rank: Any) -> None:
    rank(1)
    uncaught.tell_at_exit(ValueError("of the first trial"))
    hook = sys.excepthook
    uncaught.tell_at_exit(ValueError("of the second one"))
    assert sys.excepthook is hook is not sys.__excepthook__


def test_file_of_a_job_that_has_long_ended_counts_for_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**HOROVOD, "HOROVOD_RANK": "0", "HOROVOD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    told(capsys, ConfigurationError("of the earlier job"))
    (left,) = tmp_path.iterdir()
    long_ago = time.time() - 1e6  # before this process began
    os.utime(left, (long_ago, long_ago))
    assert told(capsys, ConfigurationError("no")) == "program: error: rank 0 of 2: no\n"


def test_directory_that_cannot_be_written_silences_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**HOROVOD, "HOROVOD_RANK": "0", "HOROVOD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(failure.tempfile, "gettempdir", lambda: "/absent")
    for _ in range(2):
        assert told(capsys, ConfigurationError("no")) == "program: error: rank 0 of 2: no\n"


def test_torchrun_is_left_the_error_of_the_first_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    files = [tmp_path / str(number) / "error.json" for number in (0, 1)]
    for number, file in enumerate(files):
        file.parent.mkdir()
        for name, value in torchrun(number, file).items():
            monkeypatch.setenv(name, value)
        failure.tell(NonFiniteError("train_loss is nan"), "program")
    assert json.loads(files[0].read_text()) and not files[1].exists()
    failures = {number: ProcessFailure(number, 1000 + number, 1, str(file)) for number, file in enumerate(files)}
    assert "traceback : NonFiniteError: train_loss is nan\n" in ChildFailedError("program", failures).format_msg()


def test_error_is_told_though_it_cannot_be_left_for_torchrun(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in torchrun(0, tmp_path / "absent" / "0" / "error.json").items():
        monkeypatch.setenv(name, value)
    assert told(capsys, ConfigurationError("the disk is full")).endswith("error: rank 0 of 2: the disk is full\n")


def test_torchrun_of_another_machine_is_left_the_line(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "1").mkdir()
    for name, value in torchrun(1, tmp_path / "1" / "error.json", local_size=1).items():
        monkeypatch.setenv(name, value)
    first = json.dumps(["0", "NonFiniteError: nan"])
    monkeypatch.setattr(failure.launcher_private, "first_on_all_machines", lambda mine: first)
    failure.tell(NonFiniteError("nan"), "program")
    left = json.loads((tmp_path / "1" / "error.json").read_text())
    assert left["message"]["message"] == "rank 1 of 2 ends too, with the same error as rank 0"


FAILS = """
import sys, time
import torch, cases, lightning_adapter

class Trial(lightning_adapter.LightningAdapter):
    def __init__(self, context):
        if context.distributed.rank == int(sys.argv[1]):
            raise ValueError("broken")
        torch.distributed.barrier()  # which the other one leaves by an error of its own

lightning_adapter.fit(Trial, run_dir="run")
"""


@pytest.mark.multiprocess
@pytest.mark.parametrize("first", [0, 1])
def test_error_that_another_machine_has_told_is_told_in_a_line(tmp_path: pathlib.Path, first: int) -> None:
    (tmp_path / "script.py").write_text(FAILS)
    printed = printed_by_each(tmp_path / "script.py", first)
    assert f"rank {first} of 2 failed:" in printed[first] and "ValueError: broken" in printed[first]
    other = printed[1 - first]
    assert f"rank {1 - first} of 2 ends too, after rank {first}: " in other and "Traceback" not in other
