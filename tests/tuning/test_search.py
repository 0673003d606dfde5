"""A search trains the trials that a cluster would, stops them there, loses nothing, and its best value comes back."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from lightning_adapter import fit, search
from lightning_adapter.errors import ConfigurationError, SearchError
from lightning_adapter.runs import curves, record
from lightning_adapter.runs.store import stored_checkpoints
from lightning_adapter.tuning import directory, picture, running
from lightning_adapter.tuning.directory import SearchDirectory
from lightning_adapter.tuning.draws import draws
from lightning_adapter.tuning.job import Ended, Job, Validated
from lightning_adapter.tuning.request import SearchRequest
from lightning_adapter.tuning.run import run_search
from lightning_adapter.tuning.searcher import STOPPED, Searcher
from lightning_adapter.tuning.settings import searcher_settings
from lightning_adapter.tuning.training import train
from lightning_adapter.tuning.view import View
from tests.tuning.quick import Quick

LR = {"type": "double", "minval": 0.0, "maxval": 1.0}
HALVING = {"name": "async_halving", "metric": "loss", "num_rungs": 3, "divisor": 2, "max_trials": 6}
HALVING |= {"max_time": 4, "time_metric": "epochs", "max_concurrent_trials": 2}
RANDOM = {"name": "random", "metric": "loss", "max_trials": 3}


def experiment(searcher: dict[str, Any] = RANDOM, **hyperparameters: Any) -> dict[str, Any]:
    return {
        "searcher": searcher,
        "hyperparameters": {"lr": LR, **hyperparameters},
        "reproducibility": {"experiment_seed": 7},
    }


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # most of the time of such a short training would go into them
    monkeypatch.setattr(curves, "draw", lambda *given: False)
    monkeypatch.setattr(picture, "draw", lambda *given: False)


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def test_trials_are_those_that_a_cluster_draws_each_in_a_run_directory_of_its_own() -> None:
    config = experiment()
    result = search(Quick, config=config)
    expected = list(itertools.islice(draws(searcher_settings(config), config["hyperparameters"], 7), 3))
    found = [record.read(row.run_dir) for row in result.view.rows]
    assert [each["hyperparameters"]["lr"] for each in found] == [each.hyperparameters["lr"] for each in expected]
    assert [each["seed"] for each in found] == [each.seed for each in expected]
    assert [trial.params["lr"] for trial in result.study.trials] == [each.hyperparameters["lr"] for each in expected]


def test_trials_are_stopped_at_the_rungs_of_the_searcher() -> None:
    result = search(Quick, config=experiment(HALVING))
    assert len(result.study.trials) == 6
    for trial, row in zip(result.study.trials, result.view.rows, strict=True):
        assert row.epochs in ((1, 2) if trial.state.name == "PRUNED" else (4,))
        assert record.read(row.run_dir)["status"] == ("pruned" if trial.state.name == "PRUNED" else "finished")
    assert {"COMPLETE", "PRUNED"} == set(states(result.study))


def test_search_ends_with_a_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    result = search(Quick, config=experiment({**RANDOM, "max_trials": 2}), search_dir=tmp_path / "drawn", max_epochs=1)
    assert (result.directory / "search.png").exists()


def test_best_run_is_that_of_the_best_complete_trial_and_best_yaml_trains_to_its_value() -> None:
    result = search(Quick, config=experiment(HALVING))
    assert result.best_run == result.directory / f"trial-{result.study.best_trial.number:03d}"
    again = fit(Quick, config=result.directory / "best.yaml")
    assert record.read(again.run_dir)["best"]["value"] == result.study.best_value


def test_value_of_a_trial_is_that_of_its_best_checkpoint() -> None:
    result = search(Quick, config=experiment())
    for trial, row in zip(result.study.trials, result.view.rows, strict=True):
        assert trial.value == record.read(row.run_dir)["best"]["value"] == row.value


def test_greater_is_better_where_the_searcher_says_so() -> None:
    result = search(Quick, config=experiment({**RANDOM, "smaller_is_better": False}))
    assert result.study.best_value == max(trial.value for trial in result.study.trials)


def test_value_that_is_given_makes_a_constant_of_a_range() -> None:
    result = search(Quick, config=experiment(width={"type": "int", "minval": 1, "maxval": 4}), hparams={"lr": 0.25})
    assert [trial.params.keys() for trial in result.study.trials] == [{"width"}] * 3
    assert record.read(result.best_run)["hyperparameters"]["lr"] == 0.25


def test_entrypoint_counts_where_nothing_is_given() -> None:
    config = {
        **experiment(),
        "entrypoint": "python3 -m lightning_adapter fit quick:Quick --max-epochs 1 --hparam breaks=no",
    }
    result = search(Quick, config=config)
    assert [row.epochs for row in result.view.rows] == [1, 1, 1]
    assert [row.epochs for row in search(Quick, config=config, max_epochs=2).view.rows] == [2, 2, 2]


def test_samplers_of_optunas_choose_in_place_of_a_clusters_draws() -> None:
    chosen = optuna.samplers.GridSampler({"lr": [0.25, 0.5, 0.75]}, seed=0)
    result = search(Quick, config=experiment(), sampler=chosen)
    assert sorted(trial.params["lr"] for trial in result.study.trials) == [0.25, 0.5, 0.75]
    assert sorted(record.read(row.run_dir)["hyperparameters"]["lr"] for row in result.view.rows) == [0.25, 0.5, 0.75]


def test_choices_of_any_kind_reach_the_trial_as_they_are() -> None:
    vals = [[1, 2], {"b": 1, "a": 2}, True, 1, "1", None, 2**64]
    config = experiment({"name": "grid", "metric": "loss"}, lr=0.25, choice={"type": "categorical", "vals": vals})
    result = search(Quick, config=config, max_epochs=1)
    found = [record.read(row.run_dir)["hyperparameters"]["choice"] for row in result.view.rows]
    # keys in their order, and whole numbers in floating point: the master's JSON
    given = [[1, 2], {"a": 2, "b": 1}, True, 1, "1", None, 18446744073709552000]
    assert [str(each) for each in reversed(found)] == [str(each) for each in given]


class Count:
    """Counts what it is told."""

    changes = 0

    def changed(self, view: View) -> None:
        self.changes += 1

    def ended(self, view: View) -> None:
        """Not counted."""


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 4), (math.inf, 0)])
def test_validations_are_told_no_more_often_than_somebody_can_look(
    seconds: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_TELL_S", seconds)
    count, one = Count(), experiment({**RANDOM, "max_trials": 1})
    run_search(SearchRequest(trial_class=Quick, config=one, jobs=1, in_this_process=True), count)
    assert count.changes == 2 + expected  # one for its begin, one for its end


# --- what goes wrong ---


def broken(value: str, others: int = 1) -> dict[str, Any]:
    """Of several draws some break."""
    return {"type": "categorical", "vals": [value, *["no"] * others]}


def test_trial_that_fails_is_noted_and_the_search_goes_on() -> None:
    result = search(Quick, config=experiment({**RANDOM, "max_trials": 6}, breaks=broken("training", 2)))
    failed = [row for row in result.view.rows if row.state == "failed"]
    assert failed and all(row.note == "ValueError: broken" for row in failed)
    assert {"COMPLETE", "FAIL"} == set(states(result.study))


def test_trial_that_refuses_its_hyperparameters_is_replaced() -> None:
    result = search(Quick, config=experiment({**RANDOM, "max_trials": 4}, breaks=broken("invalid")))
    assert states(result.study).count("COMPLETE") == 4
    assert any(row.state == "invalid" for row in result.view.rows)


def test_search_ends_where_all_first_trials_fail() -> None:
    with pytest.raises(
        SearchError, match=r"first 3 trials have failed.* The last one: no validation has given a finite loss"
    ):
        search(Quick, config=experiment({**RANDOM, "max_trials": 9}, breaks="nan"), max_epochs=1)


def test_metric_that_nobody_logs_ends_the_search_at_the_first_validation() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"searcher.metric is 'other', which the .* did not log; it logged loss(?s:.*)begin a new one",
    ):
        search(Quick, config=experiment({**RANDOM, "metric": "other"}))


def test_length_in_a_metric_that_nobody_logs_ends_the_search_at_the_first_validation() -> None:
    with pytest.raises(ConfigurationError, match=r"searcher.time_metric is 'samples', and the validation logged loss"):
        search(Quick, config=experiment({**HALVING, "time_metric": "samples"}))


def test_search_whose_trials_all_refuse_their_hyperparameters_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_PATIENCE_WITH_INVALID", 4)
    with pytest.raises(
        SearchError, match=r"4 trials one after the other have refused .* The last one: not this one\. Narrow"
    ):
        search(Quick, config=experiment(breaks="invalid"))


def test_trial_that_is_stopped_by_itself_is_left_to_a_resume() -> None:
    result = search(Quick, config=experiment({**RANDOM, "max_trials": 2}, breaks="exit"), search_dir="alone")
    assert [row.state for row in result.view.rows] == ["interrupted", "interrupted"]
    assert result.interrupted and result.signal is None
    assert json.loads(Path("alone/search.json").read_text())["status"] == "interrupted"


def test_trial_without_a_finite_value_has_failed() -> None:
    result = search(Quick, config=experiment({**RANDOM, "max_trials": 5}, breaks=broken("nan", 2)))
    assert {row.note for row in result.view.rows if row.state == "failed"} == {"no validation has given a finite loss"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"type": "int", "minval": 0, "maxval": 2**60}, "up to 2\\*\\*53"),
        ({"type": "double", "minval": -1.7e308, "maxval": 1.7e308}, "spans more than the master"),
    ],
)
def test_range_that_optuna_cannot_hold_is_refused_before_anything_is_written(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        search(Quick, config=experiment(other=spec))
    assert not list(Path.cwd().iterdir())


def test_length_of_trials_that_is_not_the_searchers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"trials get --max-epochs 3, and searcher.max_time says 4 epochs"):
        search(Quick, config=experiment(HALVING), max_epochs=3)


def test_several_processes_need_a_class_that_they_can_import() -> None:
    class Local(Quick):
        pass

    with pytest.raises(ConfigurationError, match="cannot import"):
        search(Local, config=experiment(), jobs=2)


def test_search_in_one_of_several_processes_of_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match="without torchrun or horovodrun"):
        search(Quick, config=experiment())
    assert not list(Path.cwd().iterdir())


def test_sampler_that_is_none_of_optunas_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"sampler='tpe' is none of Optuna's: give one such as"):
        search(Quick, config=experiment(), sampler="tpe")  # type: ignore[arg-type]


# --- interrupted and killed ---


def test_search_whose_time_is_over_goes_on_later_and_ends_as_if_nothing_had_been(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = search(Quick, config=experiment(HALVING), search_dir="whole")
    capsys.readouterr()
    first = search(Quick, config=experiment(HALVING), search_dir="cut", timeout=1e-6)
    assert first.timed_out and first.best_run is None
    assert "--resume-from" not in capsys.readouterr().out  # of the trial alone
    second = search(Quick, resume_from="cut")
    assert not second.timed_out
    assert_same(second.study, whole.study)


def assert_same(one: optuna.Study, other: optuna.Study) -> None:
    for mine, theirs in zip(one.trials, other.trials, strict=True):
        assert (mine.state, mine.value, mine.params) == (theirs.state, theirs.value, theirs.params)
        assert mine.intermediate_values == theirs.intermediate_values


def test_search_whose_directory_was_renamed_goes_on() -> None:
    whole = search(Quick, config=experiment({**RANDOM, "max_trials": 2}), search_dir="whole", max_epochs=1)
    search(Quick, config=experiment({**RANDOM, "max_trials": 2}), search_dir="before", max_epochs=1, timeout=1e-6)
    Path("before").rename("after")
    assert_same(search(Quick, resume_from="after").study, whole.study)


def test_search_that_was_killed_while_a_trial_was_asked_for_goes_on_with_its_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = search(Quick, config=experiment({**RANDOM, "max_trials": 2}), search_dir="whole", max_epochs=1)

    def killed(*given: object) -> float:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(optuna.Trial, "_suggest", killed)
        search(Quick, config=experiment({**RANDOM, "max_trials": 2}), search_dir="cut", max_epochs=1)
    assert_same(search(Quick, resume_from="cut").study, whole.study)


def test_trial_that_was_killed_when_it_had_been_stopped_ends_with_its_checkpoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = experiment({**HALVING, "max_trials": 1})
    whole = search(Quick, config=config, search_dir="whole")
    ended = Searcher.ended

    def killed(searcher: Searcher, event: Ended) -> None:
        if STOPPED in searcher.trials()[event.number].user_attrs:
            raise RuntimeError("killed")
        ended(searcher, event)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(Searcher, "ended", killed)
        search(Quick, config=config, search_dir="cut")
    shutil.rmtree("cut/trial-000/checkpoints")  # as if it had been killed before
    result = search(Quick, resume_from="cut")
    assert_same(result.study, whole.study)
    assert record.read("cut/trial-000")["status"] == "finished"
    assert record.read("cut/trial-000")["best"]["value"] == result.study.trials[0].value
    assert Path("cut/trial-000/best").exists()


def test_run_of_a_trial_that_was_killed_at_its_very_end_is_told_so_in_its_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = experiment({**HALVING, "max_trials": 1})

    def killed(searcher: Searcher, event: Ended) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(Searcher, "ended", killed)
        search(Quick, config=config, search_dir="cut")
    record.update("cut/trial-000", status="running", best=None)  # as if it had been killed a moment before
    Path("cut/trial-000/best").unlink()
    result = search(Quick, resume_from="cut")
    found = record.read("cut/trial-000")
    assert (found["status"], found["best"]["value"]) == ("finished", result.study.best_value)
    assert Path("cut/trial-000/best").exists()


def test_study_that_does_not_know_the_trials_that_are_there_is_no_reason_to_make_them_again() -> None:
    search(Quick, config=experiment({**RANDOM, "max_trials": 1}), search_dir="cut", max_epochs=1)
    Path("cut/study.db").unlink()
    with pytest.raises(ConfigurationError, match="knows 0 trials, and not trial-000, which is there"):
        search(Quick, resume_from="cut")
    Path("cut/study.db").write_text("no database, and far longer than nothing")
    with pytest.raises(ConfigurationError, match=r"study.db cannot be used: file is not a database. All that"):
        search(Quick, resume_from="cut")


def test_trial_in_the_place_of_its_search_is_refused_with_the_search() -> None:
    search(Quick, config=experiment({**RANDOM, "max_trials": 1}), search_dir="cut", max_epochs=1)
    with pytest.raises(
        ConfigurationError, match=r"trial-000 is no directory of a search: .*belongs to the search .*cut: name"
    ):
        search(Quick, resume_from="cut/trial-000")


def test_study_that_somebody_else_has_written_to_is_refused_with_what_to_do() -> None:
    result = search(Quick, config=experiment({**RANDOM, "max_trials": 1}), search_dir="cut", max_epochs=1)
    result.study.optimize(lambda trial: trial.suggest_float("lr", 0.0, 1.0), n_trials=1)
    result.study.enqueue_trial({"lr": 0.5})
    with pytest.raises(
        ConfigurationError, match=r"study.db has trials 1, 2, which the search has not made: .*add_trials\(\)"
    ):
        search(Quick, resume_from="cut")


def test_record_that_somebody_has_changed_is_refused_with_the_names_that_are_wrong() -> None:
    search(Quick, config=experiment({**RANDOM, "max_trials": 1}), search_dir="cut", max_epochs=1)
    path = Path("cut/search.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "seed": "7", "options": None}))
    with pytest.raises(ConfigurationError, match=r"another type than it is written with: seed, options"):
        search(Quick, resume_from="cut")


SCRIPT = """
import sys
from lightning_adapter import search
from tests.tuning.quick import Quick
if __name__ == "__main__":
    search(Quick, config={config!r}, search_dir="killed", jobs={jobs})
"""


@pytest.mark.multiprocess
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_search_repeats_no_finished_trial_and_counts_no_unfinished_one(jobs: int) -> None:
    config = experiment({**HALVING, "max_concurrent_trials": 4, "max_trials": 4})
    Path("script.py").write_text(SCRIPT.format(config=config, jobs=jobs))
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, "script.py"], env=environment, stdout=subprocess.PIPE) as process:
        _wait_for_ended(Path("killed/study.db"), 1)
        process.send_signal(signal.SIGKILL)
    before = {trial.number: trial for trial in _trials(Path("killed/study.db")) if trial.state.is_finished()}
    dirs = {number: record.read(f"killed/trial-{number:03d}") for number in before}
    result = search(Quick, resume_from="killed")
    for number, trial in before.items():
        assert result.study.trials[number] == trial
        assert record.read(f"killed/trial-{number:03d}") == dirs[number]
    assert len(result.study.trials) == 4
    assert all(trial.state.is_finished() for trial in result.study.trials)
    assert not [trial for trial in result.study.trials if trial.state.name == "FAIL"]


def _trials(path: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{path}").trials


def _wait_for_ended(path: Path, number: int, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if path.exists():
            try:
                if sum(trial.state.is_finished() for trial in _trials(path)) >= number:
                    return
            except Exception:  # it is being made
                pass
        time.sleep(0.05)
    raise AssertionError("no trial has ended")


def test_search_whose_directory_was_moved_goes_on_with_its_study() -> None:
    search(Quick, config=experiment(), search_dir="before", max_epochs=1, timeout=1e-6)
    Path("before").rename("after")
    result = search(Quick, resume_from="after")
    assert states(result.study) == ["COMPLETE"] * 3
    assert result.study.study_name == "before"


def test_file_that_cannot_be_written_at_the_end_is_told_and_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(directory: SearchDirectory, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SearchDirectory, "write_best", full)
    result = search(Quick, config=experiment({**RANDOM, "max_trials": 1}), max_epochs=1)
    assert json.loads((result.directory / "search.json").read_text())["status"] == "finished"
    assert "best.yaml could not be written: [Errno 28] No space left on device" in caplog.text


def test_study_that_cannot_be_written_ends_the_search_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Searcher, event: Validated) -> None:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    monkeypatch.setattr(Searcher, "validated", full)
    with pytest.raises(SearchError, match=r"study.db cannot be written: database or disk is full.*--resume-from full"):
        search(Quick, config=experiment(), search_dir="full")


def test_search_shows_itself_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    result = search(Quick, config=experiment({**RANDOM, "max_trials": 1}), max_epochs=1)
    page = result._repr_html_()
    assert "1 of 1 trial over, the best is trial 0" in page and "best.yaml" in page and "lr" in page
    assert repr(result) == f"<search in {result.directory}: 1 of 1 trial over, the best is trial 0>"


def test_trial_whose_search_is_gone_keeps_no_checkpoint_of_a_validation_that_nobody_has_judged() -> None:
    asked = []

    def judge(validated: Validated) -> str | None:
        asked.append(validated.batches)
        if len(asked) == 2:
            raise KeyboardInterrupt  # as a worker's does
        return None

    job = Job(0, experiment() | {"hyperparameters": {"lr": 0.1}}, "trial-000", None, {})
    assert train(Quick, job, judge) == Ended(0, "interrupted")
    assert [each.steps_completed for each in stored_checkpoints("trial-000/checkpoints")] == asked[:1]
    found = record.read("trial-000")
    assert found is not None and found["status"] == "interrupted"
    assert train(Quick, replace(job, resume_from="trial-000"), judge) == Ended(0, "complete")
    assert asked == [2, 4, 4, 6, 8]
    # one that came to its end, of which its search did not hear any more
    assert train(Quick, replace(job, resume_from="trial-000"), judge) == Ended(0, "complete")
    assert asked == [2, 4, 4, 6, 8]


def test_search_that_another_process_goes_on_with_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_GRACE_S", 0.1)
    result = search(Quick, config=experiment(), max_epochs=1)
    import filelock

    with filelock.FileLock(result.directory / ".lock"), pytest.raises(ConfigurationError, match="another process"):
        search(Quick, resume_from=result.directory)


def test_random_search_can_be_given_more_trials_later() -> None:
    search(Quick, config=experiment(), search_dir="more", max_epochs=1)
    result = search(Quick, resume_from="more", trials=5)
    assert len(result.study.trials) == 5
    expected = itertools.islice(draws(searcher_settings(experiment()), experiment()["hyperparameters"], 7), 5)
    assert [each.params["lr"] for each in result.study.trials] == [each.hyperparameters["lr"] for each in expected]


def test_search_that_goes_on_cannot_become_another() -> None:
    search(Quick, config=experiment({**HALVING, "max_trials": 1}), search_dir="fixed")
    with pytest.raises(ConfigurationError, match="goes on as it was begun: leave config, seed, max_epochs out"):
        search(Quick, resume_from="fixed", config=experiment(), seed=3, max_epochs=4)
    with pytest.raises(ConfigurationError, match="search by async_halving, whose trials"):
        search(Quick, resume_from="fixed", trials=9)
