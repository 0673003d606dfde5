"""How does Lightning's own Trainer validate, test or predict with a trial's module?"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.checks import check, telling_missing_predict_step
from lightning_adapter.evaluation.loaders import DEFAULT_SPLITS, Split, Stage, check_split, loaders_of
from lightning_adapter.platform.evaluation_trainer import Place, Weights, evaluation_trainer, telling_differences
from lightning_adapter.platform.launch import launcher
from lightning_adapter.platform.signals import exit_status
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.platform.where_raised import note_where
from lightning_adapter.trainer.late_values import Position, told_at
from lightning_adapter.versions import hosts, lightning_loggers, lightning_private
from lightning_adapter.versions.types import Callback, LightningModule, Logger

#: As Lightning names what a Trainer does, and at which stage of that it is.
_STATES: dict[Split, tuple[str, str]] = {
    "train": ("FITTING", "TRAINING"),
    "val": ("VALIDATING", "VALIDATING"),
    "test": ("TESTING", "TESTING"),
    "predict": ("PREDICTING", "PREDICTING"),
}


@dataclass(frozen=True)
class Evaluator:
    """Lightning's Trainer over a trial's module, made anew for each use.

    Attributes:
        trial: whose module, data and arguments it gets.
        callbacks: of the trial.
        loggers: that are told; asked for when a Trainer is made.
        position: at which the loggers have the values.
        progress_bar: whether there is one besides those among the callbacks.
        root: `trainer.default_root_dir`.
        is_fresh: whether the trial was constructed for this, and not trained.
        began: the random state in which training has set up its data; None where nobody knows it.
    """

    trial: LightningTrial
    callbacks: Sequence[Callback]
    loggers: Callable[[], Sequence[Logger]]
    position: Position | None
    progress_bar: bool
    root: str | os.PathLike[str] | None
    is_fresh: bool
    began: RandomState | None = None

    def run(
        self,
        stage: Stage,
        weights: Weights | None,
        *,
        dataloaders: Any = None,
        split: Split | None = None,
        callbacks: Sequence[Callback] = (),
        options: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> Any:
        """Validate, test or predict.

        Args:
            stage: which of them.
            weights: of a checkpoint; None for those that the module has.
            dataloaders: in the place of the trial's.
            split: whose loaders are used; by default those of the stage.
            callbacks: besides those of the trial.
            options: arguments of Lightning's Trainer that win over the trial's.
            **given: to the Trainer's method, `verbose` or `return_predictions`.

        Returns:
            What Lightning's Trainer returns.

        Raises:
            ConfigurationError: the trial lacks what is needed.
            CheckpointError: the weights do not fit the module.
        """
        trial = self.trial
        check_split(split)
        if split is not None and dataloaders is not None:
            raise ConfigurationError("dataloaders and split were both given. Leave one of them out.")
        chosen = split or DEFAULT_SPLITS[stage]
        check(trial, stage, chosen, dataloaders is not None)
        data = {"datamodule": trial.datamodule} if dataloaders is None else {"dataloaders": dataloaders}
        around = contextlib.nullcontext() if dataloaders is not None else loaders_of(trial, stage, chosen, self.began)
        trainer = self.trainer(weights, callbacks, **(options or {}))
        loggers = self.loggers()
        module, path = trial.lightning_module, None if weights is None else weights.name
        with (
            around,
            telling_differences(module),
            telling_missing_predict_step(module),
            told_at(loggers, self.position),
            lightning_loggers.nothing_left_empty(loggers if self.is_fresh else ()),
        ):
            try:
                found = getattr(trainer, stage)(module, ckpt_path=path, **data, **given)
            except Exception as error:
                note_where(error, batch=lightning_private.batch_evaluated(trainer, stage))
                raise
        if trainer.interrupted:  # until Lightning 2.4, an interrupt of the keyboard ends its methods without an error
            raise SystemExit(exit_status(signal.SIGINT))
        return found

    def trainer(self, weights: Weights | None, callbacks: Sequence[Callback] = (), **options: Any) -> Any:
        """Lightning's Trainer; see `run`."""
        module, datamodule = self.trial.lightning_module, self.trial.datamodule
        host = hosts.host_of(module)

        def handed_over() -> Mapping[str, Any]:
            assert weights is not None
            if self.is_fresh and not hasattr(host.pl.LightningModule, "configure_model"):
                make_layers(module)  # as training does with every Lightning
            # those that the Trainer has by then: the module may have configured more
            return weights.handed_over(module, datamodule, trainer.callbacks, with_states=True)

        trainer = evaluation_trainer(
            host,
            self.trial.arguments,
            place_of(self.trial),
            callbacks=[*self.callbacks, *callbacks],
            loggers=self.loggers(),
            progress_bar=self.progress_bar,
            root=self.root,
            handed_over=None if weights is None else handed_over,
            **options,
        )
        return trainer

    def without_others(self) -> Evaluator:
        """Nobody besides module and data has a part in it: no callbacks, no loggers, no progress bar."""
        return dataclasses.replace(self, callbacks=(), loggers=tuple, progress_bar=False)

    def attach(self, split: Split) -> None:
        """Let hooks of module and datamodule that are called by hand find a Trainer that is at work on a split."""
        module, datamodule = self.trial.lightning_module, self.trial.datamodule
        trainer = self.without_others().trainer(None)
        states = hosts.host_of(module).load("trainer.states")
        function, stage = _STATES[split]
        trainer.state.fn, trainer.state.stage = states.TrainerFn[function], states.RunningStage[stage]
        lightning_private.attach(trainer, module, datamodule)


def make_layers(module: LightningModule) -> None:
    """Call `configure_model`, where the module has it."""
    configure = getattr(module, "configure_model", None)
    if callable(configure):
        configure()


def place_of(trial: LightningTrial) -> Place:
    """Where the trial's processes run.

    Raises:
        ConfigurationError: Lightning's Trainer cannot work with who started them.
    """
    processes = trial.context.distributed
    if processes.size > 1 and launcher() == "horovod":
        raise ConfigurationError(
            f"These are {processes.size} processes of horovodrun, which Lightning's Trainer does not know. Start them with "
            "torchrun, or type lightning-adapter test (validate, predict) in one process."
        )
    return Place(trial.context.device, processes.local_size, processes.cross_size)
