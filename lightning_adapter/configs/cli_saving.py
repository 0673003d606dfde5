"""Where does LightningCLI's SaveConfigCallback write, and what does it leave as it is?

It refuses to train where there is a `config.yaml` already. But a run may go on in its directory, and on a cluster a trial
without a logger writes where the project lies, whose own file has this name.
"""

from __future__ import annotations

import functools
import itertools
import os
from typing import Any

from lightning_adapter.versions import hosts


def saves_configuration(callback: object) -> bool:
    """Tell whether a callback is LightningCLI's SaveConfigCallback, of either package."""
    bases = type(callback).__mro__
    return any(base.__name__ == "SaveConfigCallback" and hosts.host_of_class(base) is not None for base in bases)


def keep_saved(callbacks: object) -> None:
    """Let those among callbacks that save a configuration leave a file that is there already, and write beside it."""
    for callback in callbacks if isinstance(callbacks, list) else []:
        if saves_configuration(callback) and not getattr(callback, "overwrite", True):
            callback.__dict__["setup"] = functools.partial(_setup, callback)


def _setup(callback: Any, trainer: Any, pl_module: Any, stage: str) -> None:
    """As `SaveConfigCallback.setup`, which raises where the file is there, on all processes alike."""
    folder = trainer.log_dir
    if trainer.is_global_zero and folder is not None and not callback.already_saved:
        callback.config_filename = _free(folder, callback.config_filename)
    type(callback).setup(callback, trainer, pl_module, stage)


def _free(folder: str, name: str) -> str:
    """The name, or the first with a number that no file has."""
    stem, ending = os.path.splitext(name)
    names = (f"{stem}-{number}{ending}" if number else name for number in itertools.count())
    return next(each for each in names if not os.path.exists(os.path.join(folder, each)))
