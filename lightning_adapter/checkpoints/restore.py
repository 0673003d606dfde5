"""How is a run put back where a checkpoint was written, by this package or by Lightning's Trainer?"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.optim import Optimizer

from lightning_adapter.checkpoints import form
from lightning_adapter.checkpoints.content import OURS, Saveable, with_what_was_left_out
from lightning_adapter.checkpoints.fitting import check_kinds, step_likeness
from lightning_adapter.checkpoints.plain_data import with_constructed
from lightning_adapter.errors import CheckpointError
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.types import LightningModule

_ADVICE = (
    "Resume with the code that the checkpoint was written with, or use warm_start_from, which takes the weights alone."
)


def batches_trained(checkpoint: Mapping[str, Any]) -> int:
    """Batches trained when a checkpoint was written, by this package or by Lightning's Trainer.

    Raises:
        CheckpointError: it does not say.
    """
    with restoring("number of batches"):
        if OURS in checkpoint:
            return int(checkpoint[OURS]["batches"]["total"]["ready"])
        return int(_fit_loop(checkpoint)["epoch_loop.batch_progress"]["total"]["processed"])


def position_of(checkpoint: Mapping[str, Any]) -> str:
    """Where a run stood when a checkpoint was written, epochs counted from 1; one of weights alone does not say."""
    try:
        batches = batches_trained(checkpoint)
        with restoring("number of epochs"):
            ours = OURS in checkpoint
            epochs = checkpoint[OURS]["epochs"] if ours else _fit_loop(checkpoint)["epoch_progress"]
            begun = int(epochs["current"]["ready"])
    except CheckpointError:
        return "which does not say how long it was trained"
    return f"epoch {max(1, begun)}, {batches} {'batch' if batches == 1 else 'batches'}"


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


def load_weights(module: LightningModule, state: dict[str, Any]) -> None:
    """Load saved weights as `Strategy.load_model_state_dict` does; whether they fit, the loading itself says.

    A module may rename them in a hook, leave some out in its `load_state_dict`, or make its parameters of them.

    Raises:
        CheckpointError: they do not; names what is missing, unexpected or of another shape.
    """
    with restoring(f"weights into {type(module).__name__}", lambda: weight_differences(module, state)):
        module.load_state_dict(state, strict=getattr(module, "strict_loading", True))


def weight_differences(module: LightningModule, state: Mapping[str, Any]) -> str:
    """Return what in the names and shapes of saved weights is not as in the module; empty where that says nothing."""
    own = module.state_dict()
    faults = [f"- {name} is in the module, not in the checkpoint" for name in own if name not in state]
    faults += [f"- {name} is in the checkpoint, not in the module" for name in state if name not in own]
    for name in own.keys() & state.keys():
        shapes = [_shape(weights[name]) for weights in (state, own)]
        if shapes[0] != shapes[1]:
            faults.append(f"- {name} has shape {shapes[0]} in the checkpoint, {shapes[1]} in the module")
    if not faults:
        return ""
    return f"The checkpoint is of another model than {type(module).__name__}:\n" + "\n".join(sorted(faults))


def _shape(weight: object) -> object:
    """The shape of a weight; a lazy one has none yet."""
    if not isinstance(weight, torch.Tensor):
        return type(weight).__name__
    return "still to be inferred" if torch.nn.parameter.is_lazy(weight) else tuple(weight.shape)


@contextlib.contextmanager
def restoring(what: str, differences: Callable[[], str] = str, advice: str = _ADVICE) -> Iterator[None]:
    """Say of which part of the checkpoint an error is that its content leads to.

    Args:
        what: the part, and where it goes.
        differences: says more exactly what does not fit, where it can.
        advice: what to do instead.

    Raises:
        CheckpointError: in place of what is raised where data is not as expected.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, AssertionError) as error:
        text = differences() or f"The checkpoint's {what} cannot be restored ({type(error).__name__}: {error})."
        raise CheckpointError(f"{text}\n{advice}") from error


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
        with restoring("form"):
            lightning_private.migrate_checkpoint(parts.host, checkpoint)
    made = functools.partial(hooks.call_module, "on_save_checkpoint")
    hooks.call_module("on_load_checkpoint", with_what_was_left_out(module, datamodule, checkpoint, made))
    load_weights(module, checkpoint["state_dict"])
    if weights_only:
        return
    name = type(datamodule).__qualname__
    if datamodule is not None and name in checkpoint:
        with restoring(f"state of {name}"):
            hooks.call_data("load_state_dict", with_constructed(checkpoint, (name,), checkpoint[name], datamodule))
    _warn_of_missing_callbacks(parts, checkpoint.get("callbacks", {}))
    hooks.call_callbacks("on_load_checkpoint", checkpoint)
    _load_callbacks(parts, checkpoint)


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
            own = with_constructed(checkpoint, ("callbacks", key), copy.deepcopy(states[key]), callback)
            with restoring(f"state of {type(callback).__name__}"):
                check_kinds(callback, own)
                callback.load_state_dict(own)


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
    names = checkpoint.get(OURS, {}).get("optimizers", [])
    with restoring("loss scaler"):
        parts.precision.load_state_dict(checkpoint.get(parts.host.scaler_key, {}))
    for index, (optimizer, state) in enumerate(zip(made, optimizers, strict=True)):
        own = with_constructed(checkpoint, ("optimizer_states", index), state, optimizer)
        _load_optimizer(index, optimizer, own, names[index] if index < len(names) else None)
    for index, (config, state) in enumerate(zip(parts.lr_schedulers, schedulers, strict=True)):
        scheduler = config.scheduler
        own = with_constructed(checkpoint, ("lr_schedulers", index), copy.deepcopy(state), scheduler)
        with restoring(f"scheduler {index} into {type(scheduler).__name__}"):
            check_kinds(scheduler, own)
            scheduler.load_state_dict(own)


def _load_optimizer(index: int, optimizer: Optimizer, state: Mapping[str, Any], was: str | None) -> None:
    """Restore one optimizer.

    Args:
        index: among all.
        optimizer: of this run.
        state: that is saved.
        was: the class that the checkpoint names, None where it names none.

    Raises:
        CheckpointError: the state is that of an optimizer with other options or other parameters.
    """
    # what a step needs; `load_state_dict` takes the saved groups in place of these, and fills in what a newer torch added
    wanted = [set(group) for group in optimizer.param_groups]
    saved = [set(group) for group in state["param_groups"]]
    with restoring(f"optimizer {index} into {type(optimizer).__name__}"):
        optimizer.load_state_dict(dict(state))
    # Adam may go on as AdamW, whose options are the same
    if (
        type(optimizer).__module__.startswith("torch.optim")
        and was not in (None, type(optimizer).__qualname__)
        and saved != wanted
    ):
        raise CheckpointError(
            f"The checkpoint's optimizer {index} is of the class {was}, and that of this run {type(optimizer).__name__}."
            " Resume with the optimizer that the checkpoint was written with, or use warm_start_from, which takes the "
            "weights alone."
        )
    lacking = set().union(*(names - set(now) for names, now in zip(wanted, optimizer.param_groups, strict=True)))
    if lacking:
        raise CheckpointError(
            f"The checkpoint's optimizer {index} is no {type(optimizer).__name__}: it has no "
            f"{', '.join(sorted(lacking))}; it has {', '.join(sorted(set().union(*saved)))}. Resume with the optimizer "
            "that the checkpoint was written with, or use warm_start_from, which takes the weights alone."
        )
    with restoring(f"optimizer {index} into {type(optimizer).__name__}"):
        step_likeness(optimizer)


def restore_lightning_counters(parts: Saveable, checkpoint: Mapping[str, Any]) -> None:
    """Restore the counters of a run of Lightning's Trainer, as its own `fit(ckpt_path=...)` does."""
    saved = _fit_loop(checkpoint)
    form.check(saved, form.LightningLoops, "loops['fit_loop']")
    parts.progress.load_lightning(
        checkpoint["global_step"],
        saved["epoch_progress"]["current"],
        saved["epoch_loop.batch_progress"],
        saved["epoch_loop.state_dict"]["_batches_that_stepped"],
        parts.settings.max_steps != -1,
    )
    # absent where Lightning 1.9 wrote it, which has the batches below another loop
    if "epoch_loop.val_loop.batch_progress" in saved:
        parts.progress.load_lightning_counts(
            saved["epoch_loop.val_loop.batch_progress"], saved["epoch_loop.scheduler_progress"]
        )
    parts.data.expect_loader_states(saved.get("state_dict", {}).get("combined_loader", []))
