"""How is a package opened, and what does it give: the module, and what its trial is made of?"""

from __future__ import annotations

import importlib
import pathlib
import sys
from dataclasses import dataclass
from typing import Any

from torch.package.package_importer import PackageImporter

from lightning_adapter.errors import CheckpointError
from lightning_adapter.evaluation.package.form import (
    CHECKPOINT,
    CONTENTS,
    MODEL,
    about,
    check_trusted,
    without_storage_warnings,
)


@dataclass(frozen=True)
class Opened:
    """An open package, whose code runs.

    Attributes:
        path: the file.
        trial_class: of the package's own source, or of an installed module.
        checkpoint: what the checkpoint's file held, without the state of optimizers.
        about: what it says of itself: `target`, `config`, `metadata`, `versions`.
    """

    path: pathlib.Path
    trial_class: type
    checkpoint: dict[str, Any]
    about: dict[str, Any]


def open_package(path: pathlib.Path, trust_code: bool) -> Opened:
    """Open a package.

    Args:
        path: the file.
        trust_code: whether its code may run.

    Raises:
        ConfigurationError: nobody has said that its code may run.
        CheckpointError: it is damaged, or its code does not run here.
    """
    check_trusted(path, trust_code)
    said = about(path)
    module, _, name = said["target"].partition(":")
    try:
        importer = _importer(path)
        here = importer.import_module if module in said["source"] else importlib.import_module
        trial_class: Any = here(module)
        for part in name.split("."):
            trial_class = getattr(trial_class, part)
        with without_storage_warnings():
            checkpoint = importer.load_pickle(CONTENTS, CHECKPOINT, map_location="cpu")
    except Exception as error:  # of the code in it
        raise _does_not_run(path, said, error) from error
    return Opened(path, trial_class, checkpoint, said)


def load_model(path: pathlib.Path) -> Any:
    """The module of a package whose code is trusted."""
    with without_storage_warnings():
        return _importer(path).load_pickle(CONTENTS, MODEL, map_location="cpu")


class _Modules(dict[str, Any]):
    """The modules of a package, by their names in it; Python knows them too, by the names that torch.package gives them.

    Without that, a dataclass whose annotations are text (`from __future__ import annotations`) cannot be defined in a
    package: `dataclasses` looks for its module among Python's.
    """

    def __init__(self, importer: PackageImporter) -> None:
        super().__init__(importer.modules)
        self._importer = importer

    def __setitem__(self, name: str, module: Any) -> None:
        super().__setitem__(name, module)
        spec = getattr(module, "__spec__", None)
        if spec is not None and spec.loader is self._importer:
            sys.modules[f"{self._importer.id()}.{name}"] = module


def _importer(path: pathlib.Path) -> PackageImporter:
    importer = PackageImporter(str(path))
    importer.modules = _Modules(importer)
    return importer


def _does_not_run(path: pathlib.Path, said: dict[str, Any], error: Exception) -> CheckpointError:
    versions = ", ".join(f"{name} {version}" for name, version in said.get("versions", {}).items())
    missing = ""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        missing = f" Install {error.name.partition('.')[0]}, which its source imports."
    return CheckpointError(
        f"The code in {path} does not run here: {type(error).__name__}: {' '.join(str(error).split())[:300]}.{missing} It was "
        f"written with {versions}."
    )
