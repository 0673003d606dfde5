"""How do the weights of a checkpoint come into a module that is to be used outside of a Trainer?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.data.collections import Collection
from lightning_adapter.evaluation.evaluator import Evaluator, make_layers
from lightning_adapter.evaluation.loaders import Loaders, owner_of
from lightning_adapter.loop.hooks import is_overridden
from lightning_adapter.monkey_patch import Replacement, replaced
from lightning_adapter.platform.evaluation_trainer import Weights, telling_differences
from lightning_adapter.versions import hosts, lightning_private


def load(evaluator: Evaluator, weights: Weights) -> None:
    """Load weights as `load_from_checkpoint` does; where a module needs a Trainer to make its layers, Lightning's does.

    Raises:
        CheckpointError: they do not fit.
    """
    module = evaluator.trial.lightning_module
    base = hosts.host_of(module).pl.LightningModule
    try:
        _load(evaluator, weights)
    except Exception:  # a module without its layers may fail in any way; what the Trainer makes of it is the answer
        if not any(is_overridden(name, module, base) for name in ("setup", "configure_model")):
            raise
        _load_with_setup(evaluator, weights)


def _load(evaluator: Evaluator, weights: Weights) -> None:
    module = evaluator.trial.lightning_module
    host = hosts.host_of(module)
    make_layers(module)
    saved = weights.handed_over(module, evaluator.trial.datamodule)
    if OURS not in saved:
        lightning_private.migrate_checkpoint(host, saved)
    module.on_load_checkpoint(saved)
    with telling_differences(module):
        module.load_state_dict(saved["state_dict"], strict=getattr(module, "strict_loading", True))


def _load_with_setup(evaluator: Evaluator, weights: Weights) -> None:
    """Let Lightning's Trainer set up module and data as for training, load, and do nothing else."""
    trial = evaluator.trial
    owner = owner_of(trial)
    trainer = evaluator.without_others().trainer(weights, limit_predict_batches=0, fast_dev_run=False)
    with contextlib.ExitStack() as stack:
        for each in {id(each): each for each in (trial.lightning_module, owner)}.values():
            stack.enter_context(replaced(each, setup=Replacement(_as_for_training(each.setup), each, "setup")))
        no_loaders = Loaders(_no_loaders, owner, "predict_dataloader")
        stack.enter_context(replaced(owner, predict_dataloader=no_loaders))
        stack.enter_context(telling_differences(trial.lightning_module))
        trainer.predict(
            trial.lightning_module, datamodule=trial.datamodule, ckpt_path=weights.name, return_predictions=False
        )


def _as_for_training(setup: Callable[..., Any]) -> Callable[..., None]:
    def of_fit(stage: str) -> None:
        setup(stage="fit")

    return of_fit


def _no_loaders() -> Collection:
    return []
