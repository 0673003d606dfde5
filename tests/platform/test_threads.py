"""How many threads does torch use where ranks share a machine?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from determined import pytorch

from distributed.launching import printed_by_each
from lightning_adapter import LightningAdapter
from lightning_adapter.platform import threads, trial
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)


def ranks_on(*machines: str) -> Any:
    """Determined's context of a rank on the first machine; the others are on theirs."""
    others = list(machines[1:])
    return SimpleNamespace(size=len(machines), allgather=lambda mine: [mine, *others])


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_machine", lambda: "here")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("machines", "expected"),
    [(["here"], 2), (["here", "here"], 1), (["here", "there"], 2), (["here", "there", "here"], 1)],
)
def test_ranks_of_one_machine_take_a_thread_each(machines: list[str], expected: int) -> None:
    with threads.cores_shared(ranks_on(*machines)):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_variable_that_is_set_decides(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "2")
    with threads.cores_shared(ranks_on("here", "here")):
        assert torch.get_num_threads() == 2


def test_variable_of_the_configuration_decides_where_torch_was_imported_before() -> None:
    with threads.cores_shared(ranks_on("here"), {"OMP_NUM_THREADS": "1"}):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_constructor_of_a_trial_decides_under_determineds_own_trainer_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trial, "share_cores", lambda distributed: torch.set_num_threads(1))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    found: list[int] = []

    class Net(models.Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            found.append(torch.get_num_threads())
            return super().training_step(batch, batch_idx)

    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            found.append(torch.get_num_threads())
            torch.set_num_threads(2)
            super().__init__(context, Net(), models.Data(), max_epochs=1)

    with pytorch.init(hparams={}) as context:
        pytorch.Trainer(Trial(context), context).fit(max_length=pytorch.Batch(2), checkpoint_policy="none")
    assert found == [1, 2, 2]


TRIAL = """
import sys
import torch, cases, lightning_adapter

class Trial(lightning_adapter.LightningAdapter):
    def __init__(self, context):
        print("threads:", torch.get_num_threads())
        super().__init__(context, cases.Net(), cases.Data(count=8), fast_dev_run=True)

torch.set_num_threads(2)
lightning_adapter.fit(Trial, run_dir="run")
print("after:", torch.get_num_threads())
"""


@pytest.mark.multiprocess
def test_processes_that_nobody_gave_a_number_of_threads_take_one_each(tmp_path: Any) -> None:
    (tmp_path / "script.py").write_text(TRIAL)
    printed = printed_by_each(tmp_path / "script.py")
    assert all("threads: 1\n" in text and "after: 2\n" in text for text in printed), printed
