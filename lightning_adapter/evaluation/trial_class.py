"""Which class is the trial of a run, and how is it imported without a training of its script?"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import sys

from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.evaluation.source import Source
from lightning_adapter.platform.construct import check_trial_class
from lightning_adapter.platform.target import imported_to, load_target
from lightning_adapter.platform.trial import LightningTrial

_OWN = __name__.partition(".")[0]
#: A script has made a LightningCLI that adds arguments or links.
_OF_CLI = (
    " The one that reads a LightningCLI of your own is `class Trial(ConfiguredTrial): cli_class = MyLightningCLI`, with the "
    "classes that it is constructed with as `cli_arguments`."
)

Given = type[LightningTrial] | str | None


def trial_class_of(source: Source | None, given: Given) -> type[LightningTrial]:
    """Find the trial's class: what is given, or what the run knows.

    A file that the run names is looked for in the run's working directory, then in the current one; a module in the
    current one first. A class of the running script or notebook is taken from there.

    Args:
        source: the run's; None where there is none, and something is given.
        given: a class, or its `FILE_OR_MODULE:Class`.

    Raises:
        ConfigurationError: nobody knows it, or it is no trial.
        TargetError: it cannot be imported.
    """
    found: object = given
    if given is None:
        assert source is not None
        found = _running(source) or _imported(_recorded(source))
    elif isinstance(given, str):
        found = _imported(given)
    check_trial_class(found, "load_trial()")
    assert isinstance(found, type)
    return found


def _imported(target: str) -> type:
    with imported_to("use its trial"):
        return load_target(target)


def _running(source: Source) -> object:
    """The class where the running script, or the notebook, defines it."""
    main = sys.modules.get("__main__")
    target = source.target
    place, _, name = (target or "").rpartition(":")
    if target is None:
        name = str(source.record.get("trial") or "")
    found = vars(main).get(name) if main is not None and name else None
    if not (isinstance(found, type) and issubclass(found, LightningTrial) and found.__module__ == "__main__"):
        return None
    file = getattr(main, "__file__", None)
    if target is None or file is None:
        return found
    there = pathlib.Path(file).resolve()
    return found if any(path.resolve() == there for path in _places(place, source)) else None


def _places(place: str, source: Source) -> list[pathlib.Path]:
    """Where the file of a target may lie; of a module, where its file would."""
    name = place if _is_file(place) else f"{place.replace('.', '/')}.py"
    return [folder / name for folder in (source.working_directory, pathlib.Path.cwd()) if folder is not None]


def _is_file(place: str) -> bool:
    return place.endswith(".py") or os.sep in place


def _recorded(source: Source) -> str:
    """The target of a run, as it can be loaded from here.

    Raises:
        ConfigurationError: nobody knows it.
    """
    if source.target is None:
        of = "is of no run here" if source.run is None else f"is of the run {shown(str(source.run))}"
        raise ConfigurationError(
            f"The checkpoint {source.checkpoint} {of}{'' if source.run is None else ', which does not say which trial it was'}"
            ": name the trial, as in `lightning-adapter test WHAT model_def.py:MNISTTrial`, or load_trial(WHAT, MNISTTrial)."
            f"{_OF_CLI if source.record.get('trial') == 'ConfiguredTrial' else ''}"
        )
    place, _, name = source.target.rpartition(":")
    if _is_file(place):
        path = next((path for path in _places(place, source) if path.is_file()), None)
        return source.target if path is None else f"{path}:{name}"
    # a trial of this package's own names classes of the project in its hyperparameters
    if source.working_directory is not None and (place.partition(".")[0] == _OWN or not _is_found(place)):
        # `src/` where PYTHONPATH=src stood before the command
        folders = (source.working_directory, source.working_directory / "src")
        sys.path.extend(str(folder) for folder in folders if folder.is_dir() and str(folder) not in sys.path)
    return source.target


def _is_found(module: str) -> bool:
    """Whether the current directory, or the path, has a module."""
    first = module.partition(".")[0]
    here = pathlib.Path.cwd() / first
    return here.is_dir() or here.with_suffix(".py").is_file() or importlib.util.find_spec(first) is not None
