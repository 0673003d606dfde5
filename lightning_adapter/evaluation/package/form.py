"""What is in a package, under which names, and how is a file known to be one without running its code?"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_adapter.errors import CheckpointError, ConfigurationError, shown

FORMAT = 1
#: The folder of what is not source; no module of a project has this name.
CONTENTS = "lightning_adapter_package"
#: The LightningModule, in eval mode: `PackageImporter(file).load_pickle(CONTENTS, MODEL)`.
MODEL = "model.pkl"
#: What Lightning's own checkpoint holds, without the state of optimizers.
CHECKPOINT = "checkpoint.pkl"
#: What the model was made with, and by which versions.
ABOUT = "package.json"
#: torch.package's list of modules that the machine has to have.
_MARK = ".data/extern_modules"
#: A module and a class in it.
_TARGET = re.compile(r"[\w.]+:[\w.]+")


@contextlib.contextmanager
def without_storage_warnings() -> Iterator[None]:
    """Keep to itself that torch.package uses a class of storages that torch is to remove."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
        yield


def is_package(path: pathlib.Path) -> bool:
    """Whether a file is an archive of torch.package; a checkpoint is a zip file too."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.partition("/")[2] == _MARK for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def about(path: pathlib.Path) -> dict[str, Any]:
    """What a package says of itself; no code of it runs.

    Raises:
        CheckpointError: it is none that this package wrote, of a newer form, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.partition("/")[2] == f"{CONTENTS}/{ABOUT}"), None)
            found: Any = None if name is None else json.loads(archive.read(name))
    except Exception as error:  # damaged bytes make the reader of zip files fail in any way
        raise CheckpointError(f"{path} is cut short, or damaged ({type(error).__name__}: {error}).") from error
    if name is None:
        raise CheckpointError(
            f"{path} is an archive of torch.package, and not one of lightning-adapter export --to package, or fit --package. "
            "Open it with torch.package.PackageImporter."
        )
    form = found.get("format") if isinstance(found, dict) else None
    if isinstance(form, int) and form > FORMAT:
        versions = found.get("versions")
        wrote = versions.get("lightning_adapter") if isinstance(versions, dict) else None
        raise CheckpointError(
            f"{path} has the form {form} of a package, and this version of lightning_adapter reads up to {FORMAT}. Install the "
            f"version that wrote it: {'a newer one' if wrote is None else shown(wrote)}."
        )
    if form != FORMAT or not _is_as_written(found):
        raise CheckpointError(f"{path} is a package whose {ABOUT} is not as one is written: {shown(found)}.")
    said: dict[str, Any] = found
    return said


def _is_as_written(found: Mapping[str, Any]) -> bool:
    """Whether what a stranger's file says of itself has the types, and the one name, that its readers rely on."""
    target, source = found.get("target"), found.get("source")
    return (
        isinstance(target, str)
        and _TARGET.fullmatch(target) is not None
        and isinstance(source, list)
        and all(isinstance(each, str) for each in source)
        and all(isinstance(found.get(key), dict) for key in ("config", "metadata", "versions"))
    )


def check_trusted(path: pathlib.Path, target: str | None, trust_code: bool) -> None:
    """Refuse a package whose code nobody has said to trust.

    Raises:
        ConfigurationError: says what a package is, and what to type.
    """
    if not trust_code:
        raise ConfigurationError(
            f"{path} is a package: weights together with the source of {target}, which runs with all your rights as soon as "
            "it is opened (a checkpoint is data, and runs nothing). If you know who made it, type the same with --trust-code, "
            "in Python load_trial(..., trust_code=True)."
        )
