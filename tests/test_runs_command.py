"""`lightning-adapter runs` prints what fits the terminal, ends with the right status, and deletes only what it is told to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_adapter.cli import main
from lightning_adapter.cli.tables import Column, fitted
from lightning_adapter.runs import pruning, words
from runs.made_runs import make_older_run, make_run

Typed = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with `runs/` in it: four runs of one trial, of which the second is the best one, and one of another."""
    monkeypatch.chdir(tmp_path)
    for number, (lr, best) in enumerate(((0.1, 0.5), (0.01, 0.25), (0.001, 0.75), (1.0, 0.9))):
        make_run(tmp_path / "runs", number, best=best, hyperparameters={"lr": lr, "width": 8})
    make_run(
        tmp_path / "runs",
        9,
        "Other",
        status="failed",
        error="ValueError: too bad",
        hyperparameters={"lr": 1, "depth": 3},
    )
    return tmp_path


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run the command; return what it prints."""

    def run(*words: str, status: int = 0) -> str:
        assert main(["runs", *words]) == status
        captured = capsys.readouterr()
        return captured.err if status else captured.out

    return run


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))


# The table


def test_table_shows_the_runs_newest_last_with_what_differs(project: Path, typed: Typed) -> None:
    lines = typed().splitlines()
    assert lines[0].split() == ["run", "status", "age", "epochs", "best", "val_loss", "lr", "depth", "width"]
    assert [line.split()[0] for line in lines[2:]] == [
        *(f"MNISTTrial/2026-11-01_12-0{number}-00" for number in range(4)),
        "Other/2026-11-01_12-09-00",
    ]
    assert lines[3].split()[1:2] + lines[3].split()[-5:] == ["finished", "2", "0.25", "0.01", "-", "8"]


def test_what_is_equal_in_the_runs_that_are_shown_has_no_column(project: Path, typed: Typed) -> None:
    assert typed("--name", "MNIST*").splitlines()[0].split()[-1] == "lr"
    assert "lr" not in typed("--last", "1").splitlines()[0]


@pytest.mark.parametrize(
    "words", [("list",), ("runs",), ("./runs",), ("list", "runs"), ("--reverse", "--reverse", "runs")]
)
def test_ways_to_type_the_table(project: Path, typed: Typed, words: tuple[str, ...]) -> None:
    assert len(typed(*words).splitlines()) == 7


def test_directory_that_is_called_like_a_subcommand_is_listed(project: Path, typed: Typed) -> None:
    make_run(project / "show", 5)
    assert "2026-11-01_12-05-00" in typed("./show")


def test_table_is_filtered_and_sorted(project: Path, typed: Typed) -> None:
    text = typed("--filter", "lr<=0.1", "--filter", "width=8", "--sort", "val_loss", "--status", "finished")
    assert [line.split()[0][-5:] for line in text.splitlines()[2:]] == ["01-00", "00-00", "02-00"]
    assert typed("--filter", "lr>100") == "None of the 5 runs below runs is one of those.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("absent",), "absent is not there: give the directory that runs lie in"),
        (("--sort", "lrr"), "None of the runs has a value 'lrr'"),
        (("show", "12-0"), "can mean 5 runs. Type one of them"),
        (("show", "absent"), "There is no run 'absent' below runs"),
        (("compare", "12-00-00"), "this is one run; to compare, name two or more"),
        (("compare", "12-00-00", "MNISTTrial/2026-11-01_12-00-00"), "this is one run"),
        (("compare", "absent", "gone"), "There is no run 'absent' below runs.*\n.*There is no run 'gone'"),
        (("compare", "12-00-00", "12-01-00", "--out", "x.pdf"), "the picture is a PNG, so its name ends in .png"),
        (("compare", "12-00-00", "12-01-00", "--out", "absent/x.png"), "there is no directory absent"),
        (("prune", "absent"), "absent is not there"),
        (("run.txt",), "run.txt is no directory"),
    ],
)
def test_what_cannot_be_used_is_one_message_and_status_2(
    project: Path, typed: Typed, words: tuple[str, ...], message: str
) -> None:
    (project / "run.txt").touch()
    assert re.search(message, typed(*words, status=2), re.DOTALL)
    assert not list(project.glob("**/*.png"))


@pytest.mark.parametrize(
    "words", [("--filter", "lr"), ("--status", "done"), ("--last", "-1"), ("prune", "--keep-best", "x")]
)
def test_wrong_option_is_refused_when_it_is_read(project: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["runs", *words])
    assert ended.value.code == 2


def test_directory_without_runs_is_no_error(tmp_path: Path, typed: Typed) -> None:
    assert typed(str(tmp_path)) == f"No runs below {tmp_path}.\n"
    assert typed("prune", str(tmp_path)) == f"No runs below {tmp_path}.\n"


def test_damaged_record_is_told_below_the_table_of_the_others(
    project: Path, typed: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "runs" / "Other" / "2026-11-01_12-09-00" / "run.json").write_text("{")
    assert main(["runs"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 7 and "damaged" in captured.out
    assert "run.json cannot be read as the record of a run" in captured.err
    assert "cannot be read" in typed("show", "12-09-00", status=2)


def test_json_has_all_that_is_known(project: Path, typed: Typed) -> None:
    make_run(project / "runs", 6, hyperparameters={"eps": "NaN"})
    (project / "runs" / "Other" / "2026-11-01_12-09-00" / "run.json").write_text("{")
    found = json.loads(typed("--json"))
    assert [one["status"] for one in found] == ["finished"] * 5 + ["damaged"]
    assert found[0]["path"] == "runs/MNISTTrial/2026-11-01_12-00-00" and found[0]["metrics"] == {"val_loss": 1.5}
    assert found[4]["hyperparameters"] == {"eps": "NaN"}
    assert typed("--json", "--last", "0") == "[]\n"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        *((columns, ()) for columns in (20, 40, 80, 200)),
        (40, ("prune",)),
        (80, ("prune",)),
        (40, ("compare", "12-00-00", "12-09-00", "--out", "x.png")),
    ],
)
def test_nothing_is_wider_than_the_terminal(
    project: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch, columns: int, words: tuple[str, ...]
) -> None:
    name = "A" * 70
    values = {f"a_hyperparameter_with_a_long_name_{number}": "a long value " * 9 for number in range(9)}
    make_run(project / "runs", 5, name, hyperparameters={"lr": 3, **values})
    make_run(project / "runs", 6, name, hyperparameters={"lr": 3})
    whole = typed(*words)
    terminal(monkeypatch, columns)
    text = typed(*words)
    tables = [line for line in text.splitlines() if "Nothing is deleted" not in line]
    assert max(map(len, tables)) <= columns
    assert "…" not in whole
    if not words and columns > 25:
        assert name in whole and "…/2026-11-01_12-05-00" in text
        assert ("no room for" in text.replace("\n", " ")) == (columns < 200)
        assert columns < 200 or len(set(text.splitlines()[0].split())) == len(text.splitlines()[0].split())


def test_values_that_look_the_same_when_they_are_short_are_written_out() -> None:
    assert words.values([0.12345678, 0.12345679, 1]) == ["0.12345678", "0.12345679", "1"]
    assert words.values([0.5, 1e-5, 12345678.0, None]) == ["0.5", "1e-05", "1.23457e+07", "-"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (59, "59 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (10**6, "11 d")]
)
def test_duration(seconds: int, text: str) -> None:
    assert words.duration(seconds) == text


def test_columns_that_can_go_go_from_the_last_on() -> None:
    columns = [
        Column("run", ["x/" + "y" * 30], is_path=True, least=32),
        *(Column(name, ["1" * 12], can_go=True) for name in "abc"),
    ]
    table = fitted(columns, 60)
    assert table.left_out == ["c"]
    assert table.text.splitlines()[2].split() == ["x/" + "y" * 30, "1" * 12, "1" * 12]


# One run


def test_failed_run_is_shown_with_its_error_and_the_end_of_its_log(project: Path, typed: Typed) -> None:
    log = project / "runs" / "Other" / "2026-11-01_12-09-00" / "train.log"
    log.write_text("\n".join(f"line {number}" for number in range(40)))
    text = typed("show", "latest")
    assert "failed: ValueError: too bad" in text
    assert "line 39" in text and "line 25" in text and "line 24" not in text


def test_run_is_shown_with_what_is_known(project: Path, typed: Typed) -> None:
    checkpoint = "checkpoints/00000001-0000-4000-8000-000000000001"
    text = typed("show", "12-01-00")
    for part in (
        "model_def.py:MNISTTrial",
        "after 5 min",
        "a" * 40,
        "lr     0.01",
        "val_loss  1.25",
        f"best  runs/MNISTTrial/2026-11-01_12-01-00/{checkpoint} (batch 100, epoch 2, val_loss 0.25)",
        "metrics.csv",
    ):
        assert part in text
    assert "is gone" not in text
    assert json.loads(typed("show", "12-01-00", "--json"))["best"]["value"] == 0.25


def test_run_of_an_earlier_version_is_shown(project: Path, typed: Typed) -> None:
    make_older_run(project / "runs", 7)
    text = typed("show", "Older")
    assert "ended" in text and "layers  3" in text and "val_loss 0.5" in text


def test_run_without_event_files_says_so(project: Path, typed: Typed) -> None:
    assert "nothing was logged to TensorBoard" in typed("show", "12-01-00", "--pictures")


# Several


def test_compare_prints_what_differs_and_where_the_picture_is(project: Path, typed: Typed) -> None:
    text = typed("compare", "12-00-00", "12-01-00")
    (picture,) = (project / "runs").glob("compare_*.png")
    assert text.rstrip().endswith(f"curves  runs/{picture.name}")
    assert "lr                0.1       0.01" in text and "seed" not in text
    assert typed("runs/" + picture.name, status=2)


def test_compare_takes_a_pattern_of_the_shell_with_the_link_latest_in_it(project: Path, typed: Typed) -> None:
    folder = project / "runs" / "MNISTTrial"
    (folder / "latest").symlink_to("2026-11-01_12-03-00")
    text = typed("compare", *sorted(map(str, folder.iterdir())), "--out", "x.png", "--x", "epoch")
    assert [line.split()[0] for line in text.splitlines()[2:6]] == ["A", "B", "C", "D"]


def test_compare_writes_over_its_own_picture_and_no_other(project: Path, typed: Typed) -> None:
    for _ in range(2):
        typed("compare", "12-00-00", "12-01-00", "--out", "x.png")
    (project / "x.png").write_text("mine")
    assert "nothing is written over" in typed("compare", "12-00-00", "12-01-00", "--out", "x.png", status=2)
    assert (project / "x.png").read_text() == "mine"


# Pruning


def test_prune_says_what_would_go_and_deletes_it_only_with_yes(project: Path, typed: Typed) -> None:
    text = typed("prune")
    assert [name in text.partition("stay:")[0] for name in ("12-00-00", "12-01-00", "12-02-00")] == [True, False, True]
    assert "among the best" in text and "among the newest" in text
    assert "Nothing is deleted yet: add --yes." in text
    assert len(list((project / "runs" / "MNISTTrial").iterdir())) == 4
    text = typed("prune", "--yes")
    assert "2 runs are deleted" in text
    left = [path.name for path in (project / "runs" / "MNISTTrial").iterdir()]
    assert sorted(left) == ["2026-11-01_12-01-00", "2026-11-01_12-03-00"]
    assert "No run below runs may go." in typed("prune", "--yes")


def test_prune_goes_on_where_one_run_cannot_be_deleted(
    project: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = pruning.remove
    monkeypatch.setattr(pruning, "remove", lambda run: "it is in use" if run.label.endswith("00-00") else usual(run))
    assert "MNISTTrial/2026-11-01_12-00-00 stays: it is in use" in typed("prune", "--yes", status=1)
    assert not (project / "runs" / "MNISTTrial" / "2026-11-01_12-02-00").exists()


# Around it


@pytest.mark.parametrize(
    ("words", "may_have"),
    [
        ("", set()),
        ("show latest", set()),
        ("prune", set()),
        ("compare MNISTTrial/2026-11-01_12-00-00 MNISTTrial/2026-11-01_12-01-00", {"matplotlib", "numpy"}),
    ],
)
def test_what_is_said_of_runs_needs_nothing_that_trains(project: Path, words: str, may_have: set[str]) -> None:
    script = (
        "import sys; from lightning_adapter.cli import main\n"
        f"assert main({['runs', *words.split()]}) == 0\n"
        "heavy = {'torch', 'determined', 'matplotlib', 'numpy', 'lightning', 'pytorch_lightning', 'tensorboard', 'optuna'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) == may_have


def test_output_that_nobody_reads_any_more_is_no_error(project: Path) -> None:
    for number in range(100):
        make_run(project / "runs", number, "M" * 100)
    with subprocess.Popen(
        [sys.executable, "-m", "lightning_adapter", "runs", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        os.read(process.stdout.fileno(), 10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize("words", [("--help",), ("list", "--help"), ("compare", "--help")])
def test_help_is_there_for_each_subcommand(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["runs", *words])
    assert ended.value.code == 0
    assert "lightning-adapter runs" in capsys.readouterr().out
