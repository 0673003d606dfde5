"""Which private names of Lightning's loggers tell what has been begun, and let another go on with it, in which versions?

Seen in Lightning 1.9.5, 2.0.9 and 2.6.6.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any


def has_opened(logger: Any) -> bool:
    """Whether a TensorBoardLogger, or one derived from it, has made its writer."""
    return logger._experiment is not None


def _tensorboard(logger: Any, version: Any, save_dir: str | None) -> None:
    logger._version = version
    if save_dir is not None:
        logger._root_dir = save_dir


def _csv(logger: Any, version: Any, save_dir: str | None) -> None:
    """Below the run's own, since the writer deletes the table that it finds."""
    if save_dir is not None:
        logger._save_dir = logger._root_dir = save_dir
    logger._version = version
    run = pathlib.Path(logger.log_dir)
    names = itertools.chain(["evaluation"], (f"evaluation-{number}" for number in itertools.count(2)))
    logger._version = os.path.join(run.name, next(name for name in names if not (run / name).exists()))


@contextlib.contextmanager
def nothing_left_empty(loggers: Iterable[Any]) -> Iterator[None]:
    """Take away the directories of tables that have got no value by the end of the block: the Trainer has them made early."""
    try:
        yield
    finally:
        for logger in loggers:
            directory = pathlib.Path(logger.log_dir) if _is_lightnings("CSVLogger", logger) else None
            if directory is not None and directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()


def _wandb(logger: Any, version: Any, save_dir: str | None) -> None:
    logger._id = version
    logger._wandb_init.update(id=version, resume="allow")
    if save_dir is not None:
        logger._save_dir = logger._wandb_init["dir"] = save_dir


def _mlflow(logger: Any, version: Any, save_dir: str | None) -> None:
    logger._run_id = version
    if save_dir is not None and str(logger._tracking_uri).startswith("file:"):
        logger._tracking_uri = f"file:{save_dir}"
        logger._mlflow_client = type(logger._mlflow_client)(logger._tracking_uri)


_CONTINUE: dict[str, Callable[[Any, Any, str | None], None]] = {
    "TensorBoardLogger": _tensorboard,
    "CSVLogger": _csv,
    "WandbLogger": _wandb,
    "MLFlowLogger": _mlflow,
}


def continue_run(logger: object, version: Any, save_dir: str | None) -> bool:
    """Let a logger of Lightning's, that has logged nothing, go on with a run; whether it is one that can.

    Args:
        logger: of the same class as the one that has begun the run, or derived from it.
        version: which run; what `logger.version` was.
        save_dir: an absolute path, or None where the logger says itself where it writes.
    """
    for name, goes_on in _CONTINUE.items():
        if _is_lightnings(name, logger):
            goes_on(logger, version, save_dir)
            return True
    return False


def _is_lightnings(name: str, logger: object) -> bool:
    """Whether a logger is of a class of Lightning's with this name, or derived from it."""
    return any(
        kind.__name__ == name and kind.__module__.startswith(("pytorch_lightning.", "lightning.pytorch."))
        for kind in type(logger).__mro__
    )
