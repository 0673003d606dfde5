"""Are the benchmark's systems measured in turns that favour none, and do its page and its exit status say what was measured?"""

from __future__ import annotations

import collections
import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import length, measurements, start
from benchmarks.__main__ import main
from benchmarks.measurements import Findings, Options
from benchmarks.names import (
    ADAPTER,
    CNN,
    COMPARED,
    HELP,
    INTERPRETER,
    KEEPING_LOOP,
    LIGHTNING,
    LOGGING,
    ONE_VALUE,
    PERCEPTRON,
)
from benchmarks.processes import MeasurementError, run_worker
from benchmarks.promises import PROMISES, Promise, broken, differences, found_at, ratios, spread, table_of
from benchmarks.tasks import MODELS, WARM_UP, WINDOW, Clock
from benchmarks.turns import in_turns


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_each_system_follows_each_other_equally_often(count: int) -> None:
    systems = [f"system {number}" for number in range(count)]
    repetitions = count if count % 2 == 0 else 2 * count
    order = list(in_turns(systems, repetitions))
    rows = [order[start : start + count] for start in range(0, len(order), count)]
    assert all(sorted(row) == systems for row in rows)
    followed = collections.Counter(pair for row in rows for pair in itertools.pairwise(row))
    assert len(followed) == count * (count - 1)
    assert len(set(followed.values())) == 1
    assert set(collections.Counter(row[0] for row in rows).values()) == {repetitions // count}


def fast_worker(function: str, arguments: dict[str, Any], clock: str, launcher: Any = ()) -> Any:
    """Figures with which every promise is kept."""
    times = {"bare loop": 100.0, "PyTorchTrial": 140.0, "Lightning": 400.0, "adapter": 101.0, KEEPING_LOOP: 101.0}
    if function == "steps":
        count = arguments["repetitions"]
        phases = ("training", "validation")
        systems = times if arguments["model"] == PERCEPTRON else COMPARED
        empty = arguments["logging"] == LOGGING[0]
        return {
            s: {phase: [] if empty and phase == "validation" else [times[s]] * count for phase in phases}
            for s in systems
        }
    if function == "calls":
        counted = {phase: {"python": 10.0, "built in": 20.0} for phase in ("training", "validation")}
        return dict.fromkeys(COMPARED, counted)
    if function == "parallel":
        return {s: [times[s]] * arguments["repetitions"] for s in arguments["systems"]}
    if function == "evaluation":
        return {s: {"validate": [400.0], "evaluate": [times[s]]} for s in ("bare loop", "Lightning", "adapter")}
    if function == "checkpoints":
        return {s: {"delay": [times[s] / 100], "after": [0.0]} for s in COMPARED}
    assert function == "length"
    return {"batches": [1_000, 20_000], "step": [20.0, 21.0], "memory": [100.0, 100.5]}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(measurements, "run_worker", fast_worker)
    started = {name: [2.0] * 5 for name in start.MEASURED}
    monkeypatch.setattr(measurements, "first_batches", lambda repetitions: dict.fromkeys(COMPARED, started))
    helps = {name: {"cpu": [0.05], "wall": [0.1]} for name in (INTERPRETER, HELP)}
    monkeypatch.setattr(measurements, "helps", lambda repetitions: helps)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(measurements, "_launchers", lambda: iter([("ddp", ["torchrun"]), ("horovod", ["horovodrun"])]))
    return monkeypatch


def test_all_promises_are_measured_and_kept(
    fake: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output", str(tmp_path)]) == 0
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert (tmp_path / "performance.png").stat().st_size > 0
    assert "not measured" not in page
    assert page.count("| yes ") == len(PROMISES)
    assert "- steps on a GPU: left out, this machine has none" in page
    printed = capsys.readouterr().out
    assert all(model in printed for model in MODELS)
    assert "not met" not in printed


def test_promise_that_is_not_met_is_named_and_fails(
    fake: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow_worker(function: str, arguments: dict[str, Any], *rest: Any) -> Any:
        found = fast_worker(function, arguments, *rest)
        if function == "checkpoints":
            found[ADAPTER]["delay"] = [3.1]
        return found

    fake.setattr(measurements, "run_worker", slow_worker)
    assert main(["--output", str(tmp_path)]) == 1
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if "| no " in line]
    assert "checkpoint" in row and "| 2.1 " in row
    assert "not met: checkpoint" in capsys.readouterr().out


def test_failed_measurement_takes_no_other_with_it(
    fake: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing_worker(function: str, arguments: dict[str, Any], *rest: Any) -> Any:
        if function == "parallel" and arguments["exchange"] == "ddp":
            raise MeasurementError("first line\nRuntimeError: no port is free\nlast line")
        return fast_worker(function, arguments, *rest)

    fake.setattr(measurements, "run_worker", failing_worker)
    assert main(["--output", str(tmp_path)]) == 1
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "- two processes, ddp: the measurement failed, RuntimeError: no port is free" in page
    assert "| horovod" in page and "| ddp" not in page
    assert page.count("| yes ") == len(PROMISES)
    assert "failed: two processes, ddp: RuntimeError: no port is free" in capsys.readouterr().out


def test_what_is_not_installed_is_left_out_and_no_failure(fake: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake.setattr(measurements, "_launchers", lambda: iter([("horovod", None)]))
    assert main(["--only", "parallel", "--output", str(tmp_path)]) == 0
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "two processes, horovod: left out, horovodrun is not installed" in page
    assert "not measured" in page


def test_part_alone_is_printed_and_overwrites_no_page(
    fake: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.setattr("benchmarks.__main__.ROOT", tmp_path)
    assert main(["--only", "calls,length"]) == 0
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr().out
    assert "10 + 20" in printed
    assert re.search(r"adapter +\| 20,000 +\| 21\.0 +\| 1\.05 +\| 100 +\| 1\.005 ", printed)
    assert "## Training" not in printed and "not measured" not in printed
    assert "peak memory" in printed


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--only", "stepps"], "there is no stepps; there are steps, "),
        (["--repetitions", "0"], "no number from 1 on"),
        (["--length-steps", "19999"], "there have to be 20,000 or more"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


def test_worker_that_fails_says_why() -> None:
    with pytest.raises(MeasurementError) as caught:
        run_worker("steps", {"model": "none such"}, "wall")
    assert (
        caught.value.reason()
        == "TypeError: steps() missing 2 required positional arguments: 'logging' and 'repetitions'"
    )


def test_repetitions_are_those_of_the_measurement_unless_given() -> None:
    assert Options().times(15) == 15
    assert Options(repetitions=2).times(15) == 2
    assert all(model.repetitions >= 5 for model in MODELS.values())


def test_promise_is_judged_by_the_median_as_it_was_measured() -> None:
    promise = Promise("steps", "it", 1.05, lambda results: found_at(results, "values"))
    assert promise.is_kept({"values": [1.0, 1.05, 9.0]}) is True
    assert promise.is_kept({"values": [1.0, 1.0501, 9.0]}) is False
    assert promise.is_kept({}) is None
    assert promise.row({}) == ["it", "1.05", "not measured", ""]
    assert promise.row({"values": [1.0, 1.0501, 9.0]}) == ["it", "1.05", "1.050 (1.000-9.000)", "no"]


def test_ratios_are_taken_within_a_repetition() -> None:
    # a machine that is half as fast in one repetition changes both times, and no ratio
    results = {"steps": {CNN: {ONE_VALUE: {s: {"training": [10.0, 20.0], "validation": []} for s in COMPARED}}}}
    rows = {row[0]: row for row in table_of(results, ["steps"])}
    assert rows[f"training, {CNN}, {ONE_VALUE}: adapter / bare loop"][2:] == ["1.000 (1.000-1.000)", "yes"]
    assert broken(results) == []
    results["steps"][CNN][ONE_VALUE][ADAPTER]["training"] = [11.0, 22.0]
    assert broken(results) == [f"training, {CNN}, {ONE_VALUE}: adapter / bare loop"]
    assert ratios([2.0, 3.0], [1.0, 2.0]) == [2.0, 1.5]
    assert differences([2.0, 3.0], [1.0, 5.0]) == [1.0, -2.0]
    with pytest.raises(ValueError):
        ratios([1.0], [1.0, 2.0])


def test_every_promise_is_of_a_part_that_is_measured() -> None:
    assert {promise.part for promise in PROMISES} <= set(measurements.PARTS)


def test_spread_has_median_and_extremes() -> None:
    assert spread([3.0, 1.0, 2.25], 1) == "2.2 (1.0-3.0)"
    assert spread([0.254], 2) == "0.25"


def test_windows_have_their_median(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    seconds = [1.0] * WARM_UP + [2.0] * WINDOW + [50.0] * WINDOW + [3.0] * WINDOW
    clock.ticks = [0.0, *itertools.accumulate(seconds)]
    assert clock.step_time() == 3.0


def test_findings_lie_where_their_path_says() -> None:
    findings = Findings(["steps"])
    findings.measure("one", ("steps", CNN, LIGHTNING), lambda number: number, 3)
    findings.measure("two", ("steps", PERCEPTRON), lambda: 4)
    assert findings.results == {"steps": {CNN: {LIGHTNING: 3}, PERCEPTRON: 4}}


@pytest.mark.parametrize("system", length.SYSTEMS)
def test_long_run_is_noted_at_powers_of_ten_and_at_its_end(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(length, "now", itertools.count().__next__)
    monkeypatch.setattr(length, "peak_memory", itertools.count(500).__next__)
    share = length.SYSTEMS[system][1]
    assert length.length(system, 1_500 * share) == {
        "batches": [1_000, 1_500],
        "step": [1e6 / 900, 1e6 / 500],
        "memory": [501, 502],
    }


def test_fewest_batches_suffice_for_each_system() -> None:
    assert min(length.FEWEST // share for _, share in length.SYSTEMS.values()) == length.FIRST


def test_start_is_measured_by_both_clocks_up_to_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = ("import time\n", "at_call = spent()\ntime.sleep(0.3)\nends([])\nprint('behind the first batch')\n")
    monkeypatch.setattr(start, "_SCRIPTS", {LIGHTNING: slow, ADAPTER: ("", "at_call = spent()\nends([])\n")})
    found = start.first_batches(2)
    assert {name: len(values) for name, values in found[LIGHTNING].items()} == dict.fromkeys(start.MEASURED, 2)
    for taken in found.values():
        assert all(0 <= call <= all_of_it for call, all_of_it in zip(taken["call cpu"], taken["cpu"], strict=True))
    slept = found[LIGHTNING]
    assert min(slept["call wall"]) >= 0.3 > max(slept["call cpu"])
    assert max(found[ADAPTER]["call wall"]) < 0.3 < min(slept["wall"])


def test_start_that_does_not_come_to_a_batch_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_SCRIPTS", {ADAPTER: ("import json\n", "json.nothing\n")})
    with pytest.raises(MeasurementError) as caught:
        start.first_batches(1)
    assert caught.value.reason() == "AttributeError: module 'json' has no attribute 'nothing'"


def test_help_is_measured_beside_its_interpreter() -> None:
    found = start.helps(1)
    assert list(found) == [INTERPRETER, HELP]
    assert 0 < found[INTERPRETER]["cpu"][0] < found[HELP]["cpu"][0]


def test_help_that_is_not_installed_is_a_failed_measurement(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(start.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(MeasurementError, match="FileNotFoundError"):
        start.helps(1)
