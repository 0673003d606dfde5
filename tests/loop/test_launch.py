"""Who started this process, told from environment variables alone; what holds while it is part of a job."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from lightning_utilities.core.rank_zero import rank_zero_only

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import launch
from lightning_adapter.versions import determined_private

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "here",
    "MASTER_PORT": "1",
}
HOROVOD, TORCH = determined_private.HOROVOD_VARIABLE, determined_private.TORCH_VARIABLE


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, "GROUP_WORLD_SIZE", "HOROVOD_SIZE", "DET_CHIEF_IP", HOROVOD, TORCH):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)  # a process that fails sets it
    # nobody is there to answer: fail at once instead of waiting
    monkeypatch.setattr(
        launch.dist, "init_process_group", lambda *args, **options: pytest.fail("joins other processes")
    )


@pytest.fixture(autouse=True)
def kept_rank() -> Iterator[None]:
    before = getattr(rank_zero_only, "rank", None)
    yield
    rank_zero_only.rank = before  # type: ignore[attr-defined]


def under(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, None),
        ({"WORLD_SIZE": "1", "RANK": "0"}, None),
        ({"WORLD_SIZE": "many"}, None),
        (TORCHRUN, "torch"),
        ({TORCH: "1"}, "torch"),
        ({HOROVOD: "1"}, "horovod"),
        ({"HOROVOD_SIZE": "2"}, "horovod"),
        ({"HOROVOD_SIZE": "1"}, None),
        ({**TORCHRUN, "HOROVOD_SIZE": "4"}, "horovod"),
    ],
)
def test_launcher_is_told_from_the_variables(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: str | None
) -> None:
    under(monkeypatch, **variables)
    assert launch.launcher() == wanted


def test_launcher_names_the_variables_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, WORLD_SIZE="2", RANK="0", LOCAL_RANK="0", MASTER_ADDR="here")
    with pytest.raises(
        ConfigurationError, match=r"one of 2 processes, but LOCAL_WORLD_SIZE, GROUP_RANK, MASTER_PORT is not set"
    ):
        launch.launcher()


def test_process_alone_joins_nothing_and_changes_nothing() -> None:
    before = dict(os.environ)
    with launch.join_job(managed=False) as context:
        assert context is None
        assert dict(os.environ) == before


def test_managed_process_leaves_the_context_to_determined(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, **TORCHRUN)
    with launch.join_job(managed=True) as context:
        assert context is None
        assert os.environ[TORCH] == "1"
        assert rank_zero_only.rank == 3  # type: ignore[attr-defined]
    assert TORCH not in os.environ


def test_variable_that_was_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, **TORCHRUN, **{TORCH: "yes"})
    with launch.join_job(managed=True):
        assert os.environ[TORCH] == "yes"
    assert os.environ[TORCH] == "yes"


def test_job_of_one_process_has_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, **{**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1", TORCH: "1"})
    with launch.join_job(managed=False) as context:
        assert context is None


@pytest.mark.parametrize(("rank", "level"), [("0", logging.INFO), ("1", logging.ERROR)])
def test_all_but_the_chief_tell_errors_only(monkeypatch: pytest.MonkeyPatch, rank: str, level: int) -> None:
    loggers = [logging.getLogger(name) for name in ("lightning_adapter", "determined")]
    for each in loggers:
        monkeypatch.setattr(each, "level", logging.INFO)
    under(monkeypatch, **{**TORCHRUN, "RANK": rank})
    with launch.join_job(managed=True):
        assert [each.level for each in loggers] == [level] * 2
    assert [each.level for each in loggers] == [logging.INFO] * 2


def test_rank_that_fails_says_which_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    under(monkeypatch, **TORCHRUN)
    with pytest.raises(ZeroDivisionError) as raised, launch.join_job(managed=True):
        raise ZeroDivisionError("too much")
    assert capsys.readouterr().err == ""  # whoever catches it may go on
    sys.excepthook(raised.type, raised.value, raised.tb)
    told = capsys.readouterr().err
    assert told.startswith("rank 3 of 4 failed:\nTraceback") and told.endswith("ZeroDivisionError: too much\n")
    assert TORCH not in os.environ


def test_node_with_fewer_devices_than_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, **TORCHRUN)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(ConfigurationError, match=r"2 processes and 1 CUDA device.*nproc_per_node 1"),
        launch.join_job(False),
    ):
        pass


@pytest.mark.parametrize(("variables", "address"), [({}, "here"), ({"DET_CHIEF_IP": "there"}, "there")])
def test_context_has_the_ranks_of_torchrun(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], address: str
) -> None:
    made: dict[str, Any] = {}
    under(monkeypatch, **TORCHRUN, **variables)
    monkeypatch.setattr(launch, "DistributedContext", lambda **options: made.update(options))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(launch.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(launch.dist, "broadcast_object_list", lambda found, source: found.__setitem__(0, [11, 12]))
    with launch.join_job(managed=False):
        pass
    assert made == {
        "rank": 3,
        "size": 4,
        "local_rank": 1,
        "local_size": 2,
        "cross_rank": 1,
        "cross_size": 2,
        "chief_ip": address,
        "pub_port": 11,
        "pull_port": 12,
    }


def test_missing_horovod_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    under(monkeypatch, HOROVOD_SIZE="2", HOROVOD_RANK="1")
    monkeypatch.setitem(sys.modules, "horovod.torch", None)
    with (
        pytest.raises(ConfigurationError, match=r"horovod\.torch cannot be imported.*make horovod"),
        launch.join_job(False),
    ):
        pass


@pytest.mark.parametrize(("name", "others"), [("HOROVOD_SIZE", {}), ("RANK", TORCHRUN)])
def test_number_of_a_launcher_that_is_none_is_named(
    name: str, others: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {**others, name: "two"}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=rf"{name}='two' in the environment is no number"):
        with launch.join_job(managed=False):
            pass
