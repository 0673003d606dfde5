"""What does user code find at `self.trainer` about what is under way: training, validation, or the one before training?"""

from __future__ import annotations

from typing import Any, overload

from lightning_adapter.versions.hosts import Host


class _Stage:
    """Whether one of Lightning's stages is under way; setting it acts as the setters of Lightning's Trainer.

    Args:
        name: of the member of `RunningStage`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, view: None, owner: type) -> _Stage: ...
    @overload
    def __get__(self, view: StageView, owner: type) -> bool: ...
    def __get__(self, view: StageView | None, owner: type) -> _Stage | bool:
        return self if view is None else view.state.stage is view.stages[self._name]

    def __set__(self, view: StageView, value: bool) -> None:
        stage = view.stages[self._name]
        if value:
            view.state.stage = stage
        elif view.state.stage is stage:  # what is not the stage is not left
            view.state.stage = None


class StageView:
    """The stages under the names of Lightning's Trainer.

    Args:
        host: the Lightning package.

    Attributes:
        state: Lightning's `TrainerState`.
        stages: Lightning's `RunningStage`.
    """

    def __init__(self, host: Host) -> None:
        states = host.load("trainer.states")
        self.state: Any = states.TrainerState(
            status=states.TrainerStatus.RUNNING, fn=states.TrainerFn.FITTING, stage=states.RunningStage.TRAINING
        )
        self.stages: Any = states.RunningStage

    training = _Stage("TRAINING")
    validating = _Stage("VALIDATING")
    sanity_checking = _Stage("SANITY_CHECKING")

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
