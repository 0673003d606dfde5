"""A trial that was trained validates, tests and predicts with its best weights, and stays as training has left it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.errors import CheckpointError, ConfigurationError
from lightning_adapter.evaluation.loading import fresh_trial

from .test_loading import LayersInSetup
from .trained import CONFIG, SEED, Data, Net, by_lightning, trained, trial_of


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> LightningAdapter:
    return trained(tmp_path_factory.mktemp("after") / "run", trial_of(data=Fixed))


class Fixed(Data):
    """Its validation set is no other in a second `setup`."""

    def setup(self, stage: str) -> None:
        torch.manual_seed(1)
        super().setup(stage)


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_numbers_are_those_of_the_best_or_the_last_weights(trial: LightningAdapter, stage: str) -> None:
    measure = getattr(trial, stage)
    best, last = (
        by_lightning(stage, Net(), Fixed(), path) for path in (trial.best_checkpoint, trial.latest_checkpoint)
    )
    assert measure(verbose=False) == measure(ckpt_path="best", verbose=False)
    assert [{k: v for k, v in one.items() if k != "worse"} for one in measure(verbose=False)] == [
        {k: v for k, v in one.items() if k != "worse"} for one in best
    ]
    assert (
        measure(ckpt_path="last", verbose=False)[0]["error" if stage == "validate" else "error/dataloader_idx_0"]
        == (last[0]["error" if stage == "validate" else "error/dataloader_idx_0"])
    )
    assert best != last
    assert measure(ckpt_path=trial.latest_checkpoint, verbose=False) == measure(ckpt_path="last", verbose=False)


def test_trial_stays_as_training_has_left_it(trial: LightningAdapter) -> None:
    module, data = trial.lightning_module, trial.datamodule
    before, trainers = copy.deepcopy(module.state_dict()), (module.trainer, data.trainer)
    metrics = dict(trial.callback_metrics)
    trial.test(verbose=False)
    predictions = trial.predict(split="val")
    assert trial.test_metrics is not None and "error/dataloader_idx_1" in trial.test_metrics
    assert predictions is not None and len(predictions) == 2
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert (module.trainer, data.trainer) == trainers and module.training
    assert trial.callback_metrics == metrics and module.trainer.global_step == 6


def test_callbacks_and_datamodule_have_the_states_of_the_checkpoint_meanwhile(tmp_path: Path) -> None:
    class Steps(pl.Callback):
        count = 0

        def on_train_batch_end(self, *args: Any) -> None:
            self.count += 1

        def on_test_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
            module.log("steps", float(self.count))
            module.log("seen", float(trainer.datamodule.seen))

        def state_dict(self) -> dict[str, Any]:
            return {"count": self.count}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.count = state["count"]

    class Seen(Fixed):
        seen = 0

        def train_dataloader(self) -> Any:
            self.seen += 1
            return super().train_dataloader()

        def test_dataloader(self) -> Any:
            return super().test_dataloader()[0]

        def state_dict(self) -> dict[str, Any]:
            return {"seen": self.seen}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.seen = state["seen"]

    steps = Steps()
    kind = trial_of(data=Seen, callbacks=[steps], reload_dataloaders_every_n_epochs=1)
    found = trained(tmp_path / "run", kind)
    as_trained = Steps()
    as_trained.count = steps.count  # Lightning restores callbacks outside of `fit` since 2.6
    best = by_lightning("test", Net(), Seen(), found.best_checkpoint, callbacks=[as_trained])
    assert found.test(verbose=False) == best and best[0]["seen"] == 1
    assert (steps.count, found.datamodule.seen) == (6, 2)
    tested = fit(kind, config=CONFIG, run_dir=tmp_path / "tested", seed=SEED, test=True)
    assert tested.test_metrics is not None and tested.test_metrics["seen"] == 1
    assert tested.datamodule.seen == 2


def test_layers_that_setup_makes_anew_are_those_of_the_training_again(tmp_path: Path) -> None:
    trial = trained(tmp_path / "run", trial_of(LayersInSetup, Fixed))
    module = trial.lightning_module
    layer, before = module.late, copy.deepcopy(module.state_dict())
    assert trial.test(verbose=False) == by_lightning("test", LayersInSetup(), Fixed(), trial.best_checkpoint)
    assert module.late is layer
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_average_of_weights_is_tested_and_not_what_was_trained(tmp_path: Path) -> None:
    if not hasattr(pl.callbacks, "EMAWeightAveraging"):
        pytest.skip("this Lightning has no such callback")
    averaging = pl.callbacks.EMAWeightAveraging(decay=0.5)
    trial = trained(tmp_path / "run", trial_of(data=Fixed, callbacks=[averaging]))
    checkpoint: Any = trial.best_checkpoint
    module = Net.load_from_checkpoint(checkpoint / "lightning.ckpt")
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    assert trial.test(verbose=False) == trainer.test(module, datamodule=Fixed(), verbose=False)


def test_trial_that_was_not_trained_is_refused() -> None:
    fresh = fresh_trial(trial_of())
    with pytest.raises(ConfigurationError, match=r"Other\.test\(\) uses what fit\(\) has trained.* load_trial\(RUN\)"):
        fresh.trial.test()  # type: ignore[attr-defined]


def test_checkpoint_that_is_not_there_is_refused(trial: LightningAdapter, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not there"):
        trial.test(ckpt_path=tmp_path / "no.ckpt")
    (tmp_path / "x.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="damaged, or no checkpoint"):
        trial.test(ckpt_path=tmp_path / "x.ckpt")


def test_best_checkpoint_of_a_cluster_is_not_here(cluster: Any) -> None:
    from lightning_adapter import fit

    with cluster(config={"searcher": {"name": "single", "metric": "worse"}}):
        trial = fit(trial_of(max_epochs=1))
    with pytest.raises(ConfigurationError, match=r"lies in the cluster's storage\. Give fit\(\.\.\., test=True\)"):
        trial.test()
    assert trial.test(ckpt_path="last", verbose=False)
