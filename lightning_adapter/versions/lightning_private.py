"""Which private names of Lightning are touched, why, and in which versions were they seen?

Seen in Lightning 1.9.5, 2.0.9 and 2.6.6, unless a name says otherwise.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from weakref import proxy

import torch
from packaging.version import Version

from lightning_adapter.versions.hosts import Host


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
