"""A split that `setup` draws is that of the training, in whichever stage it is drawn again, or somebody is told."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_adapter import fit, load_trial
from parity.models import samples

from .trained import CONFIG, Data, Net, trained, trial_of

DRAWS = r"Splitting\.setup\(\) draws random numbers, and not those that it has drawn for training"


class Splitting(Data):
    """Draws the order of its samples in each set-up."""

    drawn: list[list[int]]

    def setup(self, stage: str) -> None:
        type(self).drawn.append(torch.randperm(20).tolist())
        super().setup(stage)

    def predict_dataloader(self) -> Any:
        return DataLoader(samples(8), 4)


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


def test_split_of_a_run_without_a_seed_is_told_to_be_another(tmp_path: Path, drawn: list[list[int]]) -> None:
    trial = trial_of(data=Splitting)
    fit(trial, config=CONFIG, run_dir=tmp_path / "run")
    loaded = load_trial(tmp_path / "run", trial)
    with pytest.warns(UserWarning, match=DRAWS + r".*generator=.*--seed N"):
        loaded.test(verbose=False)


def test_split_that_is_drawn_once_more_after_training_is_told(tmp_path: Path, drawn: list[list[int]]) -> None:
    trained_trial = trained(tmp_path / "run", trial_of(data=Splitting))
    with pytest.warns(UserWarning, match=DRAWS):
        trained_trial.test(verbose=False)


def test_split_that_is_drawn_once_more_by_the_test_at_the_end_is_told(tmp_path: Path, drawn: list[list[int]]) -> None:
    with pytest.warns(UserWarning, match=DRAWS):
        fit(trial_of(data=Splitting), config=CONFIG, run_dir=tmp_path / "run", seed=1, test=True)


def test_data_that_draws_nothing_is_not_told_of(tmp_path: Path) -> None:
    trial = trial_of(Net, Data)
    fit(trial, config=CONFIG, run_dir=tmp_path / "run")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r".*draws random numbers")
        load_trial(tmp_path / "run", trial).test(verbose=False)
