"""How do values that are measured later come into the very runs of the loggers that training has told?"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from lightning_adapter import notices
from lightning_adapter.argument_values import listed
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.runs.summary import shown
from lightning_adapter.trainer.loggers import determined_logger
from lightning_adapter.versions import hosts, lightning_loggers
from lightning_adapter.versions.types import Logger


def loggers_of_run(trial: LightningTrial, run: pathlib.Path | None, record: Mapping[str, Any]) -> list[Logger]:
    """Loggers that go on with the runs of training's; of those that cannot, none is begun anew.

    Args:
        trial: made again, with loggers of its own.
        run: directory of the run, whose `tensorboard/` the default logger writes to; None where there is none.
        record: of the run.
    """
    given = trial.arguments.logger
    host = hosts.host_of(trial.lightning_module)
    if given is False or (run is None and given in (None, True)):
        return []
    if given is None or given is True:
        assert run is not None
        files = run / "tensorboard"
        if not os.access(files if files.is_dir() else run, os.W_OK):
            notices.warn(f"{shown(run)} may not be written to, so that its TensorBoard is not told what is measured.")
            return []
        return [determined_logger(host, lambda: str(run / "tensorboard"), lambda: str(run))]
    return _continued(listed(given), record)


def _continued(loggers: list[Logger], record: Mapping[str, Any]) -> list[Logger]:
    known = [one for one in record.get("loggers") or [] if isinstance(one, Mapping)]
    found, absent = [], []
    for logger in loggers:
        name = f"{type(logger).__module__}.{type(logger).__qualname__}"
        run = next((one for one in known if one.get("class") == name), None)
        if run is not None:
            known.remove(run)
        if (
            run is not None
            and run.get("version") is not None
            and lightning_loggers.continue_run(logger, run["version"], _directory(run, record))
        ):
            found.append(logger)
        else:
            absent.append(type(logger).__name__)
    if absent:
        notices.warn(
            f"{', '.join(absent)} of the trial cannot go on with the run of its training, and is not told the values: "
            + ("the run does not say which it was." if not record.get("loggers") else "it is not one that can.")
        )
    return found


def _directory(run: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    """Where the logger wrote."""
    directory = run.get("save_dir")
    if not isinstance(directory, str) or "://" in directory:
        return None
    return os.path.abspath(os.path.join(str(record.get("working_directory") or ""), os.path.expanduser(directory)))
