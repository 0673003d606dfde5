"""What does a study do whose trials are trained by two processes? Started by torchrun; rank 0 writes down what it has found.

The way of Optuna's own examples: the first process has the study, and the others follow, with the same trial.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import optuna
import pytorch_lightning as pl
import torch
from optuna_integration import PyTorchLightningPruningCallback, TorchDistributedTrial
from torch import distributed as dist
from torch.utils.data import DataLoader, TensorDataset

from lightning_adapter import DETLM, LightningAdapter, fit

TRIALS = 3
FOLDER = pathlib.Path(sys.argv[1])
STORAGE = f"sqlite:///{FOLDER / 'study.db'}"
RUN: dict[str, Any] = {
    "max_epochs": 3,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "log_every_n_steps": 2,
    "num_sanity_val_steps": 0,
}


class Net(DETLM):
    def __init__(self, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.3), torch.nn.Linear(3, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layers(batch[0]).pow(2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", (self.layers(batch[0]) - 1).pow(2).mean(), sync_dist=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)

    def train_dataloader(self) -> Any:
        inputs = torch.randn(16, 3, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(inputs), batch_size=4, shuffle=True)

    def val_dataloader(self) -> Any:
        inputs = torch.randn(16, 3, generator=torch.Generator().manual_seed(2))
        return DataLoader(TensorDataset(inputs), batch_size=4)


class Third(optuna.pruners.BasePruner):
    """Prunes the third trial at its second validation."""

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        return trial.number == 2 and bool(trial.last_step)


class Judge(pl.Callback):
    """Ends the trial in all processes by the exception itself."""

    def __init__(self, trial: TorchDistributedTrial) -> None:
        self.trial = trial

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.trial.report(trainer.callback_metrics["val_loss"].item(), trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def by_lightning(module: Any, callback: Any) -> Any:
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", enable_checkpointing=False, callbacks=[callback], **RUN
    )
    trainer.fit(module)
    return trainer


def by_fit(module: Any, callback: Any) -> Any:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, module, callbacks=[callback], **RUN)

    return fit(Trial, name="study")


def told_by_callback(train: Any, single: Any) -> float:
    """With Optuna's callback: all processes hold the trial, by its number in the database."""
    shared: list[Any] = [None if single is None else (single.study.study_name, single._trial_id)]
    dist.broadcast_object_list(shared, 0)
    name, number = shared[0]
    trial = single or optuna.Trial(optuna.load_study(study_name=name, storage=STORAGE), number)
    pl.seed_everything(trial.number)
    callback = PyTorchLightningPruningCallback(trial, "val_loss")
    trained = train(Net(0.1), callback)
    dist.barrier()
    if single is not None:
        callback.check_pruned()
    return float(trained.callback_metrics["val_loss"])


def told_by_all(train: Any, single: Any) -> float:
    """With a trial that talks to all processes."""
    trial = TorchDistributedTrial(single)
    pl.seed_everything(trial.number)
    trained = train(Net(trial.suggest_float("lr", 0.01, 0.1)), Judge(trial))
    return float(trained.callback_metrics["val_loss"])


def study(objective: Any, train: Any) -> Any:
    """What a study finds; nothing in the processes that follow."""
    if dist.get_rank() != 0:
        for _ in range(TRIALS):
            try:
                objective(train, None)
            except optuna.TrialPruned:
                continue
        return None
    sampler = optuna.samplers.RandomSampler(seed=1)
    found = optuna.create_study(storage=STORAGE, pruner=Third(), sampler=sampler)
    found.optimize(lambda trial: objective(train, trial), n_trials=TRIALS)
    return [[t.state.name, t.value, t.params, list(t.intermediate_values.items())] for t in found.trials]


dist.init_process_group("gloo")
results = {
    each.__name__: [study(each, train) for train in (by_lightning, by_fit)] for each in (told_by_callback, told_by_all)
}
if dist.get_rank() == 0:
    (FOLDER / "results.json").write_text(json.dumps(results))
print(f"rank {dist.get_rank()} is through", flush=True)
