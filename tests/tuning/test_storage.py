"""A search's study is the same in memory and in the file, event by event, whoever reads it meanwhile."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.testing.pytest_storages import StorageTestCase

from lightning_adapter.tuning.directory import SearchDirectory
from lightning_adapter.tuning.storage import EventStorage
from lightning_adapter.tuning.study import study_of

SPACE = {"lr": FloatDistribution(1e-4, 1.0, log=True), "kind": CategoricalDistribution(["[1, 2]", "b", None])}


@pytest.fixture(scope="module", autouse=True)
def _nobody_waits_for_the_disk() -> Iterator[None]:
    def connected(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", connected)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", connected)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file without a study: to make one takes longer than a test."""
    path = tmp_path_factory.mktemp("tables") / "study.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}").engine.dispose()
    return path


@pytest.fixture
def url(tmp_path: Path, tables: Path) -> str:
    shutil.copyfile(tables, tmp_path / "study.db")
    return f"sqlite:///{tmp_path}/study.db"


class TestByOptunasOwnTests(StorageTestCase):
    @pytest.fixture
    def storage(self, url: str) -> EventStorage:
        return EventStorage(url)


def trained(storage: optuna.storages.BaseStorage) -> optuna.Study:
    study = optuna.create_study(storage=storage, study_name="search", direction="maximize", load_if_exists=True)
    study.set_user_attr("by", "hand")
    study.enqueue_trial({"lr": 0.5, "kind": "[1, 2]"}, user_attrs={"hyperparameters": {"lr": 0.5, "layers": [1, 2]}})
    for number in range(3):
        trial = study.ask(SPACE)
        for step in (1, 2):
            trial.report(number / 3 if step == 1 else float("inf"), step)
        trial.set_user_attr("best", number / 3)
        if number < 2:
            study.tell(trial, number / 3)
    study.enqueue_trial({"lr": 0.25, "kind": None})
    return study


def read(study: optuna.Study) -> list[tuple[object, ...]]:
    return [
        (
            each.number,
            each.state,
            each.values,
            each.params,
            each.intermediate_values,
            each.user_attrs,
            each.system_attrs,
        )
        for each in study.get_trials()
    ]


def test_file_holds_what_is_in_memory_and_is_read_again(url: str) -> None:
    study = trained(EventStorage(url))
    in_file = optuna.load_study(study_name=None, storage=url)
    again = optuna.load_study(study_name="search", storage=EventStorage(url))
    assert read(study) == read(in_file) == read(again)
    assert study.best_trial.number == in_file.best_trial.number == again.best_trial.number == 1
    assert study.user_attrs == in_file.user_attrs == again.user_attrs
    assert study.direction == in_file.direction == again.direction
    # and it goes on where it was left
    trained(again._storage)
    assert read(optuna.load_study(study_name=None, storage=url)) == read(again)
    assert again.trials[3].params == {"lr": 0.25, "kind": None}


def test_event_is_in_the_file_whole_or_not_at_all(url: str) -> None:
    storage = EventStorage(url)
    study = trained(storage)
    trial = study.trials[2]

    def found() -> list[tuple[object, ...]]:
        return read(optuna.load_study(study_name=None, storage=url))

    before = found()
    with storage.one_event():
        storage.set_trial_user_attr(trial._trial_id, "best", 9.0)
        storage.set_trial_intermediate_value(trial._trial_id, 3, 9.0)
        assert found() == before
        assert read(study) != before
    assert found() == read(study) != before


def test_event_that_an_error_ends_leaves_memory_and_file_the_same(url: str) -> None:
    storage = EventStorage(url)
    study = trained(storage)
    with pytest.raises(ValueError, match="meanwhile"), storage.one_event():
        storage.set_trial_user_attr(study.trials[2]._trial_id, "best", 9.0)
        raise ValueError("meanwhile")
    assert read(optuna.load_study(study_name=None, storage=url)) == read(study)
    storage.set_trial_user_attr(study.trials[2]._trial_id, "best", 10.0)  # each write alone again
    assert optuna.load_study(study_name=None, storage=url).trials[2].user_attrs["best"] == 10.0


def test_event_waits_for_the_disk_once_and_reads_it_for_its_own_trial_alone(url: str) -> None:
    storage = EventStorage(url)
    study = trained(storage)
    for _ in range(20):
        study.enqueue_trial({"lr": 0.5, "kind": "b"})
    statements: list[str] = []
    connection_of = sqlite3.connect

    def traced(*given: object, **named: object) -> sqlite3.Connection:
        connection = connection_of(*given, **named)  # type: ignore[call-overload]
        connection.set_trace_callback(statements.append)
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", traced)
        patch.setattr(sqlite3.dbapi2, "connect", traced)
        storage._file.engine.dispose()
        with storage.one_event():
            for name in ("batches", "epochs", "best"):
                storage.set_trial_user_attr(study.trials[2]._trial_id, name, 1)
            storage.set_trial_intermediate_value(study.trials[2]._trial_id, 4, 0.5)
            assert len(study.get_trials(deepcopy=False)) == 24
    assert statements.count("COMMIT") == 1
    assert len(statements) < 20


def test_who_looks_into_a_study_while_it_is_made_does_not_break_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = SearchDirectory.create("search", tmp_path / "search", {}, "")
    made = []

    class Watched(optuna.storages.RDBStorage):
        def __init__(self, url: str, *given: object, **named: object) -> None:
            assert made or not directory.study.exists()
            super().__init__(url, *given, **named)  # type: ignore[arg-type]
            made.append(url)

    monkeypatch.setattr(optuna.storages, "RDBStorage", Watched)
    study, _ = study_of(directory, "minimize", optuna.samplers.RandomSampler(), optuna.pruners.NopPruner())
    directory.close()
    assert len(made) == 1 and made[0] != directory.url
    assert optuna.load_study(study_name=None, storage=directory.url).study_name == study.study_name
