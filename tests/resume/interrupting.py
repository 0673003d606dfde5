"""Does a run that was interrupted, and resumed, end as the run that was not? One call trains, resumes and compares.

`follow` trains a case once, with a checkpoint after every optimizer step, and notes at each checkpoint how far the
recording was. `Followed.resume(batches)` continues from one of these checkpoints in a fresh trial, with another random
state than the first run had, and fails where what it does from there on differs from what the first run did: hooks with
their arguments and what they see, weights after every batch, metrics, what loggers are told, random states, the final
state of module, optimizers and schedulers. All of it bit for bit.
"""

from __future__ import annotations

import dataclasses
import importlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from determined import pytorch

from parity.harness import (
    PACKAGE,
    SECTIONS,
    Case,
    Entry,
    Run,
    assemble,
    conclude,
    describe,
    differences,
    is_datamodule,
    quiet,
)

pl = importlib.import_module(PACKAGE)
FACE = importlib.import_module("lightning_adapter" if PACKAGE == "pytorch_lightning" else "lightning_adapter.lightning")
SEED = 11
KEEP_ALL = {"checkpoint_storage": {"save_trial_latest": 1000}}


class Marks(pl.Callback):
    """Notes how much was recorded when a checkpoint was made."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.at: dict[int, dict[str, int]] = {}

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Any) -> None:
        self.at[trainer.fit_loop.total_batch_idx + 1] = {name: len(getattr(self.run, name)) for name in SECTIONS}


@dataclasses.dataclass
class Trained:
    """One run of a case, and the trial that it left."""

    run: Run
    trial: Any
    marks: Marks
    folder: Path

    def checkpoint_at(self, batches: int) -> Path:
        return {item.steps_completed: item.path for item in _stored(self.folder)}[batches]

    @property
    def interruption_points(self) -> list[int]:
        return [item.steps_completed for item in _stored(self.folder)]


def _stored(folder: Path) -> Any:
    return importlib.import_module("lightning_adapter.runs.store").stored_checkpoints(folder / "checkpoints")


def case_of(
    build: Callable[[], Any], data: Callable[[], Any] | None = None, trace: bool = True, **arguments: Any
) -> Case:
    """A case of the parity suite: the same models, arguments and recorders."""
    return Case(build, data, arguments, SEED, trace, None)


def train(case: Case, folder: Path, seed: int | None = SEED, **options: Any) -> Trained:
    """Train a case with the adapter; `options` are those of `fit`."""
    run = Run("resumed" if "resume_from" in options else "uninterrupted")
    marks = Marks(run)
    loaders: list[Any] = []

    class Trial(FACE.LightningAdapter):
        def __init__(self, context: Any) -> None:
            parts = assemble(case, run)
            loaders[:] = [] if parts.data is None or is_datamodule(parts.data) else list(parts.data)
            self.callbacks = parts.callbacks
            parts.arguments["callbacks"].append(marks)
            super().__init__(
                context, parts.module, parts.data if is_datamodule(parts.data) else None, **parts.arguments
            )

    class TrialWithLoader(Trial):
        def build_training_data_loader(self) -> Any:
            return loaders[0]

    made = None if case.data is None else case.data()
    trial_class = Trial if made is None or is_datamodule(made) else TrialWithLoader
    with quiet():
        trial = FACE.fit(trial_class, config=KEEP_ALL, seed=seed, run_dir=folder, **options)
        module = trial.lightning_module
        conclude(case, run, module, module.trainer, trial.callbacks, trial.callback_metrics)
        trainer = module.trainer
        optimizers = [describe(optimizer.state_dict()) for optimizer in trainer.optimizers]
        schedulers = [describe(config.scheduler.state_dict()) for config in trainer.lr_scheduler_configs]
        callbacks = {callback.state_key: describe(callback.state_dict()) for callback in trial.callbacks}
        run.final += [
            Entry("optimizers", {str(index): state for index, state in enumerate(optimizers)}),
            Entry("schedulers", {str(index): state for index, state in enumerate(schedulers)}),
            Entry("callbacks", callbacks),
            Entry("scaler", describe(trial.driver.parts.precision.state_dict())),
        ]
    return Trained(run, trial, marks, folder)


def follow(case: Case, folder: Path, **options: Any) -> Trained:
    """Train a case to its end with a checkpoint after every optimizer step."""
    return train(case, folder / "uninterrupted", checkpoint_period=pytorch.Batch(1), **options)


def spoil_random_state() -> None:
    """A new process has another random state than the interrupted one had."""
    torch.manual_seed(987)
    np.random.seed(987)
    random.seed(987)


def assert_resumes(
    case: Case, reference: Trained, batches: int, resume_from: Path | None = None, **options: Any
) -> None:
    """Resume after so many batches, and compare everything from there on with the uninterrupted run.

    `resume_from` is another place to resume from than the uninterrupted run's own checkpoint.
    """
    spoil_random_state()
    folder = reference.folder.with_name(f"resumed-at-{batches}")
    resumed = train(case, folder, seed=None, resume_from=resume_from or reference.checkpoint_at(batches), **options)
    expected, found = Run("uninterrupted"), Run("resumed")
    for name in SECTIONS:
        tail = _later(getattr(reference.run, name)[0 if name == "final" else reference.marks.at[batches][name] :])
        entries = _later(getattr(resumed.run, name))
        start = max(0, len(entries) - len(tail))
        setattr(expected, name, tail)
        setattr(found, name, entries[start:])
        if name == "trace":
            expected.trace, found.trace = _without_old_gradients(tail), _without_old_gradients(entries[start:])
        if name == "trace":
            odd = [entry.label for entry in entries[:start] if not _is_start_up(entry.label)]
            assert not odd, f"resumed at batch {batches}, hooks were called once more: {odd}"
    text = differences(expected, found)
    assert not text, f"resumed at batch {batches} of {reference.interruption_points[-1]}:\n{text}"


def _without_old_gradients(trace: list[Entry]) -> list[Entry]:
    """The trace without the gradients of the step before the checkpoint: nobody saves those that were used up."""
    labels = [entry.label for entry in trace]
    first = labels.index("module.on_train_batch_end") if "module.on_train_batch_end" in labels else len(labels)
    return [
        Entry(entry.label, {**entry.facts, "grads": "old"}) if index < first else entry
        for index, entry in enumerate(trace)
    ]


def _later(entries: list[Entry]) -> list[Entry]:
    """The entries without requests for loaders: after a resume these come when training starts."""
    return [entry for entry in entries if "_dataloader" not in entry.label]


_START_UP = ("prepare_data", "setup", "configure_", "on_fit_start", "on_train_start")


def _is_start_up(label: str) -> bool:
    return any(part in label for part in _START_UP)
