"""Predictions of two processes are those of one, also after one of them was gone."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
import torch

from lightning_adapter.evaluation.predictions import Predictions, load

from .launching import ended, started

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]


def predicted(folder: pathlib.Path, backend: str, *gone_at: int) -> list[Any]:
    folder.mkdir(exist_ok=True)
    log = folder / "job.log"
    with started(backend, log, "predicting.py", folder, *gone_at) as job:
        printed = ended(job, log, 90)
    assert (job.returncode != 0) == bool(gone_at), printed[-4000:]
    return [json.loads(path.read_text()) for path in sorted(folder.glob("?.json"))]


def test_two_processes_store_what_one_does_also_after_a_kill(tmp_path: pathlib.Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    predicted(one, "")
    assert predicted(two, "torch", 1, 1, 1) == []  # the second process is gone at the second batch of the second loader
    seen = predicted(two, "torch")
    expected, found = (Predictions.open(folder) for folder in (one, two))
    assert found.manifest["processes"] == 2
    assert [loader.samples for loader in found.loaders] == [12, 12, 7, 8]
    for number, loader in enumerate(found.loaders):
        left, right = load(expected.loaders[number].file), load(loader.file)
        order = right["target"].argsort() if number == 3 else torch.arange(loader.samples)  # rank after rank
        assert torch.allclose(left["prediction"]["out"], right["prediction"]["out"][order], rtol=0, atol=1e-7)
        assert left["prediction"]["text"] == [right["prediction"]["text"][row] for row in order]
        assert torch.equal(left["target"], right["target"][order])
        assert left["key"] == [right["key"][row] for row in order]
    assert found.loaders[2].description["duplicates_dropped"] == 1
    assert found.loaders[3].description["order"] == "batches"
    # the first loader was finished; of the second one all begin where the last of them was
    assert all((0, batch) not in of_rank for of_rank in seen for batch in range(3))
    assert seen[0] == seen[1]
    assert seen[0][0] in ([1, 0], [1, 1])
