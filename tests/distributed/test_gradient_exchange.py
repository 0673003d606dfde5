"""Two processes of Horovod: gradients that travel while backward runs are those of an exchange after it."""

from __future__ import annotations

import json
import pathlib

import pytest

from .launching import PROCESSES, ended, need_horovod, started

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow, pytest.mark.horovod]

LIMIT_S = 120


def test_gradients_of_overlapping_messages_are_those_of_an_exchange_after_backward(tmp_path: pathlib.Path) -> None:
    need_horovod()
    log = tmp_path / "job.log"
    with started("horovod", log, "exchanging.py", tmp_path) as job:
        printed = ended(job, log, LIMIT_S)
    assert job.returncode == 0, printed[-4000:]
    for rank in range(PROCESSES):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found
        assert [scene for scene, same in found.items() if not same] == []
