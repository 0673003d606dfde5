"""`search` asks for what was typed, shows how it goes on wherever somebody looks, and ends with what can be typed next."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import pty
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from ruamel.yaml import YAML

import lightning_adapter
from lightning_adapter import cli
from lightning_adapter.cli import search_report
from lightning_adapter.cli.search_frame import chosen, frame
from lightning_adapter.cli.search_table import LiveTable
from lightning_adapter.tuning.lines import EventLines
from lightning_adapter.tuning.request import SearchRequest, SearchResult
from lightning_adapter.tuning.view import Row, State, View, Watcher

EXPERIMENT = """\
name: toy
entrypoint: python3 -m lightning_adapter fit model_def:Toy --max-epochs 9 --hparam dropout=0.1 --validation-period "2 epochs"
hyperparameters:
  lr: {type: log, base: 10, minval: -4, maxval: -1}
  width: {type: categorical, vals: [4, 8]}
searcher: {name: random, metric: val_loss, max_trials: 3}
reproducibility: {experiment_seed: 1}
"""
TRIAL = "class Toy:\n    pass\n"


def row(number: int, state: State = "running", **said: Any) -> Row:
    made = Row(number, state, 0, 0, None, {"lr": 0.1 / (number + 1), "width": 4}, Path(f"runs/Toy/s/trial-{number:03}"))
    return replace(made, **said)


def over(number: int, value: float, state: State = "complete", epochs: int = 9) -> Row:
    return row(number, state, value=value, epochs=epochs, batches=100 * epochs)


def view(
    rows: Sequence[Row], planned: int | None = None, time_left_s: float | None = None, metric: str = "val_loss"
) -> View:
    complete = [each for each in rows if each.state == "complete"]
    best = min(complete, key=lambda each: each.value or 0.0) if complete else None
    return View(Path("runs/Toy/s"), metric, True, rows, best, planned or len(rows), time_left_s)


def result(found: View, **said: Any) -> SearchResult:
    study: Any = None
    best = None if found.best is None else found.best.run_dir
    return replace(SearchResult(study, best, found.directory, found, "model_def:Toy", {"max_epochs": 9}), **said)


@pytest.fixture
def toy(project: Path) -> Path:
    """A project with an experiment."""
    (project / "model_def.py").write_text(TRIAL)
    (project / "adaptive.yaml").write_text(EXPERIMENT)
    return project


Play = Callable[[Watcher], SearchResult]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SearchRequest]:
    """What a search was asked for that trains nothing."""
    requests: list[SearchRequest] = []

    def run(request: SearchRequest, watcher: Watcher) -> SearchResult:
        requests.append(request)
        ended = view([over(0, 0.5)])
        watcher.changed(ended)
        watcher.ended(ended)
        return result(ended)

    played(monkeypatch, run)
    return requests


def played(monkeypatch: pytest.MonkeyPatch, run: Callable[[SearchRequest, Watcher], SearchResult]) -> None:
    stand_in = types.ModuleType("lightning_adapter.tuning.run")
    stand_in.run_search = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)


def search(*words: str) -> int:
    return cli.main(["search", *words])


# What is asked for


def test_everything_that_is_typed_is_asked_for(toy: Path, asked: list[SearchRequest]) -> None:
    words = ["model_def.py:Toy", "--config", "adaptive.yaml", "--trials", "8", "--jobs", "2", "--timeout", "1h30m"]
    words += ["--max-epochs", "4", "--max-steps", "70", "--hparam", "dropout=0.5", "--hparam", "optimizer.name=adam"]
    words += ["--validation-period", "100", "--checkpoint-period", "2 epochs", "--seed", "3"]
    assert search(*words, "--search-dir", "out", "--name", "mine") == 0
    assert asked == [
        SearchRequest(
            target="model_def.py:Toy",
            config="adaptive.yaml",
            hparams={"dropout": 0.5, "optimizer": {"name": "adam"}},
            trials=8,
            jobs=2,
            timeout_s=5400,
            options={
                "max_epochs": 4,
                "max_steps": 70,
                "validation_period": "100 batches",
                "checkpoint_period": "2 epochs",
            },
            seed=3,
            search_dir="out",
            name="mine",
        )
    ]


def test_what_the_entrypoint_types_counts_where_nothing_is_typed(toy: Path, asked: list[SearchRequest]) -> None:
    assert search("--config", "adaptive.yaml") == 0
    assert asked == [
        SearchRequest(
            target="model_def:Toy",
            config="adaptive.yaml",
            hparams={"dropout": 0.1},
            options={"max_epochs": 9, "validation_period": "2 epochs"},
        )
    ]


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["--max-epochs", "3"], "--max-epochs is 3, as typed; the entrypoint says 9, with which a cluster would train"),
        (["--max-epochs", "9"], None),
        (["other:Toy"], "other:Toy is searched, as typed; the entrypoint trains model_def:Toy"),
        (["model_def:Other"], "model_def:Other is searched, as typed; the entrypoint trains model_def:Toy"),
        (["some/where/model_def.py:Toy"], None),
    ],
)
def test_what_differs_from_the_entrypoint_is_told(
    words: list[str], note: str | None, toy: Path, asked: list[SearchRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(*words, "--config", "adaptive.yaml") == 0
    assert capsys.readouterr().err == ("" if note is None else f"note: {note}\n")


@pytest.mark.parametrize(
    ("entrypoint", "target", "note"),
    [
        (
            "python3 -m lightning_adapter fit model_def:Toy --max-epochs $N",
            "model_def:Toy",
            "variables are set on a cluster",
        ),
        ("model_def:Toy", "model_def:Toy", ""),
        ("python3 train.py", "typed:Toy", "nobody can tell from here what it trains"),
    ],
)
def test_entrypoint_that_cannot_be_read_here_gives_a_note(
    entrypoint: str, target: str, note: str, toy: Path, asked: list[SearchRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = EXPERIMENT.splitlines()
    (toy / "adaptive.yaml").write_text("\n".join([lines[0], f"entrypoint: {entrypoint}", *lines[2:]]))
    assert search(*([target] if target.startswith("typed") else []), "--config", "adaptive.yaml") == 0
    assert (asked[0].target, asked[0].options) == (target, {})
    assert note in capsys.readouterr().err


def test_pipe_is_read_once(toy: Path, asked: list[SearchRequest]) -> None:
    there, here = os.pipe()
    os.write(here, (toy / "adaptive.yaml").read_bytes())
    os.close(here)
    try:
        assert search("--config", f"/dev/fd/{there}") == 0
    finally:
        os.close(there)
    (request,) = asked
    assert request.config == YAML(typ="safe", pure=True).load((toy / "adaptive.yaml").read_text())


def test_search_goes_on_where_a_directory_is_given(toy: Path, asked: list[SearchRequest]) -> None:
    assert search("--resume-from", "runs/Toy/s", "--jobs", "3", "--timeout", "90", "--trials", "20") == 0
    assert asked == [SearchRequest(trials=20, jobs=3, timeout_s=90, resume_from="runs/Toy/s")]


# Bad input


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "search needs an experiment with a searcher and ranges: lightning-adapter search model_def.py:MNISTTrial"),
        (["--config", "gone.yaml"], "gone.yaml does not exist"),
        (["--resume-from", "d", "--config", "adaptive.yaml", "--seed", "0"], "and cannot take --config, --seed. Leave"),
        (["--resume-from", "d", "--preview"], "and cannot take --preview. Leave"),
        (
            ["--config", "bare.yaml"],
            "nothing says which trial bare.yaml is to be searched with: its entrypoint names none",
        ),
        (["--config", "refused.yaml"], "fit would not take it: argument --max-epochs: invalid int value: 'many'"),
        (
            ["--config", "sub/e.yaml"],
            "in the current directory; sub/model_there.py is there. To fix, go there: cd sub && ",
        ),
        (["--config", "adaptive.yaml", "--hparam", "lr=[1"], "the value of lr=[1 cannot be read"),
        (["adaptive.yaml"], "adaptive.yaml is no trial. Type --config adaptive.yaml"),
        (["sub"], "sub is no trial. Type --resume-from sub"),
        (["--config", "adaptive.yaml", "--seed", "-1", "--max-epochs", "-2"], "seed=-1 has to be"),
        (["--config", "adaptive.yaml", "--name", "a/b"], "name='a/b' is a path"),
    ],
)
def test_bad_input_is_one_message_and_status_2(
    words: list[str], message: str, toy: Path, asked: list[SearchRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    (toy / "bare.yaml").write_text("".join(EXPERIMENT.splitlines(keepends=True)[2:]))
    (toy / "refused.yaml").write_text(EXPERIMENT.replace("--max-epochs 9", "--max-epochs many"))
    (toy / "sub").mkdir()
    (toy / "sub" / "search.json").touch()
    (toy / "sub" / "model_there.py").write_text(TRIAL)
    (toy / "sub" / "e.yaml").write_text(EXPERIMENT.replace("model_def", "model_there"))
    assert search(*words) == 2
    told = capsys.readouterr().err
    assert told.startswith("lightning-adapter: error: ") and message in told and "Traceback" not in told
    assert not asked


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jobs", "0"], "argument --jobs: '0' is no number of them: write 1 or more"),
        (["--trials", "-3"], "argument --trials: '-3' is no number of them"),
        (
            ["--timeout", "soon"],
            "argument --timeout: 'soon' is no length of time: write 90 s, 30 min, 2 h, 1h30m or 3 d",
        ),
        (["--timeout", "0h"], "argument --timeout: '0h' leaves no time for a trial"),
        (["--cli", "a.yaml", "--hydra", "b"], "argument --hydra: not allowed with argument --cli"),
        (["--config", "adaptive.yaml", "--epochs", "3"], "unrecognized arguments: --epochs"),
        (["model_def:Toy", "adaptive.yaml"], "An experiment's YAML is typed after an option: --config adaptive.yaml"),
    ],
)
def test_option_that_cannot_be_read_is_told_with_its_name(
    words: list[str], message: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        search(*words)
    assert message in capsys.readouterr().err


def test_missing_extra_is_told_before_anything_else(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert search("--config", "adaptive.yaml", "--preview") == 0
    assert search("--config", "gone.yaml") == 2
    assert "search needs optuna and rich, which are not installed. Type pip install 'lightning-adapter[search]'" in (
        capsys.readouterr().err
    )


# In a process of its own


def run_python(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(lightning_adapter.__path__[0]).parent)
    environment = {**os.environ, "PYTHONPATH": root, **variables}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("words", [["--help"], ["--config", "adaptive.yaml", "--preview"]])
def test_help_and_preview_import_nothing_heavy(words: list[str], toy: Path) -> None:
    done = run_python(
        "import sys; from lightning_adapter.cli import main\n"
        f"try: print('status', main(['search', *{words}]))\n"
        "except SystemExit as ended: print('status', ended.code)\n"
        "print(sorted({'torch', 'optuna', 'rich', 'matplotlib', 'lightning', 'pytorch_lightning'} & set(sys.modules)))"
    )
    assert done.stdout.splitlines()[-2:] == ["status 0", "[]"], done.stderr
    assert "lr=" in done.stdout or words == ["--help"]


STAND_IN = """
import logging, pathlib, sys, types
from lightning_adapter.tuning.request import SearchResult
from lightning_adapter.tuning.view import Row, View

def run_search(request, watcher):
    rows = [Row(0, "running", 0, 0, None, {"lr": 0.5}, None)]
    place = pathlib.Path("runs/Toy/s")
    watcher.changed(View(place, "val_loss", True, rows, None, 3, None))
    print("said by user code")
    logging.getLogger("lightning_adapter").warning("told by the package")
    last = View(place, "val_loss", True, rows, None, 3, None)
    watcher.ended(last)
    return SearchResult(None, None, place, last, signal=2)

stand_in = types.ModuleType("lightning_adapter.tuning.run")
stand_in.run_search = run_search
sys.modules[stand_in.__name__] = stand_in
from lightning_adapter.cli import main
sys.exit(main(["search", "--config", "adaptive.yaml"]))
"""


def test_reader_that_has_gone_does_not_end_the_search(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(request: SearchRequest, watcher: Watcher) -> SearchResult:
        watcher.changed(view([row(0)]))
        watcher.ended(view([over(0, 0.5)]))
        return result(view([over(0, 0.5)]))

    played(monkeypatch, run)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert search("--config", "adaptive.yaml") == 0
        monkeypatch.undo()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_terminal_that_can_go_back_to_a_line_has_a_table_and_any_other_one_lines(term: str, toy: Path) -> None:
    ours, theirs = pty.openpty()
    root = str(Path(lightning_adapter.__path__[0]).parent)
    environment = {**os.environ, "PYTHONPATH": root, "TERM": term, "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, "-c", STAND_IN]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        parts = []
        with contextlib.suppress(OSError):  # Linux says so where the other side is closed
            while part := os.read(ours, 65536):
                parts.append(part)
    os.close(ours)
    text = b"".join(parts).decode().replace("\r\n", "\n")
    assert process.returncode == 130
    shown, _, end = text.rpartition("\x1b[?25h")
    if term == "dumb":
        assert (
            "\x1b" not in text
            and "trial 0 began: lr=0.5\nsaid by user code\ntold by the package\ntrial 0 was interrupted" in text
        )
        assert "trial 0 began" not in end.split("\n\n", 1)[1]
    else:
        assert shown.startswith("searching model_def:Toy, as adaptive.yaml says\n") and "\x1b[?25l" in shown
        assert "trial 0 began" not in text
        # each in a place of its own, from which the table was taken away, to be drawn again below
        for told in ("said by user code", "told by the package"):
            before, _, after = shown.partition(told)
            assert before.endswith("\x1b[2K") and "0 of 3 trials over" in after
        assert "\x1b" not in end
    assert end.endswith("\ngo on:\n  lightning-adapter search --resume-from runs/Toy/s\n")


def test_preview_is_of_what_is_typed(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", "adaptive.yaml", "--preview"]
    assert search(*words) == 0
    whole = capsys.readouterr().out
    assert "random: 3 trials" in whole and "width=" in whole
    assert search(*words, "--trials", "5", "--hparam", "width=2", "--seed", "7") == 0
    typed = capsys.readouterr().out
    assert "random: 5 trials" in typed and "width=" not in typed and "experiment_seed 7" in typed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (EXPERIMENT.replace("name: random", "name: rendom"), "rendom"),
        (EXPERIMENT.replace("searcher", "sercher"), "sercher"),
        (EXPERIMENT.replace("type: log", "type: lag"), "lag"),
    ],
)
def test_preview_of_an_experiment_with_a_fault_ends_with_status_2(
    text: str, message: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (toy / "adaptive.yaml").write_text(text)
    assert search("--config", "adaptive.yaml", "--preview") == 2
    assert message in capsys.readouterr().err


# Lines


def told(*views: View) -> list[str]:
    lines: list[str] = []
    events = EventLines(lines.append)
    for each in views[:-1]:
        events.changed(each)
    events.ended(views[-1])
    return lines


def test_each_trial_has_a_line_where_it_begins_and_one_where_it_ends() -> None:
    first = row(0, hyperparameters={"lr": 0.25})
    second = row(1, hyperparameters={})
    lines = told(
        view([first], 4),
        view([replace(first, epochs=1, batches=9, value=0.75), second], 4, 300),
        view([over(0, 0.5), replace(second, state="pruned", batches=50, value=0.625)], 4, 299),
        view(
            [over(0, 0.5), row(1, "pruned"), row(2, "failed", note="ValueError: bad\nlr"), over(3, 0.25, epochs=1)],
            4,
            0,
        ),
    )
    assert lines == [
        "search in runs/Toy/s: 4 trials, by val_loss, of which smaller is better",
        "trial 0 began: lr=0.25",
        "trial 1 began",
        "trial 0 complete after 9 epochs: val_loss 0.5, the best so far (2 of 4 over, about 4 min left)",
        "trial 1 pruned after 50 batches: val_loss 0.625 (2 of 4 over, about 4 min left)",
        "trial 2 failed after 0 epochs: ValueError: bad\\nlr (4 of 4 over)",
        "trial 3 complete after 1 epoch: val_loss 0.25, the best so far (4 of 4 over)",
    ]


def test_trial_that_takes_long_says_every_two_minutes_how_far_it_is() -> None:
    now, lines = 0.0, []
    events = EventLines(lines.append, lambda: now)
    for second in range(0, 600, 20):
        now = float(second)
        events.changed(view([row(0, batches=10 * second, epochs=second // 100, value=1 / (1 + second))], 2))
    assert [line.partition(": ")[0] for line in lines[2:]] == [
        f"trial 0 has trained for {length}" for length in ("1 epoch", "2 epochs", "3 epochs", "4 epochs")
    ]
    assert lines[2].endswith(": val_loss 0.00826446 at best")
    quiet: list[str] = []
    events = EventLines(quiet.append, lambda: now)
    for second in range(0, 600, 20):  # no validation meanwhile
        now = float(second)
        events.changed(view([row(0)], 2))
    assert len(quiet) == 2


def test_search_that_goes_on_tells_what_is_over_in_one_line() -> None:
    before = [
        over(0, 0.5),
        over(1, 0.7, "pruned", 1),
        row(2, batches=90, epochs=1, value=0.6, hyperparameters={"lr": 0.5}),
    ]
    stopped = [replace(before[2], state="interrupted", batches=180, epochs=2), row(3)]
    assert told(view([*before, stopped[1]], 4), view([*before[:2], *stopped], 4)) == [
        "search in runs/Toy/s: 4 trials, by val_loss, of which smaller is better",
        "goes on: 2 of 4 trials are over; the best is trial 0 complete after 9 epochs: val_loss 0.5",
        "trial 2 goes on after 1 epoch: lr=0.5",
        "trial 3 began: lr=0.025, width=4",
        "trial 2 was interrupted after 2 epochs, and can go on from there",
        "trial 3 was interrupted after 0 epochs, and can go on from there",
    ]


# The table


def many(running: int = 4) -> View:
    """A search of 200 trials: most are pruned, the best one is among the last."""
    rows = [over(number, 1 + (number * 37 % 100) / 100, "pruned", 1) for number in range(120)]
    rows += [row(number, "failed", note="ValueError: x") for number in range(120, 124)]
    rows += [over(number, 0.5 - number / 1000) for number in range(124, 150)]
    rows += [row(number) for number in range(150, 150 + running)]
    rows += [row(number, "waiting") for number in range(150 + running, 200)]
    return view(rows, 200, 4000)


@pytest.mark.parametrize("width", [12, 40, 80, 250])
@pytest.mark.parametrize("height", [2, 3, 5, 8, 24, 60, 300])
@pytest.mark.parametrize("found", [many(), many(50), view([]), view([row(0)], 3), view([over(0, float("1e-300"))])])
def test_table_fits_every_terminal(found: View, width: int, height: int) -> None:
    lines = frame(found, width, height, 7)
    assert 0 < len(lines) < height
    assert max(len(line.text) for line in lines) < width
    assert width < 40 or "so far" in lines[-1].text


def test_running_and_best_trials_are_shown_whatever_their_number() -> None:
    lines = frame(many(), 80, 24, 3700)
    shown = [line.text.split()[0] for line in lines[3:-3]]
    assert {"149*", "148", "147", "150", "151", "152", "153"} <= set(shown)
    assert [int(number.rstrip("*")) for number in shown] == sorted(int(number.rstrip("*")) for number in shown)
    assert len(lines) == 23 and len(shown) == 17
    assert [line.text for line in lines[-2:]] == [
        "best so far: trial 149, val_loss 0.351, lr=0.000666667, width=4",
        "about 66 min left, 61 min so far; 150 of 200 trials over (26 complete, 120 p…",
    ]


def test_rows_that_are_not_shown_are_counted() -> None:
    found = many()
    (line,) = [line.text for line in frame(found, 80, 24, 0) if line.text.startswith("not shown: ")]
    counts = dict(reversed(part.split()) for part in line.removeprefix("not shown: ").split(", "))
    assert sum(map(int, counts.values())) == 200 - 17 and "running" not in counts


def test_small_room_is_shared_by_the_best_and_the_running_trials() -> None:
    numbers = [each.number for each in chosen(many(), 3)]
    assert numbers == [149, 150, 151]
    assert [each.number for each in chosen(many(), 1)] == [149]


def test_best_rows_are_those_of_the_direction_and_a_complete_one_before_a_pruned_one() -> None:
    rows = [over(0, 0.5, "pruned"), over(1, 0.5), over(2, 0.9), over(3, 0.1), row(4), row(5)]
    smaller = replace(view(rows), best=rows[3])
    greater = replace(view(rows), best=rows[2], smaller_is_better=False)
    assert [each.number for each in chosen(smaller, 4)] == [1, 3, 4, 5]
    assert [each.number for each in chosen(greater, 4)] == [1, 2, 4, 5]


def test_trial_without_a_hyperparameter_of_others_has_a_mark_in_its_place() -> None:
    lines = frame(
        view([row(0), row(1, hyperparameters={"lr": 0.5, "depth": 3}), row(2, hyperparameters={})]), 80, 24, 0
    )
    assert [line.text.split()[4:] for line in lines[1:6] if "---" not in line.text] == [
        ["lr", "width", "depth"],
        ["0.1", "4", "-"],
        ["0.5", "-", "3"],
        ["-", "-", "-"],
    ]


def test_hyperparameters_without_room_are_named_and_numbers_are_not_cut() -> None:
    names = {f"model.encoder.init_args.part_{number}": 0.123456 + number for number in range(12)}
    lines = [line.text for line in frame(view([row(0, hyperparameters={"lr": 0.000123456, **names})], 9), 80, 24, 0)]
    assert "0.000123456" in lines[3] and "0.123456" in lines[3]
    (note,) = [line for line in lines if line.startswith("no room for ")]
    assert "model.encoder.init_args.part_" in note


def test_trials_within_their_first_epoch_are_counted_in_batches() -> None:
    assert "batches" in frame(view([row(0, batches=50, value=0.5)]), 80, 24, 0)[1].text
    assert "batches" not in frame(view([row(0, batches=50, epochs=1, value=0.5)]), 80, 24, 0)[1].text


def terminal(width: int = 80, **said: Any) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=24, color_system="standard", **said)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_stays_and_the_cursor_is_shown_when_something_fails() -> None:
    console = terminal()
    with pytest.raises(KeyboardInterrupt), LiveTable(console, lambda: 0.0) as table:
        table.changed(view([row(0)], 3))
        table.ended(view([row(0)], 3))
        raise KeyboardInterrupt
    text = written(console)
    assert text.count("\x1b[?25l") == 1
    after = text[text.rindex("0 of 3 trials over") :]
    assert "\x1b[?25h" in after and "\x1b[2K" not in after  # nothing was wiped out


def test_table_goes_away_before_the_whole_one_is_printed() -> None:
    console = terminal()
    with LiveTable(console, lambda: 0.0) as table:
        table.changed(view([row(0)], 3))
        table.ended(view([row(0)], 3))
    text = written(console)
    after = text[text.rindex("0 of 3 trials over") :]
    assert after.count("\x1b[1A\x1b[2K") == 4 and after.endswith("\r\x1b[2K\x1b[?25h")  # all five lines of it


def test_table_that_has_not_changed_is_not_drawn_again() -> None:
    console = terminal()
    with LiveTable(console, lambda: 0.0) as table:
        table.changed(view([row(0)], 3))
        before = written(console)
        table.changed(view([row(0)], 3))
        assert written(console) == before
        table.changed(view([row(0, epochs=1)], 3))
        assert written(console) != before


def test_terminal_that_has_become_narrower_is_wiped() -> None:
    console = terminal()
    with LiveTable(console, lambda: 0.0) as table:
        table.changed(view([row(0)], 3))
        console.width = 60
        table.changed(view([row(0)], 3))
        assert "\x1b[2J" not in written(console)  # no line was as long
        console.width = 20
        table.changed(view([row(0)], 3))
        assert "\x1b[2J" in written(console)


def test_error_is_told_once_above_the_table() -> None:
    console = terminal()
    failed = [row(number, "failed", note="ValueError: [bold]x" + " and so on" * 99) for number in range(3)]
    with LiveTable(console, lambda: 0.0) as table:
        table.changed(view(failed[:1], 3))
        table.changed(view(failed, 3))
        table.ended(view(failed, 3))
    text = written(console)
    assert text.count("trial 0 failed: ValueError: [bold]x") == 1 and "trial 1 failed: " not in text
    assert text.count("and so on") < 20


def test_no_color_has_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        console = terminal(_environ=variables)
        with LiveTable(console, lambda: 0.0) as table:
            table.changed(view([row(0)], 3))
        assert ("\x1b[36m" in written(console)) == coloured


# The end


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (result(view([over(0, 0.5), row(1, "failed")])), 0),
        (result(view([row(0, "failed")])), 1),
        (result(view([])), 1),
        (result(view([row(0, "waiting")]), timed_out=True), 0),
        (result(view([over(0, 0.5)]), signal=signal.SIGINT), 130),
        (result(view([]), signal=signal.SIGTERM), 143),
    ],
)
def test_exit_status(found: SearchResult, status: int) -> None:
    assert search_report.exit_status(found) == status


@pytest.mark.parametrize(("said", "is_told"), [({}, True), ({"timed_out": True}, False)])
def test_end_says_why_fewer_trials_were_made_than_asked_for(said: dict[str, Any], is_told: bool) -> None:
    text = search_report.text(result(view([over(0, 0.5), over(1, 0.25)], 6), **said), None)
    assert ("4 trials less than max_trials: as on a cluster, a trial that ends by itself" in text) is is_told


def test_end_says_what_was_found_and_what_can_be_typed_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        over(0, 0.5),
        over(1, 0.25),
        over(2, 0.75, "pruned", 3),
        row(3, "failed", note="ValueError: a"),
        row(4, "interrupted"),
    ]
    rows += [row(5, "failed", note="ValueError: a"), row(6, "invalid", note="InvalidHP: b")]
    found = result(view(rows, 9), signal=signal.SIGINT)
    place = pathlib.Path("runs/Toy/s")
    place.mkdir(parents=True)
    (place / "best.yaml").touch()
    (place / "search.png").touch()
    table, _, rest = search_report.text(found, None).partition("\n\n")
    assert [line.split()[1] for line in table.splitlines()[2:]] == [
        *("complete", "complete", "pruned", "failed", "interrupted", "failed", "invalid")
    ]
    assert rest == (
        "  best trial  1, complete after 9 epochs: val_loss 0.25\n"
        "  of          lr=0.05, width=4\n"
        "  its run     runs/Toy/s/trial-001\n"
        "  best.yaml   runs/Toy/s/best.yaml\n"
        "  search.png  runs/Toy/s/search.png\n"
        "  search      runs/Toy/s, 2 complete, 1 pruned, 2 failed, 1 invalid, 1 interrupted of 9 trials\n"
        "\n"
        "failed:\n"
        "trials 3, 5 (runs/Toy/s/trial-003): ValueError: a\n"
        "trial 6 (runs/Toy/s/trial-006): InvalidHP: b\n"
        "\n"
        "go on:\n"
        "  lightning-adapter search --resume-from runs/Toy/s\n"
        "train it again:\n"
        "  lightning-adapter fit model_def:Toy --config runs/Toy/s/best.yaml --max-epochs 9\n"
        "on a cluster:\n"
        "  lightning-adapter submit runs/Toy/s/best.yaml"
    )


def test_table_at_the_end_is_whole_and_has_no_control_characters(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(request: SearchRequest, watcher: Watcher) -> SearchResult:
        found = many()
        watcher.changed(found)
        watcher.ended(found)
        return result(found, timed_out=True)

    played(monkeypatch, run)
    assert search("--config", "adaptive.yaml") == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "\r" not in printed
    table = printed.split("\n\n")[1].splitlines()
    assert [line.split()[0].rstrip("*") for line in table[2:]] == [str(number) for number in range(200)]
