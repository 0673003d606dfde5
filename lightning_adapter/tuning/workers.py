"""Which processes train trials at the same time, and on which GPU does each?"""

from __future__ import annotations
