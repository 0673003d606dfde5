"""What was asked of `fit()`, and how does it reach a trial?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from determined import pytorch

from lightning_adapter.arguments import Arguments
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import given
from lightning_adapter.platform.experiment import Hyperparameters
from lightning_adapter.platform.given import Path
from lightning_adapter.platform.period import Period
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.versions import hosts


@dataclass(frozen=True)
class FitRequest:
    """The arguments of `fit`, which describes them.

    Attributes:
        built: the trial itself, where its objects were built before `fit`.
    """

    config: Path | Mapping[str, Any] | None
    hparams: Hyperparameters | None
    max_epochs: int | None
    max_steps: int | None
    validation_period: pytorch.TrainUnit | None
    checkpoint_period: pytorch.TrainUnit | None
    resume_from: Path | None
    warm_start_from: Path | None
    seed: int | None
    run_dir: Path | None
    name: str | None
    master_timeout: float
    test: bool
    package: Path | None
    built: LightningTrial | None = None

    @classmethod
    def of(
        cls,
        *,
        config: object,
        hparams: object,
        max_epochs: object,
        max_steps: object,
        validation_period: object,
        checkpoint_period: object,
        resume_from: object,
        warm_start_from: object,
        seed: object,
        run_dir: object,
        name: object,
        master_timeout: object,
        test: object,
        package: object,
        built: LightningTrial | None = None,
    ) -> FitRequest:
        """Check what was given to `fit`, all of it before anything is done.

        Raises:
            ConfigurationError: something cannot be used; all faults in one message.
        """
        faults: list[str] = []
        source: Any = config  # `experiment.read` checks it, and what it holds
        request = cls(
            config=source,
            hparams=given.hyperparameters(hparams, faults),
            max_epochs=given.limit("max_epochs", max_epochs, faults),
            max_steps=given.limit("max_steps", max_steps, faults),
            validation_period=given.period("validation_period", validation_period, faults),
            checkpoint_period=given.period("checkpoint_period", checkpoint_period, faults),
            resume_from=given.path("resume_from", resume_from, faults),
            warm_start_from=given.path("warm_start_from", warm_start_from, faults),
            seed=given.seed(seed, faults),
            run_dir=given.path("run_dir", run_dir, faults),
            name=given.run_name(name, faults),
            master_timeout=given.master_timeout(master_timeout, faults),
            test=given.flag("test", test, faults),
            package=given.path("package", package, faults),
            built=built,
        )
        if resume_from is not None and warm_start_from is not None:
            faults.append(
                "resume_from and warm_start_from were both given: the first continues a run, the second starts a new one "
                "from its weights. Give one of them."
            )
        if faults:
            raise ConfigurationError("\n".join(faults))
        return request

    @property
    def limits(self) -> dict[str, int]:
        """The limits that were given; they win over those of the trial's arguments."""
        given = {"max_epochs": self.max_epochs, "max_steps": self.max_steps}
        return {name: value for name, value in given.items() if value is not None}

    def apply(
        self,
        arguments: Arguments,
        validation_period: pytorch.TrainUnit | None,
        max_length: pytorch.TrainUnit | None,
        one_step_per_batch: bool,
    ) -> tuple[Period | None, int | None]:
        """Bring limits and periods into the trial's arguments.

        Args:
            arguments: what the trial gave its adapter; limits are put in there.
            validation_period: as given to `fit`, or in the experiment YAML.
            max_length: the YAML's, which counts where neither `fit` nor the trial names a limit.
            one_step_per_batch: whether each batch is one optimizer step where gradients are not accumulated.

        Returns:
            The validation period, and the number of batches after which the run ends; None where arguments decide.

        Raises:
            ConfigurationError: two periods contradict each other.
        """
        length = None if max_length is None else max_length.value
        max_batches = None
        if not self.limits and arguments.max_epochs is None and isinstance(length, int):
            if isinstance(max_length, pytorch.Epoch):
                arguments.train_until(max_epochs=length)
            elif arguments.max_steps == -1:
                max_batches = length
                # schedules may ask for the number of steps, which is known where each batch is one
                steps = length if arguments.accumulate_grad_batches == 1 and one_step_per_batch else None
                arguments.train_until(max_epochs=-1, max_steps=steps)
        if arguments.fast_dev_run:
            return None, max_batches
        _check_periods(arguments, validation_period, self.validation_period is not None)
        arguments.train_until(**self.limits)
        return Period.of(validation_period), max_batches


def _check_periods(arguments: Arguments, period: pytorch.TrainUnit | None, given_to_fit: bool) -> None:
    """Refuse two answers to the question when to validate.

    Raises:
        ConfigurationError: the trial gave Lightning's arguments, and `fit` or the config says otherwise.
    """
    every, interval = arguments.check_val_every_n_epoch, arguments.val_check_interval
    if period is None or (every == 1 and interval == 1.0 and arguments.val_check_time_interval is None):
        return
    same = (
        every == period.value and interval == 1.0 and arguments.val_check_time_interval is None
        if isinstance(period, pytorch.Epoch)
        else every is None and interval == period.value and arguments.val_check_time_interval is None
    )
    if same:
        return
    if arguments.val_check_time_interval is not None:
        theirs = f"val_check_interval of {arguments.val_check_time_interval:g} seconds"
    else:
        theirs = f"val_check_interval={interval}, check_val_every_n_epoch={every}"
    name = "validation_period" if given_to_fit else "min_validation_period in the experiment config"
    raise ConfigurationError(
        f"{name} says {type(period).__name__}({period.value}), and the trial gave its adapter {theirs}: two periods "
        "that contradict each other. Leave one of them out."
    )


def seed_everything(seed: int) -> None:
    """Lightning's own, of the package that is imported already."""
    hosts.importable_host().pl.seed_everything(seed)
