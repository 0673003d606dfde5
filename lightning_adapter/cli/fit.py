"""`lightning-adapter fit`: what can be typed, and how does it become a call of `fit()`?"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from lightning_adapter import notices
from lightning_adapter.errors import ConfigurationError, LightningAdapterError
from lightning_adapter.platform import fit_words
from lightning_adapter.platform.failure import exit_status
from lightning_adapter.platform.target import CONFIGURED, imported_to, load_target
from lightning_adapter.platform.typed_hparams import hyperparameters
from lightning_adapter.platform.typed_period import Period

if TYPE_CHECKING:
    from determined import pytorch

    from lightning_adapter.configs.given import Whole

DESCRIPTION = "Train a trial in this process: alone, under a launcher, or as the entrypoint of an experiment."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    fit_words.add_target(parser)
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say which options there are."""
    parser.add_argument(
        "-h",
        "--help",
        action=_Help,
        help="show this message, after a target with the hyperparameters of its dataclass, and exit",
    )
    fit_words.add_options(parser)


class _Help(argparse.Action):
    """Prints the help, and what can be typed for a target that stands before it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "nargs": 0, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS})

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> NoReturn:
        """Called by argparse."""
        parser.print_help()
        target: str | None = getattr(namespace, "target", None)
        if target is not None:
            from lightning_adapter.cli import fields

            try:
                with imported_to("list its hyperparameters"):
                    listed = fields.listed(load_target(target))
            except LightningAdapterError as error:
                parser.exit(exit_status(error), f"\n{parser.prog}: error: {error}\n")
            print(f"\n{listed}" if listed else "", end="\n" if listed else "")
        parser.exit()


def run(arguments: argparse.Namespace) -> int:
    """Train; return the exit status.

    Raises:
        LightningAdapterError: what was typed cannot be used, or the training cannot go on.
    """
    from lightning_adapter.platform import experiment
    from lightning_adapter.platform.environment import device_kind, managed_trial, variables_set

    hparams = hyperparameters(arguments)
    config = _configuration(arguments.config)
    # before the user's module is imported, and torch with it: they may read what the configuration sets
    with variables_set(experiment.environment_variables(config or {}, device_kind)):
        target = arguments.target or CONFIGURED
        trial_class = load_target(target)
        # a file is given by its name, which messages then have; a pipe can be read only once
        given = arguments.config if config is None or os.path.isfile(arguments.config) else config
        with _reading_once(arguments):
            if arguments.cli or arguments.hydra:
                hparams = tree = configured(target, trial_class, hparams, arguments)
                if arguments.hydra and managed_trial() is None:  # a cluster has values of its own for the configuration
                    _check_files(tree, arguments)
            with _places_told(arguments):
                _fit(target, trial_class, given, hparams, arguments)
    return 0


def _reading_once(arguments: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """Compose a configuration and train with it in one block: what reads it here reads it there too."""
    if not arguments.cli:
        return contextlib.nullcontext()
    from lightning_adapter.configs import cli_kept

    return cli_kept.reading_once()


def _places_told(arguments: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """Say of what the job refuses where the configuration has it."""
    if not (arguments.cli or arguments.hydra):
        return contextlib.nullcontext()
    from lightning_adapter.configs import argument_places

    if arguments.hydra:
        return argument_places.places_told(argument_places.in_hydra(arguments.hydra, arguments.overrides))
    return argument_places.places_told(argument_places.in_cli(arguments.cli, arguments.overrides))


def configuration_typed(trial_class: type, words: Sequence[str]) -> dict[str, Any]:
    """The configuration that the words after `fit` name, with the values that are typed there.

    Raises:
        ConfigurationError: it cannot be read, or the trial reads none.
    """
    arguments = fit_words.read(words)
    return configured(arguments.target, trial_class, hyperparameters(arguments), arguments)


def _check_files(tree: Whole, arguments: argparse.Namespace) -> None:
    """Tell what is wrong with a composed configuration, with the files that say it, which `fit` does not know.

    Raises:
        ConfigurationError: there is something.
    """
    from lightning_adapter.configs import hydra_tree

    hydra_tree.check_composed(tree, pathlib.Path.cwd(), arguments.hydra, None, arguments.overrides)
    if tree.swept:
        typed = shlex.join(["lightning-adapter", "init", arguments.hydra, *arguments.overrides])
        notices.warn(
            f"The configuration sweeps over {', '.join(tree.swept)}, and here one trial is trained, with the values that stand "
            f"there otherwise. To search on a cluster, type {typed} > experiment.yaml"
        )


def configured(target: str, trial_class: type, hparams: dict[str, Any] | None, arguments: argparse.Namespace) -> Whole:
    """The configuration that was named, with the values that were typed.

    Raises:
        ConfigurationError: it cannot be read, or the trial reads none.
    """
    from lightning_adapter.configs import sources
    from lightning_adapter.configs.given import Whole
    from lightning_adapter.configs.merging import merged
    from lightning_adapter.configured_trial import ConfiguredTrial

    if not issubclass(trial_class, ConfiguredTrial):
        option = "--cli" if arguments.cli else "--hydra"
        if any(base.__name__ == "LightningCLI" for base in trial_class.__mro__):
            from lightning_adapter.configs.cli_flow import trial_that_names

            raise ConfigurationError(
                f"{target} is a LightningCLI, and fit trains a trial. Name it in one: {trial_that_names(trial_class.__name__)}"
            )
        raise ConfigurationError(
            f"{target} does not read a configuration, which {option} names. Leave the target out, or derive it from "
            "lightning_adapter.ConfiguredTrial."
        )
    if arguments.hydra:
        tree = sources.of_hydra(arguments.hydra, arguments.overrides)
    else:
        first, *more = arguments.cli
        words = [word for file in more for word in ("--config", file)]
        tree = sources.of_cli(first, [*words, *arguments.overrides], trial_class.reader())
    typed = hparams or {}
    return Whole(merged(tree, typed), typed, tree.swept)


def _configuration(path: str | None) -> dict[str, Any] | None:
    """What a configuration holds; None where there is none, and where the cluster's own is used."""
    from lightning_adapter.platform import experiment
    from lightning_adapter.platform.environment import managed_trial

    return None if path is None or managed_trial() is not None else experiment.checked(path)[1]


def _fit(
    target: str,
    trial_class: type,
    config: str | dict[str, Any] | None,
    hparams: dict[str, Any] | None,
    arguments: argparse.Namespace,
) -> None:
    from lightning_adapter.platform.fit import fit
    from lightning_adapter.runs.provenance import typed_target

    with typed_target(target):
        fit(
            trial_class,
            config=config,
            hparams=hparams,
            max_epochs=arguments.max_epochs,
            max_steps=arguments.max_steps,
            validation_period=_resolved(arguments.validation_period),
            checkpoint_period=_resolved(arguments.checkpoint_period),
            resume_from=arguments.resume_from,
            warm_start_from=arguments.warm_start_from,
            seed=arguments.seed,
            run_dir=arguments.run_dir,
            name=arguments.name,
            master_timeout=arguments.master_timeout,
            test=arguments.test,
            package=arguments.package,
        )


def _resolved(period: Period | None) -> pytorch.TrainUnit | None:
    return None if period is None else period.resolve()
