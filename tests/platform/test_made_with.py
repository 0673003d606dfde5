"""Which hyperparameters and which seed does a run take from the checkpoint that it begins with?"""

from __future__ import annotations

import logging
import pathlib
from typing import Any

import pytest
import torch
from determined import pytorch

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.checkpoints.file import FILE
from lightning_adapter.errors import CheckpointError
from lightning_adapter.platform.made_with import FromCheckpoint, made_with
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)
RANGE = {"type": "double", "minval": 0, "maxval": 1}


class Reads(LightningAdapter):
    """Keeps its hyperparameters, and what was drawn when it was made."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.values = dict(context.get_hparams())
        self.drawn = float(torch.rand(()))
        super().__init__(context, models.Net(), models.Data(), max_epochs=1, enable_model_summary=False)


@pytest.fixture
def checkpoint(tmp_path: pathlib.Path) -> pathlib.Path:
    """Of a run with some hyperparameters and the seed 3."""
    first = fit(Reads, hparams={"lr": 0.5, "net": {"width": 8, "depth": 2}}, seed=3, run_dir=tmp_path / "first")
    assert first.latest_checkpoint is not None
    return first.latest_checkpoint


def test_checkpoint_holds_hyperparameters_and_seed(checkpoint: pathlib.Path) -> None:
    saved = torch.load(checkpoint / FILE, weights_only=True)

    made = made_with(saved)
    assert {"torch", "numpy", "python", "generators"} == made.pop("data_random").keys()
    assert made == {"hyperparameters": {"lr": 0.5, "net": {"width": 8, "depth": 2}}, "seed": 3}


def test_what_nobody_gives_is_taken_when_a_run_is_resumed(
    checkpoint: pathlib.Path, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"hyperparameters": {"lr": RANGE, "net": {"width": 8}}}
    trial = fit(Reads, config=config, resume_from=checkpoint, max_epochs=2, run_dir=tmp_path / "second")

    assert trial.values == {"lr": 0.5, "net": {"width": 8, "depth": 2}}
    assert trial.drawn == float(torch.rand((), generator=torch.Generator().manual_seed(3)))
    assert "not given, and so taken from the checkpoint: lr=0.5, net.depth=2, seed 3" in caplog.messages


def test_without_any_configuration_all_of_it_is_taken(checkpoint: pathlib.Path, tmp_path: pathlib.Path) -> None:
    trial = fit(Reads, warm_start_from=checkpoint, run_dir=tmp_path / "second")

    assert trial.values == {"lr": 0.5, "net": {"width": 8, "depth": 2}}


def test_run_that_takes_weights_alone_is_seeded_by_nobody(checkpoint: pathlib.Path, tmp_path: pathlib.Path) -> None:
    trial = fit(Reads, warm_start_from=checkpoint, run_dir=tmp_path / "second")

    assert trial.drawn != float(torch.rand((), generator=torch.Generator().manual_seed(3)))


def test_another_seed_of_the_configuration_wins_with_a_word(
    checkpoint: pathlib.Path, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"reproducibility": {"experiment_seed": 4}}
    trial = fit(Reads, config=config, resume_from=checkpoint, max_epochs=2, run_dir=tmp_path / "second")

    assert trial.context.get_trial_seed() == 4
    assert any("seeded with 3, and experiment_seed is 4" in line and "--seed 3" in line for line in caplog.messages)


def test_what_is_taken_and_read_by_nobody_is_no_mistake_of_the_users(
    checkpoint: pathlib.Path, tmp_path: pathlib.Path, recwarn: pytest.WarningsRecorder
) -> None:
    class ReadsNothing(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            super().__init__(context, models.Net(), models.Data(), max_epochs=1, enable_model_summary=False)

    fit(ReadsNothing, warm_start_from=checkpoint, hparams={"lr": 1.0}, run_dir=tmp_path / "second")

    (told,) = [str(each.message) for each in recwarn if "read no hyperparameter" in str(each.message)]
    assert told.endswith(": lr")


KEPT = {"lr": 0.5, "net": {"width": 8, "kind": {"a": 1}}}


@pytest.mark.parametrize(
    ("spec", "given", "overrides", "added"),
    [
        ({}, {}, KEPT, [("lr",), ("net", "width"), ("net", "kind", "a")]),
        ({"lr": 1.0, "net": {"width": 4, "kind": {"a": 1}}}, {}, {}, []),
        ({"lr": RANGE, "net": {"width": {"type": "const", "val": 8}, "kind": {"a": 1}}}, {}, {"lr": 0.5}, []),
        ({"lr": RANGE}, {"lr": 2.0, "net": {"width": 1}}, {"lr": 2.0, "net": {"width": 1, "kind": {"a": 1}}}, None),
        (
            {"lr": 1, "net": {"width": 1, "kind": {"type": "categorical", "vals": [1]}}},
            {},
            {"net": {"kind": {"a": 1}}},
            None,
        ),
        ({"lr": 1, "net": 7}, {}, {}, []),
        ({"lr": 1}, {"net": 7}, {"net": 7}, []),
    ],
    ids=["nothing given", "all given", "range", "typed", "range of groups", "no group any more", "typed over a group"],
)
def test_given_values_win_and_the_rest_is_taken(spec: Any, given: Any, overrides: Any, added: Any) -> None:
    found = FromCheckpoint(KEPT, spec, given)

    assert found.overrides == overrides
    assert added is None or found.added == added


def test_values_that_differ_are_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    FromCheckpoint(KEPT, {"lr": 1.0, "net": {"width": {"type": "const", "val": 4}, "kind": {"a": 1}}}, {}).tell(None)

    assert caplog.messages == [
        "the configuration has other values than the checkpoint, and wins: lr 1.0, there 0.5; net.width 4, there 8"
    ]


def test_checkpoint_of_lightning_says_nothing() -> None:
    assert made_with({"state_dict": {}}) == {}


def test_checkpoint_with_hyperparameters_of_no_use_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"lightning_adapter\['hyperparameters'\] is 7, not a dict"):
        made_with({OURS: {"hyperparameters": 7}})
