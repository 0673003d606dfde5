"""curves.png while a run trains: when is it drawn anew, and from what?"""

from __future__ import annotations

import logging
import pathlib
import time
from collections.abc import Callable, Mapping

from lightning_adapter.runs import curves
from lightning_adapter.runs.course_so_far import CourseSoFar

logger = logging.getLogger("lightning_adapter")

_SECONDS = 30.0  # at least, between two pictures
_SHARE = 0.01  # of the time that drawing may take


class LiveCurves:
    """Draws the curves of one run, in the thread that trains: one of its own would hold that up as well, whenever it likes.

    Args:
        picture: curves.png.
        table: the rows that there are already.
        ranked_by: the metric that ranks checkpoints, and whether a smaller value is better.
        clock: tells the time, in seconds.
    """

    def __init__(
        self,
        picture: pathlib.Path,
        table: pathlib.Path,
        ranked_by: tuple[str | None, bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._picture = picture
        self._table = table
        self._ranked_by = ranked_by
        self._clock = clock
        self._course: CourseSoFar | None = None  # of the rows so far; None as long as nobody watches
        self._due = clock()
        self._told: str | None = None

    def begin(self) -> None:
        """Training starts: from now on rows are told, and shown from time to time.

        The table is read once, for the rows of a run that goes on.
        """
        try:
            self._course = CourseSoFar.read(self._table, self._ranked_by)
        except Exception as error:  # a table that somebody has changed; whoever writes the next row says what must be
            self._tell(error)
        self._due = self._clock() + _SECONDS

    def row(self, kind: str, batch: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """The table has one row more: this is a moment to draw."""
        if self._course is None:
            return
        self._course.add(kind, batch, epoch, metrics)
        now = self._clock()
        if now < self._due:
            return
        try:
            self._draw(self._course)
        except Exception as error:  # as at the end
            self._tell(error)
        ended = self._clock()
        self._due = ended + max(_SECONDS, (ended - now) / _SHARE)

    def draw(self) -> bool:
        """Draw all that there is, of a run that nobody has watched from its table.

        Returns:
            Whether there was anything to draw; otherwise there is no file.
        """
        course = self._course
        return self._draw(CourseSoFar.read(self._table, self._ranked_by) if course is None else course)

    def end(self) -> None:
        """Draw all that there is for the last time; what cannot be done is said in a line."""
        try:
            self.draw()
        except Exception as error:  # a plotting library and a disk fail in any way
            self._tell(error)

    def _draw(self, course: CourseSoFar) -> bool:
        return curves.draw(course.points(), self._picture, self._table.name, "batches", course.epochs, course.best)

    def _tell(self, error: Exception) -> None:
        said = f"{type(error).__name__}: {error}"
        if said != self._told:
            self._told = said
            logger.warning("%s could not be written: %s", self._picture.name, said)
