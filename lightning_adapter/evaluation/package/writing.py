"""How is a package written: the module, what its checkpoint holds, and the project's source that both need?

`torch.package` follows the imports of each module that it takes. The project's own are taken, whatever else is imported
has to be installed where the package is opened.
"""

from __future__ import annotations

import datetime
import json
import pathlib
import pickle
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import determined
import torch
from torch.package.importer import Importer
from torch.package.package_exporter import PackageExporter

from lightning_adapter import notices
from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.errors import ConfigurationError, ExportError
from lightning_adapter.evaluation.package.form import (
    ABOUT,
    CHECKPOINT,
    CONTENTS,
    FORMAT,
    MODEL,
    without_storage_warnings,
)
from lightning_adapter.evaluation.package.own_modules import (
    asks_where_it_lies,
    is_own,
    needed_of_project,
    own_modules,
    parents,
    spec_of,
)
from lightning_adapter.evaluation.package.rebuilding import MadeByItsTrial
from lightning_adapter.loop.run_state import RankState
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.versions import hosts
from lightning_adapter.versions.types import LightningModule

#: Of what a checkpoint holds of a run: where its processes stood.
_OF_A_RESUME = ("ranks", *RankState.__annotations__)


@dataclass(frozen=True)
class Contents:
    """What a package is made of.

    Attributes:
        trial_class: makes module and data.
        module: with the weights, in eval mode.
        checkpoint: what the checkpoint's file holds.
        config: the experiment's configuration, with the hyperparameters that the run was made with.
        metadata: of the checkpoint, as its `metadata.json` has it.
    """

    trial_class: type[LightningTrial]
    module: LightningModule
    checkpoint: Mapping[str, Any]
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]

    @property
    def target(self) -> str:
        """The trial class, as it can be imported."""
        return f"{self.trial_class.__module__}:{self.trial_class.__qualname__}"

    def about(self, source: list[str], needs: list[str], why_made_again: str | None) -> dict[str, Any]:
        """What a reader is told without running any code.

        Args:
            source: modules that are in the package.
            needs: those that have to be installed where it is opened.
            why_made_again: by its trial, and not unpickled; None where the module is.
        """
        host = hosts.host_of(self.module)
        kind = type(self.module)
        versions = {
            "lightning_adapter": _version(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            host.package: str(host.version),
            "determined": determined.__version__,
        }
        return {
            "format": FORMAT,
            "target": self.target,
            "module": f"{kind.__module__}:{kind.__qualname__}",
            "made_again_because": why_made_again,
            "source": source,
            "needs": sorted({name.partition(".")[0] for name in [*needs, host.package]} - set(sys.stdlib_module_names)),
            "config": dict(self.config),
            "metadata": dict(self.metadata),
            "versions": versions,
            "written": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }


def _version() -> str:
    """That of this package, whose own file lies above all others."""
    found: str = vars(sys.modules[__name__.partition(".")[0]])["__version__"]
    return found


def check(trial_class: type[LightningTrial], module: LightningModule) -> None:
    """Refuse what cannot be packaged, and warn of what may not be found where the package is opened; nothing is written.

    Raises:
        ConfigurationError: all that stands against it.
    """
    found, source = _without_source(trial_class, module), []
    if not found:
        try:
            source = write(_Nowhere(), Contents(trial_class, module, {}, {}, {}))
        except ExportError as error:
            found.append(str(error))
    if found:
        raise ConfigurationError("No package can be made of this trial:\n" + "\n".join(f"- {fault}" for fault in found))
    asking = [name for name in source if asks_where_it_lies(name)]
    if asking:
        notices.warn(
            f"{' and '.join(asking)} use{'s' * (len(asking) == 1)} __file__, and a package holds the source alone: a file that "
            "lies beside it is not found where the package is opened. Keep what it holds in the module or in a hyperparameter."
        )


def _without_source(trial_class: type[LightningTrial], module: LightningModule) -> list[str]:
    """Which classes have no source that a package could hold, in words."""
    found = []
    for kind in dict.fromkeys((trial_class, type(module))):
        if kind.__module__ == "__main__":
            script = getattr(sys.modules["__main__"], "__file__", None)
            file = pathlib.Path(script).name if script else "model_def.py"
            later = f"lightning-adapter export RUN_DIRECTORY {file}:{trial_class.__name__} --to package"
            found.append(
                f"{kind.__name__} is defined in the script or notebook that runs, whose source has no name that a package "
                f"could keep it under. Move it to a file of its own and import it from there; or package the run when it "
                f"has ended: {later}"
            )
        elif not getattr(sys.modules.get(kind.__module__), "__file__", None):
            found.append(f"{kind.__name__} is defined in {kind.__module__}, which is of no file. Write it into a file.")
        elif "<locals>" in kind.__qualname__:
            found.append(f"{kind.__qualname__} is defined in a function. Define it at the top of its file.")
    return found


def write(file: pathlib.Path | _Nowhere, contents: Contents) -> list[str]:
    """Write a package; a module that cannot be pickled is made again by its trial where the package is opened.

    Args:
        file: where to; what is there is written over.
        contents: what goes into it.

    Returns:
        The modules whose source is in it.

    Raises:
        ExportError: something of it cannot be packaged, or the disk does not take it.
    """
    checkpoint = _with_shared_weights(contents)
    try:
        try:
            return _write(file, contents, checkpoint, contents.module)
        except OSError:
            raise
        except Exception as unpicklable:  # what cannot be pickled fails in its own way
            made_again = MadeByItsTrial(contents.trial_class, contents.config, checkpoint)
            return _write(file, contents, checkpoint, made_again, _reason(contents.module, unpicklable))
    except OSError as error:
        raise ExportError(f"{file} cannot be written: {error.strerror or error}.") from error
    except Exception as error:  # as above
        raise ExportError(_reason(contents.module, error)) from error


def _write(
    file: pathlib.Path | _Nowhere,
    contents: Contents,
    checkpoint: dict[str, Any],
    module: LightningModule | MadeByItsTrial,
    why_made_again: str | None = None,
) -> list[str]:
    first = contents.trial_class.__module__
    names = needed_of_project({module.__name__ for module in own_modules(sys.modules[first]) if is_own(module)})
    place: Any = str(file) if isinstance(file, pathlib.Path) else file
    with without_storage_warnings(), PackageExporter(place, importer=_AsImported()) as exporter:
        exporter.intern(sorted(names), allow_empty=True)
        exporter.extern("**", allow_empty=True)
        if first in names:
            exporter.save_module(first)
        exporter.save_pickle(CONTENTS, MODEL, module)
        exporter.save_pickle(CONTENTS, CHECKPOINT, checkpoint)
        _save_parents(exporter, names)
        source: list[str] = exporter.interned_modules()
        said = contents.about(source, exporter.externed_modules(), why_made_again)
        exporter.save_text(CONTENTS, ABOUT, json.dumps(said, indent=2, default=str))
    return source


class _AsImported(Importer):
    """Gives torch.package the modules as they are, and what nothing has imported from its file: it would run a script else."""

    def import_module(self, module_name: str) -> ModuleType:
        """Return a module, of which nothing runs.

        Raises:
            ModuleNotFoundError: there is none of this name.
        """
        module = sys.modules.get(module_name)
        if module is not None:
            return module
        spec = spec_of(module_name)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {module_name!r}", name=module_name)
        module = ModuleType(module_name)
        module.__spec__ = spec
        module.__file__ = spec.origin if spec.has_location else None
        if spec.submodule_search_locations is not None:
            module.__path__ = spec.submodule_search_locations
        return module


def _save_parents(exporter: PackageExporter, names: set[str]) -> None:
    """Take the `__init__.py` of folders too, which an import of what lies in them runs first; torch.package leaves it out."""
    while True:
        saved = set(exporter.interned_modules())
        absent = {parent for name in saved for parent in parents(name)} & names - saved
        if not absent:
            return
        for name in absent:
            exporter.save_module(name)


def _with_shared_weights(contents: Contents) -> dict[str, Any]:
    """The checkpoint with the module's own tensors for its weights, which are in the file once then.

    What only a training that goes on needs is left out: optimizers, and where each process stood in its data.
    """
    checkpoint = {key: value for key, value in contents.checkpoint.items() if key != "optimizer_states"}
    if isinstance(checkpoint.get(OURS), dict):
        checkpoint[OURS] = {key: value for key, value in checkpoint[OURS].items() if key not in _OF_A_RESUME}
    own = contents.module.state_dict()
    saved = checkpoint.get("state_dict", {})
    checkpoint["state_dict"] = {name: _same(own.get(name), weight) for name, weight in saved.items()}
    return checkpoint


def _same(own: object, saved: Any) -> Any:
    is_same = (
        isinstance(own, torch.Tensor)
        and isinstance(saved, torch.Tensor)
        and own.dtype == saved.dtype
        and own.device == saved.device
        and torch.equal(own, saved)
    )
    return own if is_same else saved


def _reason(module: LightningModule, error: Exception) -> str:
    """Why something cannot be packaged: which attribute cannot be pickled, or what torch.package says."""
    name = type(module).__name__
    culprits = [
        f"- {'.'.join(filter(None, (path, key)))}: {fault}"
        for path, part in module.named_modules()
        for key, value in _state(part).items()
        if key not in ("_parameters", "_buffers", "_modules", "_trainer") and (fault := _pickling_fault(value))
    ]
    if culprits:
        return (
            f"{name} cannot be pickled:\n"
            + "\n".join(culprits)
            + "\nWrite a function with a name (def) for a lambda, and leave out in __getstate__ what holds a file or a connection."
        )
    lines = [line.strip(" *") for line in str(error).splitlines() if line.strip()]
    return f"{name} cannot be packaged ({type(error).__name__}): {' '.join(lines)[:500]}"


def _state(part: torch.nn.Module) -> dict[str, Any]:
    """The attributes of a part that are pickled; one with a `__getstate__` of its own may leave some out."""
    try:
        state = part.__reduce_ex__(2)[2]  # of nn.Module, the third entry is this
    except Exception:  # of the class itself
        return vars(part)
    return state if isinstance(state, dict) else vars(part)


def _pickling_fault(value: object) -> str:
    try:
        pickle.dumps(value)
    except Exception as error:  # of the class itself
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ""


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: bytes) -> int:
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""
