"""What do people subclass to train a LightningModule on Determined?"""

from __future__ import annotations

import copy
import os
import pathlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, NoReturn

from determined import pytorch

from lightning_adapter import monkey_patch
from lightning_adapter.arguments import Arguments
from lightning_adapter.configs import typed, typed_ranges
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.evaluation.loaders import Split, Stage
from lightning_adapter.platform.context import LocalContext
from lightning_adapter.platform.experiment import Hyperparameters as Given
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.support.trainer_arguments import Job
from lightning_adapter.versions import hosts, lightning_1x
from lightning_adapter.versions.types import LightningDataModule, LightningModule


class LightningAdapter(LightningTrial):
    """A Determined trial that trains a LightningModule.

    The constructor only stores and checks. Training begins with `lightning_adapter.fit`, or under Determined's own
    Trainer.

    A trial that says `Hyperparameters = MyConfig`, a dataclass, finds its hyperparameters at `self.hyperparameters`, checked
    and typed, from the first line of its constructor on; the dataclass's defaults count as given.

    Args:
        context: Determined's context.
        lightning_module: a DETLM, or any LightningModule of either Lightning package; also what torch.compile made of one.
        datamodule: a DETDM, or any LightningDataModule of the same package; without it the loaders come from the
            module's own `train_dataloader()` and `val_dataloader()`. A trial that overrides
            `build_training_data_loader()` or `build_validation_data_loader()` wins over both.
        **trainer_arguments: arguments of Lightning's Trainer under their own names, and a few of ours; see
            `lightning_adapter.arguments.Arguments`.

    Raises:
        ConfigurationError: an argument is unknown or cannot be used.
        UnsupportedError: the module overrides something that is rejected; all of it is named.
    """

    #: The dataclass of the trial's hyperparameters.
    Hyperparameters: ClassVar[type]

    def __init__(
        self,
        context: pytorch.PyTorchTrialContext = None,  # type: ignore[assignment]  # so that its absence is told in words
        lightning_module: LightningModule = None,  # type: ignore[assignment]
        datamodule: LightningDataModule | None = None,
        **trainer_arguments: Any,
    ) -> None:
        _check_order(type(self).__name__, context, lightning_module, datamodule)
        lightning_module = hosts.uncompiled(lightning_module)
        host = hosts.host_of(lightning_module)
        hosts.warn_of_untested_versions(host)
        arguments = Arguments.of(lightning_1x.arguments(host, trainer_arguments), _job(context), host.misconfiguration)
        _check(host, lightning_module, datamodule)
        super().__init__(context, lightning_module, datamodule, arguments)

    @cached_property  # so that a trial can keep something of its own under this name
    def hyperparameters(self) -> Any:
        """The hyperparameters as an instance of `Hyperparameters`, one for each trial; all of them count as read.

        Raises:
            AttributeError: the trial names no dataclass.
            ConfigurationError: values do not fit its types.
        """
        cls = type(self)
        if typed.structure_of(cls) is None:
            raise AttributeError(
                f"{cls.__name__} names no dataclass of its hyperparameters: write `Hyperparameters = MyConfig` in the class, or "
                "read them with context.get_hparam(name)."
            )
        return typed.instance(cls, copy.deepcopy(self.context.get_hparams()))  # whose copy counts as read

    @classmethod
    def given_hyperparameters(cls, given: Given | None) -> Given | None:
        """See `LightningTrial`; an instance of the trial's dataclass becomes what it was made of."""
        return typed.given(cls, super().given_hyperparameters(given))

    @classmethod
    def completed_hyperparameters(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `LightningTrial`; of the trial's dataclass."""
        return typed.completed(cls, super().completed_hyperparameters(values))

    @classmethod
    def check_hyperparameters(cls, values: Mapping[str, Any]) -> None:
        """See `LightningTrial`; against the types of the trial's dataclass."""
        super().check_hyperparameters(values)
        if typed.structure_of(cls) is not None:
            typed.instance(cls, values)

    @classmethod
    def check_experiment(cls, hyperparameters: Mapping[str, Any]) -> None:
        """See `LightningTrial`; against the types of the trial's dataclass."""
        super().check_experiment(hyperparameters)
        typed_ranges.check(cls, hyperparameters)

    @classmethod
    def differences(cls, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """See `LightningTrial`; from the defaults of the trial's dataclass."""
        return typed.differences(cls, values)

    def validate(
        self,
        dataloaders: Any = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        verbose: bool = True,
        *,
        split: Split | None = None,
    ) -> list[dict[str, float]]:
        """Validate what `fit` has trained, with Lightning's own Trainer; the module stays as training has left it.

        Of several processes all call this together.

        Args:
            dataloaders: in the place of the trial's.
            ckpt_path: "best", "last", or where a checkpoint lies; by default the best one where a metric ranks them, else
                the last.
            verbose: print the values.
            split: take the loaders of "train", "val" or "test".

        Returns:
            For each loader, the values by name, as `Trainer.validate`.

        Raises:
            ConfigurationError: the trial is not trained, or there is no step, or no loader.
            CheckpointError: the checkpoint cannot be used.
        """
        found: list[dict[str, float]] = _evaluate(self, "validate", dataloaders, ckpt_path, split, verbose=verbose)
        return found

    def test(
        self,
        dataloaders: Any = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        verbose: bool = True,
        *,
        split: Split | None = None,
    ) -> list[dict[str, float]]:
        """Test what `fit` has trained, with Lightning's own Trainer; see `validate`. `test_metrics` has the values too."""
        found: list[dict[str, float]] = _evaluate(self, "test", dataloaders, ckpt_path, split, verbose=verbose)
        return found

    def predict(
        self,
        dataloaders: Any = None,
        ckpt_path: str | os.PathLike[str] | None = None,
        return_predictions: bool | None = None,
        *,
        split: Split | None = None,
    ) -> list[Any] | list[list[Any]] | None:
        """Predict with what `fit` has trained, with Lightning's own Trainer; see `validate`.

        Args:
            dataloaders: in the place of the trial's.
            ckpt_path: see `validate`.
            return_predictions: whether to keep and return them; by default Lightning does where its strategy can.
            split: take the loaders of "train", "val" or "test"; no `predict_dataloader` is needed then.

        Returns:
            What `predict_step` has returned of each batch; of several loaders, a list for each.

        Raises:
            ConfigurationError: the trial is not trained, or there is no step, or no loader.
            CheckpointError: the checkpoint cannot be used.
        """
        given = {} if return_predictions is None else {"return_predictions": return_predictions}
        found: list[Any] | None = _evaluate(self, "predict", dataloaders, ckpt_path, split, **given)
        return found

    def check_package(self) -> None:
        """Refuse a trial that cannot be packaged.

        Raises:
            ConfigurationError: all that stands against it.
        """
        from lightning_adapter.evaluation.package import writing

        writing.check(type(self), self.lightning_module)

    def write_package(self, file: pathlib.Path, checkpoint: pathlib.Path, is_chief: bool = True) -> None:
        """Write the model of a checkpoint with its source, as `fit(package=...)` does at the end.

        Args:
            file: is not there yet.
            checkpoint: its directory.
            is_chief: whether this process writes; of several all call this.

        Raises:
            ConfigurationError: the file is there, or cannot be written.
            ExportError: the module cannot be packaged.
        """
        from lightning_adapter.evaluation.package import of_trial

        of_trial.write_after_fit(self, file, checkpoint, is_chief)

    @classmethod
    def from_argparse_args(cls, *args: Any, **kwargs: Any) -> NoReturn:
        """Lightning 1.x's way to make a Trainer.

        Raises:
            ConfigurationError: always; says what to write.
        """
        raise ConfigurationError(
            f"{cls.__name__} has no from_argparse_args(): a trial is constructed by fit(), and Lightning 2 removed it from "
            "Trainer. Write `super().__init__(context, module, datamodule, max_epochs=args.max_epochs, ...)` with those of "
            "its arguments that you use, and read hyperparameters with context.get_hparams()."
        )


def _evaluate(trial: LightningAdapter, stage: Stage, *args: Any, **given: Any) -> Any:
    """See `evaluation.after_fit.evaluate`, which is imported by who evaluates: most of that room is for nothing else."""
    from lightning_adapter.evaluation.after_fit import evaluate

    return evaluate(trial, stage, *args, **given)


def _job(context: pytorch.PyTorchTrialContext) -> Job | None:
    """What was started; None where a trial is made to be looked at or used, wherever it was trained."""
    if isinstance(context, LocalContext) and not context.has_begun:
        return None
    processes = context.distributed
    return Job(context.device.type, processes.local_size, processes.cross_size)


def _check_order(name: str, context: object, module: object, datamodule: object) -> None:
    """Refuse what stands in the place of the context, the module and the datamodule.

    Raises:
        ConfigurationError: says what to write.
    """
    call = "`super().__init__(context, module, datamodule, ...)`"
    if context is None or isinstance(context, type) or hosts.host_of_class(type(context)) is not None:
        found = "no context" if context is None else f"{shown(type(context))} in the place of the context"
        raise ConfigurationError(
            f"LightningAdapter was given {found}. Write {call}, with the context that fit() gives to "
            f"{name}.__init__(self, context)."
        )
    if module is None:
        raise ConfigurationError(
            f"{name} gives LightningAdapter no module to train. Write `def __init__(self, context):` in {name}, and {call} "
            "in it."
        )
    for value in (module, datamodule):
        if isinstance(value, type):
            raise ConfigurationError(
                f"LightningAdapter was given the class {value.__name__}; give an instance: {value.__name__}(...)."
            )


def _check(host: hosts.Host, module: LightningModule, datamodule: LightningDataModule | None) -> None:
    if datamodule is not None and not isinstance(datamodule, host.pl.LightningDataModule):
        kind = f"{type(datamodule).__module__}.{type(datamodule).__qualname__}"
        other = hosts.host_of_class(type(datamodule))
        why = (
            f"is made for {other.package}, while the module is made for {host.package}; the two do not mix"
            if other is not None
            else "is no LightningDataModule"
        )
        base = "lightning_adapter" if host.package == "pytorch_lightning" else "lightning_adapter.lightning"
        raise ConfigurationError(f"The datamodule, a {kind}, {why}. Derive it from {base}.DETDM.")
    findings = monkey_patch.inspect_instance(module)
    if datamodule is not None:
        findings += monkey_patch.inspect_instance(datamodule)
    monkey_patch.reject_or_warn(findings)
