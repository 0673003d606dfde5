"""Which private names of tqdm are touched, why, and in which versions were they seen?"""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


def open_bars() -> list[Any]:
    """The bars of this process that are drawn at the moment (`_instances`, tqdm 4.66 to 4.67): those of user code among them.

    tqdm itself asks there which ones to clear before something is printed.
    """
    with tqdm.get_lock():  # other threads may make bars meanwhile
        return [bar for bar in getattr(tqdm, "_instances", ()) if not getattr(bar, "disable", True)]


def has_bars() -> bool:
    """Whether there are any; cheap, and without a lock that another thread may hold."""
    return len(getattr(tqdm, "_instances", ())) > 0


def forget(bar: Any) -> None:
    """Let go of a bar, and write nothing for it: not when something is printed, another one closed, or this one deleted.

    `_decr_instances` (as above) is what tqdm's own `close` calls before it writes.
    """
    tqdm._decr_instances(bar)
    bar.disable = True
