"""Can an argument of `fit()` be used, and which value does it stand for?

Each function notes what is wrong, and returns the value in the one form that the rest of the package knows: NumPy's
whole numbers are taken for Python's, as Lightning takes them.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from datetime import timedelta

from determined import pytorch

from lightning_adapter.argument_values import LARGEST, fault_of_flag, integer, is_number, train_unit
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.platform.experiment import Hyperparameters, is_group
from lightning_adapter.platform.master.outage import DEFAULT_TIMEOUT_S, TIMEOUT_VARIABLE

Path = str | os.PathLike[str]

_LONGEST_NAME = 255


def limit(name: str, value: object, faults: list[str]) -> int | None:
    """Return a number of epochs or steps after which training ends."""
    text = ", 0 or more, or -1 for no limit"
    return None if value is None else integer(name, value, -1, LARGEST, text, faults)


def seed(value: object, faults: list[str]) -> int | None:
    """Return what `seed_everything` takes."""
    return None if value is None else integer("seed", value, 0, 2**32 - 1, " from 0 to 2**32 - 1", faults)


def flag(name: str, value: object, faults: list[str]) -> bool:
    """Return what switches something on; None does not."""
    fault = None if value is None else fault_of_flag(name, value)
    if fault is not None:
        faults.append(fault)
        return False
    return bool(value)


def period(name: str, unit: object, faults: list[str]) -> pytorch.TrainUnit | None:
    """Return Determined's unit; None where none is given."""
    try:
        return None if unit is None else train_unit(name, unit)
    except ConfigurationError as error:
        faults.append(str(error))
        return None


def master_timeout(value: object, faults: list[str]) -> float:
    """Return seconds for which a master is waited for: what is given, what the environment says, or the default."""
    name, given = (
        ("master_timeout", value) if value is not None else (TIMEOUT_VARIABLE, os.environ.get(TIMEOUT_VARIABLE))
    )
    if given is None:
        return DEFAULT_TIMEOUT_S
    seconds = math.nan
    if isinstance(given, timedelta):
        seconds = given.total_seconds()
    elif is_number(given) or value is None:  # the environment has text
        with contextlib.suppress(ValueError, OverflowError):
            seconds = float(given)  # type: ignore[arg-type]
    if 0 <= seconds < math.inf:
        return seconds
    faults.append(f"{name}={shown(given)} has to be a number of seconds, 0 or more.")
    return DEFAULT_TIMEOUT_S


def hyperparameters(value: object, faults: list[str]) -> Hyperparameters | None:
    """Return names and values: of a dict, a Namespace, an instance of a dataclass, or a DictConfig."""
    if value is None or is_group(value):
        return value
    made = " It is the class; give an instance of it." if isinstance(value, type) else ""
    faults.append(
        f"hparams={shown(value)} has to be a dict of names and values, or a Namespace, a dataclass's instance or a "
        f"DictConfig.{made}"
    )
    return None


def run_name(value: object, faults: list[str]) -> str | None:
    """Return the name of a folder."""
    if value is None:
        return None
    fault = None
    if not isinstance(value, str):
        fault = "has to be text."
    elif not value.strip():
        fault = "is empty; give a name, or leave it out."
    elif re.search(r"[/\\]", value):
        fault = "is a path, and has to be the name of one folder, below runs/. To say where a run writes, give run_dir (--run-dir)."
    elif value.startswith("."):
        fault = "begins with a dot; folders of such names are hidden, or mean another folder."
    elif not value.isprintable() or value != value.strip():
        fault = "has spaces around it, or a character that cannot be printed."
    elif len(os.fsencode(value)) > _LONGEST_NAME:
        fault = f"is longer than the {_LONGEST_NAME} bytes that the name of a folder can have."
    if fault is None:
        return str(value)
    faults.append(f"name={shown(value)} {fault}")
    return None


def path(name: str, value: object, faults: list[str]) -> Path | None:
    """Return a path, or an address of a remote file, that the system can look at."""
    if value is None:
        return None
    fault = _fault_of_path(value)
    if fault is not None:
        faults.append(f"{name}={shown(value)} {fault}")
        return None
    checked: Path = value  # type: ignore[assignment]  # text, or what `os.fspath` takes
    return checked


def _fault_of_path(value: object) -> str | None:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        return "has to be a path: text, or a pathlib.Path."
    if not text.strip():
        return "is empty; give a path, or leave it out."
    if "://" in text:
        return None
    try:
        os.stat(text)
    except (FileNotFoundError, NotADirectoryError):
        return None  # a run directory is made; of a checkpoint who reads it says what is there instead
    except (OSError, ValueError) as error:  # ValueError: a zero byte, or text that no file system takes
        reason = error.strerror if isinstance(error, OSError) else error
        return f"is no usable path: {reason}."
    return None
