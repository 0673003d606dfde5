"""By how few words are the hyperparameters of a search told apart, where a picture has little room?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def shortened(names: Sequence[str], most: int) -> dict[str, str]:
    """Give each dotted name its last words, as many as no other name ends with.

    Args:
        names: all different.
        most: characters that there is room for; a longer name loses its beginning.

    Returns:
        name -> a shorter one; all different.
    """
    ends = Counter(end for name in names for end in _ends(name))
    short = {name: next(end for end in _ends(name) if ends[end] == 1 or end == name) for name in names}
    cut = {name: end if len(end) <= most else f"…{end[1 - most :]}" for name, end in short.items()}
    counts = Counter(cut.values())
    numbers = {name: f"{number}: " for number, name in enumerate(names)}
    return {
        name: text if counts[text] == 1 else f"{numbers[name]}…{short[name][len(numbers[name]) + 1 - most :]}"
        for name, text in cut.items()
    }


def _ends(name: str) -> list[str]:
    """a.b.c -> c, b.c, a.b.c."""
    words = name.split(".")
    return [".".join(words[-count:]) for count in range(1, len(words) + 1)]
