"""Each process gets a GPU of those that this one may use, and one thread where there is none."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lightning_adapter.tuning import pinning


@pytest.mark.parametrize(
    ("size", "gpus", "expected"),
    [
        (1, ["0", "1"], [None]),
        (2, [], [None, None]),
        (2, ["3"], [None, None]),
        (2, ["0", "1"], ["0", "1"]),
        (2, ["4", "5", "6"], ["4", "5"]),
        (5, ["GPU-8932f937", "MIG-33b3"], ["GPU-8932f937", "MIG-33b3", "GPU-8932f937", "MIG-33b3", "GPU-8932f937"]),
    ],
)
def test_processes_are_pinned_in_turn_where_there_are_several_gpus(
    size: int, gpus: list[str], expected: list[str | None]
) -> None:
    assert [pin.get("CUDA_VISIBLE_DEVICES") for pin in pinning.pins(size, gpus)] == expected
    assert all(set(pin) <= {"CUDA_VISIBLE_DEVICES"} for pin in pinning.pins(size, gpus))


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine whose torch counts what COUNT says."""
    (tmp_path / "torch.py").write_text(
        "import os, types\ncuda = types.SimpleNamespace(device_count=lambda: int(os.environ['COUNT']))\n"
    )
    return {**os.environ, "PYTHONPATH": str(tmp_path), "COUNT": "3"}


def test_gpus_are_counted_by_another_process(machine: dict[str, str]) -> None:
    machine.pop("CUDA_VISIBLE_DEVICES", None)
    assert pinning.visible_gpus(machine) == ["0", "1", "2"]


def test_gpus_that_somebody_has_chosen_keep_their_names(machine: dict[str, str]) -> None:
    chosen = "GPU-1f, 5,MIG-77,9"  # the last one is not there, which ends the list
    assert pinning.visible_gpus({**machine, "CUDA_VISIBLE_DEVICES": chosen}) == ["GPU-1f", "5", "MIG-77"]


@pytest.mark.parametrize("chosen", ["", " ", "-1"])
def test_no_gpu_is_looked_for_where_all_are_hidden(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "not-there")
    assert pinning.visible_gpus({"CUDA_VISIBLE_DEVICES": chosen}) == []


def test_a_torch_that_does_not_count_has_no_gpus(machine: dict[str, str]) -> None:
    assert pinning.visible_gpus({**machine, "COUNT": "broken"}) == []


def test_several_processes_on_cores_take_one_thread_each() -> None:
    assert pinning.thread_variables(2, [], {}) == {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("size", "gpus", "environment"),
    [
        (1, [], {}),
        (2, ["0"], {}),
        (2, [], {"OMP_NUM_THREADS": "4"}),
        (1, [], {"MKL_NUM_THREADS": "2"}),
    ],
)
def test_threads_are_left_alone_for_one_process_on_gpus_and_where_somebody_has_decided(
    size: int, gpus: list[str], environment: dict[str, str]
) -> None:
    assert pinning.thread_variables(size, gpus, {**environment, "HOME": "/"}) == environment


def test_sharing_of_gpus_is_told() -> None:
    assert pinning.shared_note(2, []) is pinning.shared_note(2, ["0", "1"]) is None
    assert "3 trials are trained at the same time on 2 GPUs" in str(pinning.shared_note(3, ["0", "1"]))
    assert "on one GPU" in str(pinning.shared_note(2, ["0"]))
