"""Small data for the tests of loaders."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Dataset, IterableDataset


class Numbers(Dataset):
    """The numbers from zero."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, index: int) -> int:
        return index

    def __len__(self) -> int:
        return self.count


class Stream(IterableDataset):
    """The numbers from zero, whose count nobody knows before."""

    def __init__(self, count: int = 4) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


def whole(length: float) -> float:
    """No limit on the batches of an epoch."""
    return length
