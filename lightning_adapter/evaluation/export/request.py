"""Can what was asked for be exported here: is what a format needs installed, and is the place of the file free?"""

from __future__ import annotations

import importlib.util
import pathlib

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.placing import check_place
from lightning_adapter.runs.summary import shown

#: What to do where there is something of the name.
INSTEAD = "Name another file with --out, or type --overwrite."

#: onnxscript is what the newer exporter is written in, which torch has since 2.5.
_NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime")}


def check_installed(to: str) -> None:
    """Refuse a format whose libraries are not there.

    Raises:
        ConfigurationError: says what to install.
    """
    missing = [name for name in _NEEDED.get(to, ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"--to {to} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed. Type pip "
            f"install {' '.join(missing)} (or pip install 'lightning-adapter[export]'), or take --to exported_program, which "
            "needs torch alone."
        )


def check_out(file: pathlib.Path, overwrite: bool) -> None:
    """Refuse a place that is taken, or cannot be written to.

    Raises:
        ConfigurationError: says what is there.
    """
    check_place(file, shown(file), INSTEAD, overwrite)
