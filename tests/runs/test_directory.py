"""A run's directory survives crashes, resumes and retention without losing or inventing anything."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.image import imread

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import experiment
from lightning_adapter.runs.directory import RunDirectory
from lightning_adapter.runs.occupancy import LOCK, RECORD
from lightning_adapter.runs.store import StoredCheckpoint, stored_checkpoints
from lightning_adapter.runs.summary import say


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create("MyTrial", run_dir=tmp_path / "run")


def store(run: RunDirectory, name: str, steps: int, **validation: float) -> Path:
    """Write a checkpoint: its files, then metadata.json."""
    path = run.checkpoints / name
    path.mkdir(parents=True)
    (path / "state_dict.pth").write_bytes(b"weights")
    (path / "metadata.json").write_text(json.dumps({"steps_completed": steps, "validation": validation}))
    return path


def saved(run: RunDirectory, steps: int) -> Path:
    """A checkpoint that the directory writes itself."""
    with run.store_checkpoint({"steps_completed": steps}) as (_, name):
        pass
    return run.checkpoints / name


def rows(run: RunDirectory) -> list[dict[str, Any]]:
    """The table, numbers as numbers, absent values left out."""
    if not run.metrics_file.exists():
        return []
    with run.metrics_file.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    return [
        {n: v if n == "kind" else int(v) if n in ("batches", "epoch") else float(v) for n, v in row.items() if v}
        for row in table
    ]


def names(folder: Path) -> set[str]:
    """What lies in a folder, without what says who uses it."""
    return {path.name for path in folder.iterdir()} - {LOCK, RECORD}


# Creation


def test_create_makes_a_dated_directory_and_a_relative_link_to_it(tmp_path: Path) -> None:
    run = RunDirectory.create("MyTrial", root=tmp_path / "runs")
    assert run.path.parent == tmp_path / "runs" / "MyTrial"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", run.path.name)
    assert run.checkpoints.is_dir() and run.tensorboard.is_dir()
    link = run.path.parent / "latest"
    assert os.readlink(link) == run.path.name
    assert link.resolve() == run.path.resolve()


def test_runs_of_one_second_get_different_directories_and_the_link_follows(tmp_path: Path) -> None:
    runs = [RunDirectory.create("MyTrial", root=tmp_path) for _ in range(4)]
    assert len({run.path for run in runs}) == 4
    assert os.readlink(tmp_path / "MyTrial" / "latest") == runs[-1].path.name
    assert names(tmp_path / "MyTrial") == {run.path.name for run in runs} | {"latest"}


def test_directory_named_latest_is_left_alone_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "MyTrial" / "latest" / "mine").mkdir(parents=True)
    with pytest.warns(UserWarning, match=r"latest to the newest run could not be made: .* left as it is"):
        run = RunDirectory.create("MyTrial", root=tmp_path)
    assert names(tmp_path / "MyTrial") == {run.path.name, "latest"}
    assert (tmp_path / "MyTrial" / "latest" / "mine").is_dir()


def test_file_and_link_of_somebody_elses_named_latest_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "latest").write_text("mine")
    (tmp_path / "B").mkdir()
    (tmp_path / "B" / "latest").symlink_to("/elsewhere/run")
    for name in ("A", "B"):
        with pytest.warns(UserWarning, match=r"latest to the newest run could not be made"):
            RunDirectory.create(name, root=tmp_path)
    assert (tmp_path / "A" / "latest").read_text() == "mine"
    assert os.readlink(tmp_path / "B" / "latest") == "/elsewhere/run"


def test_given_directory_is_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "notes.txt").write_text("mine")
    run = RunDirectory.create("MyTrial", run_dir=tmp_path / "here", root=tmp_path / "runs")
    assert run.path == tmp_path / "here"
    assert names(run.path) == {"notes.txt", "checkpoints", "tensorboard"}
    assert not (tmp_path / "runs").exists()


def test_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("")
    with pytest.raises(ConfigurationError, match=r"run directory .*here cannot be used: .* Give run_dir="):
        RunDirectory.create("MyTrial", run_dir=tmp_path / "here")


def test_constructor_touches_nothing(tmp_path: Path) -> None:
    RunDirectory(tmp_path / "absent")
    assert names(tmp_path) == set()


def test_written_config_reads_back_equal_and_in_order(run: RunDirectory) -> None:
    config = {"name": "x", "hyperparameters": {"lr": 1e-5, "betas": [0.9, 1], "flag": True, "text": "1e-3"}, "data": {}}
    run.write_config(config)
    read = experiment.read(run.config_file)
    assert read == config
    assert list(read) == list(config)
    assert names(run.path) == {"checkpoints", "tensorboard", "experiment.yaml"}


# Metrics


def test_rows_are_written_and_read_back_exactly(run: RunDirectory) -> None:
    run.record("train", 10, 0, {"loss": 0.1 + 0.2})
    run.record("train", 20, 1, {"loss": 1e-30})
    assert rows(run) == [
        {"kind": "train", "batches": 10, "epoch": 0, "loss": 0.1 + 0.2},
        {"kind": "train", "batches": 20, "epoch": 1, "loss": 1e-30},
    ]


def test_new_metric_becomes_a_column_and_all_rows_keep_one_width(run: RunDirectory) -> None:
    run.record("train", 10, 0, {"train_loss": 1.0})
    run.record("validation", 10, 0, {"val_loss": 2.0, "val, acc": 0.5})
    run.record("train", 20, 1, {"train_loss": 0.5})
    with run.metrics_file.open(newline="") as file:
        table = list(csv.reader(file))
    assert table == [
        ["kind", "batches", "epoch", "train_loss", "val_loss", "val, acc"],
        ["train", "10", "0", "1.0", "", ""],
        ["validation", "10", "0", "", "2.0", "0.5"],
        ["train", "20", "1", "0.5", "", ""],
    ]


def test_nan_and_infinity_are_kept(run: RunDirectory) -> None:
    run.record("train", 1, 0, {"a": math.nan, "b": math.inf})
    (row,) = rows(run)
    assert math.isnan(row["a"]) and row["b"] == math.inf


def test_metric_with_the_name_of_a_column_does_not_overwrite_it(run: RunDirectory) -> None:
    run.record("train", 7, 3, {"epoch": 99.0, "batches": 98.0})
    assert rows(run) == [{"kind": "train", "batches": 7, "epoch": 3, "logged/epoch": 99.0, "logged/batches": 98.0}]


def test_known_columns_append_and_do_not_rewrite(run: RunDirectory) -> None:
    run.record("train", 1, 0, {"a": 1.0})
    before = run.metrics_file.stat().st_ino
    run.record("train", 2, 0, {"a": 2.0})
    assert run.metrics_file.stat().st_ino == before
    run.record("train", 3, 0, {"b": 2.0})
    assert run.metrics_file.stat().st_ino != before


def test_reopened_file_is_appended_to(run: RunDirectory) -> None:
    run.record("train", 1, 0, {"a": 1.0})
    again = RunDirectory(run.path)
    again.record("train", 2, 0, {"a": 2.0, "b": 3.0})
    assert [(row["batches"], row.get("b")) for row in rows(again)] == [(1, None), (2, 3.0)]


def test_row_cut_short_by_a_crash_is_dropped_and_no_other(run: RunDirectory) -> None:
    run.record("train", 1, 0, {"a": 1.0})
    with run.metrics_file.open("a") as file:
        file.write("train,2,0,12")  # was to be 123.5
    again = RunDirectory(run.path)
    again.record("train", 3, 0, {"a": 3.0})
    assert [(row["batches"], row["a"]) for row in rows(again)] == [(1, 1.0), (3, 3.0)]


@pytest.mark.parametrize("by", ["removed", "replaced"])
def test_table_that_somebody_took_away_is_begun_anew(run: RunDirectory, by: str) -> None:
    for batch in (1, 2):
        run.record("train", batch, 0, {"loss": 0.5})
    rest = run.metrics_file.read_text().splitlines(keepends=True)[:2]
    run.metrics_file.unlink()
    if by == "replaced":
        run.metrics_file.write_text("".join(rest))
    for batch in (3, 4):
        run.record("train", batch, 0, {"loss": 0.5})
    run.close()
    assert [row["batches"] for row in rows(run)] == ([1, 3, 4] if by == "replaced" else [3, 4])


def test_row_that_the_disk_has_no_room_for_is_an_error_and_the_next_run_drops_it(run: RunDirectory) -> None:
    run.record("train", 1, 0, {"loss": 0.5})
    run.record("train", 2, 0, {"loss": 0.25})
    script = f"""
import resource, signal
from lightning_adapter.runs.directory import RunDirectory
from lightning_adapter.runs.occupancy import LOCK, RECORD
run = RunDirectory({str(run.path)!r})
run.record("train", 3, 0, {{"loss": 0.125}})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
room = run.metrics_file.stat().st_size + 5
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
run.record("train", 4, 0, {{"loss": 0.0625}})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "OSError" in done.stderr, done.stderr
    again = RunDirectory(run.path)
    again.record("train", 5, 0, {"loss": 0.5})
    assert [row["batches"] for row in rows(again)] == [1, 2, 3, 5]


def test_crash_while_rewriting_leaves_the_old_table(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    run.record("train", 1, 0, {"a": 1.0})
    before = run.metrics_file.read_text()

    def crash(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        run.record("train", 2, 0, {"b": 1.0})
    assert run.metrics_file.read_text() == before


def test_foreign_table_is_refused_and_untouched(run: RunDirectory) -> None:
    run.metrics_file.write_text("step,loss\n1,2\n")
    with pytest.raises(ConfigurationError, match=r"metrics\.csv does not begin with the columns kind, batches, epoch"):
        run.record("train", 1, 0, {"a": 1.0})
    assert run.metrics_file.read_text() == "step,loss\n1,2\n"


def test_truncate_drops_later_rows_only(run: RunDirectory) -> None:
    for batch in (10, 20, 30):
        run.record("train", batch, 0, {"a": float(batch)})
        run.record("validation", batch, 0, {"b": 1.0})
    again = RunDirectory(run.path)
    again.truncate_after(20)
    assert [(row["kind"], row["batches"]) for row in rows(again)] == [
        ("train", 10),
        ("validation", 10),
        ("train", 20),
        ("validation", 20),
    ]
    again.record("train", 30, 1, {"a": 31.0})
    assert rows(again)[-1]["a"] == 31.0


@pytest.mark.parametrize("batch", [0, 1, 4999, 9998, 20000])
def test_truncate_of_a_long_table_finds_its_place(run: RunDirectory, batch: int) -> None:
    for row in range(1, 10_000):
        run.record("train", row, 0, {"a": 1 / row})
    whole = run.metrics_file.read_bytes().splitlines(keepends=True)
    run.truncate_after(batch)
    assert run.metrics_file.read_bytes() == b"".join(whole[: batch + 1])
    run.record("train", batch + 1, 0, {"a": 0.5})
    assert run.metrics_file.read_bytes().splitlines()[-1] == b"train,%d,0,0.5" % (batch + 1)


def test_row_checkpoint_and_resume_read_no_more_of_a_long_table_than_of_a_short_one(run: RunDirectory) -> None:
    def bytes_read(number: int) -> int:
        run.metrics_file.write_text("kind,batches,epoch,a\n" + "".join(f"train,{n},0,0.5\n" for n in range(number)))
        again = RunDirectory(run.path)
        counter = Path("/proc/self/io")
        before = int(counter.read_text().split()[1])
        again.truncate_after(number - 5)
        again.record("train", number, 0, {"a": 1.0})
        again.record("validation", number, 0, {"a": 1.0})
        saved(again, number)
        again.apply_retention(1, 1, "a")
        again.close()
        return int(counter.read_text().split()[1]) - before

    bytes_read(100)
    assert bytes_read(100_000) < bytes_read(10_000) + 100_000


@pytest.mark.parametrize("torn", ["", "ki", "kind,batches,ep"])
def test_table_whose_first_line_was_cut_short_is_begun_anew(run: RunDirectory, torn: str) -> None:
    run.metrics_file.write_text(torn)
    run.record("train", 1, 0, {"a": 1.0})
    assert rows(run) == [{"kind": "train", "batches": 1, "epoch": 0, "a": 1.0}]


def test_truncate_of_an_empty_run_writes_nothing(run: RunDirectory) -> None:
    run.truncate_after(5)
    assert names(run.path) == {"checkpoints", "tensorboard"}


def test_truncate_sets_later_checkpoints_aside_whole(run: RunDirectory, caplog: pytest.LogCaptureFixture) -> None:
    kept, later = store(run, "a", 50), store(run, "b", 100)
    run.truncate_after(50)
    assert run.newest() == kept
    assert [c.path for c in stored_checkpoints(run.superseded)] == [run.superseded / later.name]
    assert "checkpoint b of batch 100 is moved to" in caplog.text
    store(run, "b", 75)
    run.truncate_after(50)  # the same name once more
    assert {(c.path.name, c.steps_completed) for c in stored_checkpoints(run.superseded)} == {("b", 100), ("b-2", 75)}


# Checkpoints


def test_only_whole_checkpoints_count_and_the_latest_step_is_newest(run: RunDirectory) -> None:
    assert run.newest() is None
    store(run, "late", 100)
    store(run, "early", 20)
    (run.checkpoints / "torn").mkdir()
    (run.checkpoints / "torn" / "state_dict.pth").write_bytes(b"weights")
    cut = store(run, "cut", 300) / "metadata.json"
    cut.write_text(cut.read_text()[:10])
    store(run, ".hidden", 400)
    (run.checkpoints / "stray.txt").write_text("")
    assert [c.path.name for c in stored_checkpoints(run.checkpoints)] == ["early", "late"]
    assert run.newest() == run.checkpoints / "late"


def test_of_two_checkpoints_of_one_step_the_later_written_is_newest(run: RunDirectory) -> None:
    second, first = store(run, "a", 10), store(run, "b", 10)
    os.utime(first / "metadata.json", ns=(1, 1))
    assert run.newest() == second


def test_checkpoints_of_an_absent_directory_are_none(tmp_path: Path) -> None:
    assert stored_checkpoints(tmp_path / "absent") == []


@pytest.fixture
def validated(run: RunDirectory) -> dict[int, Path]:
    """Checkpoints at 10 to 50; the losses are best at 20, then 40; at 50 nothing was validated, at 30 it was nan."""
    paths = {}
    for batch, loss in ((10, 0.9), (20, 0.1), (30, math.nan), (40, 0.5)):
        run.record("train", batch, 0, {"loss": 0.0})
        run.record("validation", batch, 0, {"loss": loss})
        paths[batch] = saved(run, batch)
    return {**paths, 50: saved(run, 50)}


def test_best_follows_the_direction_of_the_metric(run: RunDirectory, validated: dict[int, Path]) -> None:
    assert run.best("loss") == validated[20]
    assert run.best("loss", smaller_is_better=False) == validated[10]
    assert RunDirectory(run.path).best("loss") == validated[20]


def test_best_of_equal_checkpoints_is_the_newer(run: RunDirectory, validated: dict[int, Path]) -> None:
    run.record("validation", 60, 0, {"loss": 0.1})
    assert run.best("loss") == validated[20]
    assert saved(run, 60) == run.best("loss")


def test_validation_that_follows_its_checkpoint_counts(run: RunDirectory, validated: dict[int, Path]) -> None:
    run.record("validation", 50, 0, {"loss": 0.05})
    assert run.best("loss") == validated[50]
    again = RunDirectory(run.path)
    again.truncate_after(50)
    again.record("validation", 50, 0, {"loss": 0.3})
    assert again.best("loss") == validated[20]
    assert json.loads((validated[50] / "metadata.json").read_text()) == {
        "steps_completed": 50,
        "validation": {"loss": 0.3},
        "validation_epoch": 0,
    }


def test_best_is_none_for_a_metric_without_values(run: RunDirectory, validated: dict[int, Path]) -> None:
    assert run.best("accuracy") is None


@pytest.mark.parametrize(
    ("save_best", "save_latest", "metric", "kept"),
    [
        (1, 1, "loss", {20, 50}),
        (2, 1, "loss", {20, 40, 50}),
        (0, 2, "loss", {40, 50}),
        (1, 0, "loss", {20, 50}),
        (0, 0, None, {50}),
        (3, 1, None, {50}),
        (0, 9, "loss", {10, 20, 30, 40, 50}),
    ],
)
def test_retention_keeps_the_best_and_the_latest_and_always_the_newest(
    run: RunDirectory,
    validated: dict[int, Path],
    save_best: int,
    save_latest: int,
    metric: str | None,
    kept: set[int],
) -> None:
    removed = run.apply_retention(save_best, save_latest, metric)
    assert names(run.checkpoints) == {validated[batch].name for batch in kept}
    assert set(removed) == {path for batch, path in validated.items() if batch not in kept}


def test_retention_leaves_what_is_not_its_own(run: RunDirectory, validated: dict[int, Path]) -> None:
    (run.checkpoints / "being-written").mkdir()
    store(run, "named by a person", 7)
    run.apply_retention(0, 1)
    assert names(run.checkpoints) == {validated[50].name, "being-written", "named by a person"}


def test_retention_interrupted_never_leaves_half_a_checkpoint(
    run: RunDirectory, validated: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", crash)
        with pytest.raises(KeyboardInterrupt):
            run.apply_retention(0, 1)
    assert [c.steps_completed for c in stored_checkpoints(run.checkpoints)] == [20, 30, 40, 50]
    run.apply_retention(0, 4)
    assert names(run.checkpoints) == {path.name for batch, path in validated.items() if batch > 10}


def test_checkpoint_that_cannot_be_deleted_ends_no_run(
    run: RunDirectory,
    validated: dict[int, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(path: Path) -> None:
        raise PermissionError(f"not {path}")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", fail)
        run.apply_retention(0, 4)
        run.apply_retention(0, 4)
    assert caplog.text.count("could not be deleted") == 1


def test_checkpoint_on_another_disk_is_let_go_and_not_deleted(
    run: RunDirectory, validated: dict[int, Path], tmp_path: Path
) -> None:
    moved = tmp_path / "disk"
    validated[10].rename(moved)
    validated[10].symlink_to(moved)
    run.apply_retention(0, 1)
    assert names(run.checkpoints) == {validated[50].name}
    assert (moved / "metadata.json").exists()


# Log


# Curves and summary


def test_curves_without_metrics_write_nothing(run: RunDirectory) -> None:
    assert run.plot_curves() is None
    assert not run.curves_file.exists()


def test_curves_are_a_picture_that_grows_with_the_number_of_quantities(run: RunDirectory) -> None:
    for batch in range(10, 60, 10):
        run.record("train", batch, 0, {"train_loss": 1 / batch, "train_loss_epoch": 1 / batch})
        run.record("validation", batch, 0, {"val_loss": math.nan if batch == 30 else 2 / batch})
    assert run.plot_curves() == run.curves_file
    one = imread(run.curves_file).shape
    run.record("validation", 60, 0, {f"metric_{i}": 1.0 for i in range(3)})
    run.plot_curves()
    four = imread(run.curves_file).shape
    assert four[1] > 2 * one[1] and four[0] > 1.5 * one[0]
    assert names(run.path) == {"checkpoints", "tensorboard", "metrics.csv", "curves.png"}


#: What people, and their libraries, log under.
ODD_NAMES = [
    "loss$^2",
    "$",
    "$\\frac$",
    "a\rb",
    "a\nb",
    "\x00",
    "損失🔥",
    "\ud800",
    "_hidden",
    "",
    ',"',
    "\u2028",
    "%s{}",
]


@pytest.mark.parametrize("latex", [False, True])
def test_metric_of_any_name_is_kept_and_drawn(run: RunDirectory, latex: bool) -> None:
    for batch in (1, 2):
        run.record("train", batch, 0, {name: float(batch) for name in ODD_NAMES})
    table = rows(run)
    assert [len(row) for row in table] == [len(ODD_NAMES) + 3] * 2
    assert run.metrics_file.read_bytes().count(b"\n") == 3
    with matplotlib.rc_context({"text.usetex": latex}), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run.plot_curves() == run.curves_file
    assert rows(run) == table


def test_what_cannot_be_drawn_or_written_is_said_and_hides_no_error(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run.record("train", 1, 0, {"loss": 1.0})
    monkeypatch.setattr("lightning_adapter.runs.curves.draw", fail)
    with pytest.raises(RuntimeError, match="the user's"):
        try:
            raise RuntimeError("the user's")
        finally:
            run.finish()
    assert "curves.png could not be written: OSError: [Errno 28] No space left on device" in caplog.text


def test_curves_leave_the_global_state_of_matplotlib_alone(run: RunDirectory) -> None:
    import matplotlib.pyplot as plt

    backend, open_figures = matplotlib.get_backend(), plt.get_fignums()
    run.record("train", 1, 0, {"loss": 1.0})
    run.plot_curves()
    assert (matplotlib.get_backend(), plt.get_fignums()) == (backend, open_figures)


def cells(text: str) -> list[list[str]]:
    return [re.split("  +", line.strip()) for line in text.splitlines()]  # a path may have a space


def best_of(run: RunDirectory, **values: float) -> StoredCheckpoint:
    return StoredCheckpoint(run.checkpoints / "best", 20, values, validated_in=1)


def test_summary_names_values_and_places(run: RunDirectory) -> None:
    run.record("train", 1, 0, {"loss": 1.0})
    run.plot_curves()
    text = run.summary(
        {"val_loss": 0.123456789, "acc": 1, "loss": 2},
        "val_loss",
        best_of(run, val_loss=0.1, acc=0.9),
        run.checkpoints / "last",
        "3m20s: 2 epochs, 30 batches, 10 it/s",
    )
    lines = cells(text)
    assert lines[0] == ["metric", "final value", "best (epoch 2, 20 batches)"]
    assert lines[2:5] == [["val_loss", "0.123457", "0.1"], ["acc", "1", "0.9"], ["loss", "2"]]
    assert ["trained", "3m20s: 2 epochs, 30 batches, 10 it/s"] in lines
    assert ["best checkpoint", str(run.checkpoints / "best")] in lines
    assert ["last checkpoint", str(run.checkpoints / "last")] in lines
    assert ["curves", str(run.curves_file)] in lines


def test_summary_of_a_run_that_wrote_little_names_only_what_there_is(run: RunDirectory) -> None:
    said, _, rows = run.summary({}, None, None, None).partition("\n\n")
    assert said.startswith("No metric was logged.")
    assert rows.split(maxsplit=2) == ["run", "directory", str(run.path)]


def test_summary_has_one_row_for_a_checkpoint_that_is_the_best_and_the_last(run: RunDirectory) -> None:
    best = best_of(run, val_loss=0.1)
    lines = cells(run.summary({"val_loss": 0.1}, "val_loss", best, best.path))
    assert ["checkpoint", f"{best.path} (the best and the last)"] in lines
    assert not [line for line in lines if line[0] in ("best checkpoint", "last checkpoint")]


def test_summary_calls_no_checkpoint_the_best_that_nothing_ranks(run: RunDirectory) -> None:
    latest = run.checkpoints / "last"
    assert "best checkpoint  not known: no checkpoint was validated with a finite val_los\n" in run.summary(
        {}, "val_los", None, latest
    )
    assert "best" not in run.summary({"loss": 1}, None, None, latest)


def test_summary_of_a_checkpoint_of_an_earlier_version_says_its_batch(run: RunDirectory) -> None:
    best = StoredCheckpoint(run.checkpoints / "best", 20, {"loss": 0.5})
    assert "best (20 batches)" in run.summary({"loss": 1}, "loss", best, None)


def test_summary_of_hundreds_of_metrics_has_the_ranking_one_first_and_names_the_file_of_the_others(
    run: RunDirectory,
) -> None:
    text = run.summary({f"m{i:03}": math.nan for i in range(200)} | {"z\n": 1.0}, "z\n", None, None)
    assert cells(text)[2] == ["z\\n", "1"]
    assert cells(text)[3] == ["m000", "nan"]
    assert "\nand 181 more in metrics.csv\n" in text


def test_summary_names_paths_as_they_can_be_typed(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path.parent)
    assert run.summary({"loss": 1}, None, None, None).rsplit("\n\n")[1].split() == ["run", "directory", run.path.name]


def test_output_that_cannot_show_a_character_or_is_closed_ends_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", ascii_only)
    say("損失 1.0")
    assert ascii_only.buffer.getvalue() == b"\\u640d\\u5931 1.0\n"
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        say("val_loss 1.0")
        assert "val_loss 1.0 (said here since it could not be printed: " in caplog.text
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)
