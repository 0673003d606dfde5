"""What stands in a run's log of its progress, line by line?"""

from __future__ import annotations

from collections.abc import Mapping

from lightning_adapter.runs.console import FILE_ONLY
from lightning_adapter.runs.metrics_table import plain
from lightning_adapter.trainer.display.display import Display
from lightning_adapter.trainer.display.facts import Facts


class Lines(Display):
    """Writes lines to the run's log.

    Args:
        facts: of the run.
        on_console: whether a person sees them there too: not beside a bar, and not where nobody asked for one.
    """

    def __init__(self, facts: Facts, on_console: bool) -> None:
        self._facts = facts
        self._extra = {} if on_console else FILE_ONLY

    def validated(self, values: Mapping[str, object], best: str | None) -> None:
        """One line."""
        progress = self._facts.progress
        shown = [f"{plain(name)} {_number(value)}{' (best)' if name == best else ''}" for name, value in values.items()]
        self._facts.log.info(
            "epoch %d, batch %d: %s",
            progress.current_epoch + 1,
            progress.total_batches,
            ", ".join(shown) or "validated, nothing was logged",
            extra=self._extra,
        )


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
