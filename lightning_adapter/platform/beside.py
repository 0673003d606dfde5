"""How is a checkpoint written beside training, and how does training hear that it could not be?

One thread, since one at a time is enough: training waits for the one before where it makes the next, where it reads what
lies on the disk, and where it ends. The thread is no daemon, so that no end of the interpreter cuts it off.
Loaders fork their workers meanwhile: a forked process has no such thread, and nothing in it waits for one.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.runs.run_log import working_for

logger = logging.getLogger("lightning_adapter")

#: "wait" lets training wait until a checkpoint is written.
VARIABLE = "LIGHTNING_ADAPTER_CHECKPOINTS"
_WAIT, _BESIDE = "wait", "beside"


def training_waits(variables: Mapping[str, str]) -> bool:
    """Whether training is to wait for checkpoints, as the environment says.

    Args:
        variables: the environment.

    Raises:
        ConfigurationError: it says something else.
    """
    said = variables.get(VARIABLE, "").strip() or _BESIDE
    if said not in (_WAIT, _BESIDE):
        raise ConfigurationError(
            f'{VARIABLE}={shown(said)} in the environment says nothing. Set it to "{_WAIT}", which lets training wait until '
            f'each checkpoint is written, or to "{_BESIDE}", as without it: they are written while training goes on.'
        )
    return said == _WAIT


class Beside:
    """At most one piece of work beside training."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._begun: Future[object] | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Begin a piece of work, once the one before is done.

        Raises:
            BaseException: that of the one before.
        """
        self.settle()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "checkpoint")
        try:
            self._begun = self._pool.submit(_work_for, threading.get_ident(), work)
        except RuntimeError:  # the system gives no more threads: training waits
            self._pool = None
            work()

    def settle(self) -> None:
        """Wait until nothing is done beside training.

        Raises:
            BaseException: what was done has failed.
        """
        begun, self._begun = self._begun, None
        if begun is not None:
            try:
                begun.result()
            except BaseException:
                if not begun.done():  # an exception of a signal's: it goes on
                    self._begun = begun
                raise

    def look(self) -> None:
        """Hear whether what is done has failed by now.

        Raises:
            BaseException: it has.
        """
        if self._begun is not None and self._begun.done():
            self.settle()

    @contextlib.contextmanager
    def done_by_the_end(self) -> Iterator[None]:
        """Whatever is begun in this block is done when it ends; an error that ends it hides no failure.

        Raises:
            BaseException: what was begun has failed, and nothing else ends the block.
        """
        try:
            yield
        except BaseException:
            try:
                self._end()
            except Exception as failure:
                logger.error("%s: %s", type(failure).__name__, failure)
            raise
        self._end()

    def _end(self) -> None:
        try:
            self.settle()
        finally:
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.shutdown()


def _work_for(thread: int, work: Callable[[], object]) -> None:
    with working_for(thread):
        work()
