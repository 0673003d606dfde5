"""What is decided of a search before anything is written, or read again where a search goes on?"""

from __future__ import annotations

import io
import os
import pathlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import experiment
from lightning_adapter.platform.construct import check_trial_class
from lightning_adapter.platform.experiment.faults import raise_all
from lightning_adapter.platform.experiment.ranges import fault_of_value, range_of
from lightning_adapter.platform.target import load_target
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.runs import provenance
from lightning_adapter.submission.checks import length_faults, with_typed
from lightning_adapter.tuning.directory import EXPERIMENT, record_of
from lightning_adapter.tuning.request import SearchRequest
from lightning_adapter.tuning.settings import SearcherSettings, searcher_settings
from lightning_adapter.tuning.space import Space

#: The master draws one where a file names none.
_SEEDS = 2**31


@dataclass(frozen=True)
class Given:
    """What a search is of: read from what was asked for, or from the record of a search that goes on.

    Attributes:
        config: the experiment's configuration, ranges unresolved.
        text: of its YAML.
        hyperparameters: in place of the experiment's; None where it says them.
        target: `FILE_OR_MODULE:Class`; None of a class of a notebook.
        trials: in place of `searcher.max_trials`.
        hparams: values that win over the experiment's.
        options: of `fit`.
        seed: of the experiment.
        source: where the experiment comes from, as messages name it.
        goes_on_in: the directory of a search that goes on; None of a new one.
    """

    config: Mapping[str, Any]
    text: str
    hyperparameters: Mapping[str, Any] | None
    target: str | None
    trials: int | None
    hparams: Mapping[str, Any]
    options: Mapping[str, Any]
    seed: int
    source: str
    goes_on_in: pathlib.Path | None = None

    @classmethod
    def of(cls, request: SearchRequest) -> Given:
        """Read all that was asked for.

        Raises:
            ConfigurationError: it cannot be used.
        """
        return cls._new(request) if request.resume_from is None else cls._resumed(request)

    @classmethod
    def _new(cls, request: SearchRequest) -> Given:
        if request.config is None:
            raise ConfigurationError(
                "A search needs an experiment YAML, whose searcher and ranges it tries: give config= (--config FILE)."
            )
        source, config = experiment.checked(request.config)
        seed = request.seed
        if seed is None:
            seed = (config.get("reproducibility") or {}).get("experiment_seed")
        return cls(
            config=config,
            text=request.text or _text(request.config, config),
            hyperparameters=request.hyperparameters,
            target=request.target,
            trials=request.trials,
            hparams=experiment.nest(request.hparams or {}, known=config.get("hyperparameters") or {}),
            options=request.options,
            seed=random.SystemRandom().randrange(_SEEDS) if seed is None else seed,
            source=source,
        )

    @classmethod
    def _resumed(cls, request: SearchRequest) -> Given:
        path = pathlib.Path(request.resume_from or "").expanduser()
        record = record_of(path)
        fixed = {
            "config": request.config,
            "hparams": request.hparams,
            "seed": request.seed,
            "search_dir": request.search_dir,
            "name": request.name,
            "sampler": request.sampler if not record["suggests"] else None,
            **request.options,
        }
        typed = [name for name, value in fixed.items() if value not in (None, {})]
        if typed:
            raise ConfigurationError(
                f"{path} is a search that was begun already, and goes on as it was begun: leave {', '.join(typed)} out, or begin "
                "a new search."
            )
        if record["suggests"] and request.sampler is None:
            raise ConfigurationError(
                f"{path} is a search whose hyperparameters a sampler of Optuna's chooses: give sampler= again."
            )
        source, config = experiment.checked(path / EXPERIMENT)
        _check_trials(path, config, record["trials"], request.trials)
        return cls(
            config=config,
            hyperparameters=record["hyperparameters"],
            text=(path / EXPERIMENT).read_text(encoding="utf-8"),
            target=request.target or record["target"],
            trials=record["trials"] if request.trials is None else request.trials,
            hparams=record["hparams"],
            options=record["options"],
            seed=record["seed"],
            source=source,
            goes_on_in=path,
        )


def _check_trials(path: pathlib.Path, config: Mapping[str, Any], before: int | None, now: int | None) -> None:
    """Refuse another number of trials where a search's rungs depend on it.

    Raises:
        ConfigurationError: they do.
    """
    name = (config.get("searcher") or {}).get("name")
    if now not in (None, before) and name != "random":
        raise ConfigurationError(
            f"{path} is a search by {name}, whose trials and rungs are decided by their number: it goes on with as many as it "
            "was begun with. Leave --trials out, or begin a new search."
        )


def _text(given: object, config: Mapping[str, Any]) -> str:
    """The text of a YAML, with its comments where it is a file's."""
    if isinstance(given, (str, os.PathLike)) and os.path.isfile(given):  # a pipe can be read only once
        return pathlib.Path(given).read_text(encoding="utf-8")
    yaml, written = YAML(), io.StringIO()
    yaml.default_flow_style = False
    yaml.dump(dict(config), written)
    return written.getvalue()


@dataclass(frozen=True)
class Plan:
    """A search that can be made.

    Attributes:
        given: what it is of.
        trial_class: the trial.
        target: how other processes find it.
        hyperparameters: with ranges, those that were typed in their places.
        settings: of the searcher.
        space: the ranges, as Optuna knows them.
    """

    given: Given
    trial_class: type[LightningTrial]
    target: str | None
    hyperparameters: Mapping[str, Any]
    settings: SearcherSettings
    space: Space

    @classmethod
    def of(cls, given: Given, trial_class: type | None) -> Plan:
        """Check all of it, before anything is written.

        Args:
            given: what the search is of.
            trial_class: the class, where it is here already.

        Raises:
            ConfigurationError: the search cannot be made.
            TargetError: the class cannot be imported.
        """
        spec = given.config.get("hyperparameters") or {} if given.hyperparameters is None else given.hyperparameters
        _check_typed(spec, given.hparams)
        hyperparameters = with_typed(spec, given.hparams)
        searched = {**given.config, "hyperparameters": hyperparameters}
        settings = searcher_settings(searched, given.trials, given.source)
        raise_all(
            given.source,
            [*length_faults(given.config.get("searcher") or {}, given.options.get("max_epochs"), "trials get")],
        )
        try:
            space = Space(hyperparameters)
        except ConfigurationError as error:
            raise ConfigurationError(f"{given.source}: {error}") from error
        target = given.target
        if trial_class is None:
            if target is None:
                raise ConfigurationError("Which trial is searched? Name its class: FILE_OR_MODULE:TrialClass.")
            found: Any = load_target(target)
        else:
            found = trial_class
            target = target or provenance.target_of(trial_class)
        check_trial_class(found, "search()")
        found.check_experiment(hyperparameters)
        return cls(given, found, target, hyperparameters, settings, space)


def _check_typed(spec: Mapping[str, Any], typed: Mapping[str, Any], path: tuple[str, ...] = ()) -> None:
    """Refuse values that are of no kind for their range.

    Raises:
        ConfigurationError: one is.
    """
    for name, value in typed.items():
        was: Any = spec.get(name)
        if experiment.is_range(was):
            fault = fault_of_value(".".join((*path, name)), value, range_of(was))
            if fault is not None:
                raise ConfigurationError(fault)
        elif isinstance(was, Mapping) and isinstance(value, Mapping):
            _check_typed(was, value, (*path, name))
