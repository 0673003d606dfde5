"""Where in the tree does each sweep stand, and which range draws its values there?

A sweep is tried out: the tree is composed with each of its values, and where those trees differ is its place. What has to be
drawn together, since it lies inside of something that is swept over as a whole, becomes one range over whole subtrees.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_adapter.configs import ranges
from lightning_adapter.configs.hydra_references import HYDRA, NOW
from lightning_adapter.configs.origins import Origin
from lightning_adapter.configs.parts import CLASS_KEYS, Tree
from lightning_adapter.configs.sweeps import Choices, Interval, Override, Sweep
from lightning_adapter.configs.tree_paths import Path, at, common, differences, dotted, is_below
from lightning_adapter.errors import ConfigurationError

#: As many numbers are tried out one by one; of more, those at both ends.
_TRIED = 50
#: As many subtrees stand in one range.
_MOST_TOGETHER = 1_000
#: A group that says this of itself is taken for a range, or refused.
_TYPE = "type"


@dataclass(frozen=True)
class Placed:
    """A tree with what is drawn in it.

    Attributes:
        tree: with the first value of each sweep.
        ranges: place -> the range that draws there.
        notes: place -> what is said of it.
        trials: how many a grid has; None where there is no end of them.
    """

    tree: Tree
    ranges: Mapping[Path, dict[str, Any]]
    notes: Mapping[Path, str]
    trials: int | None


@dataclass(frozen=True)
class _Tried:
    """A sweep, its place, and what stands there for each value that was tried."""

    sweep: Sweep
    path: Path
    values: list[Any]


def place(origin: Origin, items: Sequence[Override | Sweep]) -> Placed:
    """Compose the tree, and find the place of each sweep.

    Args:
        origin: what is composed.
        items: overrides, in their order.

    Raises:
        ConfigurationError: something cannot be composed, or be drawn by Determined; all of it is told.
    """
    return _Placing(origin, items).placed()


def _without_moment(tree: Tree) -> Tree:
    """A tree without the time at which it was composed, of which a trial has its own."""
    node = tree.get(HYDRA)
    if not isinstance(node, dict) or NOW not in node:
        return tree
    kept = {name: value for name, value in node.items() if name != NOW}
    rest = {name: value for name, value in tree.items() if name != HYDRA}
    return {**rest, HYDRA: kept} if kept else rest


class _Placing:
    def __init__(self, origin: Origin, items: Sequence[Override | Sweep]) -> None:
        self._origin = origin
        self._items = items
        self._sweeps = [item for item in items if not isinstance(item, Override)]
        self._composed: dict[tuple[str, ...], Tree] = {}
        self._base = self._compose({})
        self._faults: list[str] = []
        self._notes: dict[Path, str] = {}

    def placed(self) -> Placed:
        tried = [each for each in map(self._try, self._sweeps) if each is not None]
        self._raise()
        found: dict[Path, dict[str, Any]] = {}
        for path, together in self._together(tried).items():
            drawn = self._range(path, together)
            if drawn is not None:
                found[path] = drawn
        self._raise()
        self._check_independent(found)
        counts = [None if isinstance(each, Interval) else len(each.values) for each in self._sweeps]
        trials = None if None in counts else math.prod(count for count in counts if count is not None)
        return Placed(self._base, found, self._notes, trials)

    def _raise(self) -> None:
        if self._faults:
            raise ConfigurationError("\n".join(self._faults))

    def _compose(self, chosen: Mapping[str, int]) -> Tree:
        """The tree with one value of each sweep: of those that are not named, the first."""
        words = []
        for item in self._items:
            if isinstance(item, Override):
                words.append(item.word)
                continue
            index = chosen.get(item.key, 0)
            value: Any = item.values[index] if isinstance(item, Choices) else (item.low, item.high)[index]
            words.append(self._origin.word(item.key, value, item.words[index]))
        known = self._composed.get(tuple(words))
        if known is None:
            known = self._composed[tuple(words)] = _without_moment(self._origin.compose(words))
        return known

    def _try(self, sweep: Sweep) -> _Tried | None:
        """Compose the tree with each value of a sweep."""
        count = len(sweep.words)
        indices = range(count) if count <= _TRIED or isinstance(sweep, Interval) else (0, count - 1)
        try:
            trees = {index: self._base if index == 0 else self._compose({sweep.key: index}) for index in indices}
        except ConfigurationError as error:
            self._faults.append(str(error))
            return None
        found = [path for tree in trees.values() for path in differences(self._base, tree)]
        if not found:
            self._faults.append(
                f"{sweep.key}: {' and '.join(sweep.words[:3])} give one and the same configuration; try values that differ"
            )
            return None
        path = self._place(sweep, found)
        if path is None:
            return None
        if isinstance(sweep, Choices) and len(trees) < count:
            return _Tried(sweep, path, list(sweep.values))
        return _Tried(sweep, path, [at(tree, path) for tree in trees.values()])

    def _place(self, sweep: Sweep, found: Sequence[Path]) -> Path | None:
        package = self._origin.package(sweep.key)
        if package is not None and package and all(is_below(path, package) for path in found):
            return package
        path = common(found)
        if path and path[-1] in CLASS_KEYS:
            path = path[:-1]
        if not path or (package and not is_below(path, package)):
            others = sorted({dotted(each[:2]) for each in found})
            self._faults.append(
                f"{sweep.key}={','.join(sweep.words[:3])} changes several places, {', '.join(others[:6])}"
                f"{', ...' if len(others) > 6 else ''}, and Determined draws each hyperparameter by itself. To fix, write an "
                f"experiment for each: lightning-adapter init SOURCE {sweep.key}={sweep.words[0]}; or sweep over the values "
                "that differ"
            )
            return None
        return path

    def _together(self, tried: Sequence[_Tried]) -> dict[Path, list[_Tried]]:
        """Sweeps by the place of the range that draws them, the outermost that any of them needs."""
        places = {each.sweep.key: self._outside_of_types(each.path) for each in tried}
        found: dict[Path, list[_Tried]] = {}
        for each in tried:
            holders = [other for other in places.values() if is_below(places[each.sweep.key], other)]
            found.setdefault(min(holders, key=len), []).append(each)
        return found

    def _outside_of_types(self, path: Path) -> Path:
        """A place, or the group around it that Determined takes for one value since it has a `type`."""
        for length in range(1, len(path)):
            around = at(self._base, path[:length])
            if isinstance(around, dict) and _TYPE in around:
                return path[:length]
        return path

    def _range(self, path: Path, together: Sequence[_Tried]) -> dict[str, Any] | None:
        first = together[0]
        if len(together) == 1 and first.path == path:
            if isinstance(first.sweep, Interval):
                note = ranges.note_of(first.sweep)
                self._notes |= {} if note is None else {path: note}
                return ranges.of_interval(first.sweep)
            return ranges.of_values(first.values)
        intervals = [each for each in together if isinstance(each.sweep, Interval)]
        if intervals:
            reason = (
                f"{dotted(path)} has a key `type` of its own, and Determined takes the whole of it for one value"
                if all(not is_below(each.path, path) or each.path != path for each in together)
                else f"the whole of {dotted(path)} is swept over"
            )
            self._faults += [
                f"{each.sweep.key} is an interval inside of {dotted(path)}, which Determined cannot draw from: {reason}. To fix, "
                f"give values: {each.sweep.key}={each.sweep.words[0]},{each.sweep.words[1]}"
                for each in intervals
            ]
            return None
        counts = [len(each.sweep.words) for each in together]
        if math.prod(counts) > _MOST_TOGETHER:
            self._faults.append(
                f"{' and '.join(each.sweep.key for each in together)} are drawn together, as one of {math.prod(counts):,} values "
                f"of {dotted(path)}, which no YAML should hold. To fix, try fewer"
            )
            return None
        combined = itertools.product(*(range(count) for count in counts))
        keys = [each.sweep.key for each in together]
        trees = [self._compose(dict(zip(keys, indices, strict=True))) for indices in combined]
        return ranges.of_values([at(tree, path) for tree in trees])

    def _check_independent(self, found: Mapping[Path, dict[str, Any]]) -> None:
        """Refuse sweeps whose values together make more than each alone: Determined draws each by itself."""
        last = self._compose({sweep.key: len(sweep.words) - 1 for sweep in self._sweeps})
        own = [path for path in differences(self._base, last) if not any(is_below(path, each) for each in found)]
        if own:
            raise ConfigurationError(
                f"{', '.join(sweep.key for sweep in self._sweeps)} together change {', '.join(map(dotted, own[:6]))}, which none "
                "of them changes alone, and Determined draws each by itself. To fix, sweep over one of them at a time"
            )
