"""How is a package opened, and what does it give: the module, and what its trial is made of?"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import pathlib
import sys
import tempfile
from collections.abc import Container, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch.package.package_importer import PackageImporter

from lightning_adapter.checkpoints import file
from lightning_adapter.errors import CheckpointError
from lightning_adapter.evaluation.package.form import (
    CHECKPOINT,
    CONTENTS,
    MODEL,
    about,
    without_storage_warnings,
)
from lightning_adapter.versions import torch_private


@dataclass(frozen=True)
class Opened:
    """An open package, whose code runs.

    Attributes:
        path: the file.
        trial_class: of the package's own source, or of an installed module.
        checkpoint: what the checkpoint's file held, without the state of optimizers.
        about: what it says of itself: `target`, `config`, `metadata`, `versions`.
        importer: gives its modules.
    """

    path: pathlib.Path
    trial_class: type
    checkpoint: dict[str, Any]
    about: dict[str, Any]
    importer: PackageImporter

    @contextlib.contextmanager
    def imported_by_name(self) -> Iterator[None]:
        """Within the block, Python imports the package's modules by their own names, before all others of these names.

        Hyperparameters may name classes (`class_path`, `_target_`), which a trial imports when it is constructed.
        """
        names = set(self.about["source"])
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name in names}
        finder = _ByName(self.importer, names)
        sys.meta_path.insert(0, finder)
        try:
            yield
        finally:
            sys.meta_path.remove(finder)
            for name in names:
                sys.modules.pop(name, None)
            sys.modules.update(hidden)


def open_package(path: pathlib.Path) -> Opened:
    """Open a package whose code is trusted, as `form.check_trusted` asks.

    Raises:
        CheckpointError: it is damaged, or its code does not run here.
    """
    file.check_whole(path)
    said = about(path)
    module, _, name = said["target"].partition(":")
    try:
        importer = _importer(path)
        _let_spawned_processes_open(path, importer)
        here = importer.import_module if module in said["source"] else importlib.import_module
        trial_class: Any = here(module)
        for part in name.split("."):
            trial_class = getattr(trial_class, part)
        with without_storage_warnings():
            checkpoint = importer.load_pickle(CONTENTS, CHECKPOINT, map_location="cpu")
    except Exception as error:  # of the code in it
        raise _does_not_run(path, said, error) from error
    return Opened(path, trial_class, checkpoint, said, importer)


def load_model(path: pathlib.Path) -> Any:
    """The module of a package whose code is trusted."""
    with without_storage_warnings():
        return _importer(path).load_pickle(CONTENTS, MODEL, map_location="cpu")


class _Modules(dict[str, Any]):
    """The modules of a package, by their names in it; Python knows them too, by the names that torch.package gives them.

    Without that, a dataclass whose annotations are text (`from __future__ import annotations`) cannot be defined in a
    package: `dataclasses` looks for its module among Python's. And nothing of its classes can be pickled, so that workers
    of a loader never hand over a batch of one.
    """

    def __init__(self, importer: PackageImporter) -> None:
        super().__init__(importer.modules)
        self._importer = importer

    def __setitem__(self, name: str, module: Any) -> None:
        super().__setitem__(name, module)
        spec = getattr(module, "__spec__", None)
        if spec is not None and spec.loader is self._importer:
            sys.modules[f"{self._importer.id()}.{name}"] = module


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Has Python import a module of a package by the name that torch.package gives it."""

    def __init__(self, importer: PackageImporter) -> None:
        self._importer = importer

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Return a specification for what is the package's."""
        return importlib.machinery.ModuleSpec(name, self) if name.startswith(f"{self._importer.id()}.") else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Import it, as whatever in the package imports it."""
        module: ModuleType = self._importer.import_module(spec.name.partition(".")[2])
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It ran when it was made."""


class _ByName(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Has Python import modules of a package by their own names."""

    def __init__(self, importer: PackageImporter, names: Container[str]) -> None:
        self._importer = importer
        self._names = names

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Return a specification for what is the package's."""
        return importlib.machinery.ModuleSpec(name, self) if name in self._names else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """A stand-in, since Python writes the specification into what is returned here."""
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """The very module of the package takes the place of the stand-in, as `import` allows it."""
        sys.modules[module.__name__] = self._importer.import_module(module.__name__)


def _importer(path: pathlib.Path) -> PackageImporter:
    importer = PackageImporter(str(path))
    importer.modules = _Modules(importer)
    root = ModuleType(importer.id(), f"What is in {path}.")
    root.__path__ = []
    sys.modules[importer.id()] = root
    return importer


def _let_spawned_processes_open(path: pathlib.Path, importer: PackageImporter) -> None:
    """Have workers of a loader, which Python starts anew on some machines, find what is pickled by names of this package.

    They get the path of this process, so a module of the name that torch.package has given lies there, until it ends.
    """
    folder = tempfile.TemporaryDirectory(prefix="lightning-adapter-package-")
    atexit.register(folder.cleanup)
    opens = f"from {__name__} import open_in_spawned\n\nopen_in_spawned({str(path.absolute())!r}, __name__)\n"
    pathlib.Path(folder.name, f"{importer.id()}.py").write_text(opens, encoding="utf-8")
    sys.path.append(folder.name)


def open_in_spawned(path: str, name: str) -> None:
    """Open a package under the name that it has in the process that has started this one, and that trusts it."""
    importer = PackageImporter(path)
    torch_private.name_package(importer, name)
    importer.modules = _Modules(importer)
    sys.modules[name].__path__ = []
    sys.meta_path.append(_Finder(importer))


def _does_not_run(path: pathlib.Path, said: dict[str, Any], error: Exception) -> CheckpointError:
    versions = ", ".join(f"{name} {version}" for name, version in said.get("versions", {}).items())
    missing = ""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        missing = f" Install {error.name.partition('.')[0]}, which its source imports."
    return CheckpointError(
        f"The code in {path} does not run here: {type(error).__name__}: {' '.join(str(error).split())[:300]}.{missing} It was "
        f"written with {versions}."
    )
