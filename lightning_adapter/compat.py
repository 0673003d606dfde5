"""What differs between versions, and which private names of Lightning, torchmetrics and Determined are touched?

Nothing outside this file checks a version of a host or names a host's private attribute. Each private name says why it
is needed and in which versions it was seen (Lightning 1.9.5, 2.0.9, 2.6.6; torchmetrics 1.9; determined 0.38.1).
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pathlib
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from types import ModuleType
from typing import Any
from weakref import proxy

import appdirs
import numpy as np
import torch
from packaging.version import Version
from torchmetrics import Metric

from lightning_adapter.errors import ConfigurationError

PACKAGES = ("pytorch_lightning", "lightning.pytorch")


@dataclass(frozen=True)
class Host:
    """One of the two packages that hold Lightning's code, with the public classes that the adapter uses."""

    package: str
    version: Version
    pl: ModuleType

    def __reduce__(self) -> tuple[Any, ...]:
        # a copy of a module that is being trained holds this through its trainer, and is of the same package
        return host, (self.package,)

    def load(self, name: str) -> ModuleType:
        """Import `<package>.<name>`."""
        return importlib.import_module(f"{self.package}.{name}")

    @property
    def legacy(self) -> bool:
        """True for Lightning 1.x."""
        return self.version.major < 2

    @property
    def habits(self) -> Habits:
        """What this version does at other moments than the newest one."""
        return _habits(self)

    @property
    def scaler_key(self) -> str:
        """Where a checkpoint has the state of the loss scaler: the name of Lightning's precision plugin."""
        return "MixedPrecision" if self.version >= Version("2.1") else "MixedPrecisionPlugin"

    def misconfiguration(self, message: str) -> Exception:
        """Lightning's own exception for an illegal use of its API, which is a ConfigurationError of ours too."""
        return _misconfiguration(self)(message)

    def warn(self, message: str, category: type[Warning] = UserWarning) -> None:
        """Warn on the chief alone, as Lightning does."""
        self.load("utilities.rank_zero").rank_zero_warn(message, category=category)


@dataclass(frozen=True)
class Habits:
    """What older versions do at other moments than the newest one.

    Seen in 1.9.5 and 2.0.9; the limits in between are those of Lightning's changelog.

    Attributes:
        monitors_in_order: EarlyStopping and Checkpoint callbacks come before the module at the end of an epoch.
        always_tells_loader: the hooks around a validation batch get `dataloader_idx` with a single loader too.
        zeroes_in_validation: each validation zeroes the gradients once the module is in evaluation mode.
        trains_all_at_start: the whole module is set to training mode when training starts.
        iterates_in_epoch: the training loaders are iterated within the epoch, after its first hooks.
        skips_at_once: `on_train_batch_start` returning -1 ends the epoch without schedulers.
        iterates_in_validation: the validation loaders are iterated after the first hooks of a validation, and asked for
            before training starts without the trainer saying that it validates.
        checks_limits_first: whether the run is over already is asked before the training loaders are.
        transfers_while_fetching: whether a batch is the last one becomes known after it was moved to the device.
        hides_batch_idx: a step that takes no `batch_idx` makes it 0 for the hooks around it, and for accumulation.
        converts_late: "64-true" converts the module after its optimizers are made, and a batch when it enters a step.
        waits_within_limits: no batch is fetched ahead where a limit says how many batches of an endless loader are used.
        limits_outside: `limit_train_batches` ends an epoch without the batch before it being the last one.
        asks_for_data_anew: training loaders that `estimated_stepping_batches` made are asked for again.
        shows_epoch_values: after a validation `callback_metrics` shows the epoch's values until the next batch.
        whole_steps: a metric logged as "step" is rounded to a whole number.
        empty_list: `on_train_batch_end` gets an empty list for a step that was skipped.
        joins_after_data: `prepare_data` runs before the processes of a job find each other and are seeded anew.
        caches_casts: autocast keeps the weights that it has converted until the step is over.
    """

    monitors_in_order: bool
    always_tells_loader: bool
    zeroes_in_validation: bool
    trains_all_at_start: bool
    iterates_in_epoch: bool
    skips_at_once: bool
    iterates_in_validation: bool
    checks_limits_first: bool
    transfers_while_fetching: bool
    hides_batch_idx: bool
    converts_late: bool
    waits_within_limits: bool
    limits_outside: bool
    asks_for_data_anew: bool
    shows_epoch_values: bool
    whole_steps: bool
    empty_list: bool
    joins_after_data: bool
    caches_casts: bool


@functools.cache
def _habits(host: Host) -> Habits:
    before_2_1 = host.version < Version("2.1")
    return Habits(
        monitors_in_order=host.legacy,
        always_tells_loader=host.legacy,
        zeroes_in_validation=not hasattr(host.pl.LightningModule, "on_validation_model_zero_grad"),
        trains_all_at_start=host.version < Version("2.2"),
        iterates_in_epoch=before_2_1,
        skips_at_once=before_2_1,
        iterates_in_validation=host.legacy,
        checks_limits_first=host.legacy,
        transfers_while_fetching=host.legacy,
        hides_batch_idx=before_2_1,
        converts_late=before_2_1,
        waits_within_limits=host.legacy,
        limits_outside=before_2_1,
        asks_for_data_anew=host.legacy,
        shows_epoch_values=before_2_1,
        whole_steps=not before_2_1,
        empty_list=host.legacy,
        joins_after_data=before_2_1,
        caches_casts=host.version < Version("2.5.5"),
    )


@functools.cache
def _misconfiguration(host: Host) -> type[Exception]:
    theirs = host.load("utilities.exceptions").MisconfigurationException
    return type("MisconfigurationException", (ConfigurationError, theirs), {"__module__": theirs.__module__})


_hosts: dict[str, Host] = {}


def host(package: str) -> Host:
    """The host package by its import name; it must be importable."""
    if package not in _hosts:
        pl = importlib.import_module(package)
        _hosts[package] = Host(package, Version(pl.__version__), pl)
    return _hosts[package]


def host_of_class(cls: type) -> Host | None:
    """The Lightning package whose class `cls` derives from, or None."""
    for base in cls.__mro__:
        for package in PACKAGES:
            if base.__module__ == package or base.__module__.startswith(package + "."):
                return host(package)
    return None


def host_of(module: object) -> Host:
    """The Lightning package that a LightningModule derives from.

    Raises:
        ConfigurationError: if `module` is no LightningModule.
    """
    found = host_of_class(type(module))
    if found is None or not isinstance(module, found.pl.LightningModule):
        raise ConfigurationError(
            f"LightningAdapter was given a {type(module).__module__}.{type(module).__qualname__} as its module, which is "
            "no LightningModule. Derive it from lightning_adapter.DETLM (or any LightningModule) and pass an instance."
        )
    return found


# --- LightningModule ----------------------------------------------------------------------------------------------

#: Methods of the host classes that every call goes through even when nobody overrides them.
HOST_MODULE_PREFIXES = ("pytorch_lightning.", "lightning.pytorch.", "lightning_fabric.", "lightning.fabric.")


def is_host_class(cls: type) -> bool:
    """True for classes that Lightning itself (or torch, or this package) defines."""
    name = cls.__module__ + "."
    return name.startswith((*HOST_MODULE_PREFIXES, "torch.", "lightning_adapter.")) or cls is object


def set_device(module: torch.nn.Module, device: torch.device) -> None:
    """Make `LightningModule.device` right before the module was moved.

    `_device` (1.9.5 to 2.6.6): Lightning sets it so before `setup()`, since `.to()` comes later.
    """
    for child in module.modules():
        if hasattr(type(child), "device") and hasattr(child, "_device"):
            child._device = device  # type: ignore[assignment]


def forget_metric_attributes(module: Any) -> None:
    """Forget metric attributes that `self.log` cached (`_metric_attributes`, 1.9.5 to 2.6.6), stale after `teardown`."""
    module._metric_attributes = None


def lightning_optimizers(host: Host, optimizers: list[Any], strategy: Any) -> Any:
    """What `LightningModule.optimizers()` hands to user code: a list, in Lightning 1.x a dictionary by index.

    `LightningOptimizer._strategy` (1.9.5 to 2.6.6) is where its `step()` goes; in 1.x `_optimizer_idx` goes along.
    """
    cls = host.load("core.optimizer").LightningOptimizer
    wrapped = []
    for index, optimizer in enumerate(optimizers):
        wrapper = optimizer if isinstance(optimizer, cls) else cls(optimizer)
        wrapper._strategy = proxy(strategy)
        if host.legacy:
            wrapper._optimizer_idx = index
        wrapped.append(wrapper)
    return dict(enumerate(wrapped)) if host.legacy else wrapped


def optimizer_wrappers(wrappers: Any) -> list[Any]:
    """The values of what `lightning_optimizers` returned."""
    return list(wrappers.values()) if isinstance(wrappers, dict) else wrappers


def around_optimizer_step(wrapper: Any, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Count optimizer steps in manual optimization (`_on_before_step`, `_on_after_step`, 1.9.5 to 2.6.6)."""
    wrapper._on_before_step = before
    wrapper._on_after_step = after


def unwrap_optimizer(optimizer: Any) -> Any:
    """The user's own optimizer below a LightningOptimizer (public property `optimizer`)."""
    return optimizer.optimizer if type(optimizer).__name__.startswith("Lightning") else optimizer


def scheduler_config(host: Host, scheduler: Any, **options: Any) -> Any:
    """A `LRSchedulerConfig`, the public dataclass that `trainer.lr_scheduler_configs` holds."""
    return host.load("utilities.types").LRSchedulerConfig(scheduler, **options)


def scheduler_config_keys(host: Host) -> set[str]:
    """The keys that a scheduler dictionary may have in this version."""
    return {field.name for field in fields(host.load("utilities.types").LRSchedulerConfig)}


# --- torchmetrics ---------------------------------------------------------------------------------------------------


def step_value(metric: Any) -> Any:
    """The value of the last batch of a torchmetrics Metric.

    `_forward_cache` (torchmetrics 0.7 to 1.9) is where `metric(...)` leaves it; there is no public reader.
    """
    return metric._forward_cache


def collection_items(collection: Any) -> Any:
    """Name and metric pairs of a MetricCollection, its states not copied.

    `_enable_compute_groups` (torchmetrics 0.9 to 1.9) says whether `items(copy_state=False)` exists, as Lightning asks.
    """
    if getattr(collection, "_enable_compute_groups", False):
        return collection.items(keep_base=False, copy_state=False)
    return collection.items(keep_base=False)


# --- loaders --------------------------------------------------------------------------------------------------------


def is_combined(loaders: Any) -> bool:
    """Whether the user returned Lightning's CombinedLoader, of either package."""
    return type(loaders).__name__ == "CombinedLoader"


def uncombined(loaders: Any, mode: str) -> tuple[str, Any]:
    """The mode and the collection of a CombinedLoader; other loaders are a collection of the given mode.

    `_mode` (2.0.9 to 2.6.6) is what it was made with; 1.9.5 calls both attributes `mode` and `loaders`, publicly.
    """
    if not is_combined(loaders):
        return mode, loaders
    collection = loaders.iterables if hasattr(loaders, "iterables") else loaders.loaders
    return getattr(loaders, "mode", None) or vars(loaders).get("_mode", mode), collection


def logs_hyperparameters(owner: Any) -> bool:
    """Whether `save_hyperparameters(logger=True)` was called (`_log_hyperparams`, 1.9.5 to 2.6.6)."""
    return bool(getattr(owner, "_log_hyperparams", False))


def unscales_itself(optimizer: Any) -> bool:
    """Whether an optimizer unscales gradients while it steps (`_step_supports_amp_scaling`, torch 2.1 to 2.13: fused Adam)."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def combined_loader(host: Host, loaders: Any, mode: str) -> Any:
    """Lightning's public CombinedLoader over any collection of loaders, or the user's own CombinedLoader."""
    try:
        cls = host.load("utilities.combined_loader").CombinedLoader
    except ModuleNotFoundError:  # Lightning 1.9 keeps it with the trainer's supporters
        cls = host.load("trainer.supporters").CombinedLoader
    return loaders if isinstance(loaders, cls) else cls(loaders, mode)


def shown_training_loader(host: Host, loaders: Any) -> Any:
    """What `trainer.train_dataloader` reads: what the user returned, in Lightning 1.x always a CombinedLoader of it."""
    return combined_loader(host, loaders, "max_size_cycle") if host.legacy else loaders


def shown_validation_loaders(host: Host, collection: Any, loaders: list[Any]) -> Any:
    """What `trainer.val_dataloaders` reads: what the user returned, in Lightning 1.x always a list."""
    return loaders if host.legacy else collection


def extract_batch_size(host: Host, batch: Any) -> int:
    """Batch size as Lightning infers it for `self.log`."""
    size: int = host.load("utilities.data").extract_batch_size(batch)
    return size


def move_data_to_device(host: Host, batch: Any, device: torch.device) -> Any:
    """Lightning's own transfer of any collection of tensors."""
    package = "lightning_fabric" if host.package == "pytorch_lightning" else "lightning.fabric"
    return importlib.import_module(f"{package}.utilities").move_data_to_device(batch, device)


def distributed_sampler_wrapper(host: Host) -> Any:
    """Lightning's wrapper that shares out the indices of any sampler (lightning_fabric, 1.9.5 to 2.6.6)."""
    package = "lightning_fabric" if host.package == "pytorch_lightning" else "lightning.fabric"
    return importlib.import_module(f"{package}.utilities.distributed").DistributedSamplerWrapper


def reset_seed(host: Host) -> None:
    """Start all generators anew from the seed that `seed_everything` was given, as Lightning's DDP does in `fit`."""
    package = "lightning_fabric" if host.package == "pytorch_lightning" else "lightning.fabric"
    importlib.import_module(f"{package}.utilities.seed").reset_seed()


def seeds_workers(host: Host, loader: Any, rank: int) -> None:
    """`seed_everything(workers=True)` seeds numpy and python in workers, through a `worker_init_fn`.

    `_auto_add_worker_init_fn` (lightning_fabric 1.9.5 and 2.x) is what `Trainer` calls; it acts only where the
    environment variable that `seed_everything` sets says so and the loader has no `worker_init_fn`.
    """
    package = "lightning_fabric" if host.package == "pytorch_lightning" else "lightning.fabric"
    importlib.import_module(f"{package}.utilities.data")._auto_add_worker_init_fn(loader, rank)


def adopt_workers(loader: Any, other: Any) -> None:
    """Give a loader the persistent workers of a copy of it (`DataLoader._iterator`, torch 2.1 to 2.13, holds them)."""
    loader._iterator = other._iterator


def read_indices_from(loader: Any, sampler: Any) -> None:
    """Let the persistent workers of a loader be sent the indices of another sampler from the next pass on.

    `_BaseDataLoaderIter._index_sampler` (torch 2.1 to 2.13) is iterated at each pass.
    """
    loader._iterator._index_sampler = sampler


# --- what Lightning's own callbacks read ----------------------------------------------------------------------------


class LoggerConnectorFacts:
    """`trainer._logger_connector` as LearningRateMonitor, DeviceStatsMonitor and ThroughputMonitor read it.

    Seen in 1.9.5 to 2.6.6: they ask `should_update_logs` before they talk to the loggers.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = proxy(trainer)

    @property
    def should_update_logs(self) -> bool:
        """Whether loggers are told of the batch in work."""
        return bool(self._trainer.should_log)

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Send metrics of a callback to the loggers."""
        self._trainer.send_to_loggers(metrics, step)


class StrategyPrivates:
    """`_lightning_optimizers` (1.9.5 to 2.6.6): where `LightningModule.optimizers()` finds what it returns."""

    lightning_optimizers: Any

    @property
    def _lightning_optimizers(self) -> Any:
        return self.lightning_optimizers


class EvaluationLoopPrivates:
    """`_has_run` (1.9.5 to 2.6.6): whether ModelCheckpoint may expect values of this epoch's validation."""

    has_run: bool

    @property
    def _has_run(self) -> bool:
        return self.has_run


class EpochLoopPrivates:
    """What LearningRateMonitor, ModelCheckpoint and StochasticWeightAveraging read (1.9.5 to 2.6.6)."""

    trainer: Any
    batches_that_stepped: int

    @property
    def _batches_that_stepped(self) -> int:
        return self.batches_that_stepped

    def _should_accumulate(self) -> bool:
        return bool(self.trainer.should_accumulate())

    def _should_check_val_epoch(self) -> bool:
        return bool(self.trainer.validates_in_epoch())


class FitLoopPrivates:
    """`_skip_backward` (1.9.5 to 2.6.6): StochasticWeightAveraging sets it for its pass over the data without training."""

    trainer: Any
    skip_backward: bool

    @property
    def _skip_backward(self) -> bool:
        return self.skip_backward

    @_skip_backward.setter
    def _skip_backward(self, value: bool) -> None:
        self.skip_backward = value

    def _should_accumulate(self) -> bool:
        return bool(self.trainer.should_accumulate())


class DataConnectorFacts:
    """`trainer._data_connector` as a module reads it when it moves a batch itself: summaries, `log_graph`, `to_onnx`.

    `_DataHookSelector` (1.9.5 to 2.6.6) tells whether module or datamodule has a transfer hook.
    """

    def __init__(self, host: Host, module: Any, datamodule: Any) -> None:
        self._datahook_selector = host.load("trainer.connectors.data_connector")._DataHookSelector(module, datamodule)


class PrivateFacts:
    """Private names of Lightning's Trainer that its own code reads on `self.trainer` (1.9.5 to 2.6.6).

    `_results` is what `LightningModule.log` looks at once a run is over and its own `log` is back: there is none then.
    `_call_lightning_module_hook` and `_call_lightning_datamodule_hook` are functions elsewhere since 2.0.
    """

    _results = None
    lightning_module: Any
    datamodule: Any
    fit_loop: Any

    def __init__(self, host: Host) -> None:
        self._logger_connector = LoggerConnectorFacts(self)
        self._data_connector = DataConnectorFacts(host, self.lightning_module, self.datamodule)

    @property
    def _evaluation_loop(self) -> Any:
        return self.fit_loop.epoch_loop.val_loop

    def _call_lightning_module_hook(self, name: str, *args: Any) -> Any:
        return getattr(self.lightning_module, name)(*args)

    def _call_lightning_datamodule_hook(self, name: str, *args: Any) -> Any:
        return getattr(self.datamodule, name)(*args)


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


def precision_name(host: Host, precision: str) -> Any:
    """What `trainer.precision` reads: "16-mixed" and the like since 2.0, "16", "32", "64" and "bf16" before."""
    if not host.legacy:
        return precision
    return precision.partition("-")[0]


def accelerator(host: Host, device: torch.device) -> Any:
    """What `trainer.accelerator` reads: Lightning's object for the kind of device."""
    accelerators = host.load("accelerators")
    return accelerators.CUDAAccelerator() if device.type == "cuda" else accelerators.CPUAccelerator()


def has_parameter(function: Any, name: str) -> bool:
    """Whether a step takes a parameter of this very name."""
    return name in inspect.signature(function).parameters


def takes_batch_idx(host: Host, function: Any) -> bool:
    """Whether a step wants `batch_idx`: by name, or as the second of two or more parameters of any name."""
    signature = host.load("utilities.signature_utils")
    return bool(signature.is_param_in_hook_signature(function, "batch_idx", min_args=2))


# --- Determined -----------------------------------------------------------------------------------------------------


def tensorboard_path(context: Any) -> Any:
    """Directory whose TensorBoard files Determined uploads; off a cluster, a new one beside its local checkpoints.

    `_core` (determined 0.38.1): the trial's context has no public way to the core context that it was made from.
    """
    path = context._core.train.get_tensorboard_path()
    if path is not None:
        return path
    return pathlib.Path(appdirs.user_data_dir("determined")) / "tensorboard" / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


def determined_random_state() -> dict[str, Any]:
    """The random state of this process as `state_dict.pth` has it (determined 0.38.1)."""
    state = {
        "cpu_rng_state": torch.random.get_rng_state(),
        "np_rng_state": np.random.get_state(),
        "random_rng_state": random.getstate(),
    }
    if torch.cuda.is_available():
        state["gpu_rng_state"] = torch.cuda.get_rng_state()
    return state


def loads_own_checkpoints() -> Any:
    """A context in which Determined can load what it saved: `state_dict.pth` holds numpy's random state.

    It calls `torch.load` with its defaults (determined 0.38.1), which refuse numpy's types since torch 2.6.
    """
    types: list[Any] = [np.zeros(0).__reduce__()[0], np.ndarray, np.dtype, type(np.dtype(np.uint32))]
    return torch.serialization.safe_globals(types)


def set_epoch_length(context: Any, batches: int) -> None:
    """Tell Determined how many batches an epoch has.

    `_epoch_len` (determined 0.38.1) is set from `len(loader)` before a checkpoint is loaded; Lightning makes the loaders
    later.
    """
    context._epoch_len = batches


class ModuleModes:
    """The `training` flag of every submodule before a validation.

    Since Lightning 2.2 they come back as they were; before, `on_validation_model_train` sets everything to training.
    """

    def __init__(self, host: Host, module: torch.nn.Module) -> None:
        self.restored_by_hook = host.version < Version("2.2")
        self._modes = [] if self.restored_by_hook else [(child, child.training) for child in module.modules()]

    def restore(self) -> None:
        """Set the flags again."""
        for child, training in self._modes:
            child.training = training


def isolate_rng(host: Host) -> Any:
    """Lightning's context in which random numbers are drawn without consequence."""
    return host.load("utilities.seed").isolate_rng()


def check_dataloader_idx(host: Host, module: Any, several: bool) -> None:
    """With several validation loaders the step has to take `dataloader_idx`; with one, it must not need it.

    Raises:
        RuntimeError: Lightning's own, in its words.
    """
    if host.legacy:  # Lightning 1.x calls, and lets Python complain
        return
    signature = host.load("utilities.signature_utils")
    for name in ("validation_step", "on_validation_batch_start", "on_validation_batch_end"):
        function = getattr(module, name)
        takes = signature.is_param_in_hook_signature(function, "dataloader_idx", explicit=True)
        if several and not signature.is_param_in_hook_signature(function, "dataloader_idx"):
            raise RuntimeError(
                "You provided multiple `val_dataloader`, but no `dataloader_idx`"
                f" argument in `{type(module).__name__}.{name}()`. Try adding `dataloader_idx=0` to its signature."
            )
        if not several and takes and name == "validation_step":  # the hooks of Lightning 1.x always get it
            parameter = inspect.signature(function).parameters["dataloader_idx"]
            if parameter.default is inspect.Parameter.empty:
                raise RuntimeError(
                    "You provided only a single `val_dataloader`, but have included `dataloader_idx` in"
                    f" `{type(module).__name__}.{name}()`. Either remove the argument or give it a default value i.e."
                    " `dataloader_idx=0`."
                )


def metric_states(module: torch.nn.Module) -> dict[str, Any]:
    """What the torchmetrics objects of a module have accumulated, by their place in the module.

    `_defaults` names a metric's states and `_update_count` says whether it was updated (torchmetrics 0.11 to 1.9);
    `state_dict()` leaves out states that are not persistent, and by default none is.
    """
    states = {}
    for name, child in module.named_modules():
        if isinstance(child, Metric) and child._update_count:
            values = {key: getattr(child, key) for key in child._defaults}
            states[name] = {"updates": child._update_count, "values": values}
    return states


def load_metric_states(module: torch.nn.Module, states: dict[str, Any], device: torch.device) -> None:
    """Put back what `metric_states` returned."""
    for name, state in states.items():
        metric: Any = module.get_submodule(name)
        for key, value in state["values"].items():
            moved = [v.to(device) for v in value] if isinstance(value, list) else value.to(device)
            setattr(metric, key, moved)
        metric._update_count = state["updates"]
        metric._computed = None


def migrate_checkpoint(host: Host, checkpoint: dict[str, Any]) -> None:
    """Bring a checkpoint of an older Lightning to the form of the installed one, in place, as its Trainer does.

    A file that names no version of Lightning, such as one with bare weights, is left as it is.
    """
    if "pytorch-lightning_version" not in checkpoint:
        return
    host.load("utilities.migration").migrate_checkpoint(checkpoint)


def loop_states(
    host: Host,
    epochs: dict[str, int],
    batches: dict[str, Any],
    batches_that_stepped: int,
    steps: tuple[int, int],
    automatic: bool,
    validation: dict[str, Any],
) -> dict[str, Any]:
    """The `loops` of a checkpoint as Lightning writes them (seen in 1.9.5 to 2.6.6).

    Args:
        epochs: counts of epochs.
        batches: counts of training batches.
        batches_that_stepped: batches after which an optimizer stepped.
        steps: optimizer steps of the run, and of the present epoch.
        automatic: whether optimization is automatic.
        validation: counts of validation batches.
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
    if host.legacy:
        automatic_name, manual_name = "epoch_loop.batch_loop.optimizer_loop", "epoch_loop.batch_loop.manual_loop"
        progress["optimizer_position"] = 0
        inner["epoch_loop.batch_loop.state_dict"] = {}
    return {
        "fit_loop": {
            "state_dict": {},
            "epoch_loop.state_dict": {"_batches_that_stepped": batches_that_stepped},
            "epoch_loop.batch_progress": batches,
            "epoch_loop.scheduler_progress": counts(0, 0, *pair),
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


def dump_hyperparameters(checkpoint: dict[str, Any], *owners: Any) -> None:
    """Write `hparams` of module and datamodule into a checkpoint where `load_from_checkpoint` looks for them.

    `_hparams_name` (1.9.5 to 2.6.6) is the name of the constructor's argument that holds all of them.
    """
    for owner in owners:
        if owner is None or not owner.hparams:
            continue
        name = getattr(owner, "_hparams_name", None)
        if name is not None:
            checkpoint[owner.CHECKPOINT_HYPER_PARAMS_NAME] = name
        checkpoint[owner.CHECKPOINT_HYPER_PARAMS_KEY] = dict(owner.hparams)


def report_training_metrics(context: Any, batches: int, metrics: dict[str, float]) -> None:
    """Report training metrics at the moment they are logged (`_core`, determined 0.38.1, as above)."""
    context._core.train.report_training_metrics(steps_completed=batches, metrics=metrics)


def controller(session: Any, moments: Any, **options: Any) -> Any:
    """Determined's loop, with the adapter's decisions in the places where its public API has none.

    `_PyTorchTrialController` and the methods overridden here are determined 0.38.1's. What changes: when the run is
    over, how far it is, whether a validation is due, which epoch begins or ends, that metrics were reported already,
    that a checkpoint is made on all ranks together instead of by the chief alone, and that a batch which ends no
    workload costs next to nothing.
    """
    from determined import InvalidHP, pytorch

    class Controller(pytorch._PyTorchTrialController):
        state: Any  # there from the moment at which training starts

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            # Horovod's broadcast of an optimizer's state steps the optimizer to create it; the adapter's own does not
            self.use_horovod = False

        def _set_data_loaders(self) -> None:
            super()._set_data_loaders()
            session.restore_callbacks(self.callbacks)  # Determined does it here, when it loads a checkpoint itself

        def _run(self) -> None:
            self._follow()
            self._epochs_told = self.state.epochs_trained
            moments.epoch_starts = self._epoch_starts
            if session.resumed:
                self.state.last_ckpt = self.state.last_val = self.state.batches_trained
            super()._run()

        def _follow(self) -> None:
            self.state.batches_trained, self.state.epochs_trained = moments.position()

        def _train_with_boundaries(
            self, training_enumerator: Any, train_boundaries: list[Any]
        ) -> tuple[list[Any], list[Any]]:
            # The host's own asks four periods after each batch, and keeps a record of each until the workload ends.
            context = self.context
            if self.is_chief:
                self.core_context.train.set_status("training")
            for model in context.models:
                model.train()
            context.reset_reducers()
            run, boundaries = moments.run, moments.run.boundaries
            boundaries.pace.workload_starts()
            bare = context.profiler is None and context._scaler is None and not context.lr_schedulers
            train = self.trial.train_batch if bare else self._train_batch
            for batch_idx, ticket in training_enumerator:
                context._current_batch_idx = batch_idx
                train(batch=ticket, epoch_idx=batch_idx // context._epoch_len, batch_idx=batch_idx)
                if not run.in_epoch:
                    self._step_batch()
                if boundaries.ends_workload:
                    break
            self._step_batch()
            for boundary in train_boundaries:
                unit = boundary.unit
                boundary.limit_reached = isinstance(unit, pytorch.Batch) and unit.should_stop(batch_idx + 1)
            return train_boundaries, []

        def _step_batch(self) -> None:
            self._follow()
            if self.state.epochs_trained != self._epochs_told:
                self._tell_ended(self.state.epochs_trained)

        def _on_epoch_start(self, epoch_idx: int) -> None:
            pass  # by a count of batches; Lightning's epochs may be shorter

        def _epoch_starts(self, epoch: int) -> None:
            self._tell_ended(epoch)
            super()._on_epoch_start(epoch)

        def _tell_ended(self, epochs: int) -> None:
            for epoch in range(self._epochs_told, epochs):
                self._on_epoch_end(epoch)
            self._epochs_told = max(epochs, self._epochs_told)

        def _steps_until_complete(self, train_unit: Any) -> int:
            return 0 if moments.finished else 1

        def _validation_is_current(self) -> bool:
            return not moments.validation_pending

        def _aggregate_training_metrics(self, training_metrics: list[Any]) -> dict[str, Any]:
            pace = moments.run.boundaries.pace
            pace.agreed = self.context.distributed.broadcast(pace.proposal())
            return {"avg_metrics": {}, "batch_metrics": []}

        def _report_training_progress(self) -> None:
            if moments.progress_due:
                self.core_context.train.report_progress(progress=moments.fraction())

        def _stop_requested(self) -> None:
            session.upload_tensorboard()
            if moments.mid_accumulation:
                return
            if session.asked_to_stop():
                raise pytorch._ShouldExit()
            super()._stop_requested()

        def _checkpoint(self, already_exiting: bool) -> None:
            if isinstance(sys.exc_info()[1], InvalidHP):
                return  # raised inside a step: there is nothing to go on from
            if moments.mid_accumulation:
                session.checkpoint_owed = True
                return
            if self.is_chief:
                self.core_context.train.set_status("checkpointing")
            self._follow()
            self.state.last_ckpt = self.state.batches_trained
            uuid = session.write_checkpoint(self.state.batches_trained, self.callbacks)
            for callback in self.callbacks.values():
                callback.on_checkpoint_upload_end(uuid=uuid)

    return Controller(**options)


def upload_last_tensorboard_files(core: Any) -> None:
    """Upload what was written since the last upload.

    The public `upload_tensorboard_files` does nothing within a second of the one before; `_tensorboard_manager._sync`
    (determined 0.38.1) is what it calls otherwise.
    """
    core.train._tensorboard_manager._sync()


def cluster_settings(info: Any) -> dict[str, Any]:
    """The experiment config and the position of a managed trial.

    `trial._config` and `trial._steps_completed` (determined 0.38.1) are what `pytorch.Trainer.fit` itself reads; there
    is no public reader.
    """
    return {"config": info.trial._config, "steps_completed": int(info.trial._steps_completed)}


def write_user_code(path: Any) -> None:
    """Put the trial's code into a checkpoint on a cluster, where Determined's export looks for it."""
    from determined import util

    util.write_user_code(path, True)


#: What Determined's controller and context read to know how processes were started (`_DistributedBackend`, 0.38.1).
HOROVOD_VARIABLE = "USE_HOROVOD"
TORCH_VARIABLE = "USE_TORCH_DISTRIBUTED"


def require_horovod() -> Any:
    """Determined's stand-in for Horovod, told that it is torch's (`determined.horovod.hvd`, 0.38.1)."""
    from determined import horovod

    horovod.hvd.require_horovod_type("torch", "lightning_adapter trains with torch")
    return horovod.hvd


def hyperparameters(context: Any) -> Any:
    """The hyperparameters of a trial, none where none were given (`_hparams`, 0.38.1; the public reader raises then)."""
    return context._hparams or {}


def core_context(context: Any) -> Any:
    """The core context below a trial's context (`_core`, determined 0.38.1, as above)."""
    return context._core


def importable_hosts() -> list[Host]:
    """The Lightning packages in this environment, those that are imported already first.

    Raises:
        ConfigurationError: there is none.
    """
    found = []
    for package in sorted(PACKAGES, key=lambda name: name not in sys.modules):
        try:
            found.append(host(package))
        except ImportError:
            continue
    if not found:
        raise ConfigurationError(
            "Neither pytorch_lightning nor lightning can be imported. Type pip install 'lightning-adapter[pytorch-lightning]'"
            " or pip install 'lightning-adapter[lightning]'."
        )
    return found


_PLUGINS = {
    "16-mixed": "MixedPrecision",
    "bf16-mixed": "MixedPrecision",
    "16-true": "HalfPrecision",
    "bf16-true": "HalfPrecision",
    "64-true": "DoublePrecision",
}


@functools.cache
def _plugin_class(host: Host, ours: Any, name: str) -> Any:
    theirs = getattr(host.load("plugins"), name, None)
    if theirs is None:
        return None
    return type(name, (ours, theirs), {"_desired_input_dtype": property(lambda plugin: plugin.dtype)})


def as_precision_plugin(host: Host, precision: Any) -> Any:
    """Our precision object as an instance of the host's class for this precision, with the very same state.

    ThroughputMonitor (2.2 to 2.6.6) asks for the class, and for `_desired_input_dtype` of half precision. Lightning 1.9
    has other classes, and nobody who asks for them.
    """
    ours: Any = type(precision)
    kind = _plugin_class(host, ours, _PLUGINS.get(precision.precision, "Precision"))
    if kind is None:
        return precision
    plugin: Any = object.__new__(kind)
    vars(plugin).update(vars(precision))
    return plugin
