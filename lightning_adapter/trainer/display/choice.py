"""Which display does a run have?"""

from __future__ import annotations

from lightning_adapter.runs.console import Place, place
from lightning_adapter.runs.printed import real_stderr
from lightning_adapter.trainer.display.display import Display, Displays
from lightning_adapter.trainer.display.facts import Facts
from lightning_adapter.trainer.display.lines import Lines


def display_of(facts: Facts, wanted: bool) -> Display:
    """The display of the first process; that of all others is a `Display` that shows nothing.

    Lines are written to the run's log everywhere.

    Args:
        facts: of the run.
        wanted: whether progress is to be shown: somebody asked for no bar otherwise, or brings one of their own.
    """
    where = place()
    lines = Lines(facts, on_console=wanted and where is Place.LINES)
    displays: list[Display] = [lines]
    if wanted and where is Place.TERMINAL:
        from lightning_adapter.trainer.display.terminal import Bars  # one kind alone is needed

        displays.append(Bars(facts, real_stderr()))
    if wanted and where is Place.NOTEBOOK:
        from lightning_adapter.trainer.display.notebook import Cell

        displays.append(Cell(facts))
    return Displays(displays, facts.log)
