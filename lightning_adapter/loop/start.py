"""What happens between a run that is set up and its first batch? As `Trainer._run` and `_FitLoop.run` up to `on_run_start`.

on_fit_start -> hyperparameters to the loggers -> optimizers and counters of a checkpoint
sanity check -> training loaders -> on_train_start
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from lightning_adapter.loop.advice import advise_on_modes, advise_on_transfer
from lightning_adapter.loop.automatic_optimization import AutomaticOptimization, OptimizersInTurn
from lightning_adapter.loop.batch_transfer import batch_transfer
from lightning_adapter.loop.components import Components
from lightning_adapter.loop.epoch_outputs import EpochOutputs
from lightning_adapter.loop.fit_loop import FitLoop
from lightning_adapter.loop.manual_optimization import ManualOptimization
from lightning_adapter.loop.returned_logs import ReturnedLogs
from lightning_adapter.loop.run_state import RunState
from lightning_adapter.loop.running_step import running_step
from lightning_adapter.loop.schedulers import Schedulers
from lightning_adapter.loop.stops_in_batch import may_stop_in_batch
from lightning_adapter.loop.training_batch import TrainingBatch
from lightning_adapter.loop.unlogged import UnloggedReturns
from lightning_adapter.loop.validation_loop import EndedByHook, ValidationLoop
from lightning_adapter.loop.validation_schedule import ValidationSchedule
from lightning_adapter.trainer.display.choice import display_of
from lightning_adapter.trainer.display.display import Display
from lightning_adapter.trainer.display.facts import Facts
from lightning_adapter.versions import lightning_1x, lightning_private
from lightning_adapter.versions.lightning_1x import OptimizerTurns


@dataclass(frozen=True)
class Training:
    """What runs once a run has started.

    Attributes:
        fit_loop: trains.
        validation_loop: validates.
        schedule: says when a validation is due.
        state: what a checkpoint holds besides what Lightning saves.
        display: shows a person how far it is.
        sanity_checked: the names that a sanity check has logged; none where there was no check.
    """

    fit_loop: FitLoop
    validation_loop: ValidationLoop
    schedule: ValidationSchedule
    state: RunState
    display: Display
    sanity_checked: frozenset[str] = frozenset()


def start(
    parts: Components,
    resumed: bool,
    restore: Callable[[], None],
    epoch_starts: Callable[[int], None],
    ended_by_hook: EndedByHook,
) -> Training:
    """From `on_fit_start` to `on_train_start`, the sanity check in between.

    Args:
        parts: the run, set up.
        resumed: whether it goes on from a checkpoint.
        restore: puts back optimizers and counters, at the moment at which `restore_training_state` does.
        epoch_starts: told the index of an epoch when it begins.
        ended_by_hook: told of a validation whose last hook ends the run: batches, epoch, values.

    Returns:
        What trains. Where a limit is reached already its position is finished.
    """
    connector, hooks = parts.connector, parts.hooks
    # what `setup` and `configure_optimizers` logged, which Lightning forbids in most cases, is of no epoch
    connector.reset_results()
    if not resumed:
        connector.reset_metrics()
    hooks.forget()
    hooks.call("on_fit_start")
    if parts.arguments.enable_autolog_hparams:
        parts.dispatcher.log_hyperparams(parts.module, parts.datamodule)
    # optimizers and counters come after `on_fit_start`, weights came before the optimizers were made
    restore()
    # user code in the hooks so far may have given the module or its callbacks other hooks
    hooks.forget()
    training = _training(parts, epoch_starts, ended_by_hook)
    # gradients that were left by user code would be added to those of the first batch
    parts.module.zero_grad()
    torch.autograd.set_detect_anomaly(parts.arguments.detect_anomaly)
    if parts.settings.num_sanity_val_steps and parts.data.enable_validation and not resumed:
        training = replace(training, sanity_checked=training.validation_loop.run_sanity_check())
    _run_start(parts, training)
    return training


def _run_start(parts: Components, training: Training) -> None:
    """As `_FitLoop.run` up to `on_run_start`; versions differ in whether limits or loaders come first."""
    quirks, data, trainer = parts.host.quirks, parts.data, parts.trainer
    if quirks.trains_all_at_start and quirks.checks_limits_first:
        parts.module.train()
    if quirks.checks_limits_first and training.fit_loop.is_done():
        parts.progress.finish()
        return
    if quirks.asks_for_data_anew:
        data.forget_training()
    data.load_training()
    if quirks.trains_all_at_start and not quirks.checks_limits_first:
        parts.module.train()
    if training.fit_loop.is_done() or parts.settings.limit_train_batches == 0:
        parts.progress.finish()
        return
    # `Trainer._run_stage` does it here, in case user code has left it off
    torch.set_grad_enabled(True)
    # `_TrainingEpochLoop.on_run_start` asks for validation loaders early, so that their draws come before training's
    if data.validates_in_epoch and data.validation is None:
        if not quirks.iterates_in_validation:
            trainer.validating = True
        data.load_validation()
        trainer.training = True
    advise_on_modes(parts)
    parts.hooks.call("on_train_start")
    training.schedule.validated()


def _training(parts: Components, epoch_starts: Callable[[int], None], ended_by_hook: EndedByHook) -> Training:
    """Make what trains: all that hooks and optimizers decide is decided now."""
    hooks, module, strategy, host = parts.hooks, parts.module, parts.strategy, parts.host
    progress, settings, data, connector = parts.progress, parts.settings, parts.data, parts.connector
    transfer = batch_transfer(hooks, parts.precision, parts.device)
    advise_on_transfer(hooks)
    returned_logs = ReturnedLogs(hooks, connector)
    turns = _turns(parts)
    schedulers = Schedulers(parts.lr_schedulers, hooks, progress, connector, parts.signatures, turns)
    several = len(strategy.optimizers) > 1
    outputs = EpochOutputs(several) if hooks.overridden("training_epoch_end") else None
    unlogged = UnloggedReturns(
        "training_step", hooks, connector.training, ("training_epoch_end", "on_train_epoch_end", "on_epoch_end")
    )
    step = running_step("training_step", hooks, strategy, parts.precision)
    losses = lightning_1x.running_loss(host, parts.trainer.progress_bar_callback)
    if losses is not None:
        parts.trainer.fit_loop.keep_losses(losses)
    automatic = AutomaticOptimization(
        step, parts.steps, parts.precision, hooks, strategy, settings, progress, parts.non_finite, returned_logs, losses
    )
    manual = ManualOptimization(step, host, strategy, progress, parts.non_finite, returned_logs)
    any_rank = strategy.any_rank if strategy.is_distributed else None
    # module and callbacks have their metrics by now; each of them gathers its states when an epoch is computed
    strategy.attach_metrics()
    fetches_itself = lightning_private.has_parameter(module.training_step, "dataloader_iter")
    display = _display(parts)
    batch = TrainingBatch(
        hooks=hooks,
        progress=progress,
        settings=settings,
        data=data,
        connector=connector,
        dispatcher=parts.dispatcher,
        stop=parts.stop,
        schedulers=schedulers,
        automatic=automatic if turns is None else OptimizersInTurn(automatic, turns),
        manual=manual,
        fetches_itself=fetches_itself,
        takes_batch_idx=lightning_private.takes_batch_idx(host, module.training_step),
        transfer=transfer,
        epoch_outputs=outputs,
        unlogged=unlogged,
        display=display,
        rates=parts.rates,
        quirks=host.quirks,
        any_rank=any_rank,
        stops_in_batches=strategy.is_distributed and may_stop_in_batch(host, module, parts.callbacks.items),
    )
    state = RunState(parts, manual, outputs)
    fit_loop = FitLoop(
        trainer=parts.trainer,
        hooks=hooks,
        progress=progress,
        settings=settings,
        stop=parts.stop,
        data=data,
        connector=connector,
        dispatcher=parts.dispatcher,
        schedulers=schedulers,
        batch=batch,
        returned_logs=returned_logs,
        epoch_outputs=outputs,
        unlogged=unlogged,
        display=display,
        accumulation=parts.trainer.accumulation_scheduler,
        any_rank=any_rank,
        epoch_starts=epoch_starts,
        state=state.state_dict,
    )
    validation_loop = ValidationLoop(
        trainer=parts.trainer,
        hooks=hooks,
        progress=progress,
        data=data,
        connector=connector,
        dispatcher=parts.dispatcher,
        strategy=strategy,
        make_step=lambda: running_step("validation_step", hooks, strategy, parts.precision),
        transfer=transfer,
        returned_logs=returned_logs,
        unlogged=UnloggedReturns("validation_step", hooks, connector.validation),
        runs=parts.validation_runs,
        stop=parts.stop,
        any_rank=any_rank,
        display=display,
        ended_by_hook=ended_by_hook,
    )
    schedule = ValidationSchedule(settings, progress, data, parts.stop, strategy, fetches_itself)
    return Training(fit_loop, validation_loop, schedule, state, display)


def _display(parts: Components) -> Display:
    if not parts.strategy.is_global_zero:
        return Display()
    connector = parts.connector
    facts = Facts(
        progress=parts.progress,
        settings=parts.settings,
        bar_values=lambda: connector.seen("pbar"),
        logged_values=lambda: connector.seen("log"),
        fraction=parts.fraction,
        log=parts.log,
        table=parts.table,
    )
    # a bar among the callbacks is the user's choice
    return display_of(facts, parts.arguments.enable_progress_bar and not parts.trainer.progress_bar_callback)


def _turns(parts: Components) -> OptimizerTurns | None:
    """Which optimizers have their turn at a batch, where automatic optimization has several of them."""
    several = len(parts.strategy.optimizers) > 1 or bool(parts.frequencies)
    if not parts.module.automatic_optimization or not several:
        return None
    return OptimizerTurns(parts.module, parts.signatures, parts.frequencies)
