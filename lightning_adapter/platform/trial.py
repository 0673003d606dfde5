"""What does Determined ask of a trial, and how is it answered whatever the user's trial overrides?"""

from __future__ import annotations

import functools
import logging
import pathlib
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from determined import pytorch
from torch import Tensor

from lightning_adapter.arguments import Arguments
from lightning_adapter.data.collections import Collection
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.loop.hooks import is_overridden
from lightning_adapter.loop.set_up import show_module
from lightning_adapter.loop.sources import Source
from lightning_adapter.platform.context import LocalContext
from lightning_adapter.platform.determined_trainer import DeterminedTrainerPlatform
from lightning_adapter.platform.driver import Driver
from lightning_adapter.platform.environment import managed_trial
from lightning_adapter.platform.hyperparameter_answers import answer_in_words
from lightning_adapter.platform.hyperparameter_hooks import HyperparameterHooks
from lightning_adapter.platform.master.link import connect_with_master
from lightning_adapter.platform.placeholder import PlaceholderLoader
from lightning_adapter.platform.platform import Platform
from lightning_adapter.platform.searcher import SearcherStop
from lightning_adapter.platform.threads import share_cores
from lightning_adapter.platform.uncaught import speak_as_the_command
from lightning_adapter.runs.run_log import RunLogger
from lightning_adapter.versions import determined_private, hosts
from lightning_adapter.versions.types import LightningDataModule, LightningModule

Trial = TypeVar("Trial", bound="LightningTrial")


def require_constructed(trial: LightningTrial) -> None:
    """Refuse a trial whose constructor leaves out that of its base class.

    Raises:
        ConfigurationError: says what to write.
    """
    if "lightning_module" not in vars(trial):
        name = type(trial).__name__
        raise ConfigurationError(
            f"{name}.__init__() does not call that of LightningAdapter, so that nobody knows which module to train. Write "
            f"`super().__init__(context, module, datamodule, ...)` in {name}.__init__(self, context)."
        )


class Built(NamedTuple):
    """With what a trial was built before `fit`."""

    hyperparameters: dict[str, Any]
    seed: int | None
    run_dir: pathlib.Path | None


class LightningTrial(HyperparameterHooks, pytorch.PyTorchTrial):
    """A PyTorchTrial whose batches are placeholders: the driver trains on the user's own loaders.

    Args:
        context: Determined's context.
        lightning_module: the LightningModule.
        datamodule: the LightningDataModule, or None.
        arguments: the trainer arguments.

    Attributes:
        run_dir: directory of a local run, once it has ended.
        latest_checkpoint: directory of its last checkpoint; None on a cluster, where the id is set.
        best_checkpoint: directory of the checkpoint whose validation was best.
        latest_checkpoint_uuid: id of the last checkpoint.
        best_checkpoint_uuid: id of the best one.
        test_metrics: what `fit(test=True)` has measured at the end; None where it has tested nothing.
        built: with what the objects were built that `fit` is to train; None where it builds them itself.
    """

    built: Built | None = None  # no property, so that a trial can keep something of its own under this name

    def __new__(cls: type[Trial], *args: Any, **kwargs: Any) -> Trial:
        """Before the user's constructor asks the context for hyperparameters, or sets a number of threads."""
        if determined_private.is_entrypoint_for_a_class():
            speak_as_the_command()
        context = args[0] if args else kwargs.get("context")
        if isinstance(context, pytorch.PyTorchTrialContext) and not isinstance(context, LocalContext):
            connect_with_master(context)
            answer_in_words(context, cls._of_determined)
            share_cores(context.distributed)
        trial = super().__new__(cls)
        if isinstance(context, pytorch.PyTorchTrialContext):
            trial.context = context  # a trial may ask for its hyperparameters before it calls our constructor
        return trial

    @classmethod
    def _of_determined(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Hyperparameters as `fit()` gives them to a trial, where a context was given others, or nobody has looked yet."""
        completed = cls.completed_hyperparameters(values)
        cls.check_hyperparameters(completed)
        return completed

    def __init__(
        self,
        context: pytorch.PyTorchTrialContext,
        lightning_module: LightningModule,
        datamodule: LightningDataModule | None,
        arguments: Arguments,
    ) -> None:
        self.context = context
        self.lightning_module = lightning_module
        self.datamodule = datamodule
        self.arguments = arguments
        self.run_dir: pathlib.Path | None = None
        self.latest_checkpoint: pathlib.Path | None = None
        self.best_checkpoint: pathlib.Path | None = None
        self.latest_checkpoint_uuid: str | None = None
        self.best_checkpoint_uuid: str | None = None
        self.test_metrics: dict[str, float] | None = None
        self._driver: Driver | None = None
        # from the start, and not only when training is set up: `determined.pytorch.load_trial_from_checkpoint_path` makes a
        # trial, and puts weights into the models that its context has by then
        show_module(context, lightning_module, self._make_layers)
        self._own_callbacks: Callable[[], dict[str, pytorch.PyTorchCallback]] = self.build_callbacks
        self._own_loaders: tuple[Source | None, Source | None] = (
            self.build_training_data_loader if self._overrides("build_training_data_loader") else None,
            self.build_validation_data_loader if self._overrides("build_validation_data_loader") else None,
        )
        # On this instance: a trial that overrides these methods, and forgets super(), loses nothing.
        vars(self).update(
            build_callbacks=self._all_callbacks,
            build_training_data_loader=self._placeholders,
            build_validation_data_loader=lambda: PlaceholderLoader(1),
        )

    def _make_layers(self) -> None:
        """Weights are restored without training, so nobody has called the hook that makes layers."""
        module = self.lightning_module
        if self._driver is None and is_overridden("configure_model", module, hosts.host_of(module).pl.LightningModule):
            module.configure_model()

    def _overrides(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(LightningTrial, name)

    @property
    def own_loaders(self) -> tuple[Source | None, Source | None]:
        """The trial's own builders of training and of validation loaders, where it overrides them."""
        return self._own_loaders

    @property
    def driver(self) -> Driver | None:
        """What drives Lightning's loop; None until Determined, or `fit`, begins."""
        return self._driver

    @functools.cached_property  # so that a trial can keep something of its own under this name
    def log(self) -> logging.Logger:
        """The run's own logger: what it is told stands in the run's train.log, or in the log of a cluster's task."""
        return self._run_log

    @functools.cached_property
    def _run_log(self) -> logging.Logger:
        of_run = self.context.run_log if isinstance(self.context, LocalContext) else None
        return of_run or RunLogger()

    def drive_on(self, platform: Platform) -> Driver:
        """Make the driver; under Determined's own Trainer it is made when Determined asks for callbacks."""
        self._driver = Driver(
            self.context,
            self.lightning_module,
            self.datamodule,
            self.arguments,
            self._own_loaders,
            platform,
            self._run_log,
        )
        if not self._overrides("train_batch") and "train_batch" not in vars(self):
            vars(self)["train_batch"] = self._driver.train_batch  # a call less in each step
        return self._driver

    # --- what a finished trial knows --------------------------------------------------------------------------------

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """Name to 0-d tensor, as `Trainer.callback_metrics`."""
        return {} if self._driver is None else self._driver.parts.connector.callback_metrics

    def left_locally(self, run_dir: pathlib.Path, latest: pathlib.Path | None, best: pathlib.Path | None) -> None:
        """A local run has ended and left these directories."""
        self.run_dir, self.latest_checkpoint, self.best_checkpoint = run_dir, latest, best
        self.latest_checkpoint_uuid = latest.name if latest is not None else None
        self.best_checkpoint_uuid = best.name if best is not None else None

    def left_on_cluster(self, latest: str | None, best: str | None) -> None:
        """A managed run has ended and left checkpoints of these ids."""
        self.latest_checkpoint_uuid, self.best_checkpoint_uuid = latest, best

    def _repr_html_(self) -> str:
        from lightning_adapter.platform.notebook import of_trial  # for who looks at a trial

        return of_trial(self)

    def tested(self, metrics: dict[str, float]) -> None:
        """The test at the end of a run has given these values."""
        self.test_metrics = metrics

    # --- built before it is trained -----------------------------------------------------------------------------------

    def again(self: Trial, context: pytorch.PyTorchTrialContext) -> Trial:
        """Take another context for the objects that were built before `fit`.

        Raises:
            ConfigurationError: a trial of this class is not built before.
        """
        raise ConfigurationError(f"{shown(self)} was not built before fit(); pass its class.")

    # --- the model as a file ------------------------------------------------------------------------------------------

    @abstractmethod
    def check_package(self) -> None:
        """Refuse a trial that cannot be packaged."""

    @abstractmethod
    def write_package(self, file: pathlib.Path, checkpoint: pathlib.Path, is_chief: bool) -> None:
        """Write the model of a checkpoint with its source."""

    # --- what Determined calls --------------------------------------------------------------------------------------

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        """Override it to give Determined callbacks of the trial's own."""
        require_constructed(self)
        return {}

    def build_training_data_loader(self) -> Collection:
        """Override it to give training loaders that win over those of datamodule and module."""
        raise NotImplementedError

    def build_validation_data_loader(self) -> Collection:
        """Override it to give validation loaders that win over those of datamodule and module."""
        raise NotImplementedError

    def get_batch_length(self, batch: object) -> int:
        """Placeholders have no length of their own; Determined logs it, nothing else."""
        return 1

    def _placeholders(self) -> PlaceholderLoader:
        self.context.experimental.disable_dataset_reproducibility_checks()
        self.context.experimental.disable_auto_to_device()
        return PlaceholderLoader(None)

    def _all_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        """The trial's own Determined callbacks, and the driver.

        Determined asks for them before anything else, and wants model and optimizer right afterwards: so everything is
        made ready here.
        """
        own = dict(self._own_callbacks())
        driver = self._driver or self._drive_under_determined()
        # all processes have to end a workload at the same batch, and callbacks may be those of one process alone
        driver.trial_has_callbacks(any(self.context.distributed.allgather(bool(own))))
        driver.set_up()
        callbacks = {**own, "lightning_adapter": driver}
        info = managed_trial()
        if info is not None:
            core_context = determined_private.core_context(self.context)
            callbacks["lightning_adapter_searcher"] = SearcherStop(info, core_context, driver)
        return {**callbacks, **driver.platform.callbacks()}

    def _drive_under_determined(self) -> Driver:
        platform = DeterminedTrainerPlatform(self.context, type(self).__name__)
        driver = self.drive_on(platform)
        vars(self)["train_batch"] = platform.counted(self.train_batch)
        return driver

    def train_batch(self, batch: object, epoch_idx: int, batch_idx: int) -> dict[str, Any]:
        """Train on the next batch of the user's loaders; `batch` is a placeholder.

        Returns:
            Nothing for Determined to average: metrics are reported when they are logged.
        """
        assert self._driver is not None
        return self._driver.train_batch(batch, epoch_idx, batch_idx)

    def evaluate_batch(self, batch: object, batch_idx: int) -> dict[str, Any]:
        """Run a whole validation; `batch` is a placeholder.

        Returns:
            Name to number of what was logged for the epoch.
        """
        assert self._driver is not None
        return self._driver.evaluate()
