"""Which environment variables does a configuration set, and for which kind of device?

On a cluster the master sets them in the trial's container; a local run sets them itself. Determined takes a list of
`NAME=VALUE`, or such a list for each kind of slot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from lightning_adapter.errors import guess, shown

Device: TypeAlias = Literal["cpu", "cuda", "rocm"]

#: Kinds of slots; "gpu" is what Determined called CUDA's at first.
_KINDS = ("cpu", "cuda", "rocm", "gpu")


def environment_variables(config: Mapping[str, Any], device: Callable[[], Device]) -> dict[str, str]:
    """Return name -> value of the variables that a configuration sets.

    Args:
        config: what `read` returned.
        device: asked only where variables differ between kinds of devices.
    """
    given = (config.get("environment") or {}).get("environment_variables") or []
    if isinstance(given, dict):
        kind = device()
        names = ("gpu", "cuda") if kind == "cuda" else (kind,)
        given = [line for name in names for line in given.get(name) or []]
    return dict(line.split("=", 1) for line in given)


def check_variables(value: object, faults: list[str]) -> None:
    """Note what is no list of `NAME=VALUE`, nor a group of such lists."""
    place = "environment.environment_variables"
    if value is None:
        return
    if not isinstance(value, dict):
        _check_lines(place, value, faults)
        return
    for kind, lines in value.items():
        if kind not in _KINDS:
            faults.append(f"{place}.{shown(kind)} is no kind of slot: {', '.join(_KINDS[:3])}{guess(kind, _KINDS)}")
        elif lines is not None:
            _check_lines(f"{place}.{kind}", lines, faults)


def _check_lines(place: str, lines: object, faults: list[str]) -> None:
    if not isinstance(lines, list):
        faults.append(
            f"{place} is {shown(lines)}, but must be a list of NAME=VALUE, or such a list below cpu:, cuda:, rocm:"
        )
        return
    for line in lines:
        name, equals, _ = line.partition("=") if isinstance(line, str) else ("", "", "")
        if not (name.strip() and equals):
            faults.append(f"{place} has {shown(line)}, but each entry must be NAME=VALUE")
        elif "\0" in str(line):
            faults.append(f"{place} has {shown(line)}, which holds a zero byte")
