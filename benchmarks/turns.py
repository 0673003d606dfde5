"""In which order do the systems take their turns, so that none is favoured by what ran before it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def in_turns(systems: Sequence[str], repetitions: int) -> Iterator[str]:
    """Each system once per repetition, in an order in which each follows each other one equally often.

    Rows of a balanced Latin square (Williams 1949): 0, 1, n - 1, 2, n - 2, ..., and one more for each in the next row; of an
    odd number of systems, every other square is read backwards.
    """
    count = len(systems)
    first = [(place + 1) // 2 if place % 2 else -(place // 2) for place in range(count)]
    for repetition in range(repetitions):
        row = [(index + repetition) % count for index in first]
        if count % 2 and repetition // count % 2:
            row.reverse()
        yield from (systems[index] for index in row)
