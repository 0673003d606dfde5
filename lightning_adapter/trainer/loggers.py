"""What is `self.logger`, and what are loggers and Determined told, and when?"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from lightning_adapter.argument_values import listed
from lightning_adapter.arguments import Arguments
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.logged_values import to_scalars
from lightning_adapter.trainer.logger_connector import LoggerConnector
from lightning_adapter.trainer.nonfinite import NonFiniteCheck
from lightning_adapter.versions import lightning_loggers, lightning_private
from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import LightningDataModule, LightningModule, Logger

#: Receives training metrics on every rank; the chief tells Determined.
Report = Callable[[dict[str, float]], None]

# What LightningCLI puts among the hyperparameters for its own use; `_log_hyperparams` leaves it out too.
_HIDDEN = ("_class_path", "_instantiator")


class OfThisPackage:
    """The default logger, whose class is made for each Lightning."""

    def make_directory(self) -> None:
        """Make the place of its files, for hooks that write beside them; in the first process alone."""
        raise NotImplementedError


def determined_logger(host: Host, directory: Callable[[], str], root: Callable[[], str]) -> Logger:
    """The default logger: Lightning's TensorBoardLogger, whose `experiment` writes the files that Determined uploads.

    Args:
        host: the Lightning package whose Logger it has to be.
        directory: where its files lie; asked for on the chief when the first one is written.
        root: where callbacks write that ask the logger for a place, as ModelCheckpoint does.
    """
    base = host.load("loggers.tensorboard").TensorBoardLogger
    rank_zero_only = host.load("utilities.rank_zero").rank_zero_only

    class DeterminedLogger(OfThisPackage, base):  # type: ignore[misc, valid-type]
        """Lightning's default logger, with files where Determined shows them: hyperparameters and `hparams.yaml` too.

        The files are made with the first value or hyperparameter, or where somebody asks for `experiment`; a run that has
        logged nothing has them at its end. Opening them imports TensorBoard and omegaconf, which takes longer than all else
        between `fit()` and the first batch.
        """

        def __init__(self) -> None:
            super().__init__(save_dir="", name="lightning", version="")

        @property
        def save_dir(self) -> str:
            return root()

        @property
        def root_dir(self) -> str:
            return self.log_dir

        @functools.cached_property  # who names it may give another one each time
        def log_dir(self) -> str:
            return directory()

        def make_directory(self) -> None:
            if rank_zero_only.rank == 0:
                os.makedirs(self.log_dir, exist_ok=True)

        def save(self) -> None:
            if self.hparams or lightning_loggers.has_opened(self):
                super().save()

        def finalize(self, status: str) -> None:
            if status == "success":
                super().save()  # before the base class closes what has been opened
            super().finalize(status)

    return DeterminedLogger()


def loggers_of(arguments: Arguments, host: Host, directory: Callable[[], str], root: Callable[[], str]) -> list[Logger]:
    """The loggers that the argument `logger` asks for, as `_LoggerConnector.on_trainer_init` makes them.

    Args:
        arguments: the trainer arguments.
        host: the Lightning package.
        directory: where the default logger's files lie.
        root: where callbacks write that ask the default logger for a place.
    """
    given = arguments.logger
    if given is False:
        return []
    if given is None or given is True:
        loggers = [determined_logger(host, directory, root)]
    else:
        loggers = listed(given)
    if arguments.fast_dev_run and loggers:
        return [host.load("loggers.logger").DummyLogger()]
    return loggers


def described(logger: Logger) -> dict[str, Any]:
    """Where a logger writes, so that it can be opened again: its class, name, version (W&B's and MLflow's run id), folder.

    The default logger is described as Lightning's own that would write to the same files.
    """
    if isinstance(logger, OfThisPackage):
        base = next(kind for kind in type(logger).__mro__ if kind.__name__ == "TensorBoardLogger")
        return {"class": _name_of(base), "name": "", "version": "", "save_dir": logger.log_dir}
    return {"class": _name_of(type(logger)), **{name: _told(logger, name) for name in ("name", "version", "save_dir")}}


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _told(logger: Logger, name: str) -> object:
    try:
        found = getattr(logger, name)
    except Exception:  # a user's own class may do anything, and nobody had to ask it for this
        return None
    return found if found is None or isinstance(found, int) else str(found)


class LoggerDispatcher:
    """Tells loggers and Determined what was logged, with the step numbers that Lightning gives.

    Args:
        loggers: the run's loggers; user code may assign others to `trainer.loggers`.
        progress: where the run stands.
        connector: keeps what was logged.
        host: the Lightning package.
        report: where Determined's training metrics go.
        non_finite: looks for values that are not finite.

    Attributes:
        loggers: `trainer.loggers`.
    """

    def __init__(
        self,
        loggers: list[Logger],
        progress: TrainingProgress,
        connector: LoggerConnector,
        host: Host,
        report: Report,
        non_finite: NonFiniteCheck,
    ) -> None:
        self.loggers = loggers
        self._progress = progress
        self._connector = connector
        self._host = host
        self._report = report
        self._non_finite = non_finite

    def replace(self, loggers: list[Logger]) -> None:
        """User code has assigned other loggers to `trainer.loggers`."""
        self.loggers = loggers

    def begin(self) -> None:
        """Make the loggers' runs, as `_call_setup_hook` does, so that hooks find their files."""
        # W&B first: only then it sees the TensorBoard writers that the others make
        wandb = self._host.pl.loggers.WandbLogger
        for logger in sorted(self.loggers, key=lambda logger: not isinstance(logger, wandb)):
            if isinstance(logger, OfThisPackage):
                logger.make_directory()
            else:
                getattr(logger, "experiment", None)

    def log_training(self, metrics: dict[str, Tensor]) -> None:
        """Send metrics of the training to the loggers and to Determined; the device is waited for."""
        if metrics:
            scalars = self._scalars(metrics)
            self._report(dict(scalars))
            self._send(metrics, scalars, None)

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Send metrics to the loggers alone, as `_LoggerConnector.log_metrics`; the device is waited for.

        Args:
            metrics: name to 0-d tensor, or number.
            step: step number; None takes a metric named "step", else the number of batches that stepped.
        """
        if metrics:
            self._send(metrics, self._scalars(metrics), step)

    def _scalars(self, metrics: dict[str, Any]) -> dict[str, float]:
        scalars = to_scalars(metrics)
        self._non_finite.logged(scalars, self._progress.total_batches)
        return scalars

    def _send(self, metrics: dict[str, Any], scalars: dict[str, float], step: float | None) -> None:
        if not self.loggers:
            return
        self._connector.sent_to_loggers(metrics)
        if step is None:
            given = scalars.pop("step", None)
            if given is not None:
                step = given if self._host.quirks.keeps_fractional_steps else int(given)
            else:
                scalars.setdefault("epoch", self._progress.current_epoch)
                step = self._progress.batches_that_stepped
        for logger in self.loggers:
            logger.log_metrics(metrics=scalars, step=step)  # type: ignore[arg-type]  # as logged, in older Lightnings
            logger.save()

    def log_hyperparams(self, module: LightningModule, datamodule: LightningDataModule | None) -> None:
        """Give the loggers the hyperparameters of module and datamodule, as Lightning's `_log_hyperparams` does.

        Raises:
            RuntimeError: both name a hyperparameter, with different values.
        """
        if not self.loggers:
            return
        hparams = self._hyperparams(module, datamodule)
        if isinstance(hparams, Mapping) and any(name in hparams for name in _HIDDEN):
            hparams = {name: value for name, value in hparams.items() if name not in _HIDDEN}
        for logger in self.loggers:
            if hparams is not None:
                logger.log_hyperparams(hparams)  # type: ignore[arg-type]  # an AttributeDict, as Lightning gives it
            logger.log_graph(module)
            logger.save()

    def _hyperparams(self, module: LightningModule, datamodule: LightningDataModule | None) -> Mapping[str, Any] | None:
        owners = [o for o in (module, datamodule) if o is not None and lightning_private.logs_hyperparameters(o)]
        if len(owners) < 2:
            return owners[0].hparams_initial if owners else None
        of_module, of_data = owners[0].hparams_initial, owners[1].hparams_initial
        shared = [name for name in of_module if name in of_data and name not in _HIDDEN]
        clashing = [name for name in shared if _differ(of_module[name], of_data[name])]
        if clashing:
            misconfigured = self._host.quirks.hparams_clash_is_misconfiguration
            error = self._host.misconfiguration if misconfigured else RuntimeError
            raise error(
                f"Error while merging hparams: the keys {clashing} are present in both the LightningModule's and"
                " LightningDataModule's hparams but have different values."
            )
        return {**of_module, **of_data}

    def described(self) -> list[dict[str, Any]]:
        """Where the loggers write; the first process alone asks."""
        return [described(logger) for logger in self.loggers]

    def save(self) -> None:
        """Let the loggers write what they hold back."""
        for logger in self.loggers:
            logger.save()

    def finalize(self, status: str) -> None:
        """The run is over; `status` is "success" or "failed"."""
        for logger in self.loggers:
            logger.finalize(status)


def _differ(a: object, b: object) -> bool:
    """As `_log_hyperparams` compares: 1 and True are different, though equal; tensors are compared by their content."""
    if type(a) is not type(b):
        return True
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape != b.shape or bool((a != b).any())
    return bool(a != b)
