"""Are the benchmark's systems measured in turns that favour none, and do its page and its exit status say what was measured?"""

from __future__ import annotations

import collections
import itertools
from pathlib import Path
from typing import Any

import pytest

from benchmarks import measurements
from benchmarks.__main__ import main
from benchmarks.length import train_for_long
from benchmarks.measurements import Findings, MeasurementError, Options
from benchmarks.names import ADAPTER, CNN, COMPARED, KEEPING_LOOP, LIGHTNING, LOGGING, ONE_VALUE, PERCEPTRON
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
        phases = ("training", "validation", "first step")
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
    if function == "start":
        return times[arguments["system"]] / 100
    if function == "length":
        marks = ["1000", "10000", "1000000"]  # keys of JSON are text
        return {"step": dict.fromkeys(marks, 30.0), "memory": dict(zip(marks, [100.0, 100.5, 100.9], strict=True))}
    assert function == "memory"
    return {"early": 100.0, "late": 100.5}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(measurements, "run_worker", fast_worker)
    monkeypatch.setattr(measurements, "_seconds_of", lambda argument: 0.1)
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
    assert main(["--only", "calls,memory"]) == 0
    assert list(tmp_path.iterdir()) == []
    printed = capsys.readouterr().out
    assert "10 + 20" in printed and "| 100 " in printed
    assert "## Training" not in printed and "not measured" not in printed
    assert "peak memory" in printed


@pytest.mark.parametrize(
    "arguments, said",
    [(["--only", "stepps"], "there is no stepps; there are steps, "), (["--repetitions", "0"], "no number from 1 on")],
)
def test_bad_arguments_are_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


def test_worker_that_fails_says_why() -> None:
    with pytest.raises(MeasurementError) as caught:
        measurements.run_worker("steps", {"model": "none such"}, "wall")
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


def test_long_run_is_judged_by_its_end_beside_its_beginning() -> None:
    grown = {"step": {"1000": 30.0, "10000": 99.0, "1000000": 30.3}, "memory": {"1000": 200.0, "1000000": 203.0}}
    assert broken({"length": {ADAPTER: grown}}) == ["peak memory after 1,000,000 steps / after 1,000"]
    grown["step"]["1000000"] = 33.0
    assert len(broken({"length": {ADAPTER: grown}})) == 2


@pytest.mark.parametrize("system", [LIGHTNING, ADAPTER])
def test_long_run_notes_each_power_of_ten(system: str, tmp_path: Path) -> None:
    found = train_for_long(system, tmp_path, 1000)
    assert found["step"].keys() == found["memory"].keys() == {1000}
    assert 0 < found["step"][1000] < 1e5 and found["memory"][1000] > 10


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
