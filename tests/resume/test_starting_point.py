"""The checkpoint that a run begins with: user code finds it, nobody deletes it, its memory is free once it is restored."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from determined import pytorch

from parity.harness import since
from parity.models import Data, Net, pl

from .interrupting import FACE, case_of, train
from .test_lightning import lightning_run

HOOKS = ("prepare_data", "setup", "on_load_checkpoint", "configure_optimizers", "on_fit_start", "on_train_start",
         "on_train_batch_start", "on_train_end", "on_fit_end", "teardown")  # fmt: skip


def noting(seen: list[Any]) -> Any:
    """A module that notes in each hook what `trainer.ckpt_path` is."""

    def note(name: str) -> Callable[..., Any]:
        def hook(self: Any, *args: Any, **options: Any) -> Any:
            seen.append((name, self.trainer.ckpt_path))
            return getattr(super(Notes, self), name)(*args, **options)

        return hook

    Notes = type("Notes", (Net,), {name: note(name) for name in HOOKS})
    return Notes


def adapter_run(
    folder: Path | None, build: Callable[[], Any], callbacks: list[Any] | None = None, **options: Any
) -> Any:
    """Train without recording."""

    class Trial(FACE.LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, build(), Data(), logger=False, enable_progress_bar=False,
                             enable_model_summary=False, num_sanity_val_steps=0, callbacks=callbacks or [])  # fmt: skip

    return FACE.fit(Trial, run_dir=folder, **{"max_epochs": 2, **options})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint of Lightning's Trainer after one epoch."""
    folder: Any = str(tmp_path / "theirs")  # no Path: Lightning 2.0 would put it into the file
    lightning_run(folder, Net, Data, 1, save_on_train_epoch_end=True)
    return max((tmp_path / "theirs").glob("*.ckpt"))


def test_path_of_the_checkpoint_is_known_when_lightning_knows_it(saved: Path, tmp_path: Path) -> None:
    theirs: list[Any] = []
    lightning_run(tmp_path, noting(theirs), Data, 2, ckpt_path=saved)
    ours: list[Any] = []
    trial = adapter_run(tmp_path / "run", noting(ours), resume_from=saved)

    assert ours == theirs
    assert trial.lightning_module.trainer.ckpt_path == saved


def test_path_of_the_checkpoint_is_none_in_a_run_that_takes_weights_alone(saved: Path, tmp_path: Path) -> None:
    seen: list[Any] = []
    adapter_run(tmp_path / "run", noting(seen), warm_start_from=saved)

    assert {path for _, path in seen} == {None}


def test_path_of_a_checkpoint_of_this_package_is_its_file(tmp_path: Path) -> None:
    first = adapter_run(tmp_path / "first", Net, max_epochs=1)
    seen: list[Any] = []
    adapter_run(tmp_path / "run", noting(seen), resume_from=tmp_path / "first")

    path = dict(seen)["on_train_start"]
    assert path == first.latest_checkpoint / "lightning.ckpt"
    assert "state_dict" in torch.load(path, weights_only=True)


def test_path_that_leads_over_the_latest_run_stays_that_of_the_run_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = adapter_run(None, Net, max_epochs=1)
    seen: list[Any] = []
    latest = first.run_dir.parent / "latest"
    second = adapter_run(None, noting(seen), resume_from=latest)

    assert latest.resolve() == second.run_dir != first.run_dir
    assert dict(seen)["on_train_start"] == first.latest_checkpoint / "lightning.ckpt"


@since("2.1", reason="older ModelCheckpoints delete it")
def test_model_checkpoint_keeps_the_file_that_the_run_goes_on_from(tmp_path: Path) -> None:
    def keeper(folder: Path) -> Any:
        return pl.callbacks.ModelCheckpoint(
            str(folder), monitor="step", mode="max", save_top_k=2, every_n_train_steps=2
        )

    left = []
    for folder in (tmp_path / "theirs", tmp_path / "ours"):
        adapter_run(tmp_path / f"{folder.name}-1", Net, [keeper(folder)], max_steps=5)
        path = folder / "epoch=0-step=4.ckpt"
        if folder.name == "ours":
            adapter_run(tmp_path / "ours-2", Net, [keeper(folder)], max_epochs=-1, max_steps=8, resume_from=path)
        else:
            trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, max_steps=8,
                                 callbacks=[keeper(folder)], enable_model_summary=False)  # fmt: skip
            trainer.fit(Net(), datamodule=Data(), ckpt_path=path)
        left.append(sorted(file.name for file in folder.iterdir()))

    assert left[1] == left[0]
    assert "epoch=0-step=4.ckpt" in left[1]


class Watches(Net):
    """Sees when the checkpoint's own tensors are gone."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.watched = [weakref.ref(weight) for weight in checkpoint["state_dict"].values()]
        self.alive: dict[str, int] = {}

    def count(self, moment: str) -> None:
        gc.collect()
        self.alive[moment] = sum(reference() is not None for reference in self.watched)

    def on_train_start(self) -> None:
        self.count("on_train_start")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if "on_train_batch_start" not in self.alive:  # counting takes long
            self.count("on_train_batch_start")


@pytest.mark.parametrize("way", ["resume_from", "warm_start_from"])
@pytest.mark.parametrize("by", ["ours", "theirs"])
def test_content_of_the_checkpoint_is_gone_before_training_starts(
    way: str, by: str, saved: Path, tmp_path: Path
) -> None:
    path = saved if by == "theirs" else adapter_run(tmp_path / "first", Net, max_epochs=1).latest_checkpoint
    trial = adapter_run(tmp_path / "run", Watches, **{way: path})

    assert trial.lightning_module.alive == {"on_train_start": 0, "on_train_batch_start": 0}


def test_position_in_mid_epoch_is_gone_when_it_is_restored(tmp_path: Path) -> None:
    first = train(case_of(Net, Data, trace=False, max_epochs=1), tmp_path / "first", checkpoint_period=pytorch.Batch(2))
    trial = adapter_run(tmp_path / "run", Net, resume_from=first.checkpoint_at(4))

    assert trial.driver.platform.start.saved is None
    assert trial.driver.platform.start.resumes


@pytest.mark.parametrize("limit", [{"max_steps": 0}, {"max_epochs": 0}, {"limit_train_batches": 0}])
def test_run_that_trains_nothing_leaves_a_checkpoint_from_which_training_begins(
    limit: dict[str, int], tmp_path: Path
) -> None:
    def trained(folder: Path, resume_from: Path | None, **arguments: Any) -> Any:
        class Trial(FACE.LightningAdapter):
            def __init__(self, context: Any) -> None:
                super().__init__(context, Net(dropout=0.0), Data(shuffle=False), logger=False,
                                 enable_progress_bar=False, enable_model_summary=False, **arguments)  # fmt: skip

        return FACE.fit(Trial, run_dir=folder, seed=3, resume_from=resume_from)

    nothing = trained(tmp_path / "nothing", None, **{"max_epochs": 1, **limit})
    assert nothing.latest_checkpoint is not None
    assert len(list((tmp_path / "nothing" / "checkpoints").iterdir())) == 1
    resumed = trained(tmp_path / "resumed", tmp_path / "nothing", max_epochs=1)
    whole = trained(tmp_path / "whole", None, max_epochs=1)

    weights, expected = resumed.lightning_module.state_dict(), whole.lightning_module.state_dict()
    assert resumed.lightning_module.trainer.global_step == 6
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
