"""How is a run put back where a checkpoint was written, by this package or by Lightning's Trainer?"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from lightning_adapter.checkpoints.content import OURS, Saveable
from lightning_adapter.checkpoints.file import LEFT_OUT
from lightning_adapter.checkpoints.plain_data import with_constructed
from lightning_adapter.errors import CheckpointError
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.types import LightningModule


def batches_trained(checkpoint: Mapping[str, Any]) -> int:
    """Batches trained when a checkpoint was written, by this package or by Lightning's Trainer."""
    if OURS in checkpoint:
        return int(checkpoint[OURS]["batches"]["total"]["ready"])
    return int(_fit_loop(checkpoint)["epoch_loop.batch_progress"]["total"]["processed"])


def _fit_loop(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The counters in a checkpoint of Lightning's Trainer.

    Raises:
        CheckpointError: it has none; those that hold weights only do not.
    """
    loops: Mapping[str, Any] = checkpoint.get("loops", {}).get("fit_loop", {})
    if not loops or "optimizer_states" not in checkpoint:
        raise CheckpointError(
            "The checkpoint holds weights only: neither this package nor Lightning's fit() wrote it. Use warm_start_from "
            "to take its weights."
        )
    return loops


def check_fits(module: LightningModule, state: Mapping[str, Any]) -> None:
    """Compare saved weights with the module before any of them is loaded.

    Raises:
        CheckpointError: names what is missing, unexpected or of another shape.
    """
    own = module.state_dict()
    strict = getattr(module, "strict_loading", True)
    faults = []
    if strict:
        faults += [f"- {name} is in the module, not in the checkpoint" for name in own if name not in state]
        faults += [f"- {name} is in the checkpoint, not in the module" for name in state if name not in own]
    for name in own.keys() & state.keys():
        ours, theirs = getattr(own[name], "shape", None), getattr(state[name], "shape", None)
        if ours != theirs:
            faults.append(
                f"- {name} has shape {tuple(theirs or ())} in the checkpoint, {tuple(ours or ())} in the module"
            )
    if faults:
        raise CheckpointError(
            f"The checkpoint is of another model than {type(module).__name__}:\n" + "\n".join(sorted(faults))
        )


def restore_weights(parts: Saveable, checkpoint: dict[str, Any], weights_only: bool) -> None:
    """Restore module, datamodule and callbacks, as `_restore_modules_and_callbacks` before `configure_optimizers`.

    Args:
        parts: the run.
        checkpoint: what the file holds.
        weights_only: leave datamodule and callbacks as they are.

    Raises:
        CheckpointError: the weights are of another model.
    """
    hooks, module, datamodule = parts.hooks, parts.module, parts.datamodule
    if OURS not in checkpoint:
        lightning_private.migrate_checkpoint(parts.host, checkpoint)
    hooks.call_module("on_load_checkpoint", _with_what_was_left_out(parts, checkpoint))
    check_fits(module, checkpoint["state_dict"])
    module.load_state_dict(checkpoint["state_dict"], strict=getattr(module, "strict_loading", True))
    if weights_only:
        return
    name = type(datamodule).__qualname__
    if datamodule is not None and name in checkpoint:
        hooks.call_data("load_state_dict", with_constructed(checkpoint, (name,), checkpoint[name], datamodule))
    _warn_of_missing_callbacks(parts, checkpoint.get("callbacks", {}))
    hooks.call_callbacks("on_load_checkpoint", checkpoint)
    _load_callbacks(parts, checkpoint)


def _with_what_was_left_out(parts: Saveable, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint with the keys of the module's own that the file could not hold, as the module makes them now."""
    if not checkpoint.get(LEFT_OUT):
        return checkpoint
    made = dict(checkpoint)
    lightning_private.dump_hyperparameters(made, parts.module, parts.datamodule)
    parts.hooks.call_module("on_save_checkpoint", made)
    return {**checkpoint, **{key: made[key] for key in checkpoint[LEFT_OUT] if key in made}}


def _warn_of_missing_callbacks(parts: Saveable, states: Mapping[str, Any]) -> None:
    """As `_call_callbacks_on_load_checkpoint`."""
    missing = states.keys() - {callback.state_key for callback in parts.callbacks.items}
    if missing:
        parts.host.warn(
            "Be aware that when using `ckpt_path`,"
            " callbacks used to create the checkpoint need to be provided during `Trainer` instantiation."
            f" Please add the following callbacks: {list(missing)}."
        )


def _load_callbacks(parts: Saveable, checkpoint: Mapping[str, Any]) -> None:
    states = checkpoint.get("callbacks", {})
    for callback in parts.callbacks.items:
        key = callback.state_key
        if key in states:
            callback.load_state_dict(
                with_constructed(checkpoint, ("callbacks", key), copy.deepcopy(states[key]), callback)
            )


def restore_callbacks(parts: Saveable, saved: Mapping[str, Any]) -> None:
    """Restore callbacks and schedulers from a checkpoint of Determined's own Trainer."""
    _load_callbacks(parts, {"callbacks": saved["states"]})
    for config, state in zip(parts.lr_schedulers, saved["schedulers"], strict=True):
        config.scheduler.load_state_dict(copy.deepcopy(state))


def restore_optimizers(parts: Saveable, checkpoint: Mapping[str, Any]) -> None:
    """Restore optimizers, schedulers and scaler, as `restore_training_state`.

    Raises:
        CheckpointError: the checkpoint has another number of them, or of other parameters.
    """
    optimizers, schedulers = checkpoint.get("optimizer_states", []), checkpoint.get("lr_schedulers", [])
    made = parts.strategy.optimizers
    faults = []
    if len(optimizers) != len(made):
        faults.append(f"- it has {len(optimizers)} optimizers, configure_optimizers() made {len(made)}")
    if len(schedulers) != len(parts.lr_schedulers):
        faults.append(f"- it has {len(schedulers)} schedulers, configure_optimizers() made {len(parts.lr_schedulers)}")
    if faults:
        raise CheckpointError("The checkpoint was written with other optimizers:\n" + "\n".join(faults))
    parts.precision.load_state_dict(checkpoint.get(parts.host.scaler_key, {}))
    for index, (optimizer, state) in enumerate(zip(made, optimizers, strict=True)):
        try:
            optimizer.load_state_dict(with_constructed(checkpoint, ("optimizer_states", index), state, optimizer))
        except (ValueError, KeyError) as error:
            raise CheckpointError(
                f"The checkpoint's optimizer {index} does not fit the {type(optimizer).__name__} of this run: {error}."
            ) from error
    for index, (config, state) in enumerate(zip(parts.lr_schedulers, schedulers, strict=True)):
        own = with_constructed(checkpoint, ("lr_schedulers", index), copy.deepcopy(state), config.scheduler)
        config.scheduler.load_state_dict(own)


def restore_lightning_counters(parts: Saveable, checkpoint: Mapping[str, Any]) -> None:
    """Restore the counters of a run of Lightning's Trainer, as its own `fit(ckpt_path=...)` does."""
    saved = _fit_loop(checkpoint)
    parts.progress.load_lightning(
        checkpoint["global_step"],
        saved["epoch_progress"]["current"],
        saved["epoch_loop.batch_progress"],
        saved["epoch_loop.state_dict"]["_batches_that_stepped"],
    )
    parts.data.expect_loader_states(saved.get("state_dict", {}).get("combined_loader", []))
