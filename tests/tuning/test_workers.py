"""Trials train in processes of their own, which tell what they find, die alone, and never stay behind."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter.runs import provenance
from lightning_adapter.tuning.job import Ended, Job, Validated
from lightning_adapter.tuning.workers import Workers

pytestmark = pytest.mark.multiprocess
TESTS = Path(__file__).resolve().parent.parent
TARGET = """
import os, signal, sys, time
from lightning_adapter.tuning.job import Ended, Validated

class Trial:
    @staticmethod
    def train(job, judge):
{body}
"""
FORKS = """
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
print("forked", child, flush=True)
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('pid', os.getpid())\n"
START_S = 20.0


def job(number: int = 0, **config: Any) -> Job:
    return Job(number, config, run_dir=f"trial-{number:03}", resume_from=None, options={})


def go_on(validated: Validated) -> str | None:
    return None


def target(directory: Path, body: str, before: str = "") -> str:
    """A file whose class trains by `body`."""
    lines = "\n".join(f"        {line}" for line in body.strip().splitlines())
    path = directory / "model.py"
    path.write_text(before + TARGET.format(body=lines))
    return f"{path}:Trial"


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def until(condition: Callable[[], bool], seconds: float = START_S) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def crew_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Workers]]:
    """Makes crews, whose processes are gone at the end."""
    monkeypatch.syspath_prepend(str(TESTS))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    made: list[Workers] = []

    def make(body: str, size: int = 1, before: str = "", **variables: str) -> Workers:
        made.append(Workers(size, target(tmp_path, body, before), variables, tmp_path, "tuning.plain_training:train"))
        return made[-1]

    yield make
    for crew in made:
        crew.close()


def ended(crew: Workers, judge: Callable[[Validated], str | None] = go_on) -> Ended:
    found = crew.wait(judge, START_S)
    assert len(found) == 1, found
    return found[0]


def pid_in(log: Path, word: str) -> int:
    def line() -> list[str]:
        return [line for line in log.read_text().splitlines() if line.startswith(f"{word} ")] if log.exists() else []

    until(lambda: bool(line()))
    return int(line()[-1].split()[1])


def test_a_trial_is_trained_in_another_process_with_its_job(crew_of: Callable[..., Workers]) -> None:
    crew = crew_of("return f'{os.getpid()} {job.config} {job.run_dir} {job.number}'")
    crew.start(job(3, searcher={"metric": "loss"}, width=[1, 2.5]))
    result = ended(crew)
    pid, _, rest = result.note.partition(" ")
    assert (result.number, result.outcome) == (3, "complete")
    assert rest == "{'searcher': {'metric': 'loss'}, 'width': [1, 2.5]} trial-003 3"
    assert int(pid) != os.getpid()
    assert not is_alive(int(pid))


def test_a_validation_waits_for_the_word_and_values_that_are_not_finite_pass(crew_of: Callable[..., Workers]) -> None:
    values = '{"loss": float("nan"), "up": float("inf")}'
    crew = crew_of(f"return [judge(Validated(job.number, 4 * n, n, {values})) for n in range(3)]")
    crew.start(job(5))
    heard: list[Validated] = []

    def judge(validated: Validated) -> str | None:
        heard.append(validated)
        return "rung 2" if validated.epochs == 2 else None

    assert ended(crew, judge).note == "[None, None, 'rung 2']"
    assert [(each.number, each.batches, each.epochs) for each in heard] == [(5, 0, 0), (5, 4, 1), (5, 8, 2)]
    assert math.isnan(heard[0].metrics["loss"])
    assert heard[0].metrics["up"] == math.inf


def test_wait_returns_when_its_time_is_over(crew_of: Callable[..., Workers]) -> None:
    crew = crew_of("time.sleep(60)")
    assert crew.wait(go_on, 5) == []  # nobody is trained
    crew.start(job())
    begun = time.monotonic()
    assert crew.wait(go_on, 0.2) == []
    assert 0.2 <= time.monotonic() - begun < 2


def test_trials_train_at_the_same_time_and_are_answered_one_after_the_other(crew_of: Callable[..., Workers]) -> None:
    crew = crew_of(
        "for n in range(3):\n    judge(Validated(job.number, n, n, {}))\nreturn os.environ['OMP_NUM_THREADS']", size=2
    )
    crew.start(job(0))
    crew.start(job(1))
    heard: list[int] = []
    found: list[Ended] = []
    while len(found) < 2:
        found += crew.wait(lambda validated: heard.append(validated.number), START_S)
    assert sorted(heard) == [0, 0, 0, 1, 1, 1]
    assert sorted(each.number for each in found) == [0, 1]


def test_a_judge_that_raises_is_asked_again(crew_of: Callable[..., Workers]) -> None:
    crew = crew_of("return judge(Validated(job.number, 1, 1, {}))")
    crew.start(job())

    def raises(validated: Validated) -> str | None:
        raise OSError("no space left on the disk")

    with pytest.raises(OSError, match="no space left"):
        crew.wait(raises, START_S)
    assert ended(crew, lambda validated: "enough").note == "enough"


def test_each_trial_has_a_process_of_its_own(crew_of: Callable[..., Workers]) -> None:
    crew = crew_of("COUNT.append(job.number)\nreturn COUNT", before="COUNT = []\n")
    for number in range(2):
        crew.start(job(number))
        assert ended(crew).note == f"[{number}]"


def test_what_a_trial_prints_is_in_the_log_of_its_worker(
    crew_of: Callable[..., Workers], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    crew = crew_of("print('of', job.number)\nprint('\\udcff', file=sys.stderr)\nos.system('echo from the shell')")
    for number in (0, 1):
        crew.start(job(number))
        ended(crew)
    lines = (tmp_path / "worker-0.log").read_text().splitlines()
    assert [line for line in lines if not line.startswith("---")] == [
        *("of 0", "\\udcff", "from the shell"),
        *("of 1", "\\udcff", "from the shell"),
    ]
    assert lines[4].startswith("--- ") and lines[4].endswith("trial 1 in trial-001")
    assert capfd.readouterr() == ("", "")


def test_a_trial_has_no_terminal(crew_of: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    body = """
from rich.console import Console
try:
    os.open("/dev/tty", os.O_RDWR)
    terminal = True
except OSError:
    terminal = False
return [Console().is_terminal, terminal, *(os.isatty(n) for n in range(3)), sys.stdin.read()]
"""
    crew = crew_of(body)
    crew.start(job())
    assert ended(crew).note == str([False, False, False, False, False, ""])


def test_variables_of_the_experiment_are_there_when_the_target_is_imported(crew_of: Callable[..., Workers]) -> None:
    crew = crew_of("return SEEN", before="import os\nSEEN = os.environ['OF_THE_YAML']\n", OF_THE_YAML="yes")
    crew.start(job())
    assert ended(crew).note == "yes"
    assert "OF_THE_YAML" not in os.environ


def test_one_worker_has_the_threads_of_fit_and_several_have_one(
    crew_of: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    seen = []
    for size in (1, 2):
        crew = crew_of("return os.environ.get('OMP_NUM_THREADS')", size)
        crew.start(job())
        seen.append((ended(crew).note, crew.variables))
    assert seen == [("None", {}), ("1", {"OMP_NUM_THREADS": "1"})]
    assert "OMP_NUM_THREADS" not in os.environ


def test_workers_are_pinned_and_a_place_on_an_idle_gpu_is_taken_first(
    crew_of: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_adapter.tuning.pinning.visible_gpus", lambda environment: ["GPU-a", "GPU-b"])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with pytest.warns(UserWarning, match="4 trials are trained at the same time on 2 GPUs"):
        crew = crew_of(
            "while not os.path.exists(str(job.number)):\n    time.sleep(0.02)\nreturn os.environ['CUDA_VISIBLE_DEVICES']",
            size=4,
        )
    for number in range(3):
        crew.start(job(number))
    found = []
    try:
        for number in (0, 1):
            Path(str(number)).touch()
            found.append(ended(crew).note)
        crew.start(job(3))  # the third one trains on GPU-a, and the worker with the lowest number is on it too
        Path("3").touch()
        found.append(ended(crew).note)
    finally:
        for number in (0, 1, 3):
            Path(str(number)).unlink(missing_ok=True)
    assert found == ["GPU-a", "GPU-b", "GPU-b"]
    assert crew.variables == {}


def test_the_record_of_a_run_has_what_was_typed(crew_of: Callable[..., Workers], tmp_path: Path) -> None:
    crew = crew_of(
        "from lightning_adapter.runs import provenance\nreturn [provenance.command(), provenance.target_of(Trial), sys.argv]"
    )
    crew.start(job())
    assert ended(crew).note == str([provenance.command(), f"{tmp_path}/model.py:Trial", sys.argv])


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("os._exit(7)", "its process ended with exit status 7"),
        ("os._exit(0)", "its process ended with exit status 0"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "its process was killed by SIGKILL (out of memory?)"),
        ("import ctypes\nctypes.string_at(0)", "its process was killed by SIGSEGV"),
        ("sys.exit('enough')", "its process ended with exit status 1"),
    ],
)
def test_a_worker_that_dies_has_failed_with_the_end_of_its_log(
    crew_of: Callable[..., Workers], tmp_path: Path, body: str, note: str
) -> None:
    (tmp_path / "worker-0.log").write_text("of a trial before\n")
    crew = crew_of(f"print('last words')\njudge(Validated(job.number, 1, 1, {{}}))\n{body}")
    crew.start(job(2))
    result = ended(crew)
    assert (result.number, result.outcome, result.note) == (2, "failed", note)
    assert result.details.startswith("last words")
    if "SIGSEGV" in note:
        assert 'model.py", line' in result.details
    crew.start(job(3))
    assert ended(crew).number == 3


def test_a_worker_that_somebody_else_asks_to_end_is_interrupted(crew_of: Callable[..., Workers]) -> None:
    crew = crew_of("signal.signal(signal.SIGTERM, signal.SIG_DFL)\nos.kill(os.getpid(), signal.SIGTERM)")
    crew.start(job(2))
    assert ended(crew) == Ended(2, "interrupted")


def test_what_a_dying_worker_has_forked_ends_with_it(crew_of: Callable[..., Workers], tmp_path: Path) -> None:
    crew = crew_of(FORKS + "os._exit(1)")
    crew.start(job())
    assert ended(crew).outcome == "failed"
    child = pid_in(tmp_path / "worker-0.log", "forked")
    until(lambda: not is_alive(child))


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("import notthere_at_all\n", "it imports 'notthere_at_all', which is not installed"),
        ("raise ValueError('of the user')\n", "cannot be imported: ValueError: of the user"),
        ("from lightning_adapter import fit\nfit(None)\n", "fit() is called while the file is imported to search"),
    ],
)
def test_a_target_that_cannot_be_imported_is_refused_in_the_words_of_fit(
    crew_of: Callable[..., Workers], before: str, message: str
) -> None:
    crew = crew_of("pass", before=before)
    crew.start(job(1))
    result = ended(crew)
    assert (result.number, result.outcome) == (1, "refused")
    assert message in result.details
    assert message in result.note and "\n" not in result.note


def test_code_that_changes_between_two_trials_is_told_once(crew_of: Callable[..., Workers], tmp_path: Path) -> None:
    crew = crew_of("return 1", before="import neighbour_of_model\n")
    neighbour = tmp_path / "neighbour_of_model.py"
    neighbour.write_text("A = 1\n")
    for number in range(2):
        crew.start(job(number))
        assert ended(crew).note == "1"
    neighbour.write_text("A = 2\n")
    crew.start(job(2))
    with pytest.warns(UserWarning, match=r"neighbour_of_model\.py changed since the trials before: trial 2 and"):
        assert ended(crew).note == "1"
    crew.start(job(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ended(crew).note == "1"


def test_stop_is_a_sigterm_and_the_trial_says_how_it_ends(crew_of: Callable[..., Workers]) -> None:
    crew = crew_of(
        """
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
judge(Validated(job.number, 1, 1, {}))
while not asked:
    time.sleep(0.01)
return Ended(job.number, "interrupted", "at batch 9")
"""
    )
    crew.start(job())
    result = ended(crew, lambda validated: crew.stop())
    assert result == Ended(0, "interrupted", "at batch 9")


@pytest.mark.parametrize("times", [1, 2])
def test_stop_interrupts_who_cannot_answer_and_asked_twice_who_does_not(
    crew_of: Callable[..., Workers], tmp_path: Path, times: int
) -> None:
    ignored = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if times == 2 else ""
    crew = crew_of(FORKS + ignored + "judge(Validated(job.number, 1, 1, {}))\ntime.sleep(60)")
    crew.start(job())
    heard: list[Validated] = []
    until(lambda: not crew.wait(heard.append, 0.1) and bool(heard))
    for _ in range(times):
        assert crew.wait(go_on, 0.3) == []
        crew.stop()
    assert ended(crew) == Ended(0, "interrupted")
    child = pid_in(tmp_path / "worker-0.log", "forked")
    until(lambda: not is_alive(child))


def test_a_process_that_begins_while_a_signal_comes_is_asked_too(crew_of: Callable[..., Workers]) -> None:
    crew = crew_of("time.sleep(60)")
    crew.stop()
    crew.start(job())
    assert ended(crew) == Ended(0, "interrupted")


def test_a_signal_of_the_terminal_does_not_reach_workers(crew_of: Callable[..., Workers], tmp_path: Path) -> None:
    crew = crew_of("print('group', os.getpgid(0), flush=True)\nreturn os.getsid(0) == os.getpid()")
    crew.start(job())
    assert ended(crew).note == "True"
    assert pid_in(tmp_path / "worker-0.log", "group") != os.getpgid(0)


def test_close_leaves_no_process(crew_of: Callable[..., Workers], tmp_path: Path) -> None:
    crew = crew_of(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('pid', os.getpid())" + FORKS + "time.sleep(60)"
    )
    crew.start(job())
    pids = [pid_in(tmp_path / "worker-0.log", word) for word in ("pid", "forked")]
    crew.close()
    assert not is_alive(pids[0])
    until(lambda: not is_alive(pids[1]))
    crew.close()


def test_a_worker_that_does_not_end_after_its_trial_is_ended(
    crew_of: Callable[..., Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_adapter.tuning.workers.EXIT_S", 0.3)
    crew = crew_of("import atexit\natexit.register(time.sleep, 60)\nreturn 'done'")
    crew.start(job())
    assert ended(crew) == Ended(0, "complete", "done")


MAIN = """
import pathlib, sys, time
sys.path.insert(0, {tests!r})
from lightning_adapter.tuning.job import Job
from lightning_adapter.tuning.workers import Workers
crew = Workers(1, {target!r}, {{}}, pathlib.Path({directory!r}), "tuning.plain_training:train")
crew.start(Job(0, {{}}, "trial-000", None, {{}}))
time.sleep(60)
"""


LISTENS = "asked = []\nsignal.signal(signal.SIGTERM, lambda *_: asked.append(1))\nprint('pid', os.getpid())\n"


@pytest.mark.parametrize(
    ("before", "body", "last"),
    [
        ("", LISTENS + FORKS + "while not asked:\n    time.sleep(0.01)", "a checkpoint [1]"),
        # one with a validation in it that nobody has judged would be wrong
        ("", LISTENS + FORKS + "judge(Validated(job.number, 1, 1, {}))", "KeyboardInterrupt"),
        ("import os, time\nprint('pid', os.getpid(), flush=True)" + FORKS + "time.sleep(60)\n", "pass", None),
        ("from lightning_adapter.tuning import worker\nworker.ALONE_S = 0.5\n", DEAF + FORKS + "time.sleep(60)", None),
    ],
    ids=["trains", "is validated", "imports", "is deaf"],
)
def test_workers_end_by_themselves_when_the_search_is_killed(
    tmp_path: Path, before: str, body: str, last: str | None
) -> None:
    place = target(tmp_path, f"{body}\nprint('a checkpoint', asked)", before)
    search = subprocess.Popen(
        [sys.executable, "-c", MAIN.format(tests=str(TESTS), target=place, directory=str(tmp_path))]
    )
    log = tmp_path / "worker-0.log"
    try:
        pids = [pid_in(log, word) for word in ("pid", "forked")]
        time.sleep(0.2)
        assert all(map(is_alive, pids))
    finally:
        search.send_signal(signal.SIGKILL)
        search.wait()
    until(lambda: not any(map(is_alive, pids)), 10)
    written = log.read_text()
    assert [word for word in ("a checkpoint [1]", "KeyboardInterrupt") if word in written] == ([last] if last else [])
