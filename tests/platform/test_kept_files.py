"""Which files of a run go into its checkpoints on a cluster, and do they come back in another container?"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
from determined import pytorch

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.platform import kept_files
from lightning_adapter.platform.kept_files import LIMIT, KeptFiles
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)


def write(root: pathlib.Path, **files: int) -> None:
    for name, size in files.items():
        path = root / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)


def held(checkpoint: pathlib.Path) -> dict[str, int]:
    root = checkpoint / "files"
    return {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def work(tmp_path: pathlib.Path) -> pathlib.Path:
    """A container's working directory with code in it."""
    root = tmp_path / "work"
    write(root, model_py=10, package__a_py=10)
    return root


def checkpoint(root: pathlib.Path, kept: KeptFiles) -> dict[str, int]:
    directory = root.parent / f"checkpoint-{len(list(root.parent.iterdir()))}"
    directory.mkdir()
    kept.write(directory)
    return held(directory)


def test_each_checkpoint_has_all_that_is_new_since_the_data_was_prepared(work: pathlib.Path) -> None:
    kept = KeptFiles(work)
    write(work, data__train_bin=50)
    kept.data_prepared()
    assert checkpoint(work, kept) == {}
    write(work, pictures__a_png=5, model_onnx=7, data__made_csv=1)
    assert checkpoint(work, kept) == {"pictures/a.png": 5, "model.onnx": 7, "data/made.csv": 1}
    write(work, pictures__b_png=6, model_onnx=8, data__train_bin=51)
    (work / "data" / "made.csv").unlink()
    expected = {"pictures/a.png": 5, "pictures/b.png": 6, "model.onnx": 8, "data/train.bin": 51}
    assert checkpoint(work, kept) == expected


def test_much_that_appears_before_the_first_batch_is_data_of_loaders(
    work: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    kept = KeptFiles(work)
    kept.data_prepared()
    write(work, data__a_bin=6_000_000, data__deep__b_bin=5_000_000, logs__config_yaml=9, train_npz=10_000_001)
    kept.training_starts()
    write(work, logs__later_csv=3, data__c_bin=4)
    assert checkpoint(work, kept) == {"logs/config.yaml": 9, "logs/later.csv": 3, "data/c.bin": 4}


def test_folder_of_very_many_files_is_data_and_not_looked_into_again(
    work: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_files, "_DATA_FILES", 3)
    kept = KeptFiles(work)
    write(work, **{f"set__{number}_png": 1 for number in range(4)})
    kept.data_prepared()
    kept.training_starts()
    looked: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked.append(pathlib.Path(path).name) or scandir(path))
    write(work, set__late_png=1, picture_png=1)
    kept.write(tmp_path / "checkpoint")
    assert held(tmp_path / "checkpoint") == {"picture.png": 1}
    assert "set" not in looked and "work" in looked


def test_files_that_came_back_are_no_data_however_large(work: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first = tmp_path / "first"
    write(first, files__own__a_ckpt=10_000_001)
    kept = KeptFiles(work)
    kept.bring_back(first)
    kept.data_prepared()
    kept.training_starts()
    assert checkpoint(work, kept) == {"own/a.ckpt": 10_000_001}


def test_links_and_what_is_hidden_or_compiled_is_left_out(work: pathlib.Path, tmp_path: pathlib.Path) -> None:
    kept = KeptFiles(work)
    write(tmp_path, elsewhere__big_bin=9)
    (work / "data").symlink_to(tmp_path / "elsewhere")
    (work / "big.bin").symlink_to(tmp_path / "elsewhere" / "big.bin")
    (work / "around").symlink_to(work)
    write(work, __pycache____a_pyc=4, package__b_txt=3)
    (work / ".cache").mkdir()
    (work / ".cache" / "a").write_text("a")
    assert checkpoint(work, kept) == {"package/b.txt": 3}


def test_the_largest_are_left_out_where_there_is_no_room_and_named_once(
    work: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = KeptFiles(work, limit_mb=0.0001)
    write(work, a_txt=40, b_txt=40, large_ckpt=90, larger_ckpt=500)
    for _ in range(2):
        assert checkpoint(work, kept) == {"a.txt": 40, "b.txt": 40}
    (line,) = caplog.messages
    assert "without the largest: larger.ckpt (0.0005 MB), large.ckpt (9e-05 MB)" in line
    assert LIMIT in line


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_file_that_is_gone_or_not_ours_to_read_ends_no_checkpoint(
    error: type[OSError], work: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, copy = KeptFiles(work), shutil.copy2

    def copied(source: pathlib.Path, place: pathlib.Path) -> object:
        if source.name == "a.txt":
            raise error
        return copy(source, place)

    write(work, a_txt=1, b_txt=2)
    monkeypatch.setattr(shutil, "copy2", copied)
    assert checkpoint(work, kept) == {"b.txt": 2}


def test_files_come_back_where_they_were_and_are_kept_on(work: pathlib.Path, tmp_path: pathlib.Path) -> None:
    kept = KeptFiles(work)
    write(work, a__one_txt=1, two_txt=2)
    first = tmp_path / "first"
    first.mkdir()
    kept.write(first)
    other = tmp_path / "other"
    write(other, two_txt=22)
    again = KeptFiles(other)
    again.bring_back(first)
    again.data_prepared()
    assert ((other / "a" / "one.txt").stat().st_size, (other / "two.txt").stat().st_size) == (1, 22)
    write(other, three_txt=3)
    assert checkpoint(other, again) == {"a/one.txt": 1, "two.txt": 22, "three.txt": 3}


def test_what_is_written_after_the_last_checkpoint_is_named(
    work: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = KeptFiles(work)
    write(work, a_txt=1, b_txt=1)
    checkpoint(work, kept)
    kept.tell_unstored()
    assert caplog.messages == []
    write(work, b_txt=2, late_onnx=3)
    kept.tell_unstored()
    assert "kept in none: late.onnx (3e-06 MB), b.txt (2e-06 MB)." in caplog.text


# --- on a cluster -----------------------------------------------------------------------------------------------------


class Exports(pl.Callback):
    """Writes as people do: into the trainer's directory, in several hooks."""

    def __init__(self, last: str = "on_train_end") -> None:
        self.last = last

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        root = pathlib.Path(trainer.default_root_dir)
        (root / "pictures").mkdir(exist_ok=True)
        (root / "pictures" / f"epoch-{trainer.current_epoch}.png").write_bytes(b"png")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.last == "on_train_end":
            (pathlib.Path(trainer.default_root_dir) / "model.onnx").write_bytes(b"onnx")

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        if self.last == "on_fit_end":
            (pathlib.Path(trainer.default_root_dir) / "model.onnx").write_bytes(b"onnx")


class Beside(pytorch.PyTorchCallback):
    """Determined's own way to put a file beside the weights."""

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        (pathlib.Path(checkpoint_dir) / "model.pt").write_bytes(b"pt")


class Prepares(models.Data):
    def prepare_data(self) -> None:
        pathlib.Path("data").mkdir(exist_ok=True)
        pathlib.Path("data", "train.bin").write_bytes(b"data")


def trial_of(*callbacks: Any) -> type[LightningAdapter]:
    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            arguments = {"max_epochs": 2, "enable_model_summary": False, "callbacks": [*callbacks]}
            super().__init__(context, models.Net(), Prepares(), **arguments)

        def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
            return {"beside": Beside()}

    return Trial


@pytest.fixture
def container(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], pathlib.Path]:
    """Begin in a new working directory with nothing but the code in it."""

    def new() -> pathlib.Path:
        root = tmp_path / "workdir"
        shutil.rmtree(root, ignore_errors=True)
        write(root, model_def_py=3)
        monkeypatch.chdir(root)
        return root

    return new


def by_fit(trial: type[LightningAdapter], epochs: int) -> None:
    fit(trial, max_epochs=epochs)


def by_determined(trial: type[LightningAdapter], epochs: int) -> None:
    with pytorch.init() as context:
        pytorch.Trainer(trial(context), context).fit(
            max_length=pytorch.Epoch(epochs),
            validation_period=pytorch.Epoch(1),
            latest_checkpoint=os.environ.get("DET_LATEST_CHECKPOINT"),
        )


@pytest.mark.parametrize(
    ("train", "at_end"),
    [(by_fit, {"model.onnx"}), (by_determined, set())],  # Determined's own Trainer stops there
)
def test_files_of_callbacks_are_in_the_checkpoints_and_outlive_the_container(
    cluster: Any, container: Any, train: Any, at_end: set[str]
) -> None:
    container()
    save = pl.callbacks.ModelCheckpoint(dirpath="own", filename="{epoch}", save_top_k=-1)
    with cluster() as master:
        train(trial_of(Exports(), save), 1)
    first = master.store / master.checkpoints[-1].uuid
    assert (first / "model.pt").exists()
    assert held(first).keys() == {"pictures/epoch-0.png", "own/epoch=0.ckpt", *at_end}
    root = container()
    with cluster(latest_checkpoint=first.name, steps_completed=6, trial_run_id=2) as master:
        train(trial_of(Exports(), save), 2)
    last = master.store / master.checkpoints[-1].uuid
    files = {"pictures/epoch-0.png", "pictures/epoch-1.png", "own/epoch=0.ckpt", "own/epoch=1.ckpt"}
    assert held(last).keys() == {*files, "model.onnx"}
    assert (root / "pictures" / "epoch-0.png").read_bytes() == b"png"


def test_files_of_another_trial_are_not_taken_over(cluster: Any, container: Any) -> None:
    container()
    with cluster() as master:
        fit(trial_of(Exports()), max_epochs=1)
    root = container()
    with cluster(latest_checkpoint=master.checkpoints[-1].uuid, steps_completed=0, trial_id=2) as master:
        fit(trial_of(), max_epochs=1)
    assert not (root / "pictures").exists()
    assert held(master.store / master.checkpoints[-1].uuid) == {}


def test_a_file_that_no_checkpoint_can_have_is_named(
    cluster: Any, container: Any, caplog: pytest.LogCaptureFixture
) -> None:
    container()
    with cluster() as master:
        fit(trial_of(Exports("on_fit_end")))
    assert "model.onnx" not in held(master.store / master.checkpoints[-1].uuid)
    assert "kept in none: model.onnx" in caplog.text


def test_a_local_run_writes_no_file_twice(container: Any) -> None:
    container()
    trial = fit(trial_of(Exports()))
    assert (trial.run_dir / "model.onnx").exists()
    assert [path.name for path in trial.latest_checkpoint.iterdir() if path.name == "files"] == []
    assert (trial.latest_checkpoint / "model.pt").exists()
