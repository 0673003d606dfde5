"""What has to be installed for a format?"""

from __future__ import annotations

import importlib.util

from lightning_adapter.errors import ConfigurationError

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
