"""What is `self.logger`, and what are loggers, Determined and the progress bar told, and when?"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from lightning_adapter.loop.nonfinite import Watch
from lightning_adapter.trainer.metrics import to_scalars
from lightning_adapter.versions import hosts, lightning_private

#: Receives (group, metrics) on the chief; the group is "training" or "validation".
Report = Callable[[str, dict[str, float]], None]


def determined_logger(host: hosts.Host, directory: Callable[[], str], root: Callable[[], str]) -> Any:
    """The default logger: `experiment` is the SummaryWriter whose files Determined uploads.

    Args:
        host: the Lightning package whose Logger it has to be.
        directory: where its files lie; asked for on the chief when the first one is written.
        root: where callbacks write that ask the logger for a place, as ModelCheckpoint does.
    """
    base = host.load("loggers.logger").Logger
    experiment_on_chief = host.load("loggers.logger").rank_zero_experiment
    rank_zero_only = host.load("utilities.rank_zero").rank_zero_only

    class DeterminedLogger(base):  # type: ignore[misc, valid-type]
        """Writes what is logged to TensorBoard files that Determined shows."""

        def __init__(self) -> None:
            super().__init__()
            self._writer: Any = None

        @property
        def name(self) -> str:
            return "lightning"

        @property
        def version(self) -> str:
            return ""

        @property
        def save_dir(self) -> str:
            return root()

        @property
        def log_dir(self) -> str:
            return directory()

        @property
        @experiment_on_chief  # type: ignore[untyped-decorator]
        def experiment(self) -> Any:
            if self._writer is None:
                self._writer = SummaryWriter(log_dir=directory())
            return self._writer

        @rank_zero_only  # type: ignore[untyped-decorator]
        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            pass  # Determined has the hyperparameters already

        @rank_zero_only  # type: ignore[untyped-decorator]
        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            for name, value in metrics.items():
                self.experiment.add_scalar(name, value, step)

        @rank_zero_only  # type: ignore[untyped-decorator]
        def save(self) -> None:
            if self._writer is not None:
                self._writer.flush()

        @rank_zero_only  # type: ignore[untyped-decorator]
        def finalize(self, status: str) -> None:
            if self._writer is not None:
                self._writer.flush()
                self._writer.close()

    return DeterminedLogger()


class LoggerHub:
    """Tells loggers and Determined what was logged, with the step numbers that Lightning gives.

    Args:
        trainer: the facts of the run.
        report: where Determined's metrics go.
        watch: looks for values that are not finite.
    """

    def __init__(self, trainer: Any, report: Report, watch: Watch) -> None:
        self.trainer = trainer
        self.report = report
        self.watch = watch

    def log_metrics(self, metrics: dict[str, Tensor], step: int | None = None, report: bool = True) -> None:
        """Send metrics to the loggers; the device is waited for.

        Args:
            metrics: name to 0-d tensor.
            step: step number; None takes a metric named "step", else the number of batches that stepped.
            report: whether these are training metrics that Determined is told of as well.
        """
        if not metrics:
            return
        scalars = to_scalars(metrics)
        self.watch.logged(scalars, self.trainer.fit_loop.epoch_loop.batch_progress.total.ready)
        if report:
            self.report("training", dict(scalars))
        if not self.trainer.loggers:
            return
        self.trainer.metrics.remember(metrics)
        if step is None:
            given = scalars.pop("step", None)
            if given is not None:
                step = int(given) if self.trainer.host.quirks.whole_steps else given
            else:
                scalars.setdefault("epoch", self.trainer.current_epoch)
                step = self.trainer.fit_loop.epoch_loop.batches_that_stepped
        for logger in self.trainer.loggers:
            logger.log_metrics(metrics=scalars, step=step)
            logger.save()

    def log_hyperparams(self) -> None:
        """Give the loggers the hyperparameters of module and datamodule, as Lightning does when fitting starts.

        Raises:
            RuntimeError: both name a hyperparameter, with different values.
        """
        trainer = self.trainer
        if not trainer.loggers:
            return
        module, data = trainer.lightning_module, trainer.datamodule
        log_module = lightning_private.logs_hyperparameters(module)
        log_data = data is not None and lightning_private.logs_hyperparameters(data)
        hparams: Any = None
        if log_module and log_data:
            of_data, of_module = data.hparams_initial, module.hparams_initial
            for name in of_module.keys() & of_data.keys():
                if name in ("_class_path", "_instantiator"):
                    continue
                if _differ(of_module[name], of_data[name]):
                    error = trainer.host.misconfiguration if trainer.host.legacy else RuntimeError
                    raise error(
                        f"Error while merging hparams: the keys {[name]} are present in both the LightningModule's and"
                        " LightningDataModule's hparams but have different values."
                    )
            hparams = {**of_module, **of_data}
        elif log_module:
            hparams = module.hparams_initial
        elif log_data:
            hparams = data.hparams_initial
        if isinstance(hparams, Mapping):
            hidden = ("_class_path", "_instantiator")
            if any(name in hparams for name in hidden):
                hparams = {name: value for name, value in hparams.items() if name not in hidden}
        for logger in trainer.loggers:
            if hparams is not None:
                logger.log_hyperparams(hparams)
            logger.log_graph(module)
            logger.save()


def _differ(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return type(a) is not type(b) or a.shape != b.shape or bool((a != b).any())
    return bool(a != b)


class ProgressBar:
    """One bar per epoch on a terminal, with the values logged with `prog_bar=True`; nothing elsewhere.

    The device is waited for only when the bar is drawn, at most ten times a second.
    """

    def __init__(self, trainer: Any, enabled: bool) -> None:
        self.trainer = trainer
        self.enabled = enabled and sys.stderr.isatty()
        self.bar: Any = None

    def epoch_start(self) -> None:
        """Begin a bar."""
        if not self.enabled:
            return
        batches = self.trainer.num_training_batches
        last = "" if self.trainer.max_epochs == -1 else f"/{self.trainer.max_epochs}"
        self.bar = tqdm(
            total=None if batches == float("inf") else int(batches),
            initial=self.trainer.fit_loop.epoch_loop.batch_progress.current.completed,
            desc=f"Epoch {self.trainer.current_epoch + 1}{last}",
            unit="batch",
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def batch_end(self) -> None:
        """One batch further."""
        if self.bar is not None and self.bar.update(1):
            self.show()

    def show(self) -> None:
        """Draw the present values."""
        if self.bar is not None:
            self.bar.set_postfix({name: f"{value:.4g}" for name, value in self.trainer.progress_bar_metrics.items()})

    def epoch_end(self) -> None:
        """Leave the bar as it is."""
        if self.bar is not None:
            self.show()
            self.bar.close()
            self.bar = None
