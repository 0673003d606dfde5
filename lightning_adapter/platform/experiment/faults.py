"""How are all faults of one configuration told, in one message, with their places?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning_adapter.errors import ConfigurationError


def raise_all(source: str, faults: Sequence[str]) -> None:
    """Raise all faults in one message; nothing where there are none.

    Raises:
        ConfigurationError: there is at least one.
    """
    if len(faults) == 1:
        raise ConfigurationError(f"{source}: {faults[0]}")
    if faults:
        lines = "".join(f"\n  - {fault}" for fault in faults)
        raise ConfigurationError(f"{source} has {len(faults)} faults:{lines}")


def dotted(path: Iterable[object]) -> str:
    """Return the name of a nested place: ("optimizer", "lr") -> "optimizer.lr"."""
    return ".".join(text if len(text) <= 100 else f"{text[:97]}..." for text in map(str, path))
