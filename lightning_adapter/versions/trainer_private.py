"""Which private names of Lightning's Trainer and its loops do Lightning's own callbacks and modules read?

Each class holds the private names of one object that user code finds at `self.trainer`; the public ones are in `trainer/`.
Seen in Lightning 1.9.5, 2.0.9 and 2.6.6, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from weakref import proxy

from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import LightningDataModule, LightningModule


class Logs(Protocol):
    """What `LoggerConnectorView` asks the trainer."""

    @property
    def should_log(self) -> bool:
        """Whether loggers are told of the batch in work."""

    def send_to_loggers(self, metrics: dict[str, Any], step: int | None) -> None:
        """Send metrics to the loggers."""


class LoggerConnectorView:
    """`trainer._logger_connector` as LearningRateMonitor, DeviceStatsMonitor and ThroughputMonitor read it.

    They ask `should_update_logs` before they talk to the loggers.
    """

    def __init__(self, trainer: Logs) -> None:
        self._trainer: Logs = proxy(trainer)

    @property
    def should_update_logs(self) -> bool:
        """Whether loggers are told of the batch in work."""
        return bool(self._trainer.should_log)

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Send metrics of a callback to the loggers."""
        self._trainer.send_to_loggers(metrics, step)


class DataSource:
    """`_data_source` of a loop: who makes its loaders, as `_DataLoaderSource`.

    Attributes:
        instance: the module, the datamodule, or the trial's own builder of loaders.
        name: of the hook.
    """

    def __init__(self, instance: object, name: str, source: Callable[[], Callable[[], Any] | None]) -> None:
        self.instance = instance
        self.name = name
        self._source = source

    def dataloader(self) -> Any:
        """Ask for the loaders."""
        source = self._source()
        return None if source is None else source()

    def is_defined(self) -> bool:
        """Whether anybody makes loaders."""
        return self._source() is not None

    def is_module(self) -> bool:
        """Whether a module or a datamodule does."""
        return hasattr(self.instance, self.name)


class EvaluationLoopPrivates:
    """`_has_run`: whether ModelCheckpoint may expect values of this epoch's validation.

    Models of forecasting libraries ask `_data_source` whether there is a validation; `_combined_loader` is set to None
    to have the loaders made anew.
    """

    has_run: bool
    source: DataSource
    data: HasLoaders

    @property
    def _has_run(self) -> bool:
        return self.has_run

    @property
    def _data_source(self) -> DataSource:
        return self.source

    @property
    def _combined_loader(self) -> Any:
        return self.data.combined_validation()

    @_combined_loader.setter
    def _combined_loader(self, loader: None) -> None:
        _refuse_loader(loader)
        self.data.forget_validation()


def _refuse_loader(loader: object) -> None:
    if loader is not None:
        raise AttributeError(
            "_combined_loader can be set to None here, for the loaders to be asked for again, and to nothing else. Return"
            " other loaders from the hook that makes them."
        )


class HasLoaders(Protocol):
    """What the loops' views ask of the data."""

    @property
    def validates_in_epoch(self) -> bool:
        """Whether the present epoch validates."""

    def combined_training(self) -> Any:
        """The training loaders as Lightning's CombinedLoader; None until they are asked for."""

    def combined_validation(self) -> Any:
        """The validation loaders likewise."""

    def forget_training(self) -> None:
        """Ask for the training loaders again."""

    def forget_validation(self) -> None:
        """Ask for the validation loaders again."""


class Position(Protocol):
    """What the loops' views ask of the position."""

    batches_that_stepped: int

    @property
    def accumulates(self) -> bool:
        """Whether gradients are only accumulated with the batch in work."""

    @property
    def accumulated_batches_reached(self) -> bool:
        """Whether the batch in work completes a group."""

    @property
    def last_batch_reached(self) -> bool:
        """Whether the batch in work is the epoch's last."""

    @property
    def may_stop_early(self) -> bool:
        """Whether nothing stands against an early stop."""

    def count_logged_steps_from(self, batches: int) -> None:
        """Set the step number that loggers get."""


class EpochLoopPrivates:
    """What LearningRateMonitor, ModelCheckpoint and StochasticWeightAveraging read.

    `_batches_that_stepped` is set by code that goes on counting from another run; `_accumulated_batches_reached` and
    `_num_ready_batches_reached` are asked by code that accumulates gradients by itself.
    """

    progress: Position
    data: HasLoaders

    @property
    def _batches_that_stepped(self) -> int:
        return self.progress.batches_that_stepped

    @_batches_that_stepped.setter
    def _batches_that_stepped(self, batches: int) -> None:
        self.progress.count_logged_steps_from(batches)

    def _should_accumulate(self) -> bool:
        return self.progress.accumulates

    def _accumulated_batches_reached(self) -> bool:
        return self.progress.accumulated_batches_reached

    def _num_ready_batches_reached(self) -> bool:
        return self.progress.last_batch_reached

    def _should_check_val_epoch(self) -> bool:
        return self.data.validates_in_epoch


class FitLoopPrivates:
    """`_skip_backward`: StochasticWeightAveraging sets it for its pass over the data without training.

    `_combined_loader` is set to None to have the loaders made anew, and read for what is in it (2.0 to 2.6.6).
    """

    progress: Position
    data: HasLoaders
    source: DataSource
    skip_backward: bool

    @property
    def _data_source(self) -> DataSource:
        return self.source

    @property
    def _combined_loader(self) -> Any:
        return self.data.combined_training()

    @_combined_loader.setter
    def _combined_loader(self, loader: None) -> None:
        _refuse_loader(loader)
        self.data.forget_training()

    @property
    def _can_stop_early(self) -> bool:
        return self.progress.may_stop_early

    @property
    def _skip_backward(self) -> bool:
        return self.skip_backward

    @_skip_backward.setter
    def _skip_backward(self, value: bool) -> None:
        self.skip_backward = value

    def _should_accumulate(self) -> bool:
        return self.progress.accumulates


class DataConnectorView:
    """`trainer._data_connector` as a module reads it when it moves a batch itself: summaries, `log_graph`, `to_onnx`.

    `_DataHookSelector` tells whether module or datamodule has a transfer hook. The two sources are in the loops since 2.0.
    """

    def __init__(
        self,
        host: Host,
        module: LightningModule,
        datamodule: LightningDataModule | None,
        training: DataSource,
        validation: DataSource,
    ) -> None:
        self._datahook_selector = host.load("trainer.connectors.data_connector")._DataHookSelector(module, datamodule)
        self._train_dataloader_source = training
        self._val_dataloader_source = validation


class AcceleratorConnectorView:
    """`trainer._accelerator_connector` as Optuna's pruning callback and data modules read it."""

    cluster_environment = None
    use_dp = False
    use_ddp2 = False

    def __init__(self, trainer: Any, use_distributed_sampler: bool) -> None:
        self._trainer = proxy(trainer)
        self.use_distributed_sampler = use_distributed_sampler

    @property
    def is_distributed(self) -> bool:
        """Whether there are several processes."""
        return bool(self._trainer.strategy.is_distributed)

    @property
    def strategy(self) -> Any:
        """As `trainer.strategy`."""
        return self._trainer.strategy

    @property
    def accelerator(self) -> Any:
        """As `trainer.accelerator`."""
        return self._trainer.accelerator

    @property
    def _accelerator_flag(self) -> str:
        return str(self._trainer.strategy.root_device.type)


class CheckpointConnectorView:
    """`trainer._checkpoint_connector` as callbacks use it that write checkpoints by themselves."""

    def __init__(self, dump: Callable[[bool], dict[str, Any]]) -> None:
        self._dump = dump

    def dump_checkpoint(self, weights_only: bool | None = False) -> dict[str, Any]:
        """What a checkpoint of this moment would hold, the hooks `on_save_checkpoint` included."""
        return self._dump(bool(weights_only))


class CallbackConnectorView:
    """`trainer._callback_connector` as modules use it that add callbacks in `setup`."""

    def __init__(self, reorder: Callable[[list[Any]], list[Any]], attach: Callable[[], None]) -> None:
        self._reorder_callbacks = reorder
        self._attach_model_logging_functions = attach


class TrainerPrivates:
    """Private names of Lightning's Trainer that its own code, and public code besides, reads on `self.trainer`.

    `_results` is what `LightningModule.log` looks at once a run is over and its own `log` is back: there is none then.
    `_call_lightning_module_hook` and `_call_lightning_datamodule_hook` are functions elsewhere since 2.0.
    """

    _results = None
    state: Any

    def __init__(
        self,
        host: Host,
        module: LightningModule,
        datamodule: LightningDataModule | None,
        fit_loop: Any,
        use_distributed_sampler: bool,
        dump: Callable[[bool], dict[str, Any]],
        reorder: Callable[[list[Any]], list[Any]],
        attach: Callable[[], None],
    ) -> None:
        self._module = module
        self._datamodule = datamodule
        self._training_loop = fit_loop
        self._evaluation_loop = fit_loop.epoch_loop.val_loop
        self._logger_connector = LoggerConnectorView(self)  # type: ignore[arg-type]  # its subclass has them
        sources = fit_loop.source, self._evaluation_loop.source
        self._data_connector = DataConnectorView(host, module, datamodule, *sources)
        self._accelerator_connector = AcceleratorConnectorView(self, use_distributed_sampler)
        self._checkpoint_connector = CheckpointConnectorView(dump)
        self._callback_connector = CallbackConnectorView(reorder, attach)

    @property
    def _active_loop(self) -> Any:
        stage = self.state.stage
        if stage is None:
            return None
        return self._training_loop if stage.value == "train" else self._evaluation_loop

    def _call_lightning_module_hook(self, name: str, *args: Any) -> Any:
        return getattr(self._module, name)(*args)

    def _call_lightning_datamodule_hook(self, name: str, *args: Any) -> Any:
        return getattr(self._datamodule, name)(*args)
