"""What is in a package, under which names, and how is a file known to be one without running its code?"""

from __future__ import annotations

import contextlib
import json
import pathlib
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

from lightning_adapter.errors import CheckpointError, ConfigurationError

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
            damaged = archive.testzip()
            name = next((name for name in archive.namelist() if name.partition("/")[2] == f"{CONTENTS}/{ABOUT}"), None)
            found: dict[str, Any] | None = None if name is None else json.loads(archive.read(name))
    except Exception as error:  # damaged bytes make the reader of zip files fail in any way
        raise CheckpointError(f"{path} is cut short, or damaged ({type(error).__name__}: {error}).") from error
    if damaged is not None:
        raise CheckpointError(f"{path} is damaged: the checksum of its entry {damaged} does not hold.")
    if found is None:
        raise CheckpointError(
            f"{path} is an archive of torch.package, and not one of lightning-adapter export --to package, or fit --package. "
            "Open it with torch.package.PackageImporter."
        )
    if not isinstance(found.get("format"), int) or found["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has the form {found.get('format')} of a package, and this version of lightning_adapter reads up to "
            f"{FORMAT}. Install the version that wrote it: {found.get('versions', {}).get('lightning_adapter', 'a newer one')}."
        )
    return found


def check_trusted(path: pathlib.Path, trust_code: bool) -> None:
    """Refuse a package whose code nobody has said to trust.

    Raises:
        ConfigurationError: says what a package is, and what to type.
    """
    if trust_code:
        return
    said = about(path)
    raise ConfigurationError(
        f"{path} is a package: weights together with the source of {said['target']}, which runs with all your rights as soon "
        "as it is opened (a checkpoint is data, and runs nothing). If you know who made it, type the same with --trust-code, "
        "in Python load_trial(..., trust_code=True)."
    )
