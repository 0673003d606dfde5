"""How does a trial that `fit` has trained become a package, without what training has put on its module?"""

from __future__ import annotations

import pathlib
import warnings

from lightning_adapter.checkpoints import file
from lightning_adapter.evaluation.loading import LoadedTrial
from lightning_adapter.evaluation.made_again import Making
from lightning_adapter.evaluation.package.checked import write_checked
from lightning_adapter.evaluation.package.of_trial import contents_of
from lightning_adapter.evaluation.source import Source
from lightning_adapter.monkey_patch import AfterTraining
from lightning_adapter.platform.construct import constructed
from lightning_adapter.platform.package_file import INSTEAD
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.runs.placing import aside, place


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
