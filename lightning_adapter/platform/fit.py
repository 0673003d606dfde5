"""fit(): what was asked for, and where does it run?"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

from determined import pytorch

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.cluster import fit_managed
from lightning_adapter.platform.construct import check_trial_class
from lightning_adapter.platform.environment import managed_trial
from lightning_adapter.platform.experiment import Hyperparameters
from lightning_adapter.platform.judge import judge_of_run
from lightning_adapter.platform.launch import join_job
from lightning_adapter.platform.local import fit_local
from lightning_adapter.platform.request import FitRequest
from lightning_adapter.platform.target import check_may_train
from lightning_adapter.platform.trial import Built, LightningTrial
from lightning_adapter.runs.run_log import shown_on_console

logger = logging.getLogger("lightning_adapter")

Trial = TypeVar("Trial", bound=LightningTrial)


def fit(
    trial_class: type[Trial] | Trial,
    *,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    hparams: Hyperparameters | None = None,
    max_epochs: int | None = None,
    max_steps: int | None = None,
    validation_period: pytorch.TrainUnit | None = None,
    checkpoint_period: pytorch.TrainUnit | None = None,
    resume_from: str | os.PathLike[str] | None = None,
    warm_start_from: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    name: str | None = None,
    master_timeout: float | timedelta | None = None,
    test: bool = False,
    package: str | os.PathLike[str] | None = None,
) -> Trial:
    """Train a trial in this process, on a cluster or off it.

    On a cluster (a managed trial) hyperparameters, seed and latest checkpoint are the cluster's; elsewhere they come
    from `config` and the arguments.

    Args:
        trial_class: a subclass of LightningAdapter, or a trial that `build(config)` has made, whose very objects are trained.
        config: an experiment YAML's path, or its content.
        hparams: hyperparameters that win over `config`; a range there needs a value here. A dict, a Namespace, an
            instance of a dataclass or OmegaConf's DictConfig; the trial gets what a YAML could hold, so that an Enum
            arrives as its name and a path as text. For a ConfiguredTrial, a whole configuration: LightningCLI's or Hydra's.
        max_epochs: epochs after which training ends; wins over what the trial gave its adapter.
        max_steps: optimizer steps after which training ends; likewise.
        validation_period: Determined's `Batch(n)` or `Epoch(n)`; by default what Lightning's arguments say, which is
            the end of each epoch.
        checkpoint_period: Determined's `Batch(n)` or `Epoch(n)`; by default each validation is followed by a
            checkpoint in a local run, and by what `checkpoint_policy` says on a cluster.
        resume_from: go on from a checkpoint: its directory, a run's or another directory of them (the newest whole one is
            taken), a Lightning `.ckpt`, or a URL.
        warm_start_from: take the weights only, of a checkpoint given likewise.
        seed: `seed_everything(seed)` is called before the trial is made; a cluster gives its own.
        run_dir: directory of a local run; by default `runs/<name>/<date-time>`.
        name: of the folder in which local runs of a kind are collected; by default the trial's class.
        master_timeout: on a cluster, seconds for which a request is repeated that the master does not answer; by default
            what the environment variable LIGHTNING_ADAPTER_MASTER_TIMEOUT says, or 600.
        test: when training is complete, test the best checkpoint (the last one where none is ranked) with Lightning's own
            Trainer, in the first process; `trial.test_metrics` has the values.
        package: off a cluster, when training is complete, write the best model with its source to this file, which
            `load_trial(FILE, trust_code=True)` opens where the source is not.

    Returns:
        The trial, with its trained module.

    Raises:
        ConfigurationError: something given cannot be used.
        UnsupportedError: the module or its arguments ask for what is rejected.
        CheckpointError: the checkpoint cannot be used.
        MasterAwayError: the master of the cluster does not answer.
    """
    check_may_train()
    built, trial_class, hparams, seed = _built_before(trial_class, hparams, seed)
    check_trial_class(trial_class)
    with trial_class.reading_once():
        trial_class = trial_class.for_hyperparameters(hparams)
        hparams = trial_class.given_hyperparameters(hparams)
        info = managed_trial()
        if run_dir is None and info is None:
            at_first = None if built is None else built.built
            run_dir = trial_class.own_run_dir(hparams) if at_first is None else at_first.run_dir
        request = FitRequest.of(
            config=config,
            hparams=hparams,
            max_epochs=max_epochs,
            max_steps=max_steps,
            validation_period=validation_period,
            checkpoint_period=checkpoint_period,
            resume_from=resume_from,
            warm_start_from=warm_start_from,
            seed=seed,
            run_dir=run_dir,
            name=name,
            master_timeout=master_timeout,
            test=test,
            package=package,
            built=built,
        )
        if info is None:
            # of a trial of a search speaks who searches
            with join_job(managed=False) as processes, shown_on_console(is_quiet=judge_of_run() is not None):
                return fit_local(trial_class, request, processes)
        ignored = {"resume_from": resume_from, "seed": seed, "run_dir": run_dir, "name": name}
        given = [each for each, value in ignored.items() if value is not None]
        if given:
            logger.warning(
                "the cluster decides how a managed trial begins and where it writes: %s has no effect here",
                ", ".join(given),
            )
        with join_job(managed=True), shown_on_console():
            return fit_managed(trial_class, request, info)


def _built_before(
    trial: type[Trial] | Trial, hparams: Hyperparameters | None, seed: int | None
) -> tuple[Trial | None, type[Trial], Hyperparameters | None, int | None]:
    """What `fit` was given: a trial that is there, or None; its class; and with what it is, or is to be, made.

    Raises:
        ConfigurationError: a trial that is there cannot be made otherwise, nor on a cluster.
    """
    built = trial.built if isinstance(trial, LightningTrial) else None
    if not isinstance(trial, LightningTrial) or not isinstance(built, Built):
        return None, trial, hparams, seed  # type: ignore[return-value]  # `check_trial_class` looks at it
    given = {"hparams": hparams, "seed": seed}
    faults = [name for name, value in given.items() if value is not None]
    if faults:
        raise ConfigurationError(
            f"fit() was given {' and '.join(faults)} with a trial that is built already. Give it to load_config() or build(), "
            "which make module and data."
        )
    if managed_trial() is not None:
        raise ConfigurationError(
            "fit() was given a trial that is built already, and on a cluster a trial is made of the hyperparameters that the "
            "cluster draws. Write fit(ConfiguredTrial, hparams=config)."
        )
    return trial, type(trial), built.hyperparameters, built.seed
