"""What is a user told of a run that trains, but perhaps not as was meant? In the words of Lightning.

What is about one thing alone is said where that is made: loaders in `trainer/loader_advice.py`, limits in
`trainer/settings.py`, `self.log` in `trainer/metadata.py`.
"""

from __future__ import annotations

import os

from lightning_adapter.loop.components import Components
from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.versions import lightning_private

_SHARED_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
_TURNED_OFF = (
    " - Checkpointing: `Trainer(enable_checkpointing=True)`",
    " - Progress bar: `Trainer(enable_progress_bar=True)`",
    " - Model summary: `Trainer(enable_model_summary=True)`",
    " - Logging: `Trainer(logger=True)`, `Trainer(log_every_n_steps>0)`, `LightningModule.log(...)`,"
    " `LightningModule.log_dict(...)`",
    " - Sanity checking: `Trainer(num_sanity_val_steps>0)`",
    " - Development run: `Trainer(fast_dev_run=True)`",
    " - Anomaly detection: `Trainer(detect_anomaly=True)`",
    " - Profiling: `Trainer(profiler=...)`",
)


def advise_on_arguments(parts: Components) -> None:
    """As `Trainer.__init__` and the connectors that it makes."""
    arguments, host = parts.arguments, parts.host
    if arguments.deterministic and arguments.benchmark:
        host.warn(
            "You passed `deterministic=True` and `benchmark=True`. Note that PyTorch ignores"
            " torch.backends.cudnn.deterministic=True when torch.backends.cudnn.benchmark=True."
        )
    if arguments.detect_anomaly:
        host.inform(
            "You have turned on `Trainer(detect_anomaly=True)`. This will significantly slow down compute speed and"
            " is recommended only for model debugging."
        )
    if arguments.barebones:
        host.inform(
            "You are running in `Trainer(barebones=True)` mode. All features that may impact raw speed have been"
            " disabled to facilitate analyzing the Trainer overhead. Specifically, the following features are"
            f" deactivated:{os.linesep}{os.linesep.join(_TURNED_OFF)}"
        )
        host.inform(
            "`Trainer(barebones=True)` started running. The progress bar is disabled so you might want to"
            " manually print the progress in your model."
        )


def advise_on_steps(parts: Components) -> None:
    """As `_verify_loop_configurations`."""
    hooks, module = parts.hooks, parts.module
    has_loader, has_step = parts.sources.validation() is not None, hooks.overridden("validation_step")
    if has_loader and not has_step:
        parts.host.warn("You passed in a `val_dataloader` but have no `validation_step`. Skipping val loop.")
    if has_step and not has_loader:
        parts.host.advise("You defined a `validation_step` but have no `val_dataloader`. Skipping val loop.")
    taking = [
        name
        for name in ("training_step", "validation_step", "predict_step", "test_step")
        if callable(getattr(module, name, None))
        and lightning_private.has_parameter(getattr(module, name), "dataloader_iter")
    ]
    if not taking:
        return
    parts.host.advise(
        "You are using the `dataloader_iter` step flavor. If you consume the iterator more than once per step, the"
        " `batch_idx` argument in any hook that takes it will not match with the batch index of the last batch"
        " consumed. This might have unforeseen effects on callbacks or code that expects to get the correct index."
        " This will also not work well with gradient accumulation. This feature is very experimental and subject to"
        " change. Here be dragons."
    )
    for name in ("training_step", "validation_step"):
        if name in taking:
            parts.host.warn(
                f"Found `dataloader_iter` argument in the `{name}`. Note that the support for "
                "this signature is experimental and the behavior is subject to change."
            )


def advise_on_modes(parts: Components) -> None:
    """As `_FitLoop._warn_if_modules_in_eval_mode`."""
    frozen = [name for name, child in parts.module.named_modules() if not child.training]
    if frozen:
        parts.host.advise(
            f"Found {len(frozen)} module(s) in eval mode at the start of training."
            " This may lead to unexpected behavior during training. If this is intentional,"
            " you can ignore this warning."
        )


def advise_on_transfer(hooks: Hooks) -> None:
    """As `_DataHookSelector.get_instance`: with a datamodule its hooks have the word."""
    if hooks.datamodule is None:
        return
    for name in _SHARED_HOOKS:
        if not hooks.overridden(name):
            continue
        if hooks.overridden_in_data(name):
            hooks.host.warn(
                f"You have overridden `{name}` in both `LightningModule` and `LightningDataModule`."
                " It will use the implementation from `LightningDataModule` instance."
            )
        else:
            hooks.host.warn(
                f"You have overridden `{name}` in `LightningModule` but have passed in a"
                " `LightningDataModule`. It will use the implementation from `LightningModule` instance."
            )
