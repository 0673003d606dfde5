"""Which private names of rich are touched, why, and in which versions were they seen?"""

from __future__ import annotations

import sys


def is_drawing() -> bool:
    """Whether something of rich's is drawn on its console at the moment, as a `Progress` of user code is.

    A console knows its `_live` (10 to 14.0), or several of them, one within the other (`_live_stack`, 14.1 to 15.0). Who draws has
    imported rich.
    """
    console = getattr(sys.modules.get("rich"), "_console", None)
    return bool(getattr(console, "_live_stack", None) or getattr(console, "_live", None))
