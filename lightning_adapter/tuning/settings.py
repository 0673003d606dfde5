"""What does an experiment's `searcher:` ask for, with the master's own defaults?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lightning_adapter import notices
from lightning_adapter.errors import ConfigurationError, guess, shown
from lightning_adapter.platform.experiment.faults import dotted, raise_all
from lightning_adapter.platform.experiment.ranges import is_range
from lightning_adapter.platform.experiment.values import is_finite, is_natural
from lightning_adapter.tuning.grid import axes

SearcherName: TypeAlias = Literal["single", "random", "grid", "adaptive_asha", "async_halving"]

#: Keys of every searcher; `max_length` too, of which two read no more than its older form.
_OF_ALL = frozenset(
    {"name", "metric", "smaller_is_better", "source_trial_id", "source_checkpoint_uuid", "max_length", "unit"}
)
_OF_HALVING = frozenset({"max_trials", "max_concurrent_trials", "time_metric", "max_time", "divisor", "stop_once"})
#: Searcher -> the keys that it has besides; the master refuses others.
_KEYS: dict[str, frozenset[str]] = {
    "single": frozenset(),
    "random": frozenset({"max_trials", "max_concurrent_trials"}),
    "grid": frozenset({"max_concurrent_trials"}),
    "adaptive_asha": _OF_HALVING | {"max_rungs", "mode", "bracket_rungs"},
    "async_halving": _OF_HALVING | {"num_rungs"},
}
#: Beyond it a search is not meant, and its points would fill the study's file.
_MOST_POINTS = 100_000
#: A log range that begins at a smaller exponent above 0 begins at next to 1, which nobody writes so.
_LEAST_EXPONENT = 0.1


@dataclass(frozen=True)
class SearcherSettings:
    """A searcher, with the defaults of its schema.

    Attributes:
        name: which of Determined's.
        metric: what a validation logs, by which trials are ranked.
        smaller_is_better: the direction.
        max_trials: trials that are made; 1 of a single search; of a grid the points.
        max_concurrent_trials: trials that are asked for at once; 0 for all.
        time_metric: what a trial's length is counted in: batches, epochs, or the name of a metric; None where no trial is
            stopped.
        max_time: the whole length, in it.
        divisor: the share of trials that goes on from a rung is 1/divisor.
        max_rungs: of adaptive_asha.
        num_rungs: of async_halving.
        mode: of adaptive_asha.
        bracket_rungs: of adaptive_asha, rungs of each bracket; empty where mode and max_rungs say it.
    """

    name: SearcherName
    metric: str
    smaller_is_better: bool
    max_trials: int
    max_concurrent_trials: int
    time_metric: str | None = None
    max_time: int | None = None
    divisor: float = 4.0
    max_rungs: int = 5
    num_rungs: int = 5
    mode: str = "standard"
    bracket_rungs: tuple[int, ...] = ()

    @property
    def stops_trials(self) -> bool:
        """Whether trials end before their own length."""
        return self.name in ("adaptive_asha", "async_halving")


def searcher_settings(
    config: Mapping[str, Any], trials: int | None = None, source: str = "the experiment config"
) -> SearcherSettings:
    """Read `searcher:` as the master does.

    Args:
        config: what `experiment.read` returned, ranges unresolved.
        trials: in place of `max_trials`.
        source: where the experiment comes from, as messages name it.

    Raises:
        ConfigurationError: it is no search that can be made; all faults in one message.
    """
    searcher = config.get("searcher") or {}
    if searcher.get("name") is None:
        raise ConfigurationError(
            f"{source}: searcher: {'has no name' if searcher else 'is absent'}, so that nothing says which trials to "
            "make. To fix, write searcher: {name: random, metric: val_loss, smaller_is_better: true, max_trials: 8}"
        )
    reading = _Reading(searcher, config.get("hyperparameters") or {}, trials)
    settings = reading.settings()
    raise_all(source, reading.faults)
    for warning in reading.warnings:
        notices.warn(warning)
    return settings


def searched(hyperparameters: Mapping[str, Any], route: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the ranges of an experiment's hyperparameters, each after its names from the outermost group to its own."""
    for name, spec in hyperparameters.items():
        if is_range(spec):
            yield (*route, name), spec
        elif isinstance(spec, Mapping) and "type" not in spec:
            yield from searched(spec, (*route, name))


class _Reading:
    """One `searcher:`, and what was noticed while it was read.

    Args:
        searcher: its keys and values.
        hyperparameters: of the experiment.
        trials: that were asked for.

    Attributes:
        faults: what makes a search of it impossible.
        warnings: what is legal here, and not on a cluster.
    """

    def __init__(self, searcher: Mapping[str, Any], hyperparameters: Mapping[str, Any], trials: int | None) -> None:
        self._name: SearcherName = searcher["name"]
        self._keys = searcher.keys()
        self._searcher = {key: value for key, value in searcher.items() if value is not None}
        self._hyperparameters = hyperparameters
        self._trials = trials
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def settings(self) -> SearcherSettings:
        """Return what it asks for; of no meaning where there are faults."""
        searcher = self._searcher
        self._check_keys()
        if "metric" not in searcher:
            self.faults.append(
                "searcher.metric is absent, by which trials are ranked. To fix, write the name that validation_step logs, such "
                "as metric: val_loss"
            )
        self._check_hyperparameters()
        max_trials = self._max_trials()
        time_metric, max_time = self._length() if self._stops_trials else (None, None)
        return SearcherSettings(
            name=self._name,
            metric=searcher.get("metric", ""),
            smaller_is_better=searcher.get("smaller_is_better", True),
            max_trials=max_trials,
            max_concurrent_trials=1 if self._name == "single" else searcher.get("max_concurrent_trials", 16),
            time_metric=time_metric,
            max_time=max_time,
            divisor=self._divisor(),
            max_rungs=searcher.get("max_rungs", 5),
            num_rungs=self._num_rungs(),
            mode=searcher.get("mode", "standard"),
            bracket_rungs=self._bracket_rungs(),
        )

    @property
    def _stops_trials(self) -> bool:
        return "time_metric" in _KEYS[self._name]

    def _check_keys(self) -> None:
        allowed = _OF_ALL | _KEYS[self._name]
        for key in self._keys:  # the master refuses one without a value too
            if key in allowed:
                continue
            owners = [name for name, keys in _KEYS.items() if key in keys]
            instead = f"; it is one of {', '.join(owners)}" if owners else guess(key, allowed)
            if key == "max_trials" and self._name == "grid":
                instead = "; a grid has as many trials as points, the product of each range's count"
            self.faults.append(f"searcher.{key} is no key of the searcher {self._name}{instead}")
        if "unit" in self._keys:
            self.warnings.append(
                "searcher.unit is a key of older masters, and those of today refuse it. To submit the file, leave it out"
            )
        length = self._searcher.get("max_length")
        if isinstance(length, Mapping) and 0 in length.values():
            self.faults.append(
                f"searcher.max_length is {shown(length)}, but must be at least 1; without a length of its own leave it out"
            )

    def _check_hyperparameters(self) -> None:
        ranges = {dotted(route): spec for route, spec in searched(self._hyperparameters)}
        if not ranges:
            several = self._trials if self._trials is not None else self._searcher.get("max_trials", 1)
            same = f": {self._name} would train one and the same trial {several} times" if several > 1 else ""
            self.faults.append(
                f"no hyperparameter has a range, so that there is nothing to search{same}. To fix, give one a range, such as "
                "learning_rate: {type: log, base: 10, minval: -4, maxval: -1}; to train once, type fit in place of search; for "
                "several seeds, give a range to a name that the trial does not read: run: {type: int, minval: 1, maxval: 5}"
            )
        for name, spec in ranges.items():
            if self._name == "grid" and spec["type"] != "categorical" and spec.get("count") is None:
                self.faults.append(
                    f"hyperparameters.{name} has no count, without which a grid has no points. To fix, add count: 4 to it, or "
                    "write searcher.name: random"
                )
            elif not _can_be_drawn(spec):
                self.faults.append(
                    f"hyperparameters.{name} spans more than the master's random numbers do. To fix, bring minval "
                    f"{shown(spec['minval'])} and maxval {shown(spec['maxval'])} nearer to each other"
                )
            elif spec["type"] == "log":
                self._check_exponents(name, spec)
        for name in _with_ranges_in_a_list(self._hyperparameters):
            self.warnings.append(
                f"hyperparameters.{name} is a list with a range in it, and a list is one value, of which nothing is drawn. For a "
                'range write it without the list; for a list of which one part is drawn, a group of "0", "1" and so on'
            )

    def _check_exponents(self, name: str, spec: Mapping[str, Any]) -> None:
        """Notice limits that were written where their exponents belong."""
        base, low, high = spec["base"], spec["minval"], spec["maxval"]
        if base > 1 and 0 < low < _LEAST_EXPONENT:
            meant = ", ".join(f"{key}: {math.log(spec[key], base):.3g}" for key in ("minval", "maxval"))
            self.warnings.append(
                f"hyperparameters.{name} goes from {base}^{low} = {base**low:.4g} to {base}^{high} = {base**high:.4g}, since "
                f"minval and maxval of a log range are exponents. For values from {low:g} to {high:g} write {meant}"
            )

    def _max_trials(self) -> int:
        typed = self._trials
        if typed is not None and not is_natural(typed, 1):
            self.faults.append(f"trials is {shown(typed)}, but must be a whole number of at least 1")
            return 1
        if self._name == "single":
            if typed is not None and typed > 1:
                self.faults.append(
                    f"{typed} trials are asked for, and searcher.name is single, which makes one. To fix, write name: random"
                )
            return 1
        if self._name == "grid":
            return 1 if self.faults else self._points()
        most = self._searcher.get("max_trials") if typed is None else typed
        if most is None:
            self.faults.append(
                f"searcher.max_trials is absent, the number of trials of the searcher {self._name}. To fix, write max_trials: 8, "
                "or type --trials 8"
            )
        return most or 1

    def _points(self) -> int:
        """Points of a grid whose ranges are whole."""
        product, parts = 1, []
        for axis in axes(self._hyperparameters):
            product *= axis.points
            if axis.points > 1:
                parts.append(f"{dotted(axis.route)} {axis.points}")
        is_product = f" ({' x '.join(parts)})" if len(parts) > 1 else f" (of {parts[0]})" if parts else ""
        most = _MOST_POINTS if self._trials is None else self._trials
        if product > most:
            allowed = f"and {most} trials are asked for" if self._trials is not None else f"more than {most:,}"
            instead = (
                f"leave out --trials, or write name: random with max_trials: {most}"
                if self._trials is not None
                else ("write name: random with max_trials: 100")
            )
            self.faults.append(
                f"the grid has {product:,} points{is_product}, {allowed}. To fix, give ranges a smaller count, {instead}"
            )
        return product

    def _length(self) -> tuple[str, int]:
        """What a trial's length is counted in, and the whole length, as `AdaptiveASHAConfigV0.Length` finds them."""
        searcher = self._searcher
        unit, length = searcher.get("time_metric"), searcher.get("max_time")
        if unit is None or length is None:
            unit, length = self._older_length(unit, length)
        if unit == "records":
            self.faults.append(
                "the length of a trial is counted in records, which no trial reports, so that none would ever be stopped. To "
                "fix, write time_metric: batches or time_metric: epochs, with max_time in it"
            )
        return unit or "", length or 1

    def _older_length(self, unit: str | None, length: int | None) -> tuple[str | None, int | None]:
        """`max_length`, which masters took before they had `max_time`."""
        older = self._searcher.get("max_length")
        if isinstance(older, Mapping):
            ((older_unit, older_length),) = older.items()
        else:
            older_unit, older_length = self._searcher.get("unit"), older
        if older_unit is not None and older_length:
            self.warnings.append(
                f"searcher.max_length is how older masters were told a length, and those of today refuse {self._name} without "
                f"max_time; it is used here. To submit the file, write time_metric: {older_unit} and max_time: {older_length}"
            )
            return older_unit, older_length
        absent = " and ".join(key for key, value in (("time_metric", unit), ("max_time", length)) if value is None)
        example = f"time_metric: {unit or older_unit or 'epochs'} and max_time: {length or older_length or 9}"
        self.faults.append(
            f"searcher.{absent} {'are' if ' ' in absent else 'is'} absent, and {self._name} stops trials by them. To fix, write "
            f"{example}, the length of a whole trial"
        )
        return unit, length

    def _divisor(self) -> float:
        divisor = self._searcher.get("divisor", 4)
        if is_finite(divisor) and divisor > 1:
            return float(divisor)
        self.faults.append(
            f"searcher.divisor is {shown(divisor)}, but must be a number greater than 1: of the trials at a rung one in divisor "
            "goes on"
        )
        return 4.0

    def _num_rungs(self) -> int:
        if self._name == "async_halving" and "num_rungs" not in self._searcher:
            self.faults.append(
                "searcher.num_rungs is absent, the number of lengths at which async_halving judges trials. To fix, write "
                "num_rungs: 3"
            )
        return int(self._searcher.get("num_rungs", 5))

    def _bracket_rungs(self) -> tuple[int, ...]:
        rungs = self._searcher.get("bracket_rungs", [])
        if all(is_natural(number, 1) for number in rungs):
            return tuple(rungs)
        self.faults.append(
            f"searcher.bracket_rungs is {shown(rungs)}, but must be a list of whole numbers of at least 1, the rungs of each "
            "bracket"
        )
        return ()


def _with_ranges_in_a_list(hyperparameters: Mapping[str, Any], route: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the dotted names of lists that hold something that is written as a range."""
    for name, value in hyperparameters.items():
        if isinstance(value, list) and any(is_range(one) and ("minval" in one or "vals" in one) for one in value):
            yield dotted((*route, name))
        elif isinstance(value, Mapping) and "type" not in value:
            yield from _with_ranges_in_a_list(value, (*route, name))


def _can_be_drawn(spec: Mapping[str, Any]) -> bool:
    """The generator of the master ends where the width of a range is no number of its own."""
    if spec["type"] == "categorical":
        return True
    width = spec["maxval"] - spec["minval"]
    return width < 2**63 - 1 if spec["type"] == "int" else is_finite(float(spec["maxval"]) - float(spec["minval"]))
