"""Runs are found below a directory, with what their records say, and nothing else is opened."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_adapter.runs import listing
from lightning_adapter.runs.listing import comparable, differing, runs_below
from lightning_adapter.runs.occupancy import Occupancy
from runs.made_runs import FIRST, make_older_run, make_run, write_table


def test_runs_are_listed_newest_last_and_named_from_the_directory_on(tmp_path: Path) -> None:
    for number, name in ((2, "B"), (0, "A"), (1, "B")):
        make_run(tmp_path / "runs", number, name)
    runs = runs_below(tmp_path / "runs")
    assert [run.label for run in runs] == ["A/2026-11-01_12-00-00", "B/2026-11-01_12-01-00", "B/2026-11-01_12-02-00"]
    assert [run.name for run in runs] == ["A", "B", "B"]
    assert runs[0].start == FIRST


def test_links_hidden_directories_and_what_lies_in_a_run_are_not_listed(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    (directory.parent / "latest").symlink_to(directory.name)
    make_run(tmp_path / ".hidden")
    make_run(directory / "checkpoints")
    assert [run.path for run in runs_below(tmp_path)] == [directory]


def test_directory_that_is_a_run_itself_is_listed(tmp_path: Path) -> None:
    directory = make_run(tmp_path)
    assert [(run.path, run.label) for run in runs_below(directory)] == [(directory, directory.name)]


def test_damaged_record_is_shown_as_damaged_beside_the_others(tmp_path: Path) -> None:
    good, bad = make_run(tmp_path, 0), make_run(tmp_path, 1)
    (bad / "run.json").write_text('{"format": 1, "na')
    found = {run.path: run for run in runs_below(tmp_path)}
    assert found[good].status == "finished" and found[good].problem is None
    assert found[bad].status == "damaged" and "Unterminated" in str(found[bad].problem)
    assert found[bad].start is not None  # its directory's name has it


def test_run_of_an_earlier_version_is_listed_as_far_as_its_files_tell(tmp_path: Path) -> None:
    make_older_run(tmp_path, best=0.5)
    (run,) = runs_below(tmp_path)
    assert not run.has_record
    assert (run.name, run.status, run.epochs, run.metric, run.best) == ("Older", "ended", 1, "val_loss", 0.5)
    assert run.hyperparameters == {"lr": 1e-05, "layers": 3}


def test_run_of_an_earlier_version_that_is_in_use_runs(tmp_path: Path) -> None:
    occupancy = Occupancy(make_older_run(tmp_path))
    try:
        assert runs_below(tmp_path)[0].status == "running"
    finally:
        occupancy.end()
    (tmp_path / "Older" / "2026-11-01_12-00-00" / ".run.json").write_text("{}")
    assert runs_below(tmp_path)[0].status == "ended"


def test_running_run_whose_process_is_gone_is_killed(tmp_path: Path) -> None:
    directory = make_run(tmp_path, status="running", end=None)
    assert runs_below(tmp_path)[0].status == "killed"
    occupancy = Occupancy(directory)
    try:
        assert runs_below(tmp_path)[0].status == "running"
    finally:
        occupancy.end()


@pytest.mark.parametrize(("status", "epochs"), [("running", 7), ("finished", 2)])
def test_epochs_of_a_run_that_is_not_over_are_those_of_its_table(tmp_path: Path, status: str, epochs: int) -> None:
    directory = make_run(tmp_path, status=status)
    write_table(directory, ["train,50,0,1.0,", "train,400,7,1.0,"])
    with (directory / "metrics.csv").open("a") as file:
        file.write("train,450,9")  # a row that is being written
    assert runs_below(tmp_path)[0].epochs == epochs


def test_arguments_of_classes_that_differ_are_left_out() -> None:
    names = [
        "model._target_",
        "model.net.width",
        "data.n",
        "cb.early.class_path",
        "cb.early.init_args.patience",
        "cb.x",
    ]
    assert comparable(names) == ["model._target_", "data.n", "cb.early.class_path", "cb.x"]


def test_differing_hyperparameters_are_those_with_more_than_one_value(tmp_path: Path) -> None:
    make_run(tmp_path, 0, hyperparameters={"lr": 1, "same": 0.5, "optimizer": {"name": "adam", "eps": 1}})
    make_run(tmp_path, 1, hyperparameters={"lr": 1.0, "same": 0.5, "optimizer": {"name": "sgd", "eps": 1}, "new": 3})
    make_run(tmp_path, 2, hyperparameters={})  # nothing is known of it
    assert differing(runs_below(tmp_path)) == ["optimizer.name", "new"]


def test_nan_is_one_value(tmp_path: Path) -> None:
    for number in (0, 1):
        make_run(tmp_path, number, hyperparameters={"eps": "NaN"})
    assert differing(runs_below(tmp_path)) == []


def test_value_is_a_fact_a_hyperparameter_the_best_of_the_metric_or_a_group_of_one(tmp_path: Path) -> None:
    make_run(tmp_path, best=0.25, hyperparameters={"status": "deep", "optimizer": {"lr": 0.1}}, test={"test_acc": 0.9})
    (run,) = runs_below(tmp_path)
    keys = ["status", "hparams.status", "optimizer.lr", "lr", "val_loss", "metrics.val_loss", "best", "test_acc", "x"]
    assert [run.value(key) for key in keys] == ["finished", "deep", 0.1, 0.1, 0.25, 1.25, 0.25, 0.9, None]


def test_best_that_is_not_finite_is_none(tmp_path: Path) -> None:
    make_run(tmp_path, best=0.5, **{"metric": {"name": "val_loss"}})
    record = tmp_path / "MNISTTrial" / "2026-11-01_12-00-00" / "run.json"
    record.write_text(record.read_text().replace('"value": 0.5', '"value": "NaN"'))
    assert runs_below(tmp_path)[0].best is None


def test_start_that_cannot_be_read_is_that_of_the_directory_name(tmp_path: Path) -> None:
    make_run(tmp_path, start="yesterday")
    start = runs_below(tmp_path)[0].start
    assert start is not None and start.replace(tzinfo=None) == datetime.datetime(2026, 11, 1, 12)


def test_directory_that_cannot_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path)
    usual = os.scandir

    def scandir(path: Path) -> object:
        if str(path).endswith("secret"):
            raise PermissionError(path)
        return usual(path)

    (tmp_path / "secret").mkdir()
    monkeypatch.setattr(listing.os, "scandir", scandir)
    assert len(runs_below(tmp_path)) == 1


COUNT = """
import os, sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event in ("open", "os.scandir", "os.listdir") else None)
from lightning_adapter.cli import main
main(["runs", sys.argv[1], "--sort", "val_loss"])
print(sorted(os.path.basename(path) for path in opened if path.startswith(sys.argv[1] + os.sep)), file=sys.stderr)
print([name for name in ("torch", "matplotlib", "numpy", "pytorch_lightning") if name in sys.modules], file=sys.stderr)
"""


def test_table_of_runs_opens_one_record_each_and_imports_neither_torch_nor_matplotlib(tmp_path: Path) -> None:
    directories = [make_run(tmp_path, number, best=number / 10) for number in range(5)]
    made = subprocess.run(
        [sys.executable, "-c", COUNT, str(tmp_path)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    opened, imported = made.stderr.splitlines()
    assert eval(opened) == sorted(["run.json"] * 5 + [path.name for path in directories] + ["MNISTTrial"])
    assert imported == "[]"
