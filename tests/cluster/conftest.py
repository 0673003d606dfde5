"""A cluster, if `DET_MASTER` names one; runs that several tests compare with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.experiments import TORCHRUN, TWO_SLOTS, Cluster, Run, built_context, fit

HERE = Path(__file__).resolve().parent
EPOCHS = 5


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if HERE in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.cluster)
        if not os.environ.get("DET_MASTER"):
            item.add_marker(pytest.mark.skip(reason="DET_MASTER names no cluster"))


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster under test; what is still running at the end is killed."""
    cluster = Cluster(built_context(tmp_path_factory.mktemp("cluster")))
    yield cluster
    cluster.end_all()


@pytest.fixture(autouse=True)
def nothing_goes_on(real: Cluster) -> Iterator[None]:
    """A test that failed half way leaves nothing that holds slots; runs for several tests have ended by themselves."""
    yield
    real.end_all()


@pytest.fixture(scope="session")
def undisturbed(real: Cluster) -> Run:
    """A run on one slot that nothing interrupts; others have to end as it does."""
    return real.start(fit(EPOCHS)).wait()


@pytest.fixture(scope="session")
def two_slots(real: Cluster) -> Run:
    """The same on two slots of one agent."""
    return real.start(fit(EPOCHS, launcher=TORCHRUN), TWO_SLOTS).wait()
