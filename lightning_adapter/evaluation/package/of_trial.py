"""How does a trial become a package: one that was loaded, or the one that `fit` has just trained?"""

from __future__ import annotations

import pathlib
import warnings

import torch

from lightning_adapter.checkpoints import file
from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.errors import ConfigurationError, ExportError
from lightning_adapter.evaluation.export.comparison import compare
from lightning_adapter.evaluation.loading import LoadedTrial
from lightning_adapter.evaluation.made_again import Making
from lightning_adapter.evaluation.package import writing
from lightning_adapter.evaluation.package.opening import load_model
from lightning_adapter.evaluation.package.writing import Contents
from lightning_adapter.evaluation.source import Source
from lightning_adapter.monkey_patch import AfterTraining
from lightning_adapter.platform.construct import constructed
from lightning_adapter.platform.package_file import INSTEAD
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.runs.placing import aside, place
from lightning_adapter.versions import hosts, lightning_private


def check(loaded: LoadedTrial) -> None:
    """Refuse a trial that cannot be packaged.

    Raises:
        ConfigurationError: it is one of a package already, or something of it cannot be packaged.
    """
    if loaded.source is not None and loaded.source.is_package:
        raise ConfigurationError(f"{loaded.checkpoint} is a package already. Copy the file.")
    writing.check(type(loaded.trial), loaded.lightning_module)


def contents_of(loaded: LoadedTrial) -> Contents:
    """Put together what a package of a trial holds, which was loaded from a checkpoint."""
    checkpoint = loaded.checkpoint
    assert checkpoint is not None
    saved = file.read(checkpoint)
    ours = saved.get(OURS)
    if isinstance(ours, dict):
        # those that were given win over those of the run, here and where the package is opened
        saved = {**saved, OURS: {**ours, "hyperparameters": loaded.hparams}}
    return Contents(type(loaded.trial), loaded.lightning_module, saved, loaded.config, file.metadata(checkpoint))


def write_checked(path: pathlib.Path, contents: Contents) -> None:
    """Write a package, and open it as who gets it would.

    Raises:
        ExportError: something of it cannot be packaged, or it does not open, or has other weights.
    """
    writing.write(path, contents)
    try:
        found = load_model(path).state_dict()
    except Exception as error:  # of the code in it
        raise ExportError(f"The package was written, and cannot be opened: {type(error).__name__}: {error}") from error
    weights = contents.module.state_dict()
    differing = [name for name, weight in weights.items() if not _is_same(weight, found.get(name))]
    if differing:
        raise ExportError(
            f"The package of {contents.target} does not give back its weights: {', '.join(differing[:5])}."
        )


def _is_same(weight: object, found: object) -> bool:
    """Whether two entries of a state are the same to the last digit; one that is no tensor has to be there alone."""
    if not isinstance(weight, torch.Tensor):
        return type(found) is type(weight)
    return isinstance(found, torch.Tensor) and found.dtype == weight.dtype and compare(weight, found).largest == 0.0


def write_after_fit(trial: LightningTrial, path: pathlib.Path, checkpoint: pathlib.Path, is_chief: bool) -> None:
    """Construct a trained trial once more, without what training has put on its module, and write the package.

    Args:
        trial: it is left as it is, and so are the random generators.
        path: the file.
        checkpoint: whose weights it gets.
        is_chief: whether this process writes; of several all call this.

    Raises:
        ConfigurationError: meanwhile there is something of that name, or it cannot be written.
        ExportError: the module cannot be packaged.
    """
    context = trial.context
    config = {**context.get_experiment_config(), "hyperparameters": context.get_hparams()}
    with lightning_private.isolate_rng(hosts.host_of(trial.lightning_module)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they were given when the trial was made
            fresh = constructed(type(trial), context, AfterTraining.of_trained())
        loaded = LoadedTrial(fresh, Making(config, seed=None), Source(None, checkpoint), file.read(checkpoint))
        contents = contents_of(loaded)
        if is_chief:
            with aside(path) as folder:
                made = folder / path.name
                write_checked(made, contents)
                place(made, path, INSTEAD)
