"""What does `self.log` mean: step and epoch values, their weights, reductions and names?

Values stay on the device: logging a tensor detaches and copies it, nothing else, until somebody reads
`trainer.callback_metrics`, a reporting step comes, or an epoch ends. The order and the moments at which values become
visible are those of Lightning's logger connector.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.versions import lightning_private, torchmetrics_private

#: Reduces a tensor over all ranks: (value, group, operation) -> value.
Reduce = Callable[[Tensor, Any, str], Tensor]

# Where `self.log` may be called, and what `on_step` / `on_epoch` mean there by default (step, epoch); None: forbidden.
_STEP = (True, False)  # default of the training step's hooks
_EVAL_STEP = (False, True)  # default of the validation step's hooks
_EPOCH = "epoch"  # only epoch values
LOGGING: dict[str, tuple[bool, bool] | str | None] = {
    **dict.fromkeys(
        (
            "on_before_backward",
            "backward",
            "on_after_backward",
            "on_before_optimizer_step",
            "optimizer_step",
            "configure_gradient_clipping",
            "clip_gradients",
            "on_before_zero_grad",
            "optimizer_zero_grad",
            "on_train_batch_start",
            "on_train_batch_end",
            "on_batch_start",
            "on_batch_end",
            "training_step",
            "training_step_end",
        ),
        _STEP,
    ),
    **dict.fromkeys(
        ("on_validation_batch_start", "on_validation_batch_end", "validation_step", "validation_step_end"), _EVAL_STEP
    ),
    **dict.fromkeys(
        (
            "on_train_start",
            "on_validation_start",
            "on_train_epoch_start",
            "on_train_epoch_end",
            "on_validation_epoch_start",
            "on_validation_epoch_end",
            "on_epoch_start",
            "on_epoch_end",
            "training_epoch_end",
            "validation_epoch_end",
        ),
        _EPOCH,
    ),
    **dict.fromkeys(
        (
            "lr_scheduler_step",
            "on_fit_start",
            "on_fit_end",
            "on_sanity_check_start",
            "on_sanity_check_end",
            "on_train_end",
            "on_validation_end",
            "on_before_batch_transfer",
            "transfer_batch_to_device",
            "on_after_batch_transfer",
            "on_exception",
            "state_dict",
            "on_save_checkpoint",
            "on_load_checkpoint",
            "load_state_dict",
            "setup",
            "teardown",
            "configure_sharded_model",
            "configure_model",
            "configure_optimizers",
            "train_dataloader",
            "val_dataloader",
            "prepare_data",
            "configure_callbacks",
            "on_validation_model_zero_grad",
            "on_validation_model_eval",
            "on_validation_model_train",
        )
    ),
}

_REDUCTIONS: dict[Any, str] = {
    torch.mean: "mean",
    torch.sum: "sum",
    sum: "sum",
    torch.max: "max",
    max: "max",
    torch.min: "min",
    min: "min",
}
_INITIAL = {"mean": 0.0, "sum": 0.0, "max": float("-inf"), "min": float("inf")}


def accumulation_dtype() -> torch.dtype:
    """The default floating point type, but never less than float32."""
    dtype = torch.get_default_dtype()
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


class Entry:
    """One logged name in one hook (and one validation loader): its arguments, its step value, its epoch value."""

    __slots__ = (
        "arguments",
        "batch_size",
        "computed",
        "dataloader_idx",
        "forked_names",
        "fx",
        "has_reset",
        "hook",
        "is_tensor",
        "key_idx",
        "logger",
        "meta",
        "name",
        "on_epoch",
        "on_step",
        "prog_bar",
        "public_name",
        "reduction",
        "shared",
        "step",
        "step_sync",
        "value",
    )

    def __init__(
        self,
        hook: str,
        name: str,
        is_tensor: bool,
        meta: tuple[Any, ...],
        arguments: tuple[Any, ...],
        dataloader_idx: int | None,
        add_dataloader_idx: bool,
        step_sync: Callable[[Tensor], Tensor] | None,
        shared: bool,
    ) -> None:
        self.hook = hook
        self.name = name
        self.is_tensor = is_tensor
        self.meta = meta
        self.arguments = arguments
        self.prog_bar, self.logger, self.on_step, self.on_epoch, self.reduction = meta[:5]
        self.dataloader_idx = dataloader_idx
        self.step_sync = step_sync
        self.shared = shared
        self.key_idx = dataloader_idx if add_dataloader_idx else None
        suffixed = add_dataloader_idx and dataloader_idx is not None
        suffix = f"/dataloader_idx_{dataloader_idx}" if suffixed else ""
        self.fx = f"{hook}.{dataloader_idx}" if suffixed else hook
        forked = self.on_step and self.on_epoch
        self.public_name = name + suffix
        self.forked_names = (
            f"{name}_epoch{suffix}" if forked else self.public_name,
            f"{name}_step{suffix}" if forked else self.public_name,
        )
        self.value: Any = None
        self.batch_size: Any = 0
        self.step: Any = None
        self.computed: Any = None
        self.has_reset = False
        if is_tensor:
            self._clear()

    def _clear(self) -> None:
        self.value = None
        self.batch_size = 0

    def update(self, value: Any, batch_size: Any) -> None:
        """Take the value of one batch; `batch_size` is its weight in a mean."""
        self.computed = None
        self.has_reset = False
        if not self.is_tensor:
            self.value = value
            self.step = torchmetrics_private.step_value(value)
            return
        if self.on_step:
            self.step = value if self.step_sync is None else self.step_sync(value.clone())
            if not self.on_epoch:
                self.value = self.step
                return
        if self.value is None:
            self.value = torch.full((), _INITIAL[self.reduction], dtype=accumulation_dtype(), device=value.device)
        elif self.value.device != value.device:
            self.value = self.value.to(value.device)
        if self.reduction == "mean":
            self.value = self.value + value * batch_size  # not in place: the type may be promoted
            self.batch_size = self.batch_size + batch_size
        elif self.reduction == "sum":
            self.value = self.value + value
        elif self.reduction == "max":
            self.value = torch.max(self.value, value)
        else:
            self.value = torch.min(self.value, value)

    def compute(self) -> Any:
        """The value of the epoch so far, computed once until the next update."""
        if self.computed is None:
            if not self.is_tensor:
                self.computed = self.value.compute()
            else:
                self.computed = self.value / self.batch_size if self.reduction == "mean" else self.value
        return self.computed

    def described(self) -> dict[str, Any]:
        """What another process needs to make an empty one of the same name."""
        return {
            "hook": self.hook,
            "name": self.name,
            "key_idx": self.key_idx,
            "dataloader_idx": self.dataloader_idx,
            "meta": [*self.meta[:7], None, *self.meta[8:]],
            "metric": None if self.is_tensor else self.meta[9],
            "dtype": self.value.dtype if self.is_tensor else None,
            "value": None,
            "batch_size": 0,
            "step": None,
            "has_reset": False,
        }

    def current(self, on_step: bool) -> Any:
        """The step's or the epoch's value; None where the arguments of `self.log` did not ask for it."""
        if on_step:
            value = self.step if self.on_step else None
        elif self.shared:
            value = self.computed if self.on_epoch else None  # there since all processes met
        else:
            value = self.compute() if self.on_epoch else None
        if value is None:
            return None
        if not isinstance(value, Tensor):
            raise ValueError(
                f"The `.compute()` return of the metric logged as {self.name!r} must be a tensor. Found {value}"
            )
        return value.detach()

    def reset(self) -> None:
        """Start over; the entry stays out of sight until it is logged again."""
        if self.is_tensor:
            self._clear()
            self.step = None
            self.computed = None
        else:
            self.value.reset()
        self.has_reset = True


class Results:
    """All entries of the training loop, or of the validation loop."""

    def __init__(self, training: bool) -> None:
        self.training = training
        self.entries: dict[tuple[str, str, int | None], Entry] = {}
        self.batch: Any = None
        self.batch_size: int | None = None
        self.dataloader_idx: int | None = None
        self.has_step_values = False

    def visible(self) -> list[Entry]:
        """Entries that were logged since the last reset, for the loader that is being run."""
        return [e for e in self.entries.values() if not e.has_reset and e.dataloader_idx == self.dataloader_idx]

    def collect(self, on_step: bool) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Values by name for callbacks, for loggers and for the progress bar."""
        callback: dict[str, Tensor] = {}
        log: dict[str, Tensor] = {}
        bar: dict[str, Tensor] = {}
        for entry in self.visible():
            value = entry.current(on_step)
            if value is None:
                continue
            forked = entry.forked_names[on_step]
            if entry.logger:
                log[forked] = value
            # Validation's step values are no monitor: callbacks see epoch values only.
            if self.training or (entry.on_epoch and not on_step):
                callback[entry.public_name] = value
                callback[forked] = value
            if entry.prog_bar:
                bar[forked] = value
        return callback, log, bar

    def state_dict(self) -> list[dict[str, Any]]:
        """The entries; a torchmetrics object is named by its place in the module."""
        return [
            {
                "hook": hook,
                "name": name,
                "dataloader_idx": entry.dataloader_idx,
                "key_idx": key_idx,
                "meta": list(entry.meta),
                "metric": None if entry.is_tensor else entry.meta[9],
                "value": entry.value if entry.is_tensor else None,
                "batch_size": entry.batch_size,
                "step": entry.step if isinstance(entry.step, Tensor) else None,
                "has_reset": entry.has_reset,
            }
            for (hook, name, key_idx), entry in self.entries.items()
        ]

    def load_state_dict(self, state: list[dict[str, Any]], make: Callable[[Mapping[str, Any]], Entry]) -> None:
        """Restore the entries; `make` builds one."""
        self.entries = {(saved["hook"], saved["name"], saved["key_idx"]): make(saved) for saved in state}
        self.has_step_values = any(entry.on_step for entry in self.entries.values())

    def reset(self, tensors_of: str | None = None) -> None:
        """Reset everything, or only the tensors that hook `tensors_of` logged."""
        for entry in self.entries.values():
            if tensors_of is None or (entry.is_tensor and entry.fx == tensors_of):
                entry.reset()


class Metrics:
    """`self.log` of one run, and the dictionaries that callbacks, loggers and monitors read.

    Attributes:
        training: results of the training loop.
        validation: results of the validation loop.
        active: whichever of the two the running loop owns; None where logging is impossible.
        first_iteration: None at the borders of an epoch, True in the first iteration of a loop, False in later ones;
            the values that become visible are the epoch's where it is None, else the step's.
        after_validation: whether older Lightnings show the epoch's values until the next batch, validation being over.
    """

    def __init__(self, hooks: Hooks, device: Callable[[], torch.device]) -> None:
        self.hooks = hooks
        self.host = hooks.host
        self.module = hooks.module
        self.device = device
        self.training = Results(training=True)
        self.validation = Results(training=False)
        self.active: Results | None = self.training
        self.first_iteration: bool | None = None
        self.after_validation = False
        self.reduce: Reduce | None = None
        self.gather: Callable[[Any], list[Any]] | None = None
        self.steps_together = True
        self.loggers: Callable[[], list[Any]] = list
        self._hook_of_last_log: str | None = None
        self._callback: dict[str, Tensor] = {}
        self._logged: dict[str, Tensor] = {}
        self._bar: dict[str, Any] = {}
        self._stale = False
        self._metric_names: dict[int, str] | None = None

    # --- what user code calls -------------------------------------------------------------------------------------

    def log(
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[[Any], Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """`LightningModule.log` of the newest Lightning; the arguments mean what they mean there.

        Args:
            name: key, the same on all ranks.
            value: a number, a tensor of one element, or a torchmetrics Metric.
            batch_size: weight of this batch in an epoch mean; inferred from the batch where it is not given.

        Raises:
            MisconfigurationException: logging is not allowed in this hook, `on_step` or `on_epoch` are not allowed
                there, or the name was logged with other arguments before.
            ValueError: the value is not one element, or not of a type that can be logged.
        """
        results = self.active
        hook = self.hooks.running
        if results is None or hook is None:
            raise self.host.misconfiguration(
                "You are trying to `self.log()` but it is not managed by the `Trainer` control flow"
            )
        dataloader_idx = results.dataloader_idx if add_dataloader_idx else None
        entry = results.entries.get((hook, name, dataloader_idx))
        arguments = (
            prog_bar,
            logger,
            on_step,
            on_epoch,
            reduce_fx,
            enable_graph,
            sync_dist,
            sync_dist_group,
            add_dataloader_idx,
            metric_attribute,
            rank_zero_only,
        )
        if entry is None or entry.arguments != arguments or entry.dataloader_idx != results.dataloader_idx:
            entry = self._register(results, hook, name, value, dataloader_idx, arguments, entry)
        if isinstance(value, Tensor):
            value = value.detach().clone()
        elif not isinstance(value, Metric):
            value = self._from_number(name, value)
        if entry.is_tensor:
            if value.ndim != 0:
                if value.numel() != 1:
                    raise ValueError(
                        f"`self.log({name}, {value})` was called, but the tensor must have a single element."
                        f" You can try doing `self.log({name}, {value}.mean())`"
                    )
                value = value.squeeze()
            if value.dtype is not torch.float32 and value.dtype is not torch.float64:
                value = self._to_floating(hook, name, value)
        if self.first_iteration is not False and self._hook_of_last_log != hook:
            # a new epoch has begun in this hook: what it logged in the one before is gone
            results.reset(tensors_of=hook)
        if batch_size is None:
            batch_size = results.batch_size
            if batch_size is None:
                batch_size = 1
                if results.batch is not None and entry.is_tensor and entry.on_epoch and entry.reduction == "mean":
                    batch_size = results.batch_size = lightning_private.extract_batch_size(self.host, results.batch)
        entry.update(value, batch_size)
        self._stale = True
        self._hook_of_last_log = hook

    def log_dict(self, dictionary: Mapping[str, Any] | MetricCollection, **options: Any) -> None:
        """`LightningModule.log_dict`: `log` for every pair, with the same options."""
        items = (
            torchmetrics_private.collection_items(dictionary)
            if isinstance(dictionary, MetricCollection)
            else dictionary.items()
        )
        for name, value in items:
            self.log(name, value, **options)

    def _from_number(self, name: str, value: Any) -> Tensor:
        if isinstance(value, dict) and any(isinstance(entry, dict) for entry in value.values()):
            raise ValueError(f"`self.log({name}, {value})` was called, but nested dictionaries cannot be logged")
        if not isinstance(value, numbers.Number):
            raise ValueError(
                f"`self.log({name}, {value})` was called, but `{type(value).__name__}` values cannot be logged"
            )
        device = self.device()
        if device.type == "cpu":
            return torch.tensor(value, dtype=accumulation_dtype())
        # filling a new tensor needs no synchronisation, copying a number to the device does
        return torch.full((), float(value), dtype=accumulation_dtype(), device=device)  # type: ignore[arg-type]

    def _to_floating(self, hook: str, name: str, value: Tensor) -> Tensor:
        dtype = accumulation_dtype()
        if not torch.is_floating_point(value):
            self.host.warn(
                f"You called `self.log({name!r}, ...)` in your `{hook}` but the value needs to be floating to be reduced."
                f" Converting it to {dtype}. You can silence this warning by converting the value to floating point"
                " yourself."
            )
        return value.to(dtype)

    def _register(
        self,
        results: Results,
        hook: str,
        name: str,
        value: Any,
        dataloader_idx: int | None,
        arguments: tuple[Any, ...],
        known: Entry | None,
    ) -> Entry:
        prog_bar, logger, on_step, on_epoch, reduce_fx, enable_graph, sync_dist, group, add_idx, attribute, zero = (
            arguments
        )
        error = self.host.misconfiguration
        if not isinstance(value, (Tensor, Metric, numbers.Number)):
            self._from_number(name, value)
        on_step, on_epoch = self._levels(hook, on_step, on_epoch)
        if add_idx and "/dataloader_idx_" in name:
            raise error(
                f"You called `self.log` with the key `{name}`"
                " but it should not contain information about `dataloader_idx` when `add_dataloader_idx=True`"
            )
        if isinstance(value, Metric) and attribute is None:
            attribute = self._attribute_of(name, value)
        if not on_step and not on_epoch:
            raise error("`self.log(on_step=False, on_epoch=False)` is not useful.")
        reduction = self._reduction(reduce_fx)
        meta = (
            prog_bar,
            True if logger is None else logger,
            on_step,
            on_epoch,
            reduction,
            enable_graph,
            sync_dist,
            group,
            add_idx,
            attribute,
            zero,
            results.dataloader_idx,
        )
        if known is not None:
            if known.meta != meta:
                fx = hook if dataloader_idx is None else f"{hook}.{dataloader_idx}"
                raise error(
                    f"You called `self.log({name}, ...)` twice in `{fx}` with different arguments. This is not allowed"
                )
            known.arguments = arguments
            return known
        entry = Entry(
            hook,
            name,
            not isinstance(value, Metric),
            meta,
            arguments,
            results.dataloader_idx,
            add_idx,
            self._sync(reduction, group) if sync_dist and not zero else None,
            self.reduce is not None and not zero,
        )
        results.entries[(hook, name, dataloader_idx)] = entry
        results.has_step_values |= entry.on_step
        return entry

    def _sync(self, operation: str, group: Any) -> Callable[[Tensor], Tensor] | None:
        reduce = self.reduce
        if reduce is None:
            return None

        def sync(value: Tensor) -> Tensor:
            # a validation step need not have a counterpart on every rank, since no sample is repeated
            return reduce(value, group, operation) if self.active is self.training or self.steps_together else value

        return sync

    def _levels(self, hook: str, on_step: bool | None, on_epoch: bool | None) -> tuple[bool, bool]:
        if hook not in LOGGING:
            raise RuntimeError(f"Logging inside `{hook}` is not implemented.")
        rule = LOGGING[hook]
        if rule is None:
            raise self.host.misconfiguration(
                f"You can't `self.log()` inside `{hook}`. HINT: You can still log directly to the logger by using"
                " `self.logger.experiment`."
            )
        default_step, default_epoch = (False, True) if isinstance(rule, str) else rule
        on_step = default_step if on_step is None else on_step
        on_epoch = default_epoch if on_epoch is None else on_epoch
        if rule == _EPOCH:
            message = "You can't `self.log({}={})` inside `{}`, must be one of {}."
            if on_step:
                raise self.host.misconfiguration(message.format("on_step", on_step, hook, (False,)))
            if not on_epoch:
                raise self.host.misconfiguration(message.format("on_epoch", on_epoch, hook, (True,)))
        return on_step, on_epoch

    def _reduction(self, reduce_fx: Any) -> str:
        if isinstance(reduce_fx, str):
            name = {"avg": "mean"}.get(reduce_fx.lower(), reduce_fx.lower())
            if name in _INITIAL:
                return name
        elif reduce_fx in _REDUCTIONS:
            return _REDUCTIONS[reduce_fx]
        raise self.host.misconfiguration(
            "Only `self.log(..., reduce_fx={min,max,mean,sum})` are supported."
            " If you need a custom reduction, please log a `torchmetrics.Metric` instance instead."
            f" Found: {reduce_fx}"
        )

    def _attribute_of(self, name: str, metric: Metric) -> str:
        if self._metric_names is None:
            self._metric_names = {id(m): n for n, m in self.module.named_modules() if isinstance(m, Metric)}
        message = (
            "Could not find the `LightningModule` attribute for the `torchmetrics.Metric` logged. You can fix this by "
        )
        if not self._metric_names:
            raise self.host.misconfiguration(message + "setting an attribute for the metric in your `LightningModule`.")
        if id(metric) not in self._metric_names:
            raise self.host.misconfiguration(
                message + f"calling `self.log({name}, ..., metric_attribute=name)` where `name` is one of"
                f" {list(self._metric_names.values())}"
            )
        return self._metric_names[id(metric)]

    # --- what the loops call --------------------------------------------------------------------------------------

    def batch_start(self, batch: Any, dataloader_idx: int | None = None) -> None:
        """A batch is about to be processed."""
        self.first_iteration = self.first_iteration is None
        self.after_validation = False
        results = self.active
        assert results is not None
        if results.dataloader_idx != dataloader_idx:
            self.flush()
            results.dataloader_idx = dataloader_idx
        results.batch = batch
        results.batch_size = None

    def batch_end(self) -> None:
        """The batch is done: forget it, so that its memory is free."""
        results = self.active
        assert results is not None
        results.batch = None
        results.batch_size = None

    def epoch_end_reached(self) -> None:
        """From here on values are the epoch's."""
        self.flush()
        self.first_iteration = None
        self.meet()

    def meet(self) -> None:
        """Reduce what was logged for the epoch over all processes, at a moment at which all of them come by.

        A process that had no batch logged nothing, and takes part with nothing. Values that are read before this moment
        are not there yet, so that a rank that reads alone does not wait for the others.
        """
        results, gather = self.active, self.gather
        if gather is None or results is None:
            return
        own = [entry for entry in results.visible() if entry.shared and entry.on_epoch and entry.computed is None]
        everyone = gather([entry.described() for entry in own])
        wanted = {(d["hook"], d["name"], d["key_idx"]): d for described in everyone for d in described}
        due = [self._present(results, key, description) for key, description in wanted.items()]
        tensors: dict[tuple[Any, ...], list[Entry]] = {}
        for entry in due:
            if entry.is_tensor:
                tensors.setdefault((entry.reduction, id(entry.meta[7]), entry.value.dtype), []).append(entry)
            else:
                entry.compute()
        for entries in tensors.values():
            self._reduce(entries)

    def _present(self, results: Results, key: tuple[str, str, int | None], description: dict[str, Any]) -> Entry:
        """The entry of a name that some process logged, empty where this one did not."""
        entry = results.entries.get(key)
        if entry is None:
            entry = results.entries[key] = self._restored_entry(description)
            results.has_step_values |= entry.on_step
        if entry.has_reset:
            entry.has_reset = False
            entry.computed = None
        if entry.is_tensor and entry.value is None:
            entry.value = torch.full((), _INITIAL[entry.reduction], dtype=description["dtype"], device=self.device())
        return entry

    def _reduce(self, entries: list[Entry]) -> None:
        """Entries of one reduction and type travel together."""
        assert self.reduce is not None
        reduction, group = entries[0].reduction, entries[0].meta[7]
        values = [entry.value for entry in entries]
        if reduction == "mean":
            values += [torch.as_tensor(e.batch_size, dtype=e.value.dtype, device=e.value.device) for e in entries]
        device = self.device()
        total = self.reduce(
            torch.stack([value.to(device) for value in values]), group, "sum" if reduction == "mean" else reduction
        )
        for index, entry in enumerate(entries):
            entry.computed = total[index] / total[index + len(entries)] if reduction == "mean" else total[index]

    def epoch_end(self) -> None:
        """The epoch's hooks have run: what they logged is visible to monitors."""
        self.meet()
        self.refresh()
        self._hook_of_last_log = None

    def refresh(self) -> None:
        """Make the present values of the running loop visible."""
        self._stale = True
        self.flush()

    @property
    def _on_step(self) -> bool:
        return self.first_iteration is not None and not self.after_validation

    def flush(self) -> None:
        """Bring the dictionaries up to date with what was logged since the last time."""
        if self._stale and self.active is not None:
            self._stale = False
            callback, log, bar = self.active.collect(self._on_step)
            self._callback.update(callback)
            self._logged.update(log)
            self._bar.update(bar)

    def current_log(self) -> dict[str, Tensor]:
        """What loggers get now."""
        assert self.active is not None
        return self.active.collect(self._on_step)[1]

    def remember(self, log: dict[str, Tensor]) -> None:
        """Values went to the loggers: `trainer.logged_metrics` holds them."""
        self._logged.update(log)

    def reset_results(self) -> None:
        """Start over the running loop's results; the dictionaries stay."""
        self.flush()
        if self.active is not None:
            self.active.reset()
        self.first_iteration = None
        self._hook_of_last_log = None
        self._stale = False

    def reset_metrics(self) -> None:
        """Empty the dictionaries."""
        self._callback, self._logged, self._bar = {}, {}, {}
        self._stale = False

    def switch(self, results: Results | None) -> None:
        """Another loop runs now."""
        self.flush()
        self.active = results

    # --- what a checkpoint holds ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything logged so far that is still to be averaged or read; tensors keep their types."""
        self.flush()
        return {
            "training": self.training.state_dict(),
            "callback": dict(self._callback),
            "logged": dict(self._logged),
            "bar": to_scalars(self._bar),
            "first_iteration": self.first_iteration,
            "hook_of_last_log": self._hook_of_last_log,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on logging where `state_dict` was taken."""
        self.training.load_state_dict(state["training"], self._restored_entry)
        self._callback = dict(state["callback"])
        self._logged = dict(state["logged"])
        self._bar = dict(state["bar"])
        self.first_iteration = state["first_iteration"]
        self._hook_of_last_log = state["hook_of_last_log"]
        self._stale = False

    def _restored_entry(self, saved: Mapping[str, Any]) -> Entry:
        meta = tuple(saved["meta"])
        reduction, sync_dist, group, zero = meta[4], meta[6], meta[7], meta[10]
        entry = Entry(
            saved["hook"],
            saved["name"],
            saved["metric"] is None,
            meta,
            (),
            saved["dataloader_idx"],
            meta[8],
            self._sync(reduction, group) if sync_dist and not zero else None,
            self.reduce is not None and not zero,
        )
        device = self.device()
        entry.value = (
            _to(saved["value"], device) if saved["metric"] is None else self.module.get_submodule(saved["metric"])
        )
        entry.batch_size = saved["batch_size"]
        entry.step = _to(saved["step"], device)
        entry.has_reset = saved["has_reset"]
        return entry

    # --- what user code reads -------------------------------------------------------------------------------------

    def _show(self, place: int, shown: dict[str, Any]) -> None:
        if self.after_validation and self.active is not None:  # the others stay as they were before the validation
            shown.update(self.active.collect(False)[place])
        else:
            self.refresh()

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Name to 0-d tensor: what monitors read."""
        self._show(0, self._callback)
        return self._callback

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """Name to 0-d tensor: what loggers were or will be given."""
        self._show(1, self._logged)
        return self._logged

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """Name to number. Reading it waits for the device."""
        self._show(2, self._bar)
        self._bar = to_scalars(self._bar)
        return self._bar


def to_scalars(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of one element become numbers; this waits for the device."""
    return {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}


def _to(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
