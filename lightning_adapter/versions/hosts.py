"""Which of the two Lightning packages is it, in which version?"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from packaging.version import Version

from lightning_adapter import notices
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions.quirks import Quirks, quirks_of

T = TypeVar("T")

PACKAGES = ("pytorch_lightning", "lightning.pytorch")

OLDEST_LIGHTNING = Version("1.9")
#: The newest releases (major and minor number) that the tests run with.
NEWEST_TESTED_LIGHTNING = Version("2.6")
NEWEST_TESTED_DETERMINED = Version("0.38")


@dataclass(frozen=True)
class Host:
    """One of the two packages that hold Lightning's code, with the public classes that the adapter uses."""

    package: str
    version: Version
    pl: ModuleType

    def __reduce__(self) -> tuple[Callable[[str], Host], tuple[str]]:
        # a copy of a module that is being trained holds this through its trainer, and is of the same package
        return host, (self.package,)

    def load(self, name: str) -> ModuleType:
        """Import `<package>.<name>`."""
        return importlib.import_module(f"{self.package}.{name}")

    def load_fabric(self, name: str) -> ModuleType:
        """Import `<name>` of the Fabric that came with the package."""
        fabric = "lightning_fabric" if self.package == "pytorch_lightning" else "lightning.fabric"
        return importlib.import_module(f"{fabric}.{name}")

    @functools.cached_property
    def quirks(self) -> Quirks:
        """What this version does otherwise than the newest one."""
        return quirks_of(self.version)

    @property
    def progress_bar_class(self) -> type[Any]:
        """What all progress bars among the callbacks derive from; its name is another one since 2.0."""
        bars = self.load("callbacks.progress")
        base: type[Any] = bars.ProgressBarBase if self.quirks.names_bar_base else bars.ProgressBar
        return base

    @property
    def scaler_key(self) -> str:
        """Where a checkpoint has the state of the loss scaler: the name of Lightning's precision plugin."""
        return "MixedPrecisionPlugin" if self.quirks.saves_scaler_of_plugin else "MixedPrecision"

    def misconfiguration(self, message: str) -> Exception:
        """Lightning's own exception for an illegal use of its API, which is a ConfigurationError of ours too."""
        return _misconfiguration(self)(message)

    def warn(self, message: str, category: type[Warning] = UserWarning) -> None:
        """Warn on the chief alone, as Lightning does."""
        notices.warn(message, category)

    def advise(self, message: str) -> None:
        """Warn of what may be meant so, under Lightning's category for that, which users filter by."""
        self.warn(message, self.load_fabric("utilities.warnings").PossibleUserWarning)

    def inform(self, message: str) -> None:
        """Log on the chief alone, where Lightning logs."""
        self.load("utilities.rank_zero").rank_zero_info(message)


@functools.cache
def _misconfiguration(host: Host) -> type[Exception]:
    theirs = host.load("utilities.exceptions").MisconfigurationException
    return type("MisconfigurationException", (ConfigurationError, theirs), {"__module__": theirs.__module__})


_hosts: dict[str, Host] = {}


def host(package: str) -> Host:
    """The host package by its import name; it must be importable.

    Raises:
        ConfigurationError: it is too old.
    """
    if package not in _hosts:
        pl = importlib.import_module(package)
        version = Version(pl.__version__)
        if version.release < OLDEST_LIGHTNING.release:
            name = package.partition(".")[0].replace("_", "-")
            raise ConfigurationError(
                f"{package} {version} is installed, and lightning_adapter runs with {OLDEST_LIGHTNING} to "
                f"{NEWEST_TESTED_LIGHTNING}, where code written for older releases runs too. Type pip install "
                f"'{name}>={OLDEST_LIGHTNING},<{NEWEST_TESTED_LIGHTNING.major}.{NEWEST_TESTED_LIGHTNING.minor + 1}'."
            )
        _hosts[package] = Host(package, version, pl)
    return _hosts[package]


def host_of_class(cls: type) -> Host | None:
    """The Lightning package whose class `cls` derives from, or None."""
    for base in cls.__mro__:
        for package in PACKAGES:
            if base.__module__ == package or base.__module__.startswith(package + "."):
                return host(package)
    return None


def host_of(module: object) -> Host:
    """The Lightning package that a LightningModule derives from.

    Raises:
        ConfigurationError: if `module` is no LightningModule.
    """
    found = host_of_class(type(module))
    if found is None or not isinstance(module, found.pl.LightningModule):
        raise ConfigurationError(
            f"LightningAdapter was given a {type(module).__module__}.{type(module).__qualname__} as its module, which is "
            "no LightningModule. Derive it from lightning_adapter.DETLM (or any LightningModule) and pass an instance."
        )
    return found


def uncompiled(module: T) -> T:
    """The LightningModule in what `torch.compile` made of it, with its forward and its steps compiled.

    As `_maybe_unwrap_optimized`, which all of Lightning's entry points call. `OptimizedModule._orig_mod` (torch 2.1 to 2.13)
    holds the module; the class is known by its name, since `torch._dynamo` takes seconds to import.

    Args:
        module: anything else than a compiled LightningModule is given back as it is.
    """
    original = getattr(module, "_orig_mod", None)
    found = host_of_class(type(original))
    if type(module).__name__ != "OptimizedModule" or found is None:
        return module
    compiled: T = found.load("utilities.compile").from_compiled(module)
    return compiled


#: The packages whose classes are the ground that a user's class stands on: what they define is no override.
_GROUND = (
    *("lightning.pytorch.", "pytorch_lightning.", "lightning.fabric.", "lightning_fabric."),
    *("lightning_adapter.", "determined.", "torch.", "builtins."),
)


def is_host_class(cls: type) -> bool:
    """True for classes that Lightning, Determined, torch or this package define, Lightning's models for demos excepted."""
    return not cls.__module__.startswith(notices.DEMO_PACKAGES) and f"{cls.__module__}.".startswith(_GROUND)


def importable_host() -> Host:
    """A Lightning package of this environment, one that is imported already before others: each takes a second.

    Raises:
        ConfigurationError: there is none, or none that is new enough.
    """
    return next(_importable())


def importable_hosts() -> list[Host]:
    """The Lightning packages in this environment, those that are imported already first.

    Raises:
        ConfigurationError: there is none, or none that is new enough.
    """
    return list(_importable())


def _importable() -> Iterator[Host]:
    too_old: list[ConfigurationError] = []
    is_found = False
    for package in sorted(PACKAGES, key=lambda name: name not in sys.modules):
        try:
            found = host(package)
        except ImportError:
            continue
        except ConfigurationError as error:  # the other package may be the one that is used
            too_old.append(error)
            continue
        is_found = True
        yield found
    if not is_found and too_old:
        raise too_old[0]
    if not is_found:
        raise ConfigurationError(
            "Neither pytorch_lightning nor lightning can be imported. Type pip install pytorch-lightning or "
            "pip install lightning."
        )


#: Names of the packages that this process was warned of already.
_told: set[str] = set()


def warn_of_untested_versions(host: Host) -> None:
    """Warn where Lightning or Determined is newer than the newest release that the tests run with.

    Called when a run is set up; a process is told of each package once.
    """
    determined = Version(importlib.import_module("determined").__version__)
    for name, version, newest in (
        (host.package.partition(".")[0], host.version, NEWEST_TESTED_LIGHTNING),
        ("determined", determined, NEWEST_TESTED_DETERMINED),
    ):
        if version.release[:2] <= newest.release or name in _told:
            continue
        _told.add(name)
        host.warn(
            f"{name} {version} is newer than {newest}, the newest release that lightning_adapter is tested with. Training"
            " goes on, but nothing is known of what this release changed: numbers may differ from those of Lightning's own"
            f" Trainer. Type pip install '{name.replace('_', '-')}<{newest.major}.{newest.minor + 1}' to have a tested one."
        )
