"""Whose code is a frame of a traceback: the user's, a host's, or the standard library's?

A file's place says it. Whoever is not known here counts as the user's choice, and their frames are shown: what NumPy, PIL or
transformers say of what they were given is about the call.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass

#: Those that call user code, and each other. Their frames say how the package works, and nothing of what went wrong.
_HOSTS = (
    "lightning_adapter",
    "determined",
    "lightning",
    "pytorch_lightning",
    "lightning_fabric",
    "lightning_utilities",
    "torch",
    "torchmetrics",
    "horovod",
    "apex",
)
#: Those that hosts call, or are called by; a user may call them too, and wants to see what they say then.
_SHELLS = ("IPython", "ipykernel")
_HELPERS = ("hydra", "omegaconf", "jsonargparse", "optuna", "tqdm", "rich", *_SHELLS)
#: How the names of files begin that are made while a program runs.
_MADE = {"<frozen ": "", "<eval_with_key>": "torch"}
#: A script that only calls the package.
_COMMAND = "lightning-adapter"


@dataclass(frozen=True)
class Owner:
    """Whose code it is.

    Attributes:
        name: of the package; "Python" for the standard library.
        is_host: whether its frames are left out wherever they stand; those of others are between them.
    """

    name: str
    is_host: bool

    @property
    def is_package(self) -> bool:
        """Whether it is this package."""
        return self.name == _HOSTS[0]

    @property
    def is_shell(self) -> bool:
        """Whether it runs the cells of a notebook."""
        return self.name in _SHELLS


class Owners:
    """Knows the owner of each file, by the packages that are imported at this moment."""

    def __init__(self) -> None:
        self._places: list[tuple[str, Owner]] = []
        for names, is_host in ((_HOSTS, True), (_HELPERS, False)):
            for name in names:
                self._places += [(place, Owner(name, is_host)) for place in _places(name)]
        self._library = [
            os.path.join(path, "") for path in {sysconfig.get_path("stdlib"), os.path.dirname(os.__file__)}
        ]

    def of(self, filename: str) -> Owner | None:
        """Whose code is in a file, as a code object names it; None where it counts as the user's."""
        for beginning, name in _MADE.items():
            if filename.startswith(beginning):
                return Owner(name or "Python", bool(name))
        if os.path.basename(filename) == _COMMAND:
            return Owner(_HOSTS[0], is_host=True)
        found = next((owner for place, owner in self._places if filename.startswith(place)), None)
        if found is not None:
            return found
        if any(filename.startswith(path) and not _is_installed(filename[len(path) :]) for path in self._library):
            return Owner("Python", is_host=False)
        return None


def _places(name: str) -> list[str]:
    """The directories of a package, with the separator; none where nobody has imported it."""
    module = sys.modules.get(name)
    found = list(getattr(module, "__path__", []))
    return [os.path.join(os.path.abspath(path), "") for path in found]


def _is_installed(path: str) -> bool:
    return path.partition(os.sep)[0] in ("site-packages", "dist-packages")
