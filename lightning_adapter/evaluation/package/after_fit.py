"""How does a trial that `fit` has trained become a package, without what training has put on its module?"""

from __future__ import annotations

import pathlib
import warnings

import torch

from lightning_adapter import monkey_patch
from lightning_adapter.checkpoints import file
from lightning_adapter.errors import ExportError
from lightning_adapter.evaluation.export.placing import aside, place
from lightning_adapter.evaluation.loading import LoadedTrial
from lightning_adapter.evaluation.made_again import Making
from lightning_adapter.evaluation.package import writing
from lightning_adapter.evaluation.package.of_trial import contents_of
from lightning_adapter.evaluation.package.opening import load_model
from lightning_adapter.evaluation.source import Source
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.versions.types import LightningModule


def write(trial: LightningTrial, path: pathlib.Path, checkpoint: pathlib.Path, is_chief: bool) -> None:
    """Construct the trial once more, load a checkpoint, and write the package; of several processes all call this.

    Args:
        trial: trained.
        path: the file.
        checkpoint: whose weights it gets.
        is_chief: whether this process writes.

    Raises:
        ConfigurationError: meanwhile there is something of that name, or it cannot be written.
        ExportError: the module cannot be packaged.
    """
    context = trial.context
    config = {**context.get_experiment_config(), "hyperparameters": context.get_hparams()}
    with monkey_patch.hooks_for_testing_run(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were given when the trial was made
        fresh = type(trial)(context)  # type: ignore[call-arg]  # a trial's constructor takes the context alone
    loaded = LoadedTrial(fresh, Making(config, seed=None), Source(None, checkpoint), file.read(checkpoint))
    contents = contents_of(loaded)
    if is_chief:
        with aside(path) as folder:
            made = folder / path.name
            writing.write(made, contents)
            _check(made, contents.module)
            place(made, path, overwrite=False)


def _check(made: pathlib.Path, module: LightningModule) -> None:
    """Open a package as who gets it would.

    Raises:
        ExportError: it does not open, or has other weights.
    """
    try:
        found = load_model(made).state_dict()
    except Exception as error:  # of the code in it
        raise ExportError(f"The package was written, and cannot be opened: {type(error).__name__}: {error}") from error
    weights = module.state_dict()
    if found.keys() != weights.keys() or not all(torch.equal(found[name], weights[name]) for name in weights):
        raise ExportError(f"The package of {type(module).__name__} does not give back its weights.")
