"""The searcher decides as a master does, and forgets nothing of it when its process ends between two events."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import optuna
import pytest

from lightning_adapter.tuning.brackets import brackets
from lightning_adapter.tuning.draws import draws
from lightning_adapter.tuning.job import Ended, Validated
from lightning_adapter.tuning.pruner import HalvingPruner
from lightning_adapter.tuning.searcher import Assignment, Searcher
from lightning_adapter.tuning.settings import searcher_settings
from lightning_adapter.tuning.space import Space

SPEC = {"lr": {"type": "double", "minval": 0.0, "maxval": 1.0}}
ADAPTIVE = {
    "name": "adaptive_asha",
    "metric": "loss",
    "max_trials": 9,
    "max_time": 9,
    "time_metric": "epochs",
    "divisor": 3,
}


def study_of(searcher: dict[str, Any], storage: optuna.storages.BaseStorage | None = None) -> optuna.Study:
    settings = searcher_settings({"searcher": searcher, "hyperparameters": SPEC})
    pruner = HalvingPruner(brackets(settings), settings.divisor, settings.smaller_is_better)
    direction = "minimize" if settings.smaller_is_better else "maximize"
    return optuna.create_study(storage=storage, pruner=pruner, direction=direction)


def searcher_of(searcher: dict[str, Any], study: optuna.Study, suggests: bool = False) -> Searcher:
    settings = searcher_settings({"searcher": searcher, "hyperparameters": SPEC})
    made = brackets(settings)
    return Searcher(study, settings, made, Space(SPEC), draws(settings, SPEC, 3), suggests)


def loss(trial: Assignment, epoch: int) -> float:
    return abs(trial.hyperparameters["lr"] - 0.4) + 1 / (epoch + 1)


def validate(searcher: Searcher, trial: Assignment, epoch: int, value: float | None = None) -> str | None:
    logged = {"loss": loss(trial, epoch) if value is None else value}
    return searcher.validated(Validated(trial.number, 10 * epoch, epoch, logged))


def steps(config: dict[str, Any], study: optuna.Study, every: int = 1) -> Iterator[None]:
    """A search of one trial at a time; whoever stops to iterate has killed it between two events."""
    searcher = searcher_of(config, study)
    left = searcher.begun(lambda number: 10**6)
    while True:
        trial = left.pop(0) if left else searcher.next()
        if trial is None:
            return
        yield
        # what was validated last may have been told, and not be in the last checkpoint
        for epoch in range(study.trials[trial.number].user_attrs.get("epochs", every), 10, every):
            stopped = validate(searcher, trial, epoch)
            yield
            if stopped:
                break
        searcher.ended(Ended(trial.number, "complete"))
        yield


def result(study: optuna.Study) -> list[tuple[Any, ...]]:
    return [
        (
            trial.state,
            trial.value,
            trial.params,
            trial.intermediate_values,
            trial.user_attrs,
            trial.system_attrs["rungs"],
        )
        for trial in study.trials
    ]


def whole(config: dict[str, Any], every: int = 1) -> list[tuple[Any, ...]]:
    study = study_of(config)
    for _ in steps(config, study, every):
        pass
    return result(study)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_search_that_is_killed_after_each_event_decides_as_one_that_is_not(every: int) -> None:
    expected = whole(ADAPTIVE, every)
    study = study_of(ADAPTIVE)
    for events in itertools.islice(itertools.cycle(range(2, 7)), 200):
        if len(list(itertools.islice(steps(ADAPTIVE, study, every), events))) < events:
            break
    assert result(study) == expected


def test_rungs_are_those_of_the_file() -> None:
    found = whole(ADAPTIVE)
    assert {max(intermediate) for state, _, _, intermediate, *_ in found if state.name == "PRUNED"} <= {1, 3}
    assert {max(intermediate) for state, _, _, intermediate, *_ in found if state.name == "COMPLETE"} == {9}


def test_validation_that_is_told_again_changes_nothing() -> None:
    study = study_of(ADAPTIVE)
    searcher = searcher_of(ADAPTIVE, study)
    first = searcher.next()
    assert first is not None
    assert [validate(searcher, first, epoch) for epoch in (1, 2, 3)] == [None] * 3
    before = result_of_one(study)
    # of a trial that goes on from an earlier checkpoint
    assert [validate(searcher, first, epoch) for epoch in (2, 3)] == [None] * 2
    assert result_of_one(study) == before


def result_of_one(study: optuna.Study) -> tuple[Any, ...]:
    trial = study.trials[0]
    return trial.intermediate_values, trial.system_attrs["rungs"], trial.user_attrs["best"]


def test_several_validations_in_one_epoch_count_once() -> None:
    study = study_of(ADAPTIVE)
    searcher = searcher_of(ADAPTIVE, study)
    first, second = searcher.next(), searcher.next()
    assert first is not None and second is not None
    validate(searcher, first, 3, 0.5)
    assert validate(searcher, first, 3, 0.9) is None
    assert validate(searcher, second, 3, 0.6) is not None  # 0.5 is what it is compared with


def test_failed_trial_is_the_worst_of_the_rung_at_which_it_stood_and_another_is_made() -> None:
    config = {**ADAPTIVE, "mode": "aggressive", "max_concurrent_trials": 1}
    study = study_of(config)
    searcher = searcher_of(config, study)
    first = searcher.next()
    assert first is not None and searcher.next() is None
    validate(searcher, first, 1)
    searcher.ended(Ended(first.number, "failed", "ValueError: broken"))
    assert study.trials[0].state.name == "FAIL" and study.trials[0].user_attrs["note"] == "ValueError: broken"
    assert searcher.next() is not None


def test_trial_that_fails_after_it_was_stopped_stands_in_no_further_rung() -> None:
    config = {**ADAPTIVE, "mode": "aggressive"}
    study = study_of(config)
    searcher = searcher_of(config, study)
    trials = [searcher.next() for _ in range(6)]
    best, stopped, *others = [trial for trial in trials if trial is not None]
    assert validate(searcher, best, 1, 0.1) is None
    assert validate(searcher, stopped, 1, 0.9) is not None
    searcher.ended(Ended(stopped.number, "failed", "in teardown"))
    # with an entry of the failed one at the second rung, three would be there, and the best one alone go on
    assert validate(searcher, best, 3, 0.2) is None
    assert validate(searcher, others[0], 3, 0.3) is not None


@pytest.mark.parametrize(("name", "state"), [("random", "COMPLETE"), ("adaptive_asha", "COMPLETE")])
def test_trial_that_ends_by_itself_is_complete(name: str, state: str) -> None:
    config = ADAPTIVE if name == "adaptive_asha" else {"name": "random", "metric": "loss", "max_trials": 2}
    study = study_of(config)
    searcher = searcher_of(config, study)
    first = searcher.next()
    assert first is not None
    validate(searcher, first, 2)
    searcher.ended(Ended(first.number, "complete"))
    assert study.trials[0].state.name == state and study.trials[0].value == loss(first, 2)


def test_interrupted_trial_goes_on_first_with_the_same_number() -> None:
    study = study_of(ADAPTIVE)
    searcher = searcher_of(ADAPTIVE, study)
    first = searcher.next()
    assert first is not None
    validate(searcher, first, 1)
    searcher.ended(Ended(first.number, "interrupted"))
    assert study.trials[0].state.name == "RUNNING"
    assert searcher_of(ADAPTIVE, study).begun(lambda number: 10**6) == [first]


def test_trial_whose_search_ended_with_its_own_end_half_told_is_ended_as_it_was() -> None:
    study = study_of(ADAPTIVE)
    searcher = searcher_of(ADAPTIVE, study)
    first, second = searcher.next(), searcher.next()
    assert first is not None and second is not None
    validate(searcher, first, 1, 0.1)
    assert validate(searcher, second, 1, 0.5) is not None  # and nobody hears of its end
    assert searcher_of(ADAPTIVE, study).begun(lambda number: 10**6) == [first]
    assert study.trials[1].state.name == "PRUNED"


class _Killed(BaseException):
    """Ends a search where it stands."""


class _Mortal(optuna.storages.InMemoryStorage):
    """A storage whose process is killed before one of its writes."""

    def __init__(self) -> None:
        super().__init__()
        self.left = -1

    def _write(self) -> None:
        if self.left == 0:
            raise _Killed
        self.left -= 1

    def create_new_trial(self, *given: Any, **named: Any) -> Any:
        self._write()
        return super().create_new_trial(*given, **named)

    def set_trial_param(self, *given: Any, **named: Any) -> Any:
        self._write()
        return super().set_trial_param(*given, **named)

    def set_trial_state_values(self, *given: Any, **named: Any) -> Any:
        self._write()
        return super().set_trial_state_values(*given, **named)

    def set_trial_intermediate_value(self, *given: Any, **named: Any) -> Any:
        self._write()
        return super().set_trial_intermediate_value(*given, **named)

    def set_trial_user_attr(self, *given: Any, **named: Any) -> Any:
        self._write()
        return super().set_trial_user_attr(*given, **named)

    def set_trial_system_attr(self, *given: Any, **named: Any) -> Any:
        self._write()
        return super().set_trial_system_attr(*given, **named)


def test_search_that_is_killed_before_any_of_its_writes_decides_as_one_that_is_not() -> None:
    config = {**ADAPTIVE, "max_trials": 5, "max_time": 4, "divisor": 2, "max_concurrent_trials": 2}
    expected = whole(config)
    for write in itertools.count():
        storage = _Mortal()
        study = study_of(config, storage)
        storage.left = write
        try:
            list(steps(config, study))
            break
        except _Killed:
            storage.left = -1
        list(steps(config, study))
        assert result(study) == expected, f"killed before write {write}"
    assert write > 50


def test_trial_that_a_sampler_had_not_chosen_yet_is_made_anew() -> None:
    config = {"name": "random", "metric": "loss", "max_trials": 2}
    complete = []
    for write in itertools.count():
        storage = _Mortal()
        study = study_of(config, storage)
        storage.left = write
        searcher = searcher_of(config, study, suggests=True)
        try:
            assert searcher.next() is not None
            break
        except _Killed:
            storage.left = -1
        goes_on = searcher_of(config, study, suggests=True)
        left = goes_on.begun(lambda number: 10**6)
        while (trial := left.pop() if left else goes_on.next()) is not None:
            validate(goes_on, trial, 1)
            goes_on.ended(Ended(trial.number, "complete"))
        complete.append([trial.state.name for trial in study.trials].count("COMPLETE"))
    assert complete == [2] * write and write > 3
