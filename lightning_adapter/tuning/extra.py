"""Is what a search needs installed?"""

from __future__ import annotations

import importlib.util

from lightning_adapter.errors import ConfigurationError


def check_installed(*names: str) -> None:
    """Ask before anything else is done.

    Args:
        names: of modules.

    Raises:
        ConfigurationError: one is missing.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"search needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed. Type pip install "
            "'lightning-adapter[search]'; search --preview needs nothing."
        )
