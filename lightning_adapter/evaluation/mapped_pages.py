"""How does a process give back the memory of what it has read from a mapped file, or written to it?

The pages of a mapping count as memory of the process from when they are touched until it is closed. What they hold is in the
file, so that they can be dropped at any time; torch has no function for it.
"""

from __future__ import annotations

import ctypes
import mmap

import torch

from lightning_adapter.evaluation.plain_outputs import Plain

#: How much is read or written, in bytes, before pages are dropped.
WINDOW = 1 << 26


class MappedPages:
    """The pages of all tensors in what `torch.load(mmap=True)` has returned, or that `torch.from_file` has made.

    Args:
        content: dicts, tuples and lists of tensors, none of them in the process's own memory.
    """

    def __init__(self, content: Plain) -> None:
        self._touched = 0
        ranges: dict[int, int] = {}
        _collect(content, ranges)
        # whole pages alone: what stands beside a tensor in its first and last page is somebody else's
        page = mmap.PAGESIZE
        pages = [(-(-start // page) * page, (start + size) // page * page) for start, size in ranges.items()]
        self._pages = [(first, last - first) for first, last in pages if last > first]

    def touched(self, size: int) -> None:
        """Note that so many bytes were read or written, and drop the pages where that was a lot."""
        self._touched += size
        if self._touched > WINDOW:
            self._touched = 0
            drop(self._pages)


def drop(pages: list[tuple[int, int]]) -> None:
    """Drop pages, where the operating system has a way to: addresses and sizes in bytes."""
    advise, kind = getattr(ctypes.CDLL(None), "madvise", None), getattr(mmap, "MADV_DONTNEED", None)
    if advise is None or kind is None:
        return
    for start, size in pages:
        advise(ctypes.c_void_p(start), ctypes.c_size_t(size), ctypes.c_int(kind))


def _collect(value: Plain, ranges: dict[int, int]) -> None:
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        if storage.nbytes():
            ranges[storage.data_ptr()] = storage.nbytes()
    elif isinstance(value, dict):
        for item in value.values():
            _collect(item, ranges)
    elif isinstance(value, (tuple, list)):
        for item in value:
            _collect(item, ranges)
