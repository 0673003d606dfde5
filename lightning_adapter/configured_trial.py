"""How is a trial made from the configuration that a project has already: LightningCLI's, or Hydra's?"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, TypeVar

from determined import pytorch

from lightning_adapter.adapter import LightningAdapter
from lightning_adapter.configs import cli_kept, configuration, given, sources
from lightning_adapter.configs.cli_saving import saves_configuration
from lightning_adapter.configs.drawn import Name, first, replaced, samples
from lightning_adapter.configs.lightning_cli import Cli
from lightning_adapter.configs.merging import merged
from lightning_adapter.configs.parts import Parts, Tree
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.evaluation.loading import fresh_trial
from lightning_adapter.platform import experiment
from lightning_adapter.platform.construct import check_trial_class
from lightning_adapter.platform.context import LocalContext
from lightning_adapter.platform.experiment.faults import dotted, raise_all
from lightning_adapter.platform.experiment.ranges import Range
from lightning_adapter.platform.launch import launcher
from lightning_adapter.platform.trial import Built
from lightning_adapter.runs.directory import place_for
from lightning_adapter.versions.types import LightningDataModule, LightningModule

Configured = TypeVar("Configured", bound="ConfiguredTrial")


class ConfiguredTrial(LightningAdapter):
    """A trial whose hyperparameters are a whole configuration, of LightningCLI or of Hydra.

    Its constructor sets the seed that the configuration names, and makes module, datamodule, callbacks, loggers and trainer
    arguments as `python main.py fit --config FILE` or `hydra.utils.instantiate` would.

    A project with a LightningCLI of its own, which links arguments or knows the classes, names it in a subclass:

        class Trial(ConfiguredTrial):
            cli_class = MyLightningCLI
            cli_arguments = {"model_class": LitModel, "datamodule_class": MyData}

    Args:
        context: Determined's context.

    Attributes:
        cli_class: the LightningCLI that reads the configuration; None for Lightning's own.
        cli_arguments: what it is constructed with, beside `args` and `run`.

    Raises:
        ConfigurationError: nothing can be made of the configuration, in the library's own words.
    """

    cli_class: ClassVar[type | None] = None
    cli_arguments: ClassVar[Mapping[str, Any]] = {}
    #: Of a class that reads with the LightningCLI that a script has made: what it was made of.
    _made_of: ClassVar[type[ConfiguredTrial] | None] = None

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        values = context.get_hparams().copy()
        if not isinstance(context, LocalContext) or context.has_begun:
            configuration.read(values, self.reader()).tell_unused()
        parts: Parts | None = vars(self).pop("_parts", None)  # of a trial that is given to `fit` as it is
        if parts is None:
            parts = self._build(context, values)
        self._parts = parts
        arguments = dict(parts.trainer_arguments)
        is_used = isinstance(context, LocalContext) and not context.has_begun
        if is_used and isinstance(arguments.get("callbacks"), list):
            # a trial that is used, and not trained, has no directory for a configuration: it might be the project's own file
            arguments["callbacks"] = [each for each in arguments["callbacks"] if not saves_configuration(each)]
        super().__init__(context, parts.lightning_module, parts.datamodule, **arguments)

    def _build(self, context: pytorch.PyTorchTrialContext, values: Mapping[str, Any]) -> Parts:
        found = configuration.read(values, self.reader())
        if isinstance(context, LocalContext):
            # its seed is that of the configuration, or what was given in its place
            return found.build(context.run_directory or pathlib.Path.cwd(), context.seed)
        return found.build(pathlib.Path.cwd(), found.seed(context.get_trial_seed()))

    @classmethod
    def reader(cls) -> Cli:
        """The LightningCLI that reads the configuration."""
        return Cli(cls.cli_class, cls.cli_arguments)

    @classmethod
    def reader_name(cls) -> str | None:
        """A LightningCLI that adds arguments or links: its name."""
        reader = cls.reader()
        if reader.cls is None or not given.adds_arguments(reader):
            return None
        return reader.cls.__qualname__

    # --- what `fit` asks the class ------------------------------------------------------------------------------------

    @classmethod
    def reading_once(cls) -> AbstractContextManager[None]:
        """The parsers of a LightningCLI are made once for all that is asked before it makes the objects."""
        return cli_kept.reading_once()

    @classmethod
    def for_hyperparameters(cls: type[Configured], hparams: object) -> type[Configured]:
        """The class that reads the configuration with the LightningCLI that a script has made."""
        cli = given.cli_of(hparams)
        if cli is None:
            return cls
        body = {
            "cli_class": cli.cls,
            "cli_arguments": cli.arguments,
            "_made_of": cls,
            "__module__": cls.__module__,
        }
        return type(cls.__name__, (cls,), body)

    @classmethod
    def recorded_as(cls) -> str | None:
        """None where the class cannot read the configuration alone: what a LightningCLI adds or links is not in it."""
        if cls._made_of is None:
            return super().recorded_as()
        return cls._made_of.recorded_as() if cls._reads_alone() else None

    @classmethod
    def _reads_alone(cls) -> bool:
        """Whether the class that is recorded reads the same."""
        made_of = cls._made_of
        return made_of is None or cls.cli_class is made_of.cli_class or not given.adds_arguments(cls.reader())

    def check_package(self) -> None:
        """See `LightningAdapter`."""
        if not self._reads_alone():
            name = getattr(type(self).cli_class, "__name__", "")
            raise ConfigurationError(
                f"No package can be made of this trial: {name} adds arguments or links to its parser, and a package has to know "
                f"it. Write `class Trial(ConfiguredTrial): cli_class = {name}` into a module, with the `cli_arguments` that it "
                "needs, and train that."
            )
        super().check_package()

    @classmethod
    def given_hyperparameters(cls, hparams: experiment.Hyperparameters | None) -> experiment.Hyperparameters | None:
        """Interpolations stay as they are, to be resolved with the values that a cluster draws."""
        return given.tree_of(hparams, cls.reader())

    @classmethod
    def own_run_dir(cls, hparams: experiment.Hyperparameters | None) -> pathlib.Path | None:
        """The directory that Hydra has made for a script."""
        return given.own_directory(hparams)

    @classmethod
    def is_whole(cls, hparams: experiment.Hyperparameters | None) -> bool:
        """What a configuration does not say is not there: a callback, or the argument of another class."""
        return given.is_whole(hparams)

    @classmethod
    def merged_hyperparameters(
        cls, values: Mapping[str, Any], hparams: experiment.Hyperparameters | None
    ) -> dict[str, Any]:
        """A whole configuration is what the values of the cluster are put into; values given one by one win over them."""
        if given.is_whole(hparams):
            return merged(merged(hparams, values), hparams.typed)
        return super().merged_hyperparameters(values, hparams)

    @classmethod
    def check_hyperparameters(cls, values: Mapping[str, Any]) -> None:
        """As the library checks a configuration."""
        configuration.read(values, cls.reader()).check(pathlib.Path.cwd())

    @classmethod
    def check_experiment(cls, hyperparameters: Mapping[str, Any]) -> None:
        """As the library checks the configuration, with each value that the ranges may give."""
        ranges: dict[Name, Range] = {}
        values = first(hyperparameters, (), ranges)
        drawn: list[str] = []
        with cls.reading_once():
            cls.check_hyperparameters(values)
            for name, allowed in ranges.items():
                for value in samples(allowed):
                    try:
                        cls.check_hyperparameters(replaced(values, name, value))
                    except ConfigurationError as error:
                        drawn.append(f"{dotted(name)} is a range ({allowed}), which may give {shown(value)}: {error}")
                        break
        raise_all("the hyperparameters", drawn)

    @classmethod
    def seed_of(cls, values: Mapping[str, Any], otherwise: int | None) -> int | None:
        """`seed_everything`, or `seed`, of the configuration."""
        return configuration.read(values, cls.reader()).seed(otherwise)

    @classmethod
    def resume_from(cls, values: Mapping[str, Any]) -> str | None:
        """`ckpt_path` of the configuration."""
        return configuration.checkpoint_of(values)

    @classmethod
    def metric_of(cls, values: Mapping[str, Any]) -> tuple[str, bool] | None:
        """What a ModelCheckpoint, else an EarlyStopping, of the configuration monitors."""
        return configuration.read(values, cls.reader()).monitored

    @classmethod
    def run_name(cls, values: Mapping[str, Any]) -> str:
        """The class of the module, where the trial has no name of its own."""
        if cls.__name__ != ConfiguredTrial.__name__:
            return cls.__name__
        return configuration.read(values, cls.reader()).model_name or cls.__name__

    # --- built before it is trained -----------------------------------------------------------------------------------

    def keep(self, built: Built) -> None:
        """Remember with what the objects were built, and the state of the random generators after that."""
        self._built, self._random = built, RandomState.now()

    @property
    def built(self) -> Built | None:  # type: ignore[override]  # nobody sets it
        """With what `build` has made it.

        Raises:
            ConfigurationError: it was trained.
        """
        built: Built | None = vars(self).get("_built")
        if built is not None and self.driver is not None:
            begun_in = getattr(self.context, "run_directory", None)  # where its training has not come to an end
            raise ConfigurationError(
                "fit() was given a trial that it has trained already. build(config) makes a new one; to go on with what was "
                f"trained, give fit() that one and resume_from={shown(str(self.run_dir or begun_in))}."
            )
        return built

    def again(self: Configured, context: pytorch.PyTorchTrialContext) -> Configured:
        """Take a context for objects that are there, and go on drawing where building them has ended."""
        before = dict(vars(self))
        vars(self).clear()
        self._parts, self.context = before["_parts"], context  # as `LightningTrial.__new__` does
        try:
            type(self).__init__(self, context)
        except BaseException:
            vars(self).update(before)  # it was not trained
            raise
        self._built = before["_built"]
        before["_random"].restore()
        return self


def _check_reads(trial_class: object, caller: str) -> None:
    """Refuse a class that reads no configuration.

    Raises:
        ConfigurationError: says what to give.
    """
    check_trial_class(trial_class, caller)
    if not (isinstance(trial_class, type) and issubclass(trial_class, ConfiguredTrial)):
        name = getattr(trial_class, "__name__", shown(trial_class))
        raise ConfigurationError(
            f"{caller} was given trial_class={name}, which reads no configuration. Derive it from ConfiguredTrial, "
            "or leave it out."
        )


def load_config(
    source: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    trial_class: type[ConfiguredTrial] = ConfiguredTrial,
) -> Tree:
    """Read a configuration, as `lightning-adapter fit --cli` and `--hydra` read it.

    Args:
        source: LightningCLI's YAML; a directory of Hydra's, or one with the name of a configuration (`configs/train`); or an
            experiment YAML that `lightning-adapter init` has written.
        overrides: as they would be typed: `["--model.lr", "0.1"]` or `["model.lr=0.1"]`, for Hydra `["experiment=x", "+a=1"]`.
        trial_class: a ConfiguredTrial that names the LightningCLI.

    Returns:
        The tree as plain data, for `fit(ConfiguredTrial, hparams=...)` and `build`; interpolations and links are not resolved.

    Raises:
        ConfigurationError: it cannot be read, in the library's own words.
    """
    _check_reads(trial_class, "load_config()")
    return sources.load(source, overrides, trial_class.reader())


def build(
    config: experiment.Hyperparameters,
    *,
    seed: int | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    trial_class: type[ConfiguredTrial] = ConfiguredTrial,
) -> tuple[ConfiguredTrial, LightningModule, LightningDataModule | None]:
    """Make what a configuration describes, without training.

    `fit(trial)` trains these very objects, and gives the numbers of `fit(ConfiguredTrial, hparams=config)`.

    Args:
        config: what `load_config` has returned, or a configuration in any form that `fit(ConfiguredTrial, hparams=...)` takes.
        seed: wins over the configuration's.
        run_dir: where `fit(trial)` will write, and what `${hydra:runtime.output_dir}` is; by default a new directory below
            `runs/`, which `fit` makes.
        trial_class: a ConfiguredTrial that names the LightningCLI.

    Returns:
        The trial, its module, and its datamodule, None where there is none.

    Raises:
        ConfigurationError: nothing can be made of it, in the library's own words.
    """
    _check_reads(trial_class, "build()")
    with trial_class.reading_once():
        return _built(config, seed, run_dir, trial_class)


def _built(
    config: experiment.Hyperparameters,
    seed: int | None,
    run_dir: str | os.PathLike[str] | None,
    trial_class: type[ConfiguredTrial],
) -> tuple[ConfiguredTrial, LightningModule, LightningDataModule | None]:
    reader = trial_class.for_hyperparameters(config)
    tree = reader.given_hyperparameters(config)
    if not experiment.is_group(tree):
        raise ConfigurationError(
            f"build() was given {shown(tree)}, which is no configuration. Give what load_config(SOURCE) returns, a LightningCLI, "
            "or OmegaConf's DictConfig."
        )
    values = experiment.hyperparameters({}, tree)
    reader.check_hyperparameters(values)
    chosen = reader.seed_of(values, None) if seed is None else seed
    place = reader.own_run_dir(tree) if run_dir is None else pathlib.Path(run_dir)
    if place is None and launcher() is None:  # several processes would choose several
        place = place_for(reader.run_name(values))
    made = fresh_trial(reader, hparams=given.Whole(values), seed=chosen, run_directory=place).trial
    assert isinstance(made, ConfiguredTrial)
    made.keep(Built(given.Whole(values), chosen, place))
    return made, made.lightning_module, made.datamodule
