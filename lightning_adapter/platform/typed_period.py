"""What does a period on the command line mean: `100`, `100 batches`, `2 epochs`?"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from determined import pytorch

_UNITS: dict[str, Literal["batches", "epochs"]] = {
    "": "batches",
    "batch": "batches",
    "batches": "batches",
    "epoch": "epochs",
    "epochs": "epochs",
}


class Period(NamedTuple):
    """A period as typed; Determined's classes come with torch, so they are made only when a command runs."""

    unit: Literal["batches", "epochs"]
    number: int

    def resolve(self) -> pytorch.TrainUnit:
        """Return the period as Determined has it."""
        from determined import pytorch

        return pytorch.Epoch(self.number) if self.unit == "epochs" else pytorch.Batch(self.number)

    def __str__(self) -> str:
        """Return a text that `parse_period` reads."""
        return f"{self.number} {self.unit}"


def parse_period(text: str) -> Period:
    """Read a period.

    Raises:
        argparse.ArgumentTypeError: the text is none; argparse says it with the option's name.
    """
    match = re.fullmatch(r"\s*(\d+)\s*([a-z]*)\s*", text, re.IGNORECASE)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None or int(match[1]) < 1:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no period: write a number of batches such as 100, or "100 batches", or "2 epochs"'
        )
    return Period(unit, int(match[1]))
