"""A split that `setup` draws is that of the training, in whichever stage it is drawn again, or somebody is told."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from lightning_adapter import fit, load_trial
from lightning_adapter.errors import CheckpointError
from parity.models import samples

from .trained import CONFIG, QUIET, Data, Net, trained, trial_of

DRAWS = r"Splitting\.setup\(\) draws random numbers, and not those that it has drawn for training"


class Splitting(Data):
    """Draws the order of its samples in each set-up."""

    drawn: list[list[int]]

    def setup(self, stage: str) -> None:
        type(self).drawn.append(torch.randperm(20).tolist())
        super().setup(stage)

    def predict_dataloader(self) -> Any:
        return DataLoader(samples(8), 4)


class RandomTest(Net):
    """Logs a random number."""

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("random", torch.rand(()), prog_bar=False)


@pytest.fixture
def drawn() -> list[list[int]]:
    Splitting.drawn = []
    return Splitting.drawn


@pytest.mark.parametrize("split", [None, "val", "train"])
@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_each_stage_and_split_of_a_seeded_run_has_the_split_of_its_training(
    tmp_path: Path, drawn: list[list[int]], stage: str, split: Any
) -> None:
    trial = trial_of(data=Splitting)
    trained(tmp_path / "run", trial)
    of_training = drawn[0]
    drawn.clear()
    loaded = load_trial(tmp_path / "run", trial)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=DRAWS)
        getattr(loaded, stage)(split=split)
        getattr(loaded, stage)(split=split)
    assert drawn and all(one == of_training for one in drawn)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_each_stage_of_a_run_without_a_seed_has_the_split_of_its_training(
    tmp_path: Path, drawn: list[list[int]], stage: str
) -> None:
    trial = trial_of(data=Splitting)
    fit(trial, config=CONFIG, run_dir=tmp_path / "run")
    loaded = load_trial(tmp_path / "run", trial)
    torch.rand(3)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=DRAWS)
        getattr(loaded, stage)()
        getattr(loaded, stage)(split="val")
    loaded.dataloaders("train")
    assert len(drawn) > 3 and all(one == drawn[0] for one in drawn)


def test_run_that_goes_on_without_a_seed_trains_on_the_split_that_it_began_with(
    tmp_path: Path, drawn: list[list[int]]
) -> None:
    fit(trial_of(data=Splitting), config=CONFIG, run_dir=tmp_path / "run")
    longer = trial_of(data=Splitting, max_epochs=3)
    fit(longer, config=CONFIG, run_dir=tmp_path / "run", resume_from=tmp_path / "run")
    load_trial(tmp_path / "run", longer, last=True).test(verbose=False)
    assert len(drawn) == 3 and all(one == drawn[0] for one in drawn)


def test_weights_alone_bring_no_split_along(tmp_path: Path, drawn: list[list[int]]) -> None:
    fit(trial_of(data=Splitting), config=CONFIG, run_dir=tmp_path / "run")
    fit(trial_of(data=Splitting), config=CONFIG, run_dir=tmp_path / "next", warm_start_from=tmp_path / "run")
    assert drawn[0] != drawn[1]


def test_split_of_a_run_that_does_not_say_how_it_has_drawn_is_told_to_be_another(
    tmp_path: Path, drawn: list[list[int]]
) -> None:
    trial = trial_of(data=Splitting)
    fit(trial, config=CONFIG, run_dir=tmp_path / "run")
    path = load_trial(tmp_path / "run", trial).checkpoint / "lightning.ckpt"  # type: ignore[operator]
    saved = torch.load(path, weights_only=False)
    del saved["lightning_adapter"]["data_random"]  # as of an older version
    torch.save(saved, path)
    with pytest.warns(UserWarning, match=DRAWS + r".*generator=.*checkpoint that fit\(\)"):
        load_trial(tmp_path / "run", trial).test(verbose=False)


def test_random_state_that_is_none_is_told(tmp_path: Path) -> None:
    trial = trial_of()
    fit(trial, config=CONFIG, run_dir=tmp_path / "run")
    path = load_trial(tmp_path / "run", trial).checkpoint / "lightning.ckpt"  # type: ignore[operator]
    saved = torch.load(path, weights_only=False)
    saved["lightning_adapter"]["data_random"]["torch"] = 3
    torch.save(saved, path)
    with pytest.raises(CheckpointError, match=r"data_random.*'torch'.* is 3, not a tensor"):
        load_trial(tmp_path / "run", trial)


def test_test_of_a_trial_that_was_just_trained_has_the_split_of_its_training(
    tmp_path: Path, drawn: list[list[int]]
) -> None:
    trained_trial = trained(tmp_path / "run", trial_of(data=Splitting))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=DRAWS)
        trained_trial.test(verbose=False)
    assert len(drawn) == 2 and drawn[0] == drawn[1]


def test_test_at_the_end_has_the_split_of_the_training(tmp_path: Path, drawn: list[list[int]]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=DRAWS)
        fit(trial_of(data=Splitting), config=CONFIG, run_dir=tmp_path / "run", test=True)
    assert len(drawn) == 2 and drawn[0] == drawn[1]


def test_set_up_that_draws_nothing_changes_no_number_of_a_test(tmp_path: Path) -> None:
    trained_trial = trained(tmp_path / "run", trial_of(RandomTest))
    torch.manual_seed(11)
    found = trained_trial.test(verbose=False)
    module, trainer = RandomTest(), pl.Trainer(accelerator="cpu", devices=1, **QUIET)
    torch.manual_seed(11)
    assert found == trainer.test(module, datamodule=Data(), verbose=False)


def test_data_that_draws_nothing_is_not_told_of(tmp_path: Path) -> None:
    trial = trial_of(Net, Data)
    fit(trial, config=CONFIG, run_dir=tmp_path / "run")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r".*draws random numbers")
        load_trial(tmp_path / "run", trial).test(verbose=False)
