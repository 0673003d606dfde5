"""In which order does a trial call the module's hooks, for one training batch and for one validation?

Determined's loop asks `train_batch` once per batch and `evaluate_batch` once per validation. Both are handed a ticket,
not data: the user's own loaders are driven here, at the moments at which Lightning drives them.

    train_batch
        at the start of an epoch: (loaders) -> on_train_epoch_start -> iter(loader)
        fetch -> transfer hooks -> on_train_batch_start
        optimizer step, around a closure
            training_step -> on_before_zero_grad, zero_grad -> on_before_backward, backward, on_after_backward
            on_before_optimizer_step -> clipping -> step
        schedulers by step; at the last batch schedulers by epoch
        on_train_batch_end -> loggers
    evaluate_batch, if a validation is due
    plateau schedulers by step
    at the end of an epoch: on_train_epoch_end -> plateau schedulers by epoch -> loggers
    at the end of the run: on_train_end
"""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from determined import pytorch
from torch import Tensor

from lightning_adapter import monkey_patch
from lightning_adapter.arguments import Arguments
from lightning_adapter.data.loaders import INFINITE, Fetcher, HandedIterator, TrainingData
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.build import Run
from lightning_adapter.loop.strategies import Processes
from lightning_adapter.platform.boundaries import may_stop_in_batch
from lightning_adapter.platform.driver import Moments, TicketLoader
from lightning_adapter.trainer.metrics import to_scalars
from lightning_adapter.versions import hosts, lightning_private
from lightning_adapter.versions import lightning_1x as legacy

_NOTHING: dict[str, Any] = {}


class LightningAdapter(pytorch.PyTorchTrial):
    """A Determined trial that trains a LightningModule.

    Args:
        context: Determined's context.
        lightning_module: a DETLM, or any LightningModule of either Lightning package.
        datamodule: a DETDM, or any LightningDataModule of the same package; without it the loaders come from the
            module's own `train_dataloader()` and `val_dataloader()`. A trial that overrides
            `build_training_data_loader()` or `build_validation_data_loader()` wins over both.
        **trainer_arguments: arguments of Lightning's Trainer under their own names, and a few of ours; see
            `lightning_adapter.arguments.Arguments`.

    Raises:
        ConfigurationError: an argument is unknown or cannot be used.
        UnsupportedError: the module overrides something that is rejected; all of it is named.
    """

    def __init__(
        self,
        context: pytorch.PyTorchTrialContext,
        lightning_module: Any,
        datamodule: Any = None,
        **trainer_arguments: Any,
    ) -> None:
        self.context = context
        self.lightning_module = lightning_module
        self.datamodule = datamodule
        self.arguments = Arguments.of(legacy.arguments(hosts.host_of(lightning_module), trainer_arguments))
        self._check()
        self._run: Run | None = None
        self.run_dir: pathlib.Path | None = None
        self.latest_checkpoint: pathlib.Path | None = None
        self.best_checkpoint: pathlib.Path | None = None
        self.latest_checkpoint_uuid: str | None = None
        self.best_checkpoint_uuid: str | None = None
        self._handed_from: Any = None
        self._handed: HandedIterator | None = None
        self._moments = Moments(self)
        self._own_callbacks = self.build_callbacks
        self._own_loaders = (
            self.build_training_data_loader if self._overrides("build_training_data_loader") else None,
            self.build_validation_data_loader if self._overrides("build_validation_data_loader") else None,
        )
        # On this instance: a trial that overrides these methods, and forgets super(), loses nothing.
        vars(self).update(
            build_callbacks=self._all_callbacks,
            build_training_data_loader=self._training_tickets,
            build_validation_data_loader=lambda: TicketLoader(1),
        )

    def _overrides(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(LightningAdapter, name)

    def _check(self) -> None:
        host = hosts.host_of(self.lightning_module)
        data = self.datamodule
        if data is not None and not isinstance(data, host.pl.LightningDataModule):
            kind = f"{type(data).__module__}.{type(data).__qualname__}"
            other = hosts.host_of_class(type(data))
            why = (
                f"is made for {other.package}, while the module is made for {host.package}; the two do not mix"
                if other is not None
                else "is no LightningDataModule"
            )
            base = "lightning_adapter" if host.package == "pytorch_lightning" else "lightning_adapter.lightning"
            raise ConfigurationError(f"The datamodule, a {kind}, {why}. Derive it from {base}.DETDM.")
        findings = monkey_patch.inspect_instance(self.lightning_module)
        if data is not None:
            findings += monkey_patch.inspect_instance(data)
        monkey_patch.reject_or_warn(findings)

    # --- what Determined calls --------------------------------------------------------------------------------------

    def build_training_data_loader(self) -> Any:
        """Override it to give training loaders that win over those of datamodule and module."""
        raise NotImplementedError

    def build_validation_data_loader(self) -> Any:
        """Override it to give validation loaders that win over those of datamodule and module."""
        raise NotImplementedError

    def get_batch_length(self, batch: Any) -> int:
        """Tickets have no length of their own; Determined logs it, nothing else."""
        return 1

    def _training_tickets(self) -> Any:
        self.context.experimental.disable_dataset_reproducibility_checks()
        self.context.experimental.disable_auto_to_device()
        return TicketLoader(None)

    def _all_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        """The trial's own Determined callbacks, and the one that carries Lightning's moments.

        Determined asks for them before anything else, and wants model and optimizer right afterwards: so everything is
        made ready here.
        """
        own = dict(self._own_callbacks())
        # all processes have to end a workload at the same batch, and callbacks may be those of one process alone
        self._moments.has_company = any(self.context.distributed.allgather(bool(own)))
        self._moments.set_up()
        return {**own, "lightning_adapter": self._moments}

    def train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> dict[str, Any]:
        """Train on the next batch of the user's loader; `batch` is a ticket.

        Returns:
            Nothing for Determined to average: metrics are reported when they are logged.
        """
        run = self._run
        assert run is not None
        self._moments.settle()
        run.boundaries.clear()
        while not run.boundaries.finished:
            if not run.in_epoch:
                self._start_epoch(run)
            over = (not run.goes_on or run.trainer.stops) and self._epoch_done(run)
            if over or not self._train_one(run):
                self._end_epoch(run)
                continue
            self._moments.after_batch()
            break
        return _NOTHING

    def evaluate_batch(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Run a whole validation; `batch` is a ticket.

        Returns:
            Name to number of what was logged for the epoch.
        """
        run = self._run
        assert run is not None
        if self._moments.batches > 0:
            return self._validate(run)
        with lightning_private.isolate_rng(
            run.host
        ):  # Determined's initial validation is to change no number of the training
            return self._validate(run)

    # --- training ---------------------------------------------------------------------------------------------------

    def start_training(self, run: Run, restarting: bool, restore: Callable[[], None]) -> None:
        """From `on_fit_start` to `on_train_start`, the sanity check in between.

        Args:
            run: the run.
            restarting: whether it goes on from a checkpoint.
            restore: puts back optimizers and counters, at the moment at which Lightning does.
        """
        trainer, hooks = run.trainer, run.hooks
        run.metrics.reset_results()
        if not restarting:
            run.metrics.reset_metrics()
        hooks.forget()
        hooks.call("on_fit_start")
        run.hub.log_hyperparams()
        restore()
        hooks.forget()
        self._bind(run)
        self.lightning_module.zero_grad()
        torch.autograd.set_detect_anomaly(self.arguments.detect_anomaly)
        if trainer.num_sanity_val_steps and trainer.enable_validation and not restarting:
            self._sanity_check(run)
        quirks = run.host.quirks
        if quirks.trains_all_at_start and quirks.checks_limits_first:
            self.lightning_module.train()
        if quirks.checks_limits_first and self._fit_done(run):
            run.boundaries.finished = True
            return
        if quirks.asks_for_data_anew:
            trainer.training_data = None
        run.load_training_data()
        if quirks.trains_all_at_start and not quirks.checks_limits_first:
            self.lightning_module.train()
        if self._fit_done(run) or trainer.limit_train_batches == 0:
            run.boundaries.finished = True
            return
        torch.set_grad_enabled(True)
        if trainer.validates_in_epoch() and trainer.validation_data is None:
            if not quirks.iterates_in_validation:
                trainer.validating = True
            run.load_validation_data()
            trainer.training = True
        hooks.call("on_train_start")
        self._train_start_time = self._last_validation_time = time.monotonic()

    def _hand_over(self, data: TrainingData) -> HandedIterator:
        """The iterator of the present pass, for a step that fetches its batches itself."""
        if self._handed is None or self._handed_from is not data.fetcher.iterator:
            self._handed_from = data.fetcher.iterator
            self._handed = data.hand_over()
        return self._handed

    def _bind(self, run: Run) -> None:
        """Look up once what every step needs."""
        module, hooks = self.lightning_module, run.hooks
        self._transfer = run.transfer()
        self._hands_iterator = lightning_private.has_parameter(module.training_step, "dataloader_iter")
        self._handed_from = self._handed = None
        self._training_step = self._running_step(run, "training_step")
        self._hides_batch_idx = run.host.quirks.hides_batch_idx
        self._transfers_early = run.host.quirks.transfers_while_fetching
        self._takes_batch_idx = lightning_private.takes_batch_idx(run.host, module.training_step)
        self._own_optimizer_step = hooks.module_hook("optimizer_step") if hooks.overridden("optimizer_step") else None
        zero_grad = "optimizer_zero_grad"
        self._own_zero_grad = hooks.module_hook(zero_grad) if hooks.overridden(zero_grad) else None
        self._own_backward = run.signatures.backward(module.backward) if hooks.overridden("backward") else None
        self._own_clipping = hooks.overridden("configure_gradient_clipping") or hooks.overridden("clip_gradients")
        self._clip = hooks.module_hook("configure_gradient_clipping")
        self._own_scheduler_step = hooks.overridden("lr_scheduler_step")
        self._step_scheduler = hooks.module_hook("lr_scheduler_step")
        optimizers, frequencies = run.optimization.optimizers, run.optimization.frequencies
        several = module.automatic_optimization and (len(optimizers) > 1 or bool(frequencies))
        self._turns = legacy.Turns(module, run.signatures, frequencies) if several else None
        run.outputs = legacy.EpochOutputs(len(optimizers) > 1) if hooks.overridden("training_epoch_end") else None
        run.strategy.run_backward = self._differentiate_by_hand
        run.strategy.step_optimizer = self._step_optimizer
        processes = run.strategy if isinstance(run.strategy, Processes) else None
        self._exchange = processes.exchange_gradients if processes is not None and processes.exchanges else None
        self._plain_backward = self._own_backward is None and self._exchange is None and run.precision.apex is None
        self._any = processes.any if processes is not None else None
        self._stops_in_batches = processes is not None and may_stop_in_batch(run.host, module, run.trainer.callbacks)
        if processes is not None:
            processes.attach_metrics()
        self._in_manual_step = False
        for wrapper in lightning_private.optimizer_wrappers(run.strategy.lightning_optimizers):
            lightning_private.around_optimizer_step(wrapper, lambda: None, self._count_manual_step)

    def _running_step(self, run: Run, name: str) -> Callable[..., Any]:
        """`training_step` or `validation_step` as a running hook in the precision asked for."""
        function = run.strategy.step(name, getattr(self.lightning_module, name))
        run_hook, precision = run.hooks.run, run.precision

        def step_with_precision(*args: Any) -> Any:
            with precision.context():
                return run_hook(name, function, *precision.convert_arguments(args))

        step = partial(run_hook, name, function) if precision.is_default else step_with_precision
        return legacy.with_step_end(run.hooks, f"{name}_end", step)

    def _start_epoch(self, run: Run) -> None:
        trainer, loop = run.trainer, run.trainer.fit_loop
        run.load_training_data()
        data = trainer.training_data
        assert data is not None
        run.set_epoch(data.loaders)
        if run.accumulation is not None:
            run.accumulation.on_train_epoch_start(trainer, self.lightning_module)
        loop.epoch_progress.current.ready += 1
        self._moments.epoch_starts(trainer.current_epoch)
        run.hooks.call("on_train_epoch_start")
        loop.epoch_progress.current.started += 1
        batches = loop.epoch_loop.batch_progress
        batches.current.reset()
        batches.is_last_batch = False
        loop.epoch_loop.val_loop.batch_progress.total.reset()
        if (trainer.current_epoch > 0 and not run.resumes_lightning) or run.host.quirks.iterates_in_epoch:
            data.start()
        run.resumes_lightning = False
        run.in_epoch, run.goes_on = True, False
        run.bar.epoch_start()

    def _epoch_done(self, run: Run) -> bool:
        """Whether no further batch belongs to this epoch."""
        trainer = run.trainer
        if trainer.last_batch_reached() or self._steps_reached(run):
            return True
        return trainer.stops and trainer.can_stop_early()

    def _steps_reached(self, run: Run) -> bool:
        return run.trainer.max_steps != -1 and run.trainer.global_step >= run.trainer.max_steps

    def _fit_done(self, run: Run) -> bool:
        """Whether the whole run is over."""
        trainer = run.trainer
        epochs = trainer.fit_loop.epoch_progress.current
        if self._steps_reached(run):
            return True
        if trainer.max_epochs != -1 and epochs.processed >= trainer.max_epochs:
            epochs.completed = epochs.processed
            return True
        return trainer.stops and trainer.can_stop_early()

    def _train_one(self, run: Run) -> bool:
        """Train on one batch.

        Returns:
            False if the epoch is over: the data has ended, or `on_train_batch_start` returned -1.
        """
        trainer, hooks, metrics = run.trainer, run.hooks, run.metrics
        data = trainer.training_data
        assert data is not None
        progress = trainer.fit_loop.epoch_loop.batch_progress
        current, total = progress.current, progress.total
        handed = self._hand_over(data) if self._hands_iterator else None
        if handed is not None:
            if data.fetcher.done:
                return False
            batch, batch_idx, _ = handed.last
        else:
            batch, ended = None, False
            try:
                batch = next(data.fetcher)
            except StopIteration:
                ended = True
            if self._any is not None and data.num_batches == INFINITE:
                # lengths that nobody knows may differ: the first process at the end of its data ends the epoch of all
                ended, data.fetcher.done = self._any(ended, data.fetcher.done)
            if ended:
                return False
            batch_idx = current.ready
        if self._transfer is not None and handed is None:
            if not self._transfers_early:
                progress.is_last_batch = data.fetcher.done
            batch = self._transfer(batch, 0)
        progress.is_last_batch = data.fetcher.done
        current.ready += 1
        total.ready += 1
        metrics.batch_start(batch)
        outputs: Any = None
        skip = False
        if batch is None and handed is None:
            run.host.warn("train_dataloader yielded None. If this was on purpose, ignore this warning...")
        else:
            hooks.refresh()
            hook = hooks.bound["on_train_batch_start"]
            skip = hook is not None and hook(batch, batch_idx) == -1
            if skip and run.host.quirks.skips_at_once:
                current.processed += 1
                total.processed += 1
                return False
            if skip:
                progress.is_last_batch = True
            else:
                current.started += 1
                total.started += 1
                try:
                    outputs = self._optimize(run, batch if handed is None else handed, batch_idx)
                    if run.outputs is not None:
                        run.outputs.add(outputs)
                except StopIteration:  # the step asked for more data than there is: the epoch ends, as in Lightning
                    return False
                if handed is not None:
                    batch, batch_idx, _ = handed.last
                    progress.is_last_batch = data.fetcher.done
        current.processed += 1
        total.processed += 1
        if trainer.lr_scheduler_configs:
            self._step_schedulers(run, "step", plateau=False)
            if trainer.last_batch_reached():
                self._step_schedulers(run, "epoch", plateau=False)
        if skip:
            return False
        hook = hooks.bound["on_train_batch_end"]
        if hook is not None:
            if not outputs and run.host.quirks.empty_list:
                outputs = []
            hook(outputs, batch, batch_idx)
        metrics.batch_end()
        current.completed += 1
        total.completed += 1
        if self._any is not None and (self._stops_in_batches or trainer.should_log or progress.is_last_batch):
            trainer.agree_to_stop(self._any)
        accumulates = trainer.should_accumulate() and self.lightning_module.automatic_optimization
        if not accumulates and (trainer.should_log or trainer.fast_dev_run):
            run.hub.log_metrics(metrics.current_log())
        if run.bar.enabled:
            run.bar.batch_end()
        return True

    # --- optimization -----------------------------------------------------------------------------------------------

    def _optimize(self, run: Run, batch: Any, batch_idx: int) -> Any:
        """Run the step and what it does to the optimizers.

        Returns:
            What `on_train_batch_end` gets as its outputs.
        """
        module = self.lightning_module
        arguments: tuple[Any, ...] = (batch, batch_idx)
        if not self._takes_batch_idx:
            arguments = (batch,)
            if self._hides_batch_idx:
                batch_idx = 0
        if not module.automatic_optimization:
            self._in_manual_step = True
            run.stepped = False
            try:
                output = self._training_step(*arguments)
            finally:
                self._in_manual_step = False
            outputs = self._manual_outputs(run, output)
            loss = outputs.get("loss")
            if isinstance(loss, Tensor) and loss.numel() == 1:
                run.watch.add(loss, run.trainer.fit_loop.epoch_loop.batch_progress.total.ready)
            return outputs
        if self._turns is None:
            return self._optimize_with(run, 0, arguments, batch_idx)
        by_index: dict[int, dict[str, Any]] = {}
        for index in self._turns.at(batch_idx):
            with self._turns.toggled(index):
                found = self._optimize_with(run, index, (*arguments, *self._turns.argument(index)), batch_idx)
            if found:
                by_index[index] = found
        return self._turns.outputs(by_index)

    def _optimize_with(self, run: Run, index: int, arguments: tuple[Any, ...], batch_idx: int) -> dict[str, Any]:
        """Run the step of one optimizer, which is number `index`."""
        trainer = run.trainer
        optimizer = run.strategy.optimizers[index]
        closure = _Closure(self, run, arguments, batch_idx, optimizer)
        if trainer.should_accumulate():
            with run.strategy.block_backward_sync():
                closure()
        else:
            if self._own_optimizer_step is not None:
                wrapper = run.strategy.lightning_optimizers[index]
                self._own_optimizer_step(trainer.current_epoch, batch_idx, wrapper, closure)
            else:
                run.precision.step(optimizer, closure, self._after_closure, automatic=True)
            trainer.fit_loop.epoch_loop.optim_progress.optimizer_steps += 1
        return closure.outputs(run)

    def _call_with_outputs(self, run: Run, name: str, outputs: list[Any]) -> Any:
        """Run a hook that is given the outputs of an epoch's steps.

        Returns:
            What the hook returned, None where that was logged.
        """
        returned = run.hooks.call_module(name, outputs)
        if not legacy.has_logs(returned):
            return returned
        self.log_returned(run, name, returned, monitors=True)
        return None

    def log_returned(self, run: Run, hook: str, output: Any, monitors: bool = False) -> None:
        """Log what a hook returned in place of logging it, as the first Lightnings had it."""
        run.hooks.run(hook, legacy.log_returned, run.metrics.log, output, monitors)

    def _manual_outputs(self, run: Run, output: Any) -> dict[str, Any]:
        if isinstance(output, Mapping):
            if legacy.has_logs(output):
                self.log_returned(run, "training_step", output)
            extra = dict(output)
            if isinstance(extra.get("loss"), Tensor):
                extra["loss"] = extra["loss"].detach()
            return extra
        if isinstance(output, Tensor):
            return {"loss": output.detach()}
        if output is not None:
            raise run.host.misconfiguration(
                "In manual optimization, `training_step` must either return a Tensor or have no return."
            )
        return {}

    def _count_manual_step(self) -> None:
        if self._in_manual_step:
            assert self._run is not None
            self._run.trainer.fit_loop.epoch_loop.optim_progress.optimizer_steps += 1
            self._run.stepped = True

    def _step_optimizer(self, optimizer: Any, closure: Any, **kwargs: Any) -> Any:
        run = self._run
        assert run is not None
        run.hooks.refresh()
        return run.precision.step(
            optimizer, closure, self._after_closure, self.lightning_module.automatic_optimization, **kwargs
        )

    def _after_closure(self, optimizer: Any) -> None:
        """The gradients are there and final: hooks may read them, then they are clipped."""
        run = self._run
        assert run is not None
        hook = run.hooks.bound["on_before_optimizer_step"]
        if hook is not None:
            hook(optimizer)
        trainer = run.trainer
        if (trainer.gradient_clip_val or self._own_clipping) and self.lightning_module.automatic_optimization:
            self._clip(
                optimizer,
                gradient_clip_val=trainer.gradient_clip_val,
                gradient_clip_algorithm=trainer.gradient_clip_algorithm,
            )

    def _zero_grad(self, run: Run, optimizer: Any, batch_idx: int) -> None:
        hook = run.hooks.bound["on_before_zero_grad"]
        if hook is not None:
            hook(optimizer)
        if self._own_zero_grad is not None:
            self._own_zero_grad(run.trainer.current_epoch, batch_idx, optimizer)
        else:
            optimizer.zero_grad()

    def _backward(self, loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Tensor:
        run = self._run
        assert run is not None
        loss = run.precision.scale(loss)
        hook = run.hooks.bound["on_before_backward"]
        if hook is not None:
            hook(loss)
        if self._plain_backward:
            loss.backward(*args, **kwargs)
        else:
            self._differentiate(run, loss, optimizer, args, kwargs)
        hook = run.hooks.bound["on_after_backward"]
        if hook is not None:
            hook()
        return loss

    def _differentiate_by_hand(self, loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Tensor:
        """`manual_backward`, in the middle of user code."""
        assert self._run is not None
        self._run.hooks.refresh()
        return self._backward(loss, optimizer, *args, **kwargs)

    def _differentiate(
        self, run: Run, loss: Tensor, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        apex = run.precision.apex
        with (
            nullcontext(loss) if apex is None else apex.scale_loss(loss, optimizer or run.strategy.optimizers) as scaled
        ):
            if self._own_backward is not None:
                run.hooks.run("backward", self._own_backward, scaled, optimizer, *args, **kwargs)
            else:
                scaled.backward(*args, **kwargs)
            if self._exchange is not None:
                self._exchange()

    def _step_schedulers(self, run: Run, interval: str, plateau: bool) -> None:
        trainer = run.trainer
        if not self.lightning_module.automatic_optimization:
            return
        if interval == "step" and trainer.should_accumulate():
            return
        index = trainer.fit_loop.batch_idx if interval == "step" else trainer.current_epoch
        turns = self._turns.at(trainer.fit_loop.total_batch_idx) if self._turns is not None else None
        for config in trainer.lr_scheduler_configs:
            if config.reduce_on_plateau is not plateau or config.interval != interval:
                continue
            if (index + 1) % config.frequency != 0:
                continue
            if turns is not None and run.signatures.index_of(getattr(config.scheduler, "optimizer", None)) not in turns:
                continue
            value = None
            if plateau:
                value = trainer.callback_metrics.get(config.monitor)
                if value is None:
                    self._monitor_is_missing(run, config)
                    continue
            is_torchs = isinstance(config.scheduler, torch.optim.lr_scheduler.LRScheduler)
            if self._own_scheduler_step or plateau or not is_torchs:
                self._step_scheduler(config.scheduler, value)
            else:
                config.scheduler.step()

    @staticmethod
    def _monitor_is_missing(run: Run, config: Any) -> None:
        if config.strict:
            raise run.host.misconfiguration(
                f"ReduceLROnPlateau conditioned on metric {config.monitor} which is not available. Available metrics are:"
                f" {list(run.trainer.callback_metrics)}. Condition can be set using `monitor` key in lr scheduler dict"
            )
        run.host.warn(
            f"ReduceLROnPlateau conditioned on metric {config.monitor} which is not available but strict is set to"
            " `False`. Skipping learning rate update.",
            category=RuntimeWarning,
        )

    # --- between batches --------------------------------------------------------------------------------------------

    def validation_due(self, run: Run) -> bool:
        """Whether Lightning, or the period given to `fit`, validates after the batch just trained."""
        trainer = run.trainer
        progress = trainer.fit_loop.epoch_loop.batch_progress
        if run.validation_period is not None:
            due = run.ends(run.validation_period)
        elif self.arguments.val_check_time_interval is not None:
            # clocks differ between processes: the chief's is the one that counts
            is_up = time.monotonic() - self._last_validation_time >= self.arguments.val_check_time_interval
            due = trainer.enable_validation and trainer.validates_in_epoch() and bool(run.strategy.broadcast(is_up))
        elif trainer.val_check_batch is None:
            due = progress.is_last_batch
        elif trainer.val_check_batch == INFINITE:
            limit = trainer.limit_train_batches
            due = progress.is_last_batch or (isinstance(limit, int) and progress.current.ready % limit == 0)
        else:
            counter = progress.total if trainer.check_val_every_n_epoch is None else progress.current
            due = counter.ready % trainer.val_check_batch == 0
        if not due and not (trainer.stops and trainer.can_stop_early()):
            return False
        return trainer.enable_validation and (run.validation_period is not None or trainer.validates_in_epoch())

    def settle(self, run: Run) -> None:
        """What Lightning does after a batch and its validation; the epoch's end, if this was it."""
        trainer = run.trainer
        if trainer.lr_scheduler_configs:
            self._step_schedulers(run, "step", plateau=True)
        if not trainer.should_accumulate():
            trainer.fit_loop.epoch_loop.batches_that_stepped += 1
        if trainer.stops:
            for logger in trainer.loggers:
                logger.save()
        run.goes_on = not self._epoch_done(run)
        if not run.goes_on:
            if not trainer.last_batch_reached():
                self._moments.keep_position()
            self._end_epoch(run)

    def _end_epoch(self, run: Run) -> None:
        trainer, hooks, metrics = run.trainer, run.hooks, run.metrics
        loop = trainer.fit_loop
        run.bar.epoch_end()
        metrics.epoch_end_reached()
        collected = run.outputs.take() if run.outputs is not None else None
        if collected is not None and self._call_with_outputs(run, "training_epoch_end", collected) is not None:
            raise run.host.misconfiguration(
                "`training_epoch_end` expects a return of None."
                " HINT: remove the return statement in `training_epoch_end`."
            )
        if collected is not None:
            metrics.meet()
        del collected
        loop.epoch_progress.current.processed += 1
        if run.host.quirks.monitors_in_order:
            hooks.call("on_train_epoch_end")
        else:
            hooks.call("on_train_epoch_end", monitoring=False)
            metrics.meet()
            hooks.call("on_train_epoch_end", monitoring=True)
        hooks.call("on_epoch_end")
        metrics.epoch_end()
        if self._any is not None:
            trainer.agree_to_stop(self._any)
        if trainer.last_batch_reached() and not run.resumes_lightning:
            self._step_schedulers(run, "epoch", plateau=True)
        run.resumes_lightning = False
        loop.epoch_loop.batches_that_stepped -= 1
        run.hub.log_metrics(metrics.current_log())
        metrics.reset_results()
        loop.epoch_loop.batches_that_stepped += 1
        loop.epoch_progress.current.completed += 1
        run.in_epoch = False
        if self._fit_done(run):
            hooks.call("on_train_end")
            run.boundaries.finished = True

    # --- validation -------------------------------------------------------------------------------------------------

    def _sanity_check(self, run: Run) -> None:
        """Validate a few batches before training; no random number of it is missed later."""
        trainer = run.trainer
        with lightning_private.isolate_rng(run.host):
            trainer.sanity_checking = True
            run.metrics.switch(run.metrics.validation)
            run.metrics.reset_results()
            run.metrics.reset_metrics()
            run.hooks.call_callbacks("on_sanity_check_start")
            if run.host.quirks.iterates_in_validation:
                run.load_validation_data()
            with torch.no_grad():
                self._evaluate(run)
            run.hooks.call_callbacks("on_sanity_check_end")
            run.metrics.reset_results()
            run.metrics.reset_metrics()
            run.metrics.switch(run.metrics.training)
            trainer.fit_loop.epoch_loop.val_loop.batch_progress.current.reset()
            trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset()
            trainer.training = True

    def _validate(self, run: Run) -> dict[str, Any]:
        trainer, metrics = run.trainer, run.metrics
        trainer.validating = True
        first_iteration = metrics.first_iteration
        metrics.switch(metrics.validation)
        metrics.first_iteration = None
        if not trainer.should_accumulate() and not run.host.quirks.zeroes_in_validation:
            with torch.enable_grad():
                run.hooks.call_module("on_validation_model_zero_grad")
        if run.host.quirks.iterates_in_validation:
            with torch.enable_grad():
                run.load_validation_data()
        with torch.no_grad():
            logged = self._evaluate(run)
        metrics.switch(metrics.training)
        trainer.training = True
        metrics.first_iteration = first_iteration
        metrics.after_validation = run.host.quirks.shows_epoch_values
        if self._any is not None:
            trainer.agree_to_stop(self._any)
        self._last_validation_time = time.monotonic()
        return to_scalars(logged)

    def _evaluate(self, run: Run) -> dict[str, Tensor]:
        """Run the validation loaders through the module.

        Returns:
            Name to value of the epoch, for every name that was logged.
        """
        trainer, hooks, metrics = run.trainer, run.hooks, run.metrics
        run.load_validation_data()
        data = trainer.validation_data
        if data is None:
            return {}
        sanity = trainer.sanity_checking
        max_batches = trainer.num_sanity_val_batches if sanity else data.max_batches
        if sum(data.longest) == 0 or (sanity and trainer.num_sanity_val_steps == 0):
            return {}
        if isinstance(run.strategy, Processes):
            run.strategy.equal_buffers()
        loop = trainer.fit_loop.epoch_loop.val_loop
        loop.has_run = False
        progress = loop.batch_progress
        progress.current.reset()
        progress.is_last_batch = False
        late = run.host.quirks.iterates_in_validation
        iterates = lightning_private.has_parameter(self.lightning_module.validation_step, "dataloader_iter")
        fetcher = data.fetcher(max_batches, ahead=not iterates)
        handed = HandedIterator(fetcher.__next__) if iterates else None
        if not late:
            run.set_epoch(data.loaders)
            fetcher.start()
        modes = lightning_private.ModuleModes(run.host, self.lightning_module)
        hooks.call_module("on_validation_model_eval")
        if run.host.quirks.zeroes_in_validation:
            self.lightning_module.zero_grad()
        hooks.call("on_validation_start")
        hooks.call("on_validation_epoch_start")
        if late:
            run.set_epoch(data.loaders)
            fetcher.start()
        outputs: list[dict[str, Tensor]] = []
        values: dict[str, Tensor] = {}
        step = self._validation_step(run, fetcher)
        kept: list[list[Any]] | None = [[] for _ in data.loaders] if hooks.overridden("validation_epoch_end") else None
        previous = 0
        while True:
            try:
                if handed is None:
                    batch, batch_idx, dataloader_idx = next(fetcher)
                elif fetcher.done:
                    break
                else:
                    batch, batch_idx, dataloader_idx = handed.last
            except StopIteration:
                break
            if dataloader_idx != previous:
                self._store_results(run, outputs, values, range(previous, dataloader_idx))
                previous = dataloader_idx
            progress.is_last_batch = fetcher.done
            try:
                output = step(batch, batch_idx, dataloader_idx, handed)
            except StopIteration:
                break
            if kept is not None and output is not None:
                kept[dataloader_idx].append(output)
            if not sanity:
                loop.has_run = True
                if metrics.validation.has_step_values and trainer.loggers:
                    run.hub.log_metrics(metrics.current_log(), step=data.seen[dataloader_idx], report=False)
                data.seen[dataloader_idx] += 1
        self._store_results(run, outputs, values, range(previous, len(data.loaders) if data.several else 1))
        metrics.epoch_end_reached()
        metrics.validation.dataloader_idx = None
        if kept is not None:
            # with a single loader there is no list around its list
            self._call_with_outputs(run, "validation_epoch_end", kept if data.several else kept[0])
            kept = None
        hooks.call("on_validation_epoch_end")
        metrics.epoch_end()
        logged = {name: value for output in reversed(outputs) for name, value in output.items()}
        if not sanity:
            callback, log, _ = metrics.validation.collect(False)
            values.update(callback)
            logged.update(log)
            run.hub.log_metrics(logged, report=False)
        hooks.call("on_validation_end")
        metrics.reset_results()
        if hooks.overridden("on_validation_model_train") or modes.restored_by_hook:
            hooks.call_module("on_validation_model_train")
        else:
            modes.restore()
        return {**logged, **values}

    @staticmethod
    def _store_results(
        run: Run, outputs: list[dict[str, Tensor]], values: dict[str, Tensor], loaders: Sequence[int]
    ) -> None:
        """Some validation loaders are through: the first of `loaders`, and those after it that had no batch here."""
        metrics = run.metrics
        # with several processes each of them comes by once for each loader, since others may have had batches of it
        for index in loaders if run.trainer.several else loaders[:1]:
            if run.trainer.several and len(run.trainer.num_val_batches) > 1:
                metrics.validation.dataloader_idx = index
            metrics.epoch_end_reached()
            if run.trainer.sanity_checking:
                continue
            metrics.refresh()
            callback, log, _ = metrics.validation.collect(False)
            outputs.append(log)
            values.update(callback)

    def _validation_step(self, run: Run, fetcher: Fetcher) -> Any:
        """A function that runs one validation batch with its hooks."""
        hooks, metrics, module, trainer = run.hooks, run.metrics, self.lightning_module, run.trainer
        data = trainer.validation_data
        assert data is not None
        several = data.several
        told = several or run.host.quirks.always_tells_loader
        lightning_private.check_dataloader_idx(run.host, module, several)
        progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
        takes_batch_idx = lightning_private.takes_batch_idx(run.host, module.validation_step)
        start, end = hooks.bound["on_validation_batch_start"], hooks.bound["on_validation_batch_end"]
        transfer = self._transfer
        run_step = self._running_step(run, "validation_step")

        def step(batch: Any, batch_idx: int, dataloader_idx: int, handed: HandedIterator | None) -> Any:
            if transfer is not None and handed is None:
                batch = transfer(batch, dataloader_idx)
            index = (dataloader_idx,) if several else ()
            progress.current.ready += 1
            progress.total.ready += 1
            metrics.batch_start(batch, dataloader_idx if several else None)
            if start is not None:
                start(batch, batch_idx, *((dataloader_idx,) if told else ()))
            arguments: tuple[Any, ...] = (batch, batch_idx, *index) if takes_batch_idx else (batch, *index)
            if handed is not None:
                arguments = (handed,)
            output = run_step(*arguments)
            if handed is not None:
                batch, batch_idx, dataloader_idx = handed.last
                progress.is_last_batch = fetcher.done
            if end is not None:
                end(output, batch, batch_idx, *((dataloader_idx,) if told else ()))
            metrics.batch_end()
            progress.current.completed += 1
            progress.total.completed += 1
            return output

        return step

    # --- what a finished trial knows --------------------------------------------------------------------------------

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Name to 0-d tensor, as `Trainer.callback_metrics`."""
        return {} if self._run is None else self._run.trainer.callback_metrics


class _Closure:
    """What an optimizer runs to have its gradients: the step, the gradients' zeroing, backward."""

    __slots__ = ("adapter", "arguments", "batch_idx", "executed", "extra", "loss", "optimizer", "run")

    def __init__(
        self, adapter: LightningAdapter, run: Run, arguments: tuple[Any, ...], batch_idx: int, optimizer: Any
    ) -> None:
        self.adapter = adapter
        self.run = run
        self.arguments = arguments
        self.batch_idx = batch_idx
        self.optimizer = optimizer
        self.executed = False
        self.loss: Tensor | None = None
        self.extra: dict[str, Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor | None:
        if not torch.is_grad_enabled():  # torch's own optimizers have seen to that, others may not have
            with torch.enable_grad():
                return self()
        run, adapter = self.run, self.adapter
        trainer = run.trainer
        self.executed = True
        output = adapter._training_step(*self.arguments)
        self.extra = None
        loss = output if isinstance(output, Tensor) else self._loss_of(output)
        if loss is None and trainer.several:
            raise ConfigurationError(
                f"training_step returned None on rank {trainer.global_rank}. With several processes the others wait for the "
                "gradients of every batch. Return a loss that is zero (loss * 0), or skip the samples in the dataset."
            )
        if loss is None:
            self.loss = None
            run.warn_once("`training_step` returned `None`. If this was on purpose, ignore this warning...")
        else:
            if trainer.accumulate_grad_batches != 1:
                loss = loss / trainer.accumulate_grad_batches
            self.loss = loss.detach()
            run.watch.add(self.loss, trainer.fit_loop.epoch_loop.batch_progress.total.ready)
            if run.hooks.bound["on_before_backward"] is not None:
                self.loss = self.loss.clone()  # a hook may change the loss in place
        if not trainer.fit_loop.skip_backward:
            if self.batch_idx % trainer.accumulate_grad_batches == 0:
                adapter._zero_grad(run, self.optimizer, self.batch_idx)
            if loss is not None:
                run.hooks.run("backward", adapter._backward, loss, self.optimizer)
        return self.loss

    def _loss_of(self, output: Any) -> Tensor | None:
        if output is None:
            return None
        error = self.run.host.misconfiguration
        if isinstance(output, Mapping):
            loss = output.get("loss")
            if loss is None:
                raise error(
                    "In automatic_optimization, when `training_step` returns a dict, the 'loss' key needs to be present"
                )
            self.extra = {key: value for key, value in output.items() if key != "loss"}
            if legacy.has_logs(output):
                self.adapter.log_returned(self.run, "training_step", output)
            return loss  # type: ignore[no-any-return]
        raise error(
            "In automatic optimization, `training_step` must return a Tensor, a dict, or None (where the step will"
            " be skipped)."
        )

    def outputs(self, run: Run) -> dict[str, Any]:
        """What `on_train_batch_end` gets."""
        if not self.executed:
            raise run.host.misconfiguration(
                "The closure hasn't been executed. HINT: did you call `optimizer_closure()` in your `optimizer_step` hook?"
                " It could also happen because the `optimizer.step(optimizer_closure)` call did not execute it internally."
            )
        if self.loss is None:
            return {}
        return {"loss": self.loss, **(self.extra or {})}
