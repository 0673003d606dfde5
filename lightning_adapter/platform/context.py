"""What is Determined's context in a local run?"""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import torch
from determined import core, pytorch

from lightning_adapter.platform.hyperparameter_answers import HyperparameterAnswers
from lightning_adapter.platform.hyperparameter_reads import HyperparameterReads


class LocalContext(pytorch.PyTorchTrialContext):
    """Determined's context in a local run, with errors that say what to type.

    Args:
        run_directory: of the run; None where there is none.
        has_begun: whether the trial is made to be trained now, and not to be looked at or used.
        run_log: the run's logger; None where there is none yet.
        **options: of Determined's own.

    Attributes:
        run_directory: see above.
        has_begun: see above.
        run_log: see above.
        seed: of the trial; None where it is not seeded, which `get_trial_seed` raises an error for.
    """

    def __init__(
        self,
        run_directory: pathlib.Path | None = None,
        has_begun: bool = False,
        run_log: logging.Logger | None = None,
        **options: Any,
    ) -> None:
        self.run_directory = run_directory
        self.has_begun = has_begun
        self.run_log = run_log
        self.seed: int | None = options.get("trial_seed")
        self._answers = HyperparameterAnswers(options.get("hparams") or {})
        super().__init__(**options)

    @classmethod
    def of(
        cls,
        core_context: core.Context,
        config: Mapping[str, Any],
        seed: int | None,
        processes: int,
        steps: int,
        run_directory: pathlib.Path | None = None,
        has_begun: bool = False,
        run_log: logging.Logger | None = None,
    ) -> LocalContext:
        """Make that of one process.

        Args:
            core_context: of this process.
            config: the experiment's configuration, hyperparameters resolved.
            seed: of the trial; None where it is not seeded.
            processes: of the job.
            steps: batches trained before.
            run_directory: of the run; None where there is none.
            has_begun: whether the trial is made to be trained now.
            run_log: the run's logger.
        """
        return cls(
            run_directory=run_directory,
            has_begun=has_begun,
            run_log=run_log,
            core_context=core_context,
            trial_seed=seed,
            hparams=config["hyperparameters"],
            slots_per_trial=processes,
            num_gpus=torch.cuda.device_count(),
            exp_conf=dict(config),
            aggregation_frequency=1,
            steps_completed=steps,
            managed_training=True,
            debug_enabled=False,
            enable_tensorboard_logging=False,
        )

    @property
    def reads(self) -> HyperparameterReads:
        """Which hyperparameters the trial has read."""
        return self._answers.reads

    def get_hparam(self, name: str) -> Any:
        """The value of a hyperparameter."""
        return self._answers.one(name)

    def get_hparams(self) -> dict[str, Any]:
        """All hyperparameters; Determined's own reader raises where there are none."""
        return self._answers.all()

    def get_experiment_config(self) -> dict[str, Any]:
        """The experiment's configuration, which has the hyperparameters in it."""
        self.reads.read_all(())
        config: dict[str, Any] = super().get_experiment_config()
        return config

    def get_per_slot_batch_size(self) -> int:
        """Batch size of one process."""
        self._answers.need_batch_size()
        return int(super().get_per_slot_batch_size())

    def get_global_batch_size(self) -> int:
        """Batch size of all processes together."""
        self._answers.need_batch_size()
        return int(super().get_global_batch_size())
