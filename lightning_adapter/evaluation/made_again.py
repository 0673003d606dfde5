"""How is the trial of a run constructed again, with the hyperparameters and the seed that the run had?"""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from determined import core

from lightning_adapter.loop.hooks import is_overridden
from lightning_adapter.module import supply_steps
from lightning_adapter.monkey_patch import AfterTraining
from lightning_adapter.platform import experiment
from lightning_adapter.platform.construct import constructed, refusal_in_words
from lightning_adapter.platform.context import LocalContext
from lightning_adapter.platform.hyperparameter_reads import names
from lightning_adapter.platform.launch import join_job
from lightning_adapter.platform.made_with import MadeWith, check_reader, from_checkpoint
from lightning_adapter.platform.request import seed_everything
from lightning_adapter.platform.signals import answers_kept
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.versions import hosts


@dataclass(frozen=True)
class Making:
    """With what a trial is made.

    Attributes:
        config: the experiment's configuration, hyperparameters resolved.
        seed: None where it was not seeded.
        steps: batches trained before.
        typed: names of the hyperparameters that were given one by one, with dots.
    """

    config: Mapping[str, Any]
    seed: int | None
    steps: int = 0
    typed: frozenset[str] = frozenset()

    @property
    def hparams(self) -> dict[str, Any]:
        """The hyperparameters."""
        return dict(self.config["hyperparameters"])

    @classmethod
    def of(
        cls,
        trial_class: type[LightningTrial],
        made: MadeWith,
        used: Mapping[str, Any],
        config: Mapping[str, Any] | None,
        hparams: experiment.Hyperparameters | None,
        steps: int = 0,
    ) -> Making:
        """Put together what was typed, what a configuration that was given says, and what the run had, in this order.

        Args:
            trial_class: the trial.
            made: what the checkpoint says.
            used: the configuration of the run.
            config: content of one that was given.
            hparams: hyperparameters that were typed.
            steps: batches trained before.

        Raises:
            ConfigurationError: something in it cannot be used.
        """
        check_reader(made, trial_class.reader_name())
        had = made.get("hyperparameters")
        if had is None:
            had = dict(used.get("hyperparameters") or {})
        hparams = trial_class.given_hyperparameters(hparams)
        if trial_class.is_whole(hparams):
            had = {}
        settings = {**used, "hyperparameters": had, **(config or {})}
        values = experiment.hyperparameters(
            settings, from_checkpoint(had, settings, hparams).overrides, drawn=settings["hyperparameters"] is had
        )
        values = trial_class.completed_hyperparameters(values)
        trial_class.check_hyperparameters(values)
        chosen = experiment.periods(settings).experiment_seed
        seed = made.get("seed")
        typed = frozenset(names(experiment.nest(hparams or {}, known=values)))
        return cls({**settings, "hyperparameters": values}, chosen if seed is None else seed, steps, typed)


def construct_again(
    trial_class: type[LightningTrial], making: Making, run_directory: pathlib.Path | None = None
) -> LightningTrial:
    """Construct a trial as `fit` does, in a process that may be one of several; nothing is written.

    Args:
        trial_class: was checked.
        making: with what.
        run_directory: of its run, in which it finds files, or will write them; None where there is none.

    Raises:
        ConfigurationError: the trial's constructor refuses it, or cannot be used.
    """
    with join_job(managed=False) as processes:
        size = 1 if processes is None else processes.size
        experiment.global_batch_size_check(making.hparams, size)
        # a place that is there; nothing is kept in it
        storage = {"type": "directory", "container_path": tempfile.gettempdir()}
        with answers_kept(), core.init(distributed=processes, checkpoint_storage=storage) as core_context:
            if making.seed is not None:
                seed_everything(making.seed)
            context = LocalContext.of(core_context, making.config, making.seed, size, making.steps, run_directory)
            with refusal_in_words(making.hparams):
                trial = constructed(trial_class, context, AfterTraining.of_trained())
    module = trial.lightning_module
    base = hosts.host_of(module).pl.LightningModule
    supply_steps(module, lambda name: is_overridden(name, module, base))
    return trial
