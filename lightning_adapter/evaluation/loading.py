"""How does a trained model come back, with its data, from where a run has left it?"""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from lightning_adapter import notices
from lightning_adapter.argument_values import listed
from lightning_adapter.checkpoints import file
from lightning_adapter.checkpoints.restore import batches_trained
from lightning_adapter.data.collections import Collection
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import CheckpointError, ConfigurationError, LightningAdapterError
from lightning_adapter.evaluation import weights as loaded_weights
from lightning_adapter.evaluation.checks import no_loader
from lightning_adapter.evaluation.evaluator import Evaluator
from lightning_adapter.evaluation.loaders import SETUP, Split, check_split, made_by, owner_of, source_of
from lightning_adapter.evaluation.loggers import loggers_of_run
from lightning_adapter.evaluation.made_again import Making, construct_again
from lightning_adapter.evaluation.notebook import of_loaded
from lightning_adapter.evaluation.package.opening import open_package
from lightning_adapter.evaluation.source import Source, find
from lightning_adapter.evaluation.trial_class import Given, trial_class_of
from lightning_adapter.evaluation.wanted import Config, Wanted
from lightning_adapter.platform import experiment
from lightning_adapter.platform.context import LocalContext
from lightning_adapter.platform.data_random import data_random
from lightning_adapter.platform.environment import device_kind, variables_set
from lightning_adapter.platform.evaluation_trainer import Weights
from lightning_adapter.platform.made_with import MadeWith, made_with
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.trainer.late_values import Position
from lightning_adapter.versions.types import Callback, LightningDataModule, LightningModule

#: How often the best checkpoint of a run that trains meanwhile is looked for.
_LOOKS = 5


def load_trial(
    what: str | os.PathLike[str],
    trial_class: Given = None,
    *,
    last: bool = False,
    hparams: experiment.Hyperparameters | None = None,
    config: Config = None,
    trust_code: bool = False,
) -> LoadedTrial:
    """Load the trained model of a run, with its data.

    The trial's own constructor makes module and data, with the hyperparameters and the seed of the run; nothing is written.

    Args:
        what: a run directory (`runs/<trial>/latest`), a checkpoint directory, a `.ckpt` file, a URL of one, or, of a cluster,
            the id of a checkpoint or the number of an experiment, which is fetched into `runs/`. Of a run the best checkpoint
            is taken, or the last one where no metric ranks them.
        trial_class: the trial, or its `FILE_OR_MODULE:Class`; by default what the run was made with.
        last: take the newest checkpoint of the run.
        hparams: hyperparameters that win over those of the run.
        config: an experiment YAML's path, or its content, that wins likewise.
        trust_code: open a package (`fit(package=...)`, `lightning-adapter export --to package`), whose code runs with your
            rights; a checkpoint is data, and needs no trust.

    Returns:
        The trial with the weights of the checkpoint.

    Raises:
        ConfigurationError: something given cannot be used; all that is wrong, in one message.
        CheckpointError: there is no checkpoint, or it cannot be used.
        TargetError: the trial cannot be imported.
    """
    wanted = Wanted.of(what, last, hparams, config, trust_code=trust_code)
    with variables_set(wanted.variables()):
        return load(wanted, trial_class)


def load(wanted: Wanted, trial_class: Given = None, progress_bar: bool = True) -> LoadedTrial:
    """Load what was looked for; the environment variables of its configuration are set by now.

    Args:
        wanted: what was looked for.
        trial_class: as of `load_trial`.
        progress_bar: whether Lightning's own may be shown, where the trial has not turned it off.

    Raises:
        LightningAdapterError: as of `load_trial`.
    """
    source = wanted.source
    if wanted.faults:
        try:
            if isinstance(trial_class, str):
                trial_class_of(source, trial_class)  # what was typed is told together with the rest
        except LightningAdapterError as error:
            wanted.raise_faults(error)
        wanted.raise_faults()
    assert source is not None
    if source.is_package:
        opened = open_package(source.checkpoint)
        found = opened.trial_class if trial_class is None else trial_class_of(source, trial_class)
        with opened.imported_by_name():
            return LoadedTrial.of(found, source, opened.checkpoint, wanted.config, wanted.hparams, progress_bar)
    found = trial_class_of(source, trial_class)
    source, saved = _read(wanted, source)
    return LoadedTrial.of(found, source, saved, wanted.config, wanted.hparams, progress_bar)


def _read(wanted: Wanted, source: Source) -> tuple[Source, dict[str, Any]]:
    """The content of a checkpoint; of a run that trains meanwhile, and has deleted it for a better one, that of the next.

    Raises:
        CheckpointError: it cannot be used.
    """
    for _ in range(_LOOKS):
        try:
            return source, file.read(source.checkpoint)
        except CheckpointError:
            if not isinstance(source.checkpoint, pathlib.Path) or source.checkpoint.exists():
                raise
        source = find(wanted.what, last=wanted.last)
    return source, file.read(source.checkpoint)


def fresh_trial(
    trial_class: type[LightningTrial],
    *,
    config: Config = None,
    hparams: experiment.Hyperparameters | None = None,
    seed: int | None = None,
    run_directory: pathlib.Path | None = None,
) -> LoadedTrial:
    """Construct a trial as `fit` would, with the weights that its constructor draws; nothing is written.

    Args:
        trial_class: the trial.
        config: an experiment YAML's path, or its content.
        hparams: hyperparameters that win over it.
        seed: `seed_everything(seed)` is called before; by default what `config` says.
        run_directory: where it will write that is to be trained; None for one that is to be used.

    Raises:
        ConfigurationError: something given cannot be used.
    """
    given = experiment.read(config)
    with variables_set(experiment.environment_variables(given, device_kind)):
        making = Making.of(trial_class, {} if seed is None else {"seed": seed}, {}, given, hparams)
        return LoadedTrial(construct_again(trial_class, making, run_directory), making, None, None)


class LoadedTrial:
    """A trial that was constructed to be used and not trained. `load_trial` makes it.

    Args:
        trial: constructed.
        making: with what.
        source: the checkpoint; None for one with the weights of its constructor.
        saved: content of the checkpoint.
        progress_bar: see `load`.

    Attributes:
        trial: the LightningAdapter.
        source: where its checkpoint lies, and what is known of its run; None where there is none.
    """

    def __init__(
        self,
        trial: LightningTrial,
        making: Making,
        source: Source | None,
        saved: dict[str, Any] | None,
        progress_bar: bool = True,
    ) -> None:
        self.trial = trial
        self.source = source
        self._making = making
        self._typed = making.typed
        self._has_weights = source is None
        self._set_up: set[str] = set()
        # what `setup` draws, a split of the data for one, is what training has drawn, in whichever order things are done;
        # an older checkpoint does not say where training began to draw: after the constructor, where that was seeded
        self._kept_random = data_random(saved)
        self._random = self._kept_random or (None if making.seed is None else RandomState.now())
        self._weights = None if source is None else _weights(source, saved)
        run = None if source is None else source.run
        record: Mapping[str, Any] = {} if source is None else source.record
        self._evaluator = Evaluator(
            trial,
            listed(trial.arguments.callbacks),
            functools.cache(lambda: loggers_of_run(trial, run, record)),
            None if saved is None else Position.of(saved),
            progress_bar=progress_bar and trial.arguments.enable_progress_bar,
            root=run,
            is_fresh=True,
            began=self._random,
        )

    @classmethod
    def of(
        cls,
        trial_class: type[LightningTrial],
        source: Source,
        saved: dict[str, Any],
        config: Mapping[str, Any] | None,
        hparams: experiment.Hyperparameters | None,
        progress_bar: bool = True,
    ) -> LoadedTrial:
        """Construct the trial of a checkpoint.

        Args:
            trial_class: the trial.
            source: where the checkpoint lies.
            saved: its content.
            config: that was given; see `load_trial`.
            hparams: likewise.
            progress_bar: see `load`.
        """
        made = made_with(saved)
        if "seed" not in made and source.record.get("seed") is not None:
            made = MadeWith(**made, seed=source.record["seed"])
        making = Making.of(trial_class, made, source.config, config, hparams, _steps(saved))
        return cls(construct_again(trial_class, making, source.run), making, source, saved, progress_bar)

    @property
    def lightning_module(self) -> LightningModule:
        """The module on the CPU, in eval mode, with the weights of the checkpoint.

        Raises:
            CheckpointError: they do not fit it.
        """
        if not self._has_weights:
            assert self._weights is not None
            loaded_weights.load(self._evaluator, self._weights)
            self._has_weights = True
        module = self.trial.lightning_module
        return module.eval()

    @property
    def is_chief(self) -> bool:
        """Whether this is the first of the processes, which tells and writes what they have found."""
        return self.trial.context.distributed.rank == 0

    @property
    def datamodule(self) -> LightningDataModule | None:
        """The datamodule; None where the module makes its loaders itself."""
        return self.trial.datamodule

    @property
    def hparams(self) -> dict[str, Any]:
        """The hyperparameters that the trial was made with."""
        return self._making.hparams

    @property
    def config(self) -> Mapping[str, Any]:
        """The experiment's configuration that the trial was made with."""
        return self._making.config

    @property
    def checkpoint(self) -> pathlib.Path | None:
        """The checkpoint's directory, or file; of a URL its text."""
        return None if self.source is None else self.source.checkpoint

    @property
    def run_dir(self) -> pathlib.Path | None:
        """The run directory; None where the checkpoint is of none."""
        return None if self.source is None else self.source.run

    def _repr_html_(self) -> str:
        return of_loaded(self.trial, self.source)

    def validate(
        self,
        dataloaders: Any = None,
        *,
        verbose: bool = True,
        split: Split | None = None,
        callbacks: Sequence[Callback] = (),
        **trainer_arguments: Any,
    ) -> list[dict[str, float]]:
        """Validate with Lightning's own Trainer.

        Args:
            dataloaders: in the place of the trial's.
            verbose: print the values.
            split: take the loaders of "train", "val" or "test".
            callbacks: besides those of the trial.
            **trainer_arguments: of Lightning's Trainer, which win over the trial's, such as `limit_val_batches`.

        Returns:
            For each loader, the values by name.

        Raises:
            ConfigurationError: there is no step, or no loader.
            CheckpointError: the weights do not fit the module.
        """
        found: list[dict[str, float]] = self._run(
            "validate", dataloaders, split, callbacks, trainer_arguments, verbose=verbose
        )
        return found

    def test(
        self,
        dataloaders: Any = None,
        *,
        verbose: bool = True,
        split: Split | None = None,
        callbacks: Sequence[Callback] = (),
        **trainer_arguments: Any,
    ) -> list[dict[str, float]]:
        """Test with Lightning's own Trainer; see `validate`."""
        found: list[dict[str, float]] = self._run(
            "test", dataloaders, split, callbacks, trainer_arguments, verbose=verbose
        )
        return found

    def predict(
        self,
        dataloaders: Any = None,
        *,
        return_predictions: bool | None = None,
        split: Split | None = None,
        callbacks: Sequence[Callback] = (),
        **trainer_arguments: Any,
    ) -> list[Any] | list[list[Any]] | None:
        """Predict with Lightning's own Trainer.

        Args:
            dataloaders: in the place of the trial's.
            return_predictions: whether to keep and return them; by default Lightning does where its strategy can.
            split: take the loaders of "train", "val" or "test"; no `predict_dataloader` is needed then.
            callbacks: besides those of the trial, such as a BasePredictionWriter.
            **trainer_arguments: of Lightning's Trainer, which win over the trial's, such as `limit_predict_batches`.

        Returns:
            What `predict_step` has returned of each batch; of several loaders, a list for each.

        Raises:
            ConfigurationError: there is no step, or no loader.
            CheckpointError: the weights do not fit the module.
        """
        given = {} if return_predictions is None else {"return_predictions": return_predictions}
        found: list[Any] | list[list[Any]] | None = self._run(
            "predict", dataloaders, split, callbacks, trainer_arguments, **given
        )
        return found

    def _run(
        self,
        stage: Any,
        dataloaders: Any,
        split: Split | None,
        callbacks: Sequence[Callback],
        options: Mapping[str, Any],
        **given: Any,
    ) -> Any:
        self._draw_as_training()
        found = self._evaluator.run(
            stage,
            self._weights,
            dataloaders=dataloaders,
            split=split,
            callbacks=callbacks,
            options=options,
            **given,
        )
        self._has_weights = True  # Lightning has put them in
        self._tell_unread()
        return found

    def _tell_unread(self) -> None:
        """Say once which of the hyperparameters that were typed nobody has read, now that loaders are made too."""
        context = self.trial.context
        typed, self._typed = self._typed, frozenset()
        unread = context.reads.unread(typed) if typed and isinstance(context, LocalContext) else []
        if unread and self.is_chief:
            names = "this name" if len(unread) == 1 else "these names"
            notices.warn(
                f"The trial has read no hyperparameter of {names}, and nothing was done with what was given. Correct the name, "
                f"or read it with context.get_hparam(name): {', '.join(unread)}"
            )

    def _draw_as_training(self) -> None:
        if self._random is not None:
            self._random.restore()

    def dataloaders(self, split: Split) -> Collection:
        """The loaders of a split, as the trial makes them, set up as Lightning would.

        Args:
            split: "train", "val", "test" or "predict".

        Raises:
            ConfigurationError: nobody makes them.
        """
        check_split(split)
        source, owner = source_of(self.trial, split), owner_of(self.trial)
        if source is None:
            raise ConfigurationError(f"{no_loader(self.trial, split)}.")
        self._draw_as_training()
        self.attach_trainer(split)
        if not self._set_up:
            owner.prepare_data()
        stage = SETUP[split]
        if stage not in self._set_up:
            self._set_up.add(stage)
            if self._kept_random is not None:  # `prepare_data` and other stages may have drawn
                self._kept_random.restore()
            owner.setup(stage=stage)
            # a module that makes its loaders itself may have made its layers anew too
            self._has_weights = self._has_weights and (self._weights is None or owner is self.datamodule)
        return made_by(source)

    def attach_trainer(self, split: Split) -> None:
        """Let module and datamodule find a Trainer of Lightning's that is at work on a split: hooks and loaders ask it."""
        self._evaluator.attach(split)


def _steps(saved: Mapping[str, Any]) -> int:
    """Batches trained; 0 for weights alone."""
    try:
        return batches_trained(saved)
    except CheckpointError:
        return 0


def _weights(source: Source, saved: dict[str, Any] | None) -> Weights:
    """The checkpoint's, which are read again for each use; those of a package stay as it was opened."""
    if source.is_package and saved is not None:
        return Weights(str(source.checkpoint), lambda: dict(saved))
    return Weights.of(source.checkpoint, first=saved)
