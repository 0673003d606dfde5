"""Does a run whose master is away, or fails, end as one whose master is well, without a report lost or doubled?"""

from __future__ import annotations

from typing import Any

import pytest

from cluster.conftest import EPOCHS
from cluster.experiments import BATCHES, SLOW, TORCHRUN, Cluster, Run, fit

#: Everything that a trial says or asks while it trains.
KINDS = {
    "metrics": ("POST", "/trials/[0-9]+/metrics"),
    "progress": ("POST", "/progress"),
    "status": ("POST", "/runner/metadata"),
    "checkpoint": ("POST", "/api/v1/checkpoints"),
    "best validation": ("GET", "/best_searcher_validation_metric"),
    "trial": ("GET", "/api/v1/trials/[0-9]+$"),
    "preemption": ("GET", "/signals/preemption"),
}


def of_kind(kind: str, **what: Any) -> dict[str, Any]:
    method, path = KINDS[kind]
    return {"method": method, "path": path, **what}


def made(run: Run) -> list[str]:
    return [line for line in run.log().splitlines() if line.startswith("fault: ")]


def warned(run: Run) -> list[str]:
    return [line for line in run.log().splitlines() if "the master" in line and not line.startswith("fault: ")]


def test_a_503_for_each_kind_of_request(real: Cluster, undisturbed: Run) -> None:
    faults = [of_kind(kind, status=503, times=2, skip=1) for kind in KINDS]
    run = real.start(fit(EPOCHS, faults=faults), SLOW).wait()
    assert len(made(run)) >= 2 * (len(KINDS) - 2)  # of the last two kinds there may be one alone
    assert run.outcome() == undisturbed.outcome()


def test_an_answer_that_is_lost_doubles_nothing(real: Cluster, undisturbed: Run) -> None:
    kinds = ("metrics", "progress", "status", "checkpoint")
    faults = [of_kind(kind, status=502, times=3, skip=1, delivered=True) for kind in kinds]
    run = real.start(fit(EPOCHS, faults=faults)).wait()
    assert len(made(run)) >= 2 * len(kinds)
    assert run.outcome() == undisturbed.outcome()
    summary = run.described(run.trial).summaryMetrics
    assert summary == undisturbed.described(undisturbed.trial).summaryMetrics


def test_a_minute_of_503(real: Cluster, undisturbed: Run) -> None:
    faults = [{"path": "/api/v1/", "status": 503, "seconds": 60, "method": "POST", "skip": 12}, {"path": "^$"}]
    run = real.start(fit(EPOCHS, faults=faults), SLOW).wait()
    assert made(run)
    assert run.outcome() == undisturbed.outcome()
    assert len(warned(run)) == 2, "one warning when it begins, and one line when it is over"


@pytest.mark.parametrize("slots", [1, 2])
def test_a_master_that_does_not_listen_for_twenty_seconds(
    real: Cluster, undisturbed: Run, two_slots: Run, slots: int
) -> None:
    faults = [of_kind("metrics", refuse=20, skip=8)]
    entrypoint = fit(EPOCHS, launcher=TORCHRUN if slots == 2 else "", faults=faults)
    run = real.start(entrypoint, SLOW, {"resources": {"slots_per_trial": slots}}).wait()
    assert "fault: the master is back" in made(run)
    assert run.outcome() == (two_slots if slots == 2 else undisturbed).outcome()


def test_a_refusal_is_an_error_at_once_in_the_masters_words(real: Cluster) -> None:
    run = real.start(fit(EPOCHS, faults=[of_kind("metrics", status=400, times=1000)])).wait("ERROR")
    assert "the master is not well" in run.log()
    assert run.table("validation") == []
    assert BATCHES not in [step for step, _ in run.table("training")]
