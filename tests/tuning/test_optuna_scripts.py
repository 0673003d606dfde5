"""A script of Optuna's around `fit()` finds what it finds around Lightning's Trainer: values, prunings, a clean process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import pytorch_lightning as pl
import torch
from optuna_integration import PyTorchLightningPruningCallback
from torch.utils.data import DataLoader, TensorDataset

from lightning_adapter import DETLM, LightningAdapter, fit
from lightning_adapter.runs import record
from lightning_adapter.runs.listing import runs_below

Objective = Callable[[optuna.Trial], float]
Told = list[tuple[str, Any, dict[str, Any], dict[int, float]]]

QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 2, "num_sanity_val_steps": 2}


@pytest.fixture(autouse=True)
def quiet(project: Path) -> Iterator[None]:
    """Runs lie below the test's own directory, and Optuna tells of no trial."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(level)


class Net(DETLM):
    """A regression whose loss depends on what is suggested, and on what is drawn."""

    def __init__(self, lr: float, width: int = 4, workers: int = 0) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Dropout(0.3), torch.nn.Linear(width, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self._loss("loss", batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._loss("val_loss", batch)

    def _loss(self, name: str, batch: Any) -> Any:
        loss = (self.layers(batch[0]) - batch[0].sum(1, keepdim=True)).pow(2).mean()
        self.log(name, loss)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

    def train_dataloader(self) -> Any:
        inputs = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(inputs), batch_size=4, shuffle=True, num_workers=self.hparams.workers)

    def val_dataloader(self) -> Any:
        inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(2))
        return DataLoader(TensorDataset(inputs), batch_size=4, num_workers=self.hparams.workers)


def by_lightning(module: Any, **arguments: Any) -> Any:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **{**QUIET, **arguments})
    trainer.fit(module)
    return trainer


def by_fit(module: Any, **arguments: Any) -> Any:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, module, logger=False, **{**QUIET, **arguments})

    return fit(Trial, name="study")


class EachThird(optuna.pruners.BasePruner):
    """Prunes each third trial at its second validation."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.number % 3 == 2 and bool(trial.last_step)


def objective(train: Callable[..., Any], monitor: str = "val_loss", **more: Any) -> Objective:
    """As Optuna's example has it: suggestions into the module, the callback into the trainer, the value out of it."""

    def run(trial: optuna.Trial) -> float:
        pl.seed_everything(trial.number)
        module = Net(trial.suggest_float("lr", 1e-3, 1e-1, log=True), trial.suggest_int("width", 2, 5), **more)
        callback = PyTorchLightningPruningCallback(trial, monitor=monitor)
        trainer = train(module, max_epochs=3, callbacks=[callback])
        return float(trainer.callback_metrics["val_loss"].item())

    return run


def studied(run: Objective, trials: int = 6, pruner: Any = None, **options: Any) -> Told:
    study = optuna.create_study(
        pruner=pruner or EachThird(), sampler=optuna.samplers.TPESampler(seed=3, n_startup_trials=4)
    )
    study.optimize(run, n_trials=trials, **options)
    return [(trial.state.name, trial.value, trial.params, trial.intermediate_values) for trial in study.trials]


@pytest.mark.parametrize(
    "pruner",
    [EachThird(), optuna.pruners.MedianPruner(n_startup_trials=2), optuna.pruners.NopPruner()],
    ids=lambda it: type(it).__name__,
)
def test_study_has_the_trials_that_it_has_around_lightnings_trainer(pruner: Any) -> None:
    theirs, ours = (studied(objective(train), pruner=pruner) for train in (by_lightning, by_fit))
    assert ours == theirs
    assert ("PRUNED" in [trial[0] for trial in ours]) == (not isinstance(pruner, optuna.pruners.NopPruner))


def test_metric_that_is_not_logged_is_warned_about_as_under_lightning() -> None:
    said = []
    for train in (by_lightning, by_fit):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            told = studied(objective(train, monitor="accuracy"), trials=1)
        assert told[0][0] == "COMPLETE" and told[0][3] == {}
        said.append([str(each.message) for each in caught if "accuracy" in str(each.message)])
    assert said[0] == said[1] and len(said[1]) == 3


def test_run_that_a_study_has_pruned_is_recorded_as_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    studied(objective(by_fit), trials=3)
    runs = runs_below(Path("runs"))
    assert [run.status for run in runs] == ["finished", "finished", "pruned"]
    found = record.read(runs[-1].path)
    assert found is not None and found["error"] == "Trial was pruned at epoch 1."
    assert "Traceback" not in "".join(capsys.readouterr())
