"""Can `fit(package=FILE)` write its file when training has ended, and which model does it hold?"""

from __future__ import annotations

import pathlib

from determined import core

from lightning_adapter.errors import ConfigurationError, LightningAdapterError
from lightning_adapter.platform.given import Path
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.runs.placing import check_place as check_file
from lightning_adapter.runs.summary import say, shown

#: What to do where there is something of the name.
INSTEAD = "Name another file, or move it away."


def check_place(file: Path | None) -> None:
    """Refuse a place that cannot be written to, before anything is trained.

    Raises:
        ConfigurationError: says what is there.
    """
    if file is None:
        return
    path = pathlib.Path(file).expanduser().absolute()
    name = f"package={str(file)!r} (--package)"
    if "://" in str(file):
        raise ConfigurationError(f"{name} is an address, and a package is written on this machine. Give a path.")
    check_file(path, name, INSTEAD)


def refuse_on_cluster(file: Path | None) -> None:
    """Refuse to write a file that is lost with the container, and that each trial of a search would write.

    Raises:
        ConfigurationError: says what to type when the trial has ended.
    """
    if file is not None:
        raise ConfigurationError(
            f"package={str(file)!r} (--package) is a file of the container, which is deleted when the trial ends. Leave it "
            "out; when the experiment has ended, type on your machine: lightning-adapter export EXPERIMENT_NUMBER --to "
            "package, which takes the best checkpoint, with the source that lies beside it."
        )


def write_if_complete(trial: LightningTrial, distributed: core.DistributedContext, file: Path) -> None:
    """Write the package of the best checkpoint, or of the last one, where no further batch is to be trained.

    All processes call this, and make the module together; the first one writes.

    Raises:
        LightningAdapterError: the file cannot be written; the run and its checkpoints stay.
    """
    driver, checkpoint = trial.driver, trial.best_checkpoint or trial.latest_checkpoint
    if driver is None or not driver.finished:
        return
    if checkpoint is None:
        raise LightningAdapterError(f"The run has written no checkpoint, so there is nothing to package in {file}.")
    path = pathlib.Path(file).expanduser().absolute()
    try:
        trial.write_package(path, checkpoint, is_chief=distributed.rank == 0)
    except LightningAdapterError as error:
        raise type(error)(
            f"{error}\nThe training is complete, and {shown(checkpoint)} holds the model. To package it, type: "
            f"lightning-adapter export {shown(checkpoint)} --to package --out FILE"
        ) from error
    if distributed.rank == 0:
        say(f"package          {shown(path)}")
