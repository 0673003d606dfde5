"""Two processes: equal to each other, to Lightning's own DDP Trainer, and to one process with the same global batch.

Each launcher is started once for all cases (`cases.py`); the tests read what its processes wrote down.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest
import torch

from lightning_adapter.runs import store

from .cases import CASES
from .launching import PROCESSES, ended, need_horovod, started

pytestmark = [pytest.mark.multiprocess, pytest.mark.slow]

LIMIT_S = 170
#: Lightning leaves these to each rank where the module does not ask for `sync_dist`; here epoch values are reduced.
SAME_METRICS = ("sync_dist", "patience", "gan")

Results = list[dict[str, Any]]


def _run(folder: pathlib.Path, backend: str, names: list[str], processes: int) -> Results:
    log = folder / f"{backend}.log"
    with started(backend, log, "job.py", folder, backend, *names) as job:
        printed = ended(job, log, LIMIT_S)
    if job.returncode:
        pytest.fail(f"the {backend} job failed:\n{printed[-6000:]}", pytrace=False)
    return [torch.load(folder / f"{backend}-{rank}.pt", weights_only=False) for rank in range(processes)]


@pytest.fixture(scope="session")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """From a backend to the results of its processes; a job is started when it is first asked for."""
    folder = tmp_path_factory.mktemp("jobs")
    results: dict[str, Results] = {}

    def of(backend: str) -> Results:
        if backend == "horovod":
            need_horovod()
        if backend not in results:
            single = backend == "single"
            names = [name for name, case in CASES.items() if (case.single if single else backend in case.backends)]
            results[backend] = []  # it is not started again for every test
            results[backend] = _run(folder, backend, names, 1 if single else PROCESSES)
        return results[backend] or pytest.fail(f"the {backend} job failed, see the first test that needs it")

    of.folder = folder  # type: ignore[attr-defined]
    return of


def both(wanted: Any = lambda case: True) -> Any:
    """Parameters (backend, case) of all cases that `wanted` takes."""
    return pytest.mark.parametrize(
        ("backend", "name"),
        [
            pytest.param(backend, name, marks=[pytest.mark.horovod] if backend == "horovod" else [])
            for backend in ("torch", "horovod")
            for name, case in CASES.items()
            if backend in case.backends and not case.refused and wanted(case)
        ],
    )


def adapters(jobs: Any, backend: str, name: str) -> Results:
    return [result[name]["adapter"] for result in jobs(backend)]


def epoch_values(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.endswith("_step")}


def assert_same_tensors(left: list[torch.Tensor], right: list[torch.Tensor]) -> None:
    assert len(left) == len(right)
    for batch, (one, other) in enumerate(zip(left, right, strict=True)):
        assert torch.equal(one, other), f"parameters differ after batch {batch} by {(one - other).abs().max():.3g}"


@both()
def test_ranks_hold_the_same_parameters_after_every_batch(jobs: Any, backend: str, name: str) -> None:
    first, second = adapters(jobs, backend, name)
    assert first["parameters"]
    assert_same_tensors(first["parameters"], second["parameters"])


@both()
def test_ranks_have_the_same_epoch_metrics(jobs: Any, backend: str, name: str) -> None:
    first, second = adapters(jobs, backend, name)
    assert epoch_values(first["last"]) == epoch_values(second["last"])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.lightning is not False])
def test_parameters_are_those_of_lightnings_ddp_trainer(jobs: Any, name: str) -> None:
    for result in jobs("torch"):
        ours, theirs = result[name]["adapter"], result[name]["lightning"]
        assert_same_tensors(ours["parameters"], theirs["parameters"])
        assert (ours["step"], ours["epoch"], ours["seen"]) == (theirs["step"], theirs["epoch"], theirs["seen"])


@pytest.mark.parametrize("name", SAME_METRICS)
def test_metrics_are_those_of_lightnings_ddp_trainer(jobs: Any, name: str) -> None:
    for result in jobs("torch"):
        assert result[name]["adapter"]["metrics"] == result[name]["lightning"]["metrics"]


@both(lambda case: case.single)
def test_equals_one_process_with_the_same_global_batch(jobs: Any, backend: str, name: str) -> None:
    ours, single = adapters(jobs, backend, name)[0], jobs("single")[0][name]["adapter"]
    assert len(ours["parameters"]) == len(single["parameters"])
    for one, other in zip(ours["parameters"], single["parameters"], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert epoch_values(ours["last"]).keys() == epoch_values(single["last"]).keys()
    for metric, value in epoch_values(single["last"]).items():
        assert ours["last"][metric] == pytest.approx(value, abs=1e-6), metric


@pytest.mark.horovod
@pytest.mark.parametrize("name", ["net", "manual", "same", "same_gan"])
def test_horovod_trains_as_torch_does(jobs: Any, name: str) -> None:
    assert_same_tensors(
        adapters(jobs, "torch", name)[0]["parameters"], adapters(jobs, "horovod", name)[0]["parameters"]
    )


@pytest.mark.horovod
def test_fp16_compression_rounds_gradients_on_their_way(jobs: Any) -> None:
    compressed = adapters(jobs, "horovod", "compressed")[0]["parameters"][-1]
    exact = adapters(jobs, "horovod", "same")[0]["parameters"][-1]
    assert not torch.equal(compressed, exact)
    torch.testing.assert_close(compressed, exact, rtol=0, atol=5e-3)


@both(lambda case: case.resume is not None)
def test_resumed_job_ends_as_the_uninterrupted_one(jobs: Any, backend: str, name: str) -> None:
    for whole in adapters(jobs, backend, name):
        resumed = whole["resumed"]
        assert len(resumed["parameters"]) == len(whole["parameters"]) - CASES[name].resume
        assert_same_tensors(whole["parameters"][CASES[name].resume :], resumed["parameters"])
        assert resumed["last"] == whole["last"]


@pytest.mark.parametrize("backend", ["torch", pytest.param("horovod", marks=pytest.mark.horovod)])
def test_should_stop_on_one_rank_stops_all_at_the_same_batch(jobs: Any, backend: str) -> None:
    batches = [len(result["parameters"]) for result in adapters(jobs, backend, "stopped")]
    assert batches == [5 + 2] * PROCESSES  # the second batch of the second epoch


@pytest.mark.parametrize("backend", ["torch", pytest.param("horovod", marks=pytest.mark.horovod)])
def test_prepare_data_runs_once_on_a_node(jobs: Any, backend: str) -> None:
    assert [result["seen"] for result in adapters(jobs, backend, "prepared")] == [1, 0]


@pytest.mark.parametrize("backend", ["torch", pytest.param("horovod", marks=pytest.mark.horovod)])
def test_strategy_reduces_broadcasts_and_knows_its_rank(jobs: Any, backend: str) -> None:
    name = "talking" if backend == "torch" else "talking_horovod"
    first, second = (result["seen"] for result in adapters(jobs, backend, name))
    assert first == {
        "mean": 0.5,
        "sum": 1.0,
        "first": {"rank": 0},
        "last": {"rank": 1},
        "all": False,
        "any": True,
        "gathered": [0.0, 1.0],
        "shape": (2, 8, 4),
        "world": (2, 0, 0, 0),
        "zero": True,
    }
    assert second == {**first, "world": (2, 1, 1, 0), "zero": False}


def test_iterable_data_of_unequal_length_ends_with_the_shortest(jobs: Any) -> None:
    lengths = [len(result["parameters"]) for result in adapters(jobs, "torch", "stream")]
    assert lengths == [2 * 8] * PROCESSES  # 40 and 30 samples in batches of 4, two epochs


def test_iterable_data_is_dealt_out_where_asked_for(jobs: Any) -> None:
    lengths = [len(result["parameters"]) for result in adapters(jobs, "torch", "dealt_out")]
    assert lengths == [2 * 4] * PROCESSES  # every second of 40 and of 30 samples


@pytest.mark.parametrize("backend", ["torch", pytest.param("horovod", marks=pytest.mark.horovod)])
def test_summary_of_a_run_is_printed_once(jobs: Any, backend: str) -> None:
    jobs(backend)
    log = jobs.folder / f"{backend}.log"
    ended = [case for case in CASES.values() if backend in case.backends and not case.refused]
    runs = sum(2 if case.resume else 1 for case in ended)
    assert log.read_text(errors="replace").count("run directory") == runs


DRIFTED = r"(?s)RanksDriftedError: After {} batches .* no longer hold the same parameters.*\n- net\.0\.bias on rank 1\n"
REFUSED = {
    "drifted": DRIFTED.format(6),  # checkpoints come after every third batch
    "drifted_early": DRIFTED.format(5),
    "uneven": r"different numbers of training batches: 2 on rank 0, 3 on rank 1\..*limit_train_batches=2",
    "not_horovod": r"strategy='horovod' was asked for, but these 2 processes were not started by horovodrun",
    "not_ddp": r"strategy='ddp' was asked for, but these 2 processes were started by horovodrun",
    "not_all_used": r"set strategy='ddp_find_unused_parameters_true'",
    "synchronised": r"sync_batchnorm=True needs torch DDP on CUDA devices",
    "wrong_batch": r"global_batch_size is 8, and train_dataloader\(\) has batch_size=3 in each of 2 process",
}


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        pytest.param(backend, name, marks=[pytest.mark.horovod] if backend == "horovod" else [])
        for backend in ("torch", "horovod")
        for name, case in CASES.items()
        if case.refused and backend in case.backends
    ],
)
def test_all_ranks_refuse_in_the_same_words(jobs: Any, backend: str, name: str) -> None:
    for result in adapters(jobs, backend, name):
        assert re.search(REFUSED[name], result["refused"]), result["refused"]


@pytest.mark.parametrize("backend", ["torch", pytest.param("horovod", marks=pytest.mark.horovod)])
def test_checkpoint_before_the_drift_is_the_last_one(jobs: Any, backend: str) -> None:
    jobs(backend)
    stored = store.stored_checkpoints(jobs.folder / backend / "drifted" / "checkpoints")
    assert [each.steps_completed for each in stored] == [3]
