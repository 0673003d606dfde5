"""Which private names of Lightning are touched, why, and in which versions were they seen?

Seen in Lightning 1.9.5, 2.0.9 and 2.6.6, unless a name says otherwise. Names with an owner of their own stand in a file
for each: optimizers, loaders, precision, checkpoints. What is about the module, and about what Lightning's callbacks
read on the trainer, stands here, and all of them can be had from here.
"""

from __future__ import annotations

import inspect
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, TypedDict

import torch

from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.lightning_checkpoints import dump_hyperparameters, migrate_checkpoint
from lightning_adapter.versions.lightning_loaders import (
    combined_loader,
    combined_with,
    distributed_sampler_wrapper,
    extract_batch_size,
    is_combined,
    is_sampler_as_dataset,
    move_data_to_device,
    name_arguments,
    rebuilt_batch_sampler,
    records_batch_samplers,
    seeds_workers,
    shown_combined,
    shown_training_loader,
    shown_validation_loaders,
    uncombined,
)
from lightning_adapter.versions.lightning_optimizers import (
    around_optimizer_step,
    lightning_optimizers,
    optimizer_wrappers,
    scheduler_configs,
    unwrap_optimizer,
)
from lightning_adapter.versions.lightning_precision import accelerator, as_precision_plugin, precision_name
from lightning_adapter.versions.types import Batch, Call, LightningDataModule, LightningModule

__all__ = [
    "accelerator",
    "around_optimizer_step",
    "as_precision_plugin",
    "combined_loader",
    "combined_with",
    "distributed_sampler_wrapper",
    "dump_hyperparameters",
    "extract_batch_size",
    "is_combined",
    "is_sampler_as_dataset",
    "lightning_optimizers",
    "migrate_checkpoint",
    "move_data_to_device",
    "name_arguments",
    "optimizer_wrappers",
    "precision_name",
    "rebuilt_batch_sampler",
    "records_batch_samplers",
    "scheduler_configs",
    "seeds_workers",
    "shown_combined",
    "shown_training_loader",
    "shown_validation_loaders",
    "uncombined",
    "unwrap_optimizer",
]


def set_device(module: torch.nn.Module, device: torch.device) -> None:
    """Make `LightningModule.device` right before the module was moved.

    `_device` (1.9.5 to 2.6.6): Lightning sets it so before `setup()`, since `.to()` comes later.
    """
    for child in module.modules():
        if hasattr(type(child), "device") and hasattr(child, "_device"):
            child._device = device  # type: ignore[assignment]


def stopped_by_signal(host: Host, number: signal.Signals) -> BaseException:
    """What `on_exception` is given where a signal has ended the run; `SIGTERMException` is there since 2.0."""
    if number is signal.SIGINT:
        return KeyboardInterrupt()
    kind: type[SystemExit] = getattr(host.load("utilities.exceptions"), "SIGTERMException", SystemExit)
    return kind(128 + number)


def forget_metric_attributes(module: LightningModule) -> None:
    """Forget metric attributes that `self.log` cached (`_metric_attributes`, 1.9.5 to 2.6.6), stale after `teardown`."""
    module._metric_attributes = None


def attach(trainer: Any, module: LightningModule, datamodule: LightningDataModule | None) -> None:
    """Let module and datamodule find Lightning's Trainer, as `_fit_impl` does (`_data_connector`, 1.9.5 to 2.6.6)."""
    trainer.strategy.connect(module)
    module.trainer = trainer
    trainer._data_connector.attach_datamodule(module, datamodule)


def batch_evaluated(trainer: Any, stage: str) -> str:
    """The batch in words that Lightning's Trainer has in work, counted from 1; nothing between two batches.

    Before Lightning 2.0 a loop within the loop knows it (`_EvaluationLoop.epoch_loop`).
    """
    loop = getattr(trainer, f"{stage}_loop")
    count = (loop if hasattr(loop, "batch_progress") else loop.epoch_loop).batch_progress.current
    word = {"validate": "validation", "predict": "prediction"}.get(stage, stage)
    return f"{word} batch {count.ready}" if count.ready > count.completed else ""


def transfer_batch(module: Any, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
    """A batch on a device, through the module's transfer hooks (`_apply_batch_transfer_handler`, 1.9.5 to 2.6.6)."""
    return module._apply_batch_transfer_handler(batch, device=device, dataloader_idx=dataloader_idx)


def logs_hyperparameters(owner: LightningModule | LightningDataModule) -> bool:
    """Whether `save_hyperparameters(logger=True)` was called (`_log_hyperparams`, 1.9.5 to 2.6.6)."""
    return bool(getattr(owner, "_log_hyperparams", False))


def reset_seed(host: Host) -> None:
    """Start all generators anew from the seed that `seed_everything` was given, as Lightning's DDP does in `fit`."""
    host.load_fabric("utilities.seed").reset_seed()


def isolate_rng(host: Host) -> AbstractContextManager[None]:
    """Lightning's context in which random numbers are drawn without consequence."""
    context: AbstractContextManager[None] = host.load("utilities.seed").isolate_rng()
    return context


def has_parameter(function: Call, name: str) -> bool:
    """Whether a step takes a parameter of this very name."""
    return name in inspect.signature(function).parameters


def requires_parameter(function: Call, name: str) -> bool:
    """Whether a step takes a parameter of this very name, and cannot be called without it."""
    parameter = inspect.signature(function).parameters.get(name)
    return parameter is not None and parameter.default is inspect.Parameter.empty


def takes_batch_idx(host: Host, function: Call) -> bool:
    """Whether a step wants `batch_idx`: by name, or as the second of two or more parameters of any name."""
    signature = host.load("utilities.signature_utils")
    return bool(signature.is_param_in_hook_signature(function, "batch_idx", min_args=2))


class ModuleModes:
    """The `training` flag of every submodule before a validation.

    Since Lightning 2.2 they come back as they were; before, `on_validation_model_train` sets everything to training.
    """

    def __init__(self, host: Host, module: torch.nn.Module) -> None:
        self.restored_by_hook = host.quirks.trains_all_after_validation
        self._modes = [] if self.restored_by_hook else [(child, child.training) for child in module.modules()]

    def restore(self) -> None:
        """Set the flags again."""
        for child, training in self._modes:
            child.training = training


def check_dataloader_idx(host: Host, module: LightningModule, several: bool) -> None:
    """With several validation loaders the step has to take `dataloader_idx`; with one, it must not need it.

    Raises:
        RuntimeError: Lightning's own, in the words of its `_EvaluationLoop._verify_dataloader_idx_requirement`.
    """
    if host.quirks.leaves_loader_idx_unchecked:
        return
    takes = host.load("utilities.signature_utils").is_param_in_hook_signature
    if not several:
        # the hooks of Lightning 1.x always get it, so that only the step is looked at
        if takes(module.validation_step, "dataloader_idx", explicit=True):
            _require_default(module)
        return
    for name in ("validation_step", "on_validation_batch_start", "on_validation_batch_end"):
        if not takes(getattr(module, name), "dataloader_idx"):
            raise RuntimeError(
                "You provided multiple `val_dataloader`, but no `dataloader_idx`"
                f" argument in `{type(module).__name__}.{name}()`. Try adding `dataloader_idx=0` to its signature."
            )


def _require_default(module: LightningModule) -> None:
    parameter = inspect.signature(module.validation_step).parameters["dataloader_idx"]
    if parameter.default is inspect.Parameter.empty:
        raise RuntimeError(
            "You provided only a single `val_dataloader`, but have included `dataloader_idx` in"
            f" `{type(module).__name__}.validation_step()`. Either remove the argument or give it a default value i.e."
            " `dataloader_idx=0`."
        )


# --- what Lightning's callbacks read on the trainer, and what its checkpoints hold of the loops -----------------------


class LogOptions(TypedDict):
    """Which values of `on_step` and `on_epoch` are allowed in a hook, and which are usual."""

    allowed_on_step: tuple[bool, ...]
    allowed_on_epoch: tuple[bool, ...]
    default_on_step: bool
    default_on_epoch: bool


def logging_table(host: Host) -> Mapping[str, LogOptions | None]:
    """In which hooks `self.log` may be called, and with which `on_step` and `on_epoch`; None where it may not.

    `_FxValidator.functions` is the table that `LightningModule.log` looks into.
    """
    table: Mapping[str, LogOptions | None] = host.load(
        "trainer.connectors.logger_connector.fx_validator"
    )._FxValidator.functions
    return table


class StrategyPrivates:
    """`_lightning_optimizers` (1.9.5 to 2.6.6): where `LightningModule.optimizers()` finds what it returns."""

    lightning_optimizers: Any

    @property
    def _lightning_optimizers(self) -> Any:
        return self.lightning_optimizers


def resume_weight_averaging(host: Host, trainer: Any, module: Any) -> None:
    """Let StochasticWeightAveraging take over the scheduler again before states of optimizers are restored.

    Lightning restores at the start of an epoch only, where the callback makes its scheduler anew, and leaves the states
    of schedulers that are not there yet out. `_scheduler_state` and `_latest_update_epoch` (1.9.5 to 2.6.6) tell whether
    it had taken over, and in which epoch it averaged last: told that this is the present one, it does nothing more.
    """
    for callback in trainer.callbacks:
        if isinstance(callback, host.pl.callbacks.StochasticWeightAveraging) and callback._scheduler_state is not None:
            progress = trainer.fit_loop.epoch_progress.current
            present, progress.completed = progress.completed, callback._latest_update_epoch
            try:
                callback.on_train_epoch_start(trainer, module)
            finally:
                progress.completed = present


def loop_states(
    host: Host,
    epochs: dict[str, int],
    batches: dict[str, Any],
    batches_that_stepped: int,
    steps: tuple[int, int],
    automatic: bool,
    validation: dict[str, Any],
    schedulers: Mapping[str, Any],
    loader_states: list[Any],
) -> dict[str, Any]:
    """The `loops` of a checkpoint as Lightning writes them (seen in 1.9.5 to 2.6.6).

    Args:
        epochs: counts of epochs.
        batches: counts of training batches.
        batches_that_stepped: batches after which an optimizer stepped.
        steps: optimizer steps of the run, and of the present epoch.
        automatic: whether optimization is automatic.
        validation: counts of validation batches.
        schedulers: counts of steps of schedulers.
        loader_states: what training loaders with a `state_dict()` say (`_FitLoop.on_save_checkpoint`, since 2.2).
    """

    def counts(total: int, current: int, *names: str) -> dict[str, Any]:
        return {"total": dict.fromkeys(names, total), "current": dict.fromkeys(names, current)}

    pair, triple = ("ready", "completed"), ("ready", "completed", "started")
    by_loop, by_hand = (steps, (0, 0)) if automatic else ((0, 0), steps)
    optimizer = {"step": counts(*by_loop, *pair), "zero_grad": counts(*by_loop, *triple)}
    nothing = {**counts(0, 0, *triple, "processed"), "is_last_batch": False}
    evaluation = {"state_dict": {}, "batch_progress": nothing}
    automatic_name, manual_name = "epoch_loop.automatic_optimization", "epoch_loop.manual_optimization"
    progress: dict[str, Any] = {"optimizer": optimizer}
    inner: dict[str, Any] = {}
    if host.quirks.nests_optimizer_loops:
        automatic_name, manual_name = "epoch_loop.batch_loop.optimizer_loop", "epoch_loop.batch_loop.manual_loop"
        progress["optimizer_position"] = 0
        inner["epoch_loop.batch_loop.state_dict"] = {}
    return {
        "fit_loop": {
            "state_dict": {"combined_loader": loader_states} if loader_states else {},
            "epoch_loop.state_dict": {"_batches_that_stepped": batches_that_stepped},
            "epoch_loop.batch_progress": batches,
            "epoch_loop.scheduler_progress": {
                part: {name: schedulers[part][name] for name in pair} for part in ("total", "current")
            },
            **inner,
            f"{automatic_name}.state_dict": {},
            f"{automatic_name}.optim_progress": progress,
            f"{manual_name}.state_dict": {},
            f"{manual_name}.optim_step_progress": counts(*by_hand, *pair),
            "epoch_loop.val_loop.state_dict": {},
            "epoch_loop.val_loop.batch_progress": validation,
            "epoch_progress": {"total": dict(epochs), "current": dict(epochs)},
        },
        "validate_loop": evaluation,
        "test_loop": evaluation,
        "predict_loop": {"state_dict": {}, "batch_progress": counts(0, 0, *triple, "processed")},
    }
