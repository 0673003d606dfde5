"""A script of Optuna's around `fit()` finds what it finds around Lightning's Trainer: values, prunings, a clean process."""

from __future__ import annotations

import csv
import gc
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import pytorch_lightning as pl
import torch
from optuna.storages import RetryHeartbeatStaleTrialCallback as Retried
from optuna_integration import PyTorchLightningPruningCallback
from torch.utils.data import DataLoader, TensorDataset

from distributed.launching import ended, started
from lightning_adapter import DETLM, LightningAdapter, fit
from lightning_adapter.runs import record
from lightning_adapter.runs.listing import runs_below
from two_ways import trial_of

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


def objective(train: Callable[..., Any], monitor: str = "val_loss", epochs: int = 3, **more: Any) -> Objective:
    """As Optuna's example has it: suggestions into the module, the callback into the trainer, the value out of it."""

    def run(trial: optuna.Trial) -> float:
        pl.seed_everything(trial.number)
        module = Net(trial.suggest_float("lr", 1e-3, 1e-1, log=True), trial.suggest_int("width", 2, 5), **more)
        callback = PyTorchLightningPruningCallback(trial, monitor=monitor)
        trainer = train(module, max_epochs=epochs, callbacks=[callback])
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


def test_run_that_a_study_has_pruned_is_recorded_as_pruned_with_the_values_it_was_pruned_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = studied(objective(by_fit), trials=3)
    runs = runs_below(Path("runs"))
    assert [run.status for run in runs] == ["finished", "finished", "pruned"]
    found = record.read(runs[-1].path)
    assert found is not None and found["error"] == "Trial was pruned at epoch 1."
    with (runs[-1].path / "metrics.csv").open() as file:
        values = [float(row["val_loss"]) for row in csv.DictReader(file) if row["kind"] == "validation"]
    assert values == list(told[-1][3].values())
    assert found["metrics"]["val_loss"] == told[-1][1]
    assert "Traceback" not in "".join(capsys.readouterr())


# --- what else scripts do around it ------------------------------------------------------------------------------------


class Mixed(PyTorchLightningPruningCallback, pl.Callback):
    """Of both packages, as scripts have it whose modules are pytorch_lightning's."""


class OfEarlyStopping(pl.callbacks.EarlyStopping):
    """As older scripts have it, with a step of their own."""

    def __init__(self, trial: optuna.Trial, monitor: str) -> None:
        super().__init__(monitor=monitor)
        self._trial = trial

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._trial.report(trainer.callback_metrics[self.monitor], step=trainer.global_step)
            if self._trial.should_prune():
                raise optuna.TrialPruned


class InTraining(pl.Callback):
    """Judges by what training logs, after each epoch of it."""

    def __init__(self, trial: optuna.Trial, monitor: str) -> None:
        self._trial = trial

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._trial.report(trainer.callback_metrics["loss"].item(), trainer.current_epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


class Judge(Net):
    """Takes its sizes from the trial, which is a hyperparameter too, and judges itself."""

    def __init__(self, trial: optuna.Trial) -> None:
        super().__init__(trial.suggest_float("lr", 1e-3, 1e-1), trial.suggest_categorical("width", [2, 3]))
        self.save_hyperparameters()
        self.trial = trial

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.trial.report(self.trainer.callback_metrics["val_loss"].item(), self.current_epoch)
            if self.trial.should_prune():
                raise optuna.TrialPruned


def own_objective(kind: Any, train: Callable[..., Any]) -> Objective:
    def run(trial: optuna.Trial) -> float:
        pl.seed_everything(trial.number)
        judge = issubclass(kind, pl.LightningModule)
        module = kind(trial) if judge else Net(trial.suggest_float("lr", 1e-3, 1e-1))
        try:
            train(module, max_epochs=3, callbacks=[] if judge else [kind(trial, "val_loss")])
        except optuna.TrialPruned:  # what it has trained until then is still of use
            trial.set_user_attr("norm", sum(weight.norm().item() for weight in module.parameters()))
            raise
        return float(module.trainer.callback_metrics["val_loss"])

    return run


@pytest.mark.parametrize("kind", [Mixed, OfEarlyStopping, InTraining, Judge])
def test_pruning_of_ones_own_is_that_of_lightning(kind: Any) -> None:
    found = []
    for train in (by_lightning, by_fit):
        study = optuna.create_study(pruner=EachThird(), sampler=optuna.samplers.RandomSampler(seed=1))
        study.optimize(own_objective(kind, train), n_trials=3)
        found.append([(t.state.name, t.value, t.params, t.intermediate_values, t.user_attrs) for t in study.trials])
    assert found[0] == found[1]
    assert [trial[0] for trial in found[1]] == ["COMPLETE", "COMPLETE", "PRUNED"]


def test_log_of_a_pruned_trial_has_its_last_validation_and_no_traceback() -> None:
    def run(trial: optuna.Trial) -> float:
        by_fit(Net(0.1), max_epochs=2, num_sanity_val_steps=0, callbacks=[Pruned()])
        return 0.0

    class Pruned(pl.Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            raise optuna.TrialPruned("worse than others")

    assert [trial[0] for trial in studied(run, trials=1)] == ["PRUNED"]
    (log,) = Path("runs").glob("*/2*/train.log")
    *_, validated, ended = log.read_text().splitlines()
    assert "epoch 1/2  batch " in validated and "val_loss" in validated
    assert ended.endswith(" a study has pruned the run: worse than others")


def test_trial_that_fails_is_the_studys_to_catch_and_the_next_one_trains() -> None:
    class Broken(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("out of memory")

    def run(trial: optuna.Trial) -> float:
        module = Broken(0.1) if trial.number == 0 else Net(0.1)
        return float(by_fit(module, max_epochs=1).callback_metrics["val_loss"])

    assert [trial[0] for trial in studied(run, trials=2, catch=(RuntimeError,))] == ["FAIL", "COMPLETE"]
    assert [run.status for run in runs_below(Path("runs"))] == ["failed", "finished"]


def test_trial_whose_process_was_killed_goes_on_in_its_directory_when_it_is_retried() -> None:
    class Killed(pl.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                raise SystemExit  # Optuna lets it through, and the trial is left as it is

    def run(trial: optuna.Trial) -> float:
        pl.seed_everything(1)
        first = Retried.retried_trial_number(study.trials[trial.number])
        module, directory = Net(trial.suggest_float("lr", 1e-3, 1e-1)), Path(f"trial-{first or 0}")
        trial_class = trial_of(module, max_epochs=4, callbacks=[Killed()] if first is None and kills else [], **QUIET)
        resumed = directory if first is not None else None
        trained = fit(trial_class, run_dir=directory if kills else "whole", resume_from=resumed)
        return float(trained.callback_metrics["val_loss"])

    values = []
    for kills in (False, True):
        callback = Retried(max_retry=1)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        if kills:
            with pytest.raises(SystemExit):
                study.optimize(run, n_trials=1)
            callback(study, study.trials[0])  # as a later process does, once the trial's heart beats no longer
        study.optimize(run, n_trials=1)
        values.append(study.trials[-1].value)
    assert values[0] == values[1]


# --- the process --------------------------------------------------------------------------------------------------------


def state_of_process() -> dict[str, Any]:
    """What a run may change in a process, and has to leave as it was."""
    gc.collect()
    loggers = [logging.getLogger(name) for name in (None, "lightning_adapter", "determined", "pytorch_lightning")]
    return {
        "files": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None,
        "threads": threading.active_count(),
        "workers": len(multiprocessing.active_children()),
        "handlers": [(len(log.handlers), log.level) for log in loggers],
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "hook": sys.excepthook,
        "variables": {name: value for name, value in os.environ.items() if name != "PL_GLOBAL_SEED"},
        "threads of torch": torch.get_num_threads(),
    }


@pytest.mark.parametrize("workers", [0, 1])
def test_study_of_many_trials_leaves_the_process_as_its_first_ones_did(workers: int) -> None:
    alive: list[weakref.ref[Any]] = []

    def noted(module: Any, **arguments: Any) -> Any:
        alive.append(weakref.ref(module))
        return by_fit(module, **arguments)

    run = objective(noted, epochs=2, workers=workers)
    studied(run, trials=3)
    before = state_of_process()
    studied(run, trials=3 if workers else 20)
    assert state_of_process() == before
    assert not [each for each in alive if each() is not None]


def test_trials_in_two_threads_are_those_of_one_and_have_directories_of_their_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Drawn(Net):
        """Draws nothing, since threads share the random state."""

        def __init__(self, lr: float) -> None:
            super().__init__(lr)
            self.layers = torch.nn.Linear(3, 1)
            for parameter in self.layers.parameters():
                torch.nn.init.constant_(parameter, 0.5)

        def train_dataloader(self) -> Any:
            return self.val_dataloader()

    def run(trial: optuna.Trial) -> float:
        callback = PyTorchLightningPruningCallback(trial, monitor="val_loss")
        module = Drawn(0.01 * (trial.number + 1))
        return float(by_fit(module, max_epochs=3, callbacks=[callback]).callback_metrics["val_loss"])

    caplog.set_level(logging.INFO, "lightning_adapter")
    found = [studied(run, trials=6, n_jobs=jobs) for jobs in (1, 2)]
    assert found[0] == found[1]
    runs = runs_below(Path("runs"))
    assert [run.status for run in runs].count("pruned") == 4 and len(runs) == 12
    for each in runs:
        assert (each.path / "train.log").read_text().count("INFO lightning_adapter: Trial writes to ") == 1


def test_runs_that_begin_in_one_second_have_each_a_directory_of_its_own(project: Path) -> None:
    code = (
        "import sys\nfrom lightning_adapter.runs.directory import RunDirectory\n"
        "for _ in range(20):\n    run = RunDirectory.create('study'); print(run.path); run.close()"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = [line for job in jobs for line in job.communicate(timeout=60)[0].splitlines()]
    assert [job.returncode for job in jobs] == [0, 0]
    assert len(paths) == len(set(paths)) == 40
    assert (project / "runs/study/latest").resolve().is_dir()


@pytest.mark.multiprocess
@pytest.mark.slow
def test_trials_of_two_processes_are_those_of_lightnings_ddp(project: Path) -> None:
    log = project / "job.log"
    with started("torch", log, str(Path(__file__).with_name("optuna_job.py")), project) as job:
        printed = ended(job, log, 200)
    assert job.returncode == 0 and printed.count("is through") == 2, printed[-4000:]
    for kind, (theirs, ours) in json.loads((project / "results.json").read_text()).items():
        assert ours == theirs, kind
        assert [trial[0] for trial in ours] == ["COMPLETE", "COMPLETE", "PRUNED"], kind
    # Optuna's callback lets such a run end in order, and says so afterwards
    assert sorted(run.status for run in runs_below(Path("runs"))) == [*["finished"] * 5, "pruned"]
