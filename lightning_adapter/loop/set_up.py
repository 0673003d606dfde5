"""In which order are module, data, callbacks and optimizers made ready?

As `Trainer._run` up to `strategy.setup`: configure_callbacks, prepare_data, setup, configure_model, weights of a checkpoint,
to the device, configure_optimizers. All of it happens once, before Determined's loop starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from determined import pytorch
from torch.optim import Optimizer

from lightning_adapter import monkey_patch
from lightning_adapter.arguments import Arguments
from lightning_adapter.loop.advice import advise_on_arguments, advise_on_steps
from lightning_adapter.loop.components import Components
from lightning_adapter.loop.optimizers import (
    NoOptimizer,
    OptimizerConfiguration,
    check_closures,
    check_optimizer_idx,
    optimizers_to_device,
    parse_optimizers,
)
from lightning_adapter.loop.toggle import accept_indices
from lightning_adapter.versions import lightning_1x, lightning_private


def set_up(
    parts: Components,
    context: pytorch.PyTorchTrialContext,
    data_is_prepared: Callable[[], None],
    before_data_setup: Callable[[], None],
    restore_weights: Callable[[], None],
) -> None:
    """Make everything ready up to the optimizers.

    Args:
        parts: the run.
        context: Determined's context, which is shown what it saves.
        data_is_prepared: called when `prepare_data` has returned in all processes.
        before_data_setup: called right before `setup` of who makes the loaders, which may split the data at random.
        restore_weights: called when the module has its parameters and its optimizers are not yet made: the moment at
            which `_restore_modules_and_callbacks` restores them from a checkpoint.

    Raises:
        ConfigurationError: the module, its data or its optimizers cannot be used.
        UnsupportedError: the run asks for what is rejected.
    """
    module, hooks, quirks, precision = parts.module, parts.hooks, parts.host.quirks, parts.precision
    _set_flags(parts.arguments)
    _attach_trainer(parts)
    # all faults are told before the first hook runs
    _verify(parts)
    advise_on_arguments(parts)
    advise_on_steps(parts)
    monkey_patch.attach(module, parts.connector, parts.arguments.barebones)
    accept_indices(module, hooks)
    _configure_callbacks(parts)
    if hasattr(module, "hparams"):
        parts.host.load("utilities.parsing").clean_namespace(module.hparams)
    if quirks.joins_after_data:
        _prepare_data(parts, context)
    # ranks start from one random state, whatever each has drawn while it was started, as `DDPStrategy.setup_environment`
    if parts.is_distributed:
        lightning_private.reset_seed(parts.host)
    if not quirks.joins_after_data:
        _prepare_data(parts, context)
    data_is_prepared()
    _setup(parts, before_data_setup)
    if hooks.overridden("configure_model"):
        with precision.module_init_context():
            hooks.call_module("configure_model")
    if not precision.late:
        precision.convert_module(module)  # before weights of this precision are restored
    # after `configure_model`, which makes parameters, and before optimizers, which hold them
    restore_weights()
    if parts.arguments.sync_batchnorm and parts.is_distributed:
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)
    # optimizers are made over the parameters where they train
    module.to(parts.device)
    _configure_optimizers(parts, context)
    # `setup` and `configure_optimizers` may have given the module other hooks
    hooks.forget()


def _set_flags(arguments: Arguments) -> None:
    """As `_AcceleratorConnector` sets them: for the whole process."""
    if arguments.deterministic is not None:
        warn_only = arguments.deterministic == "warn"
        torch.use_deterministic_algorithms(bool(arguments.deterministic), warn_only=warn_only)
        if arguments.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if arguments.benchmark is not None:
        torch.backends.cudnn.benchmark = arguments.benchmark


def _verify(parts: Components) -> None:
    """Refuse at once what cannot train, all faults in one message, as `_verify_loop_configurations`."""
    hooks, name = parts.hooks, type(parts.module).__name__
    faults = []
    if not hooks.overridden("training_step"):
        faults.append(
            f"{name} has no training_step(). Define one; a DETLM with a `forward` can have a `loss_fn` instead."
        )
    if not hooks.overridden("configure_optimizers"):
        faults.append(
            f"{name} has no configure_optimizers(). Define one; it may return None to train without optimizer."
        )
    if parts.sources.training() is None:
        where = type(parts.datamodule).__name__ if parts.datamodule is not None else name
        faults.append(
            f"{where} has no train_dataloader(). Define one there, or build_training_data_loader() in the trial."
        )
    if not parts.module.automatic_optimization:
        faults += _faults_of_manual_optimization(parts.arguments)
    if faults:
        raise parts.host.misconfiguration("\n".join(faults))


def _faults_of_manual_optimization(arguments: Arguments) -> list[str]:
    faults = []
    if arguments.gradient_clip_val:
        faults.append(
            "Automatic gradient clipping is not supported for manual optimization. Remove gradient_clip_val="
            f"{arguments.gradient_clip_val} or switch to automatic optimization."
        )
    if arguments.accumulate_grad_batches != 1:
        faults.append(
            "Automatic gradient accumulation is not supported for manual optimization. Remove "
            f"accumulate_grad_batches={arguments.accumulate_grad_batches} or switch to automatic optimization."
        )
    return faults


def _attach_trainer(parts: Components) -> None:
    """Let module and datamodule know the trainer: `on_exception` may ask for it, whatever is wrong with them."""
    trainer: Any = parts.trainer  # stands in for Lightning's own
    parts.module.trainer = trainer
    if parts.datamodule is not None:
        parts.datamodule.trainer = trainer


def _configure_callbacks(parts: Components) -> None:
    """As `_CallbackConnector`: those of the module are added, what saves comes last."""
    callbacks = parts.callbacks
    schedule = lightning_1x.accumulation_schedule(parts.host, callbacks.items, parts.settings.accumulate_grad_batches)
    if schedule is not None:
        callbacks.add_schedule(schedule)
        parts.settings.accumulate_grad_batches = schedule.get_accumulate_grad_batches(0)
    # twice, since `configure_callbacks` sees the order, and may add to it
    callbacks.put_checkpoints_last()
    callbacks.extend_from_module(parts.hooks.call_module("configure_callbacks"))
    monkey_patch.reject_callbacks(callbacks.items, parts.host)
    for callback in callbacks.items:
        monkey_patch.attach_callback(callback, parts.module, parts.connector)
    parts.hooks.forget()


def _prepare_data(parts: Components, context: pytorch.PyTorchTrialContext) -> None:
    """Once per node, or once in all where `prepare_data_per_node` is False, as `_DataConnector.prepare_data`."""
    hooks, distributed = parts.hooks, context.distributed
    for owner, overridden, call in (
        (parts.datamodule, hooks.overridden_in_data("prepare_data"), hooks.call_data),
        (parts.module, hooks.overridden("prepare_data"), hooks.call_module),
    ):
        if owner is None or not overridden:
            continue
        mine = distributed.local_rank == 0 if owner.prepare_data_per_node else distributed.rank == 0
        if mine:
            call("prepare_data")
        distributed.allgather(None)  # the others wait, however long it takes


def _setup(parts: Components, before_data_setup: Callable[[], None]) -> None:
    """As `_call_setup_hook`: loggers first, then datamodule, callbacks, module."""
    stage, hooks = parts.trainer.state.fn, parts.hooks
    lightning_private.set_device(parts.module, parts.device)
    parts.dispatcher.begin()
    if parts.datamodule is not None:
        before_data_setup()
        hooks.call_data("setup", stage=stage)
    hooks.call_callbacks("setup", stage=stage)
    if parts.datamodule is None:
        before_data_setup()
    hooks.call_module("setup", stage=stage)
    hooks.forget()


def _configure_optimizers(parts: Components, context: pytorch.PyTorchTrialContext) -> None:
    """As `Strategy.setup` makes optimizers, and what it wraps the module in."""
    module, strategy = parts.module, parts.strategy
    _make_optimizers(parts, context)
    # modules that unfreeze parameters have optimizers made anew
    strategy.optimizers_are_made_by(lambda: _make_optimizers(parts, context))
    unused = parts.arguments.strategy == "ddp_find_unused_parameters_true" or parts.host.quirks.finds_unused_parameters
    if parts.precision.late:  # the strategy wraps the converted module, as `DDPStrategy.setup` of 1.9 and 2.0 does
        parts.precision.convert_module(module)
    # last: a wrapper of the module registers its hooks on the parameters as they are now
    strategy.connect(module.automatic_optimization and len(strategy.optimizers) < 2, unused)


def _make_optimizers(parts: Components, context: pytorch.PyTorchTrialContext) -> None:
    """As `_init_optimizers_and_lr_schedulers`, at first and whenever `strategy.setup_optimizers` is called."""
    module, hooks, strategy = parts.module, parts.hooks, parts.strategy
    returned = hooks.call_module("configure_optimizers")
    automatic = module.automatic_optimization
    configured = parse_optimizers(returned, parts.host, module, automatic, hooks.overridden("lr_scheduler_step"))
    check_optimizer_idx(module, len(configured.optimizers), automatic, parts.host)
    if parts.precision.scaler is not None:
        check_closures(configured.optimizers, parts.host)
    # torch made the optimizers' state where the parameters were then
    optimizers = configured.optimizers
    optimizers_to_device(optimizers, parts.device)
    if parts.precision.apex is not None:
        optimizers = _configure_apex(parts, configured, context)
    strategy.optimizers = optimizers
    # in place: loop and trainer hold the lists
    parts.lr_schedulers[:] = configured.schedulers
    parts.frequencies[:] = configured.frequencies
    context.optimizers.clear()
    _register(parts, context, optimizers or [NoOptimizer()])


def _configure_apex(
    parts: Components, configured: OptimizerConfiguration, context: pytorch.PyTorchTrialContext
) -> list[Optimizer]:
    """Let Determined's context initialise apex: models first, then optimizers, then apex, and schedulers last.

    What the context holds of them is given up again: it would set a module's modes at each workload, and with several
    processes it has wrapped the module, which the strategy does.

    Returns:
        The optimizers as apex has made them anew.
    """
    optimizers = configured.optimizers
    model = context.wrap_model(parts.module)
    wrapped = [context.wrap_optimizer(optimizer) for optimizer in optimizers]
    _, made = context.configure_apex_amp(model, wrapped, opt_level=parts.arguments.amp_level or "O2")
    for config in configured.schedulers:
        for before, after in zip(optimizers, made, strict=True):
            if config.scheduler.optimizer is before:
                config.scheduler.optimizer = after
    context.models.clear()
    context.optimizers.clear()
    return list(made)


class ModuleHolder(torch.nn.Module):
    """What Determined's context holds in place of the module: its parameters to save, but not its modes to change.

    Determined calls `train()` on every model at the start of each workload, which would thaw what the user froze with
    `eval()`. The module is not registered as a child, so those calls end here.
    """

    def __init__(self, module: torch.nn.Module, make_layers: Callable[[], None]) -> None:
        super().__init__()
        self._module = (module,)
        self._make_layers = make_layers

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The module's state."""
        return self._module[0].state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        """Restore the module's state."""
        self._make_layers()
        return self._module[0].load_state_dict(state_dict, *args, **kwargs)


def show_module(context: pytorch.PyTorchTrialContext, module: torch.nn.Module, make_layers: Callable[[], None]) -> None:
    """Show Determined's context the module, which it saves and restores.

    Its own `wrap_model` would wrap it with several processes, to exchange gradients in a loop that is not run here.

    Args:
        context: the trial's context.
        module: the LightningModule.
        make_layers: called before weights are restored.
    """
    if not any(isinstance(model, ModuleHolder) for model in context.models):
        context.models.append(ModuleHolder(module, make_layers))


def _register(parts: Components, context: pytorch.PyTorchTrialContext, optimizers: list[Optimizer]) -> None:
    """Show Determined's context what it saves.

    With several processes it would wrap the optimizers, to exchange gradients in the loops that call its own `backward`
    and `step_optimizer`; the strategy does that here.
    """
    show_module(context, parts.module, lambda: None)  # the layers are there; apex has taken back what the trial showed
    if parts.is_distributed or parts.precision.apex is not None:
        context.optimizers.extend(optimizers)
        return
    for optimizer in optimizers:
        context.wrap_optimizer(optimizer)
