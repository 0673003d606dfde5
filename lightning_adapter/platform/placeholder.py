"""What does Determined's loop iterate in place of data?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch.utils.data import DataLoader


class PlaceholderLoader(DataLoader[None]):
    """Placeholder batches: None, `count` times, or for ever.

    The user's own loaders are driven by Lightning's loop, so Determined is handed a batch that stands for "train on your
    next batch", or for a whole validation. It wants a torch DataLoader for that; an iterator of its own draws no random
    number.
    """

    def __init__(self, count: int | None) -> None:
        super().__init__([None])  # type: ignore[arg-type]
        self._count = count

    def __iter__(self) -> Iterator[None]:  # type: ignore[override]
        return itertools.repeat(None) if self._count is None else itertools.repeat(None, self._count)

    def __len__(self) -> int:
        if self._count is None:
            raise TypeError("placeholder batches for training never end")
        return self._count
