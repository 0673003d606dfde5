"""How does a trial that `fit` has trained validate, test and predict, and stays as training has left it?"""

from __future__ import annotations

import os
from typing import Any

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.evaluator import Evaluator
from lightning_adapter.evaluation.loaders import Split, Stage
from lightning_adapter.evaluation.results import merged
from lightning_adapter.evaluation.source import find
from lightning_adapter.platform.evaluation_trainer import Weights
from lightning_adapter.platform.final_test import kept_as_trained
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.trainer.late_values import Position


def evaluate(
    trial: LightningTrial,
    stage: Stage,
    dataloaders: Any,
    ckpt_path: str | os.PathLike[str] | None,
    split: Split | None,
    **given: Any,
) -> Any:
    """Run Lightning's own Trainer; of several processes all call this.

    Args:
        trial: trained.
        stage: what is done.
        dataloaders: in the place of the trial's.
        ckpt_path: "best", "last", or where a checkpoint lies; None for the best one where one is known, else the last.
        split: whose loaders are used.
        **given: to the Trainer's method.

    Raises:
        ConfigurationError: the trial is not trained, or lacks what is needed.
        CheckpointError: the checkpoint cannot be used.
    """
    driver = trial.driver
    if driver is None or (trial.latest_checkpoint is None and trial.latest_checkpoint_uuid is None):
        raise ConfigurationError(
            f"{type(trial).__name__}.{stage}() uses what fit() has trained, and this trial is not trained. Call it on the trial "
            "that fit() returns, or on load_trial(RUN)."
        )
    parts = driver.parts
    weights = _weights(trial, stage, ckpt_path)
    position = Position(parts.progress.batches_that_stepped, parts.progress.current_epoch)
    evaluator = Evaluator(
        trial,
        parts.callbacks.items,
        lambda: parts.dispatcher.loggers,
        position,
        progress_bar=False,  # where there is one, it is among the callbacks
        root=parts.trainer.default_root_dir,
        is_fresh=False,
        began=driver.data_random.state,
    )
    with kept_as_trained(parts.module, parts.datamodule, parts.callbacks.items):
        found = evaluator.run(stage, weights, dataloaders=dataloaders, split=split, **given)
    if stage == "test":
        trial.tested(merged(found))
    return found


def _weights(trial: LightningTrial, stage: Stage, ckpt_path: str | os.PathLike[str] | None) -> Weights | None:
    """Those that are asked for; None for those that the module has, the last ones."""
    last = trial.latest_checkpoint
    if ckpt_path == "last":
        return None if last is None else Weights.of(last)
    if ckpt_path is None or ckpt_path == "best":
        if last is None:
            raise ConfigurationError(
                f"{type(trial).__name__}.{stage}() uses the best checkpoint, which lies in the cluster's storage. Give "
                "fit(..., test=True) (--test) to have it tested at the end, ckpt_path='last' for the weights that training "
                "has ended with, or type lightning-adapter test EXPERIMENT on your machine."
            )
        return Weights.of(trial.best_checkpoint or last)
    return Weights.of(find(ckpt_path).checkpoint)
