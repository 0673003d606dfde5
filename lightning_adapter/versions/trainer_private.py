"""Which private names of Lightning's Trainer and its loops do Lightning's own callbacks and modules read?

Each class holds the private names of one object that user code finds at `self.trainer`; the public ones are in `trainer/`.
Seen in Lightning 1.9.5, 2.0.9 and 2.6.6, unless a name says otherwise.
"""

from __future__ import annotations

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


class EvaluationLoopPrivates:
    """`_has_run`: whether ModelCheckpoint may expect values of this epoch's validation."""

    has_run: bool

    @property
    def _has_run(self) -> bool:
        return self.has_run


class Accumulates(Protocol):
    """What the loops' views ask of the position."""

    @property
    def accumulates(self) -> bool:
        """Whether gradients are only accumulated with the batch in work."""


class ValidatesInEpoch(Protocol):
    """What the epoch loop's view asks of the data."""

    @property
    def validates_in_epoch(self) -> bool:
        """Whether the present epoch validates."""


class EpochLoopPrivates:
    """What LearningRateMonitor, ModelCheckpoint and StochasticWeightAveraging read."""

    batches_that_stepped: int
    progress: Accumulates
    data: ValidatesInEpoch

    @property
    def _batches_that_stepped(self) -> int:
        return self.batches_that_stepped

    def _should_accumulate(self) -> bool:
        return self.progress.accumulates

    def _should_check_val_epoch(self) -> bool:
        return self.data.validates_in_epoch


class FitLoopPrivates:
    """`_skip_backward`: StochasticWeightAveraging sets it for its pass over the data without training."""

    progress: Accumulates
    skip_backward: bool

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

    `_DataHookSelector` tells whether module or datamodule has a transfer hook.
    """

    def __init__(self, host: Host, module: LightningModule, datamodule: LightningDataModule | None) -> None:
        self._datahook_selector = host.load("trainer.connectors.data_connector")._DataHookSelector(module, datamodule)


class TrainerPrivates:
    """Private names of Lightning's Trainer that its own code reads on `self.trainer`.

    `_results` is what `LightningModule.log` looks at once a run is over and its own `log` is back: there is none then.
    `_call_lightning_module_hook` and `_call_lightning_datamodule_hook` are functions elsewhere since 2.0.
    """

    _results = None

    def __init__(
        self, host: Host, module: LightningModule, datamodule: LightningDataModule | None, evaluation_loop: object
    ) -> None:
        self._module = module
        self._datamodule = datamodule
        self._evaluation_loop = evaluation_loop
        self._logger_connector = LoggerConnectorView(self)  # type: ignore[arg-type]  # its subclass has them
        self._data_connector = DataConnectorView(host, module, datamodule)

    def _call_lightning_module_hook(self, name: str, *args: Any) -> Any:
        return getattr(self._module, name)(*args)

    def _call_lightning_datamodule_hook(self, name: str, *args: Any) -> Any:
        return getattr(self._datamodule, name)(*args)
