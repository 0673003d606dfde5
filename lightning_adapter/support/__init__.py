"""What of Lightning is supported, warned about or rejected here? The one table, and how it is shown."""

from __future__ import annotations

from lightning_adapter.support.markdown import render_markdown
from lightning_adapter.support.row import OWNERS, Row, Support
from lightning_adapter.support.table import PREDICT_HOOKS, REJECTED_CALLBACKS, TABLE, TEST_HOOKS, rows

__all__ = [
    "OWNERS",
    "PREDICT_HOOKS",
    "REJECTED_CALLBACKS",
    "TABLE",
    "TEST_HOOKS",
    "Row",
    "Support",
    "render_markdown",
    "rows",
]
