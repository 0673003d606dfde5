"""What does a trial lack that is to be validated, tested, or to predict?"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

import torch

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.loaders import DEFAULT_SPLITS, Split, Stage, owner_of, source_of
from lightning_adapter.loop.hooks import is_overridden
from lightning_adapter.platform.final_test import faults_of_old_hooks
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.versions import hosts
from lightning_adapter.versions.types import LightningModule

_STEPS = {"validate": "validation_step", "test": "test_step"}
#: Splits that most trials have.
_OTHERS: tuple[Split, ...] = ("train", "val", "test")


def check(trial: LightningTrial, stage: Stage, split: Split, brings_loaders: bool) -> None:
    """Refuse what Lightning could not do.

    Args:
        trial: whose module is used.
        stage: what is done with it.
        split: which loaders.
        brings_loaders: whether loaders were given by hand.

    Raises:
        ConfigurationError: all that is missing, in one message.
    """
    faults = _faults_of_steps(trial.lightning_module, stage)
    if not brings_loaders and source_of(trial, split) is None:
        faults.append(_no_loader_of(trial, stage, split))
    if faults:
        many = f"{stage} cannot be done:\n" + "\n".join(f"- {fault}" for fault in faults)
        raise ConfigurationError(faults[0] if len(faults) == 1 else many)


def _faults_of_steps(module: LightningModule, stage: Stage) -> list[str]:
    host, name = hosts.host_of(module), type(module).__name__
    base = host.pl.LightningModule
    if stage == "predict":
        # Lightning's own `predict_step` calls `forward`
        if is_overridden("predict_step", module, base) or is_overridden("forward", module, base):
            return []
        return [
            f"{name} has no predict_step() and no forward(). Write `def predict_step(self, batch, batch_idx):` in it, which "
            "returns the predictions of a batch."
        ]
    step = _STEPS[stage]
    faults = []
    if not is_overridden(step, module, base):
        other = stage == "test" and is_overridden("validation_step", module, base)
        instead = ", or validate on the test data: lightning-adapter validate WHAT --split test" if other else ""
        faults.append(f"{name} has no {step}(). Write `def {step}(self, batch, batch_idx):` in it{instead}.")
    return faults + faults_of_old_hooks(module, "test" if stage == "test" else "validation")


@contextlib.contextmanager
def telling_missing_predict_step(module: LightningModule) -> Iterator[None]:
    """Say what to write where Lightning's own `predict_step`, which gives `forward` the whole batch, fails within the block.

    Raises:
        ConfigurationError: it does.
    """
    base = hosts.host_of(module).pl.LightningModule
    try:
        yield
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        step = next((frame for frame in frames if frame.f_code is base.predict_step.__code__), None)
        # a batch that is a tensor is what `forward` is meant for: the error is its own
        if step is None or isinstance(step.f_locals.get("batch"), torch.Tensor):
            raise
        name = type(module).__name__
        raise ConfigurationError(
            f"{name} has no predict_step(), so Lightning has called forward() with the whole batch, which ended with "
            f"{type(error).__name__}: {error}. Write `def predict_step(self, batch, batch_idx):` in {name}, which gives "
            "forward() what it takes of a batch, and returns the predictions."
        ) from error


def no_loader(trial: LightningTrial, split: Split) -> str:
    """What to write where nobody makes the loaders of a split."""
    return f"{type(owner_of(trial)).__name__} has no {split}_dataloader(). Write one that returns the DataLoader of that data"


def _no_loader_of(trial: LightningTrial, stage: Stage, split: Split) -> str:
    fault = no_loader(trial, split)
    others = [other for other in _OTHERS if other != split and source_of(trial, other) is not None]
    if split == DEFAULT_SPLITS[stage] and others:
        options = " or ".join(f"--split {other} (split='{other}')" for other in others)
        return f"{fault}, or take the loaders of another split: {options}."
    return f"{fault}."
