"""How is a checkpoint pickled beside training, without training waiting for the interpreter's lock until it is done?

A thread that pickles gives the lock away when another has waited for five milliseconds, which is longer than most
checkpoints take to be pickled, while training asks for the lock after each operation of torch's. So whoever pickles pauses
of its own accord. This module is one of those that `torch.save` takes as `pickle_module`.
"""

from __future__ import annotations

import collections
import pickle
import time
from typing import Any

import torch

from lightning_adapter.checkpoints.plain_data import CONSTANTS

#: Seconds of work between two pauses, and of a pause: long enough for a thread that waits to wake up.
_TURN, _PAUSE = 1e-4, 2e-4
#: What is no storage, which nobody need find out anew for each of a thousand numbers and strings.
_NO_STORAGES = CONSTANTS | {dict, list, tuple, collections.OrderedDict, torch.Tensor}


class Pickler(pickle.Pickler):
    """Writes the bytes that Python's own does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._since = time.perf_counter()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """`torch.save` makes a subclass whose `persistent_id` finds storages: it is asked about what may be one."""
        super().__init_subclass__(**kwargs)
        find: Any = vars(cls).get("persistent_id")

        def persistent_id(self: Pickler, value: Any) -> Any:
            return None if type(value) in _NO_STORAGES else find(self, value)

        if find is not None:
            cls.persistent_id = persistent_id  # type: ignore[assignment, method-assign]

    def reducer_override(self, value: object) -> Any:
        """Called for each tensor, among others; leaves it to Python how it is pickled."""
        if time.perf_counter() - self._since > _TURN:
            time.sleep(_PAUSE)
            self._since = time.perf_counter()
        return NotImplemented
