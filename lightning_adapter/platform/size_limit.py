"""Up to which size do files come into a checkpoint on a cluster, and how are those named that do not?"""

from __future__ import annotations

import math
from collections.abc import Mapping

from lightning_adapter.errors import ConfigurationError, shown

MB = 1_000_000
_NAMED = 5  # in the log; of more than these the number is told


def limit_mb(variables: Mapping[str, str], name: str, default: float) -> float:
    """Return the limit that an environment variable sets.

    Args:
        variables: the environment.
        name: of the variable.
        default: megabytes where it is not set.

    Raises:
        ConfigurationError: it is no number of megabytes.
    """
    text = variables.get(name, "").strip() or str(default)
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise ConfigurationError(
            f"{name}={shown(text)} in the environment is no number of megabytes. Set it to 0 or more, such as {default:g}, or "
            "to inf, which keeps everything, under environment.environment_variables of the experiment; or leave it out."
        )
    return limit


def largest(amounts: Mapping[str, tuple[int, int]]) -> str:
    """Name the largest of some files and directories in a line.

    Args:
        amounts: by name, bytes and the number of files.
    """
    rows = sorted(amounts.items(), key=lambda item: -item[1][0])
    names = [f"{name} ({_amount(*amount)})" for name, amount in rows[:_NAMED]]
    return ", ".join([*names, *([f"{len(rows) - _NAMED} more"] if len(rows) > _NAMED else [])])


def _amount(size: int, files: int) -> str:
    text = f"{size / MB:.3g} MB"
    return text if files == 1 else f"{text} in {files} files"
