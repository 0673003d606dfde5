"""Which lines of Lightning's say nothing to somebody who has typed a command, or who searches?

They are told by the words that they begin with (pytorch_lightning 1.9 to 2.6); one that another version words otherwise is
shown.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator

from lightning_utilities.core import rank_zero

_UNWANTED = (
    *("GPU available: ", "TPU available: ", "IPU available: ", "HPU available: "),
    "💡 Tip: ",  # advertises other products
    "Restoring states from the checkpoint path at ",  # the line after it says the same
)

_ENDS = ("`Trainer.fit` stopped: ", "\nDetected KeyboardInterrupt, ")

#: The loggers that Lightning's packages give a handler of their own, which prints.
_LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning", "lightning.pytorch", "lightning.fabric")


def not_printed() -> contextlib.AbstractContextManager[None]:
    """Within the block, Lightning prints warnings alone; whoever else listens to its loggers hears all."""
    return _printed(lambda record: record.levelno >= logging.WARNING)


def end_not_printed() -> contextlib.AbstractContextManager[None]:
    """Within the block, Lightning does not print which limit or signal has ended a run: a line of ours says it, and where."""
    return _printed(lambda record: not str(record.msg).startswith(_ENDS))


@contextlib.contextmanager
def _printed(wanted: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Within the block, Lightning's own handlers print nothing but what is wanted."""
    handlers = [
        handler
        for name in _LOGGERS
        for handler in logging.getLogger(name).handlers
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler)
    ]
    for handler in handlers:
        handler.addFilter(wanted)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(wanted)


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Within the block, keep lines of Lightning's Trainer off the log that say nothing of what is measured."""
    # Lightning's packages have put their own logger there
    log: logging.Logger = rank_zero.log

    def wanted(record: logging.LogRecord) -> bool:
        return record.levelno != logging.INFO or not str(record.msg).startswith(_UNWANTED)

    log.addFilter(wanted)
    try:
        with warnings.catch_warnings():
            # of what Lightning itself calls in torch
            theirs = r"(pytorch_lightning|lightning\.pytorch)\.utilities\._pytree"
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", module=theirs)
            yield
    finally:
        log.removeFilter(wanted)
