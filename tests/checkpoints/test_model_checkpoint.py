"""ModelCheckpoint and `trainer.save_checkpoint` leave the files that they leave under Lightning's Trainer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from lightning_adapter import LightningAdapter, fit
from parity.models import Data, Net, pl

QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "num_sanity_val_steps": 0}


def by_trainer(folder: Path, module: Any, ckpt_path: Any = None, **arguments: Any) -> Any:
    given: dict[str, Any] = {**QUIET, "max_epochs": 2, "accelerator": "cpu", "devices": 1, **arguments}
    trainer = pl.Trainer(default_root_dir=folder, **given)
    trainer.fit(module, datamodule=Data(), ckpt_path=ckpt_path)
    return trainer


def by_adapter(folder: Path, module: Any, ckpt_path: Any = None, **arguments: Any) -> Any:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, module, Data(), **{**QUIET, "max_epochs": 2, **arguments})

    return fit(Trial, run_dir=folder, resume_from=ckpt_path).lightning_module.trainer


@pytest.fixture(params=[by_trainer, by_adapter])
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    way: Callable[..., Any] = request.param
    return way


@pytest.fixture
def memory() -> Iterator[Callable[[], list[str]]]:
    """Which files are below `memory://kept`."""
    filesystem = fsspec.filesystem("memory")
    yield lambda: sorted(path.removeprefix("/kept/") for path in filesystem.find("/kept"))
    if filesystem.exists("/kept"):
        filesystem.rm("/kept", recursive=True)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["epoch=1-step=12.ckpt"]),
        ({"filename": "{epoch}/x", "save_top_k": -1}, ["epoch=0/x.ckpt", "epoch=1/x.ckpt"]),
        ({"filename": "{epoch}/x"}, ["epoch=1/x.ckpt"]),
        ({"save_last": True, "filename": "a"}, ["a.ckpt", "last.ckpt"]),
    ],
)
def test_directory_of_model_checkpoint_is_made(
    options: dict[str, Any], expected: list[str], run: Callable[..., Any], tmp_path: Path
) -> None:
    keeper = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "new" / "folder", **options)
    run(tmp_path / "run", Net(), callbacks=[keeper])

    assert files(tmp_path / "new" / "folder") == expected


@pytest.mark.parametrize("logger", [True, False])
def test_model_checkpoint_with_all_defaults_finds_its_place(
    logger: bool, run: Callable[..., Any], tmp_path: Path
) -> None:
    keeper = pl.callbacks.ModelCheckpoint()
    run(tmp_path / "run", Net(), callbacks=[keeper], logger=logger)

    assert keeper.best_model_path.startswith(str(tmp_path / "run"))
    assert os.path.isfile(keeper.best_model_path)


class Saves(Net):
    """Writes a file by hand."""

    def __init__(self, path: Any) -> None:
        super().__init__()
        self.path = path

    def on_train_end(self) -> None:
        self.trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("name", ["new/x.ckpt", "x", "./a/../b/x.ckpt"])
def test_directory_of_a_file_that_is_saved_by_hand_is_made(
    name: str, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run(tmp_path / "run", Saves(name))

    assert Path(name).is_file()


def test_model_checkpoint_writes_to_a_url_and_deletes_there(
    run: Callable[..., Any], memory: Callable[[], list[str]], tmp_path: Path
) -> None:
    keeper = pl.callbacks.ModelCheckpoint(dirpath="memory://kept/a", save_last=True)
    run(tmp_path / "run", Net(), callbacks=[keeper])

    assert memory() == ["a/epoch=1-step=12.ckpt", "a/last.ckpt"]
    assert not list(tmp_path.rglob("*step=12.ckpt"))


def test_run_goes_on_from_a_url(run: Callable[..., Any], memory: Callable[[], list[str]], tmp_path: Path) -> None:
    url = "memory://kept/new/x.ckpt"
    by_adapter(tmp_path / "first", Saves(url), max_epochs=1)
    assert memory() == ["new/x.ckpt"]
    trainer = run(tmp_path / "run", Net(), ckpt_path=url)

    assert trainer.ckpt_path == url
    assert (trainer.current_epoch, trainer.global_step) == (2, 12)
