"""How is a package opened, and what does it give: the module, and what its trial is made of?"""

from __future__ import annotations

import importlib
import pathlib
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
        importer = PackageImporter(str(path))
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
    """The module of a package whose code is trusted, as who has nothing but torch's importer loads it."""
    with without_storage_warnings():
        return PackageImporter(str(path)).load_pickle(CONTENTS, MODEL, map_location="cpu")


def _does_not_run(path: pathlib.Path, said: dict[str, Any], error: Exception) -> CheckpointError:
    versions = ", ".join(f"{name} {version}" for name, version in said.get("versions", {}).items())
    missing = ""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        missing = f" Install {error.name.partition('.')[0]}, which its source imports."
    return CheckpointError(
        f"The code in {path} does not run here: {type(error).__name__}: {' '.join(str(error).split())[:300]}.{missing} It was "
        f"written with {versions}."
    )
