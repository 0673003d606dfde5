"""What does user code find at `self.trainer` about what is under way: training, validation, or the one before training?"""

from __future__ import annotations

from typing import Any

from lightning_adapter.versions.hosts import Host


class StageView:
    """The stages under the names of Lightning's Trainer.

    Args:
        host: the Lightning package.

    Attributes:
        state: Lightning's `TrainerState`.
    """

    def __init__(self, host: Host) -> None:
        states = host.load("trainer.states")
        self.state: Any = states.TrainerState(
            status=states.TrainerStatus.RUNNING, fn=states.TrainerFn.FITTING, stage=states.RunningStage.TRAINING
        )
        self._stages = states.RunningStage

    @property
    def training(self) -> bool:
        """True outside of validation."""
        return self.state.stage is self._stages.TRAINING

    @training.setter
    def training(self, value: bool) -> None:
        self._set_stage(self._stages.TRAINING, value)

    @property
    def validating(self) -> bool:
        """True in validation."""
        return self.state.stage is self._stages.VALIDATING

    @validating.setter
    def validating(self, value: bool) -> None:
        self._set_stage(self._stages.VALIDATING, value)

    @property
    def sanity_checking(self) -> bool:
        """True in the validation before training."""
        return self.state.stage is self._stages.SANITY_CHECKING

    @sanity_checking.setter
    def sanity_checking(self, value: bool) -> None:
        self._set_stage(self._stages.SANITY_CHECKING, value)

    def _set_stage(self, stage: Any, value: bool) -> None:
        """As the setters of Lightning's Trainer: what is not the stage is not left."""
        if value:
            self.state.stage = stage
        elif self.state.stage is stage:
            self.state.stage = None

    @property
    def evaluating(self) -> bool:
        """True in validation."""
        stage = self.state.stage
        return stage is not None and bool(stage.evaluating)

    @property
    def testing(self) -> bool:
        """False: `Trainer.test` and `Trainer.predict` are not run by a trial."""
        return False

    predicting = tuning = testing
