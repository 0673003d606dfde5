"""Which values does a sweep try: several for one override, numbers of a range, or all of an interval?

Hydra's syntax is read by Hydra's own parser: `model.lr=0.1,0.01`, `choice()`, `range()`, `interval()`, `glob()`, `tag()`, the
casts, `sort()` and `shuffle()`. Where Hydra is not installed, values with commas between them are read all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lightning_adapter.configs.hydra_sweeper import OptionsOf, override_parser
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.platform import experiment

#: As many numbers of a range are written one by one; nobody trains more.
_MOST = 10_000
_CALL = re.compile(r"(choice|range|interval|glob|tag|shuffle|sort|int|float|str|bool|json_str)\(.*\)", re.DOTALL)


@dataclass(frozen=True)
class Choices:
    """Values to try one after the other.

    Attributes:
        key: what they are given to, as typed: `model.lr`, `+new.key`, the group `model`.
        values: plain data.
        words: each as it would be typed after the key.
    """

    key: str
    values: tuple[Any, ...]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """All numbers between two.

    Attributes:
        key: see `Choices`.
        low: the least.
        high: the greatest.
        kind: "double", or "int" for whole numbers.
        is_log: drawn evenly by magnitude.
    """

    key: str
    low: float
    high: float
    kind: Literal["double", "int"] = "double"
    is_log: bool = False

    @property
    def words(self) -> tuple[str, str]:
        """Both ends, as they would be typed after the key."""
        return repr(self.low), repr(self.high)


Sweep: TypeAlias = Choices | Interval


@dataclass(frozen=True)
class Override:
    """One override that gives one value.

    Attributes:
        key: what it is given to.
        word: as typed.
    """

    key: str
    word: str


def parse(
    words: Sequence[str],
    options_of: OptionsOf | None = None,
    inclusive: bool = False,
    space: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Override | Sweep]:
    """Take overrides apart; of those for one key the last one counts, as for Hydra's `BasicSweeper.split_arguments`.

    Args:
        words: `key=value` each.
        options_of: the choices of a config group, for `glob()`; None where the configuration has none.
        inclusive: whether a `range()` holds its end, as Optuna's sweeper reads it.
        space: what is tried where no word says otherwise, in the older form of Optuna's sweeper.

    Raises:
        ConfigurationError: one cannot be read, or tries nothing; all of them are told.
    """
    parser = override_parser()
    found: dict[str, Override | Sweep] = {}
    faults: list[str] = []
    for key, settings in (space or {}).items():
        try:
            found[key] = _of_space(key, settings)
        except ConfigurationError as error:
            faults.append(str(error))
    for word in words:
        try:
            read = _plain(word) if parser is None else _of_hydra(parser(word), word, options_of, inclusive)
        except ConfigurationError as error:
            faults.append(str(error))
            continue
        found.pop(read.key, None)
        found[read.key] = read
    if faults:
        raise ConfigurationError("\n".join(faults))
    return list(found.values())


def is_sweep_text(text: str) -> bool:
    """Whether a value is one of Hydra's functions for sweeps, which no configuration holds as text."""
    return _CALL.fullmatch(text.strip()) is not None


def _of_hydra(parsed: Any, word: str, options_of: OptionsOf | None, inclusive: bool) -> Override | Sweep:
    """What one of Hydra's overrides says."""
    key: str = parsed.get_key_element()
    if not parsed.is_sweep_override():
        return Override(key, word)
    value = parsed.value()
    if parsed.is_interval_sweep():
        return _interval(key, value, word)
    if parsed.is_range_sweep():
        numbers = _numbers(value, inclusive and not value.shuffle, word)
        return _choices(key, numbers, [json.dumps(number) for number in numbers], word)
    if hasattr(value, "filter"):  # a glob, whose names are those of a group
        names = [] if options_of is None else options_of(parsed.key_or_group)
        chosen = value.filter(names)
        if not chosen:
            there = f"the group has {', '.join(names)}" if names else "it is no config group"
            raise ConfigurationError(f"{word}: the pattern finds nothing of {parsed.key_or_group}: {there}")
        return _choices(key, chosen, chosen, word)
    values = [_plain_value(parsed, item) for item in value.list]
    texts = [item.with_quotes() if hasattr(item, "with_quotes") else _hydra_text(item) for item in value.list]
    return _choices(key, values, texts, word)


def _plain_value(parsed: Any, item: Any) -> Any:
    if isinstance(item, list):
        return [_plain_value(parsed, one) for one in item]
    if isinstance(item, dict):
        return {_plain_value(parsed, key): _plain_value(parsed, one) for key, one in item.items()}
    return item.text if hasattr(item, "with_quotes") else item


def _hydra_text(item: Any) -> str:
    """A value as Hydra's grammar has it, like `Override._get_value_element_as_str`."""
    if item is None:
        return "null"
    if isinstance(item, bool):
        return str(item).lower()
    if isinstance(item, list):
        return f"[{','.join(map(_hydra_text, item))}]"
    if isinstance(item, dict):
        return "{" + ",".join(f"{_hydra_text(key)}:{_hydra_text(one)}" for key, one in item.items()) + "}"
    return item.with_quotes() if hasattr(item, "with_quotes") else str(item)


def _choices(key: str, values: Sequence[Any], words: Sequence[str], word: str) -> Override | Choices:
    if not values:
        raise ConfigurationError(f"{word} holds no value to try")
    if len(values) == 1:
        return Override(key, f"{key}={words[0]}")
    return Choices(key, tuple(values), tuple(words))


def _numbers(sweep: Any, inclusive: bool, word: str) -> list[int | float]:
    """All numbers of a `range()`, which Hydra counts in decimals: 0.1, 0.2 and no 0.30000000000000004."""
    if sweep.step == 0:
        raise ConfigurationError(f"{word} has the step 0, and never ends")
    size = abs((sweep.stop - sweep.start) / sweep.step)
    if size > _MOST:
        raise ConfigurationError(
            f"{word} holds {size:,.0f} values, and each would be tried. To fix, write interval({sweep.start}, {sweep.stop}), "
            "of which some are drawn"
        )
    found = list(sweep.range())
    if inclusive:
        last = type(sweep)(start=sweep.start, stop=sweep.stop + sweep.step / 1000, step=sweep.step)
        whole = all(isinstance(part, int) for part in (sweep.start, sweep.stop, sweep.step))
        found = [int(number) if whole else number for number in last.range()]
    return found


def _interval(key: str, sweep: Any, word: str) -> Override | Interval:
    low, high = sweep.start, sweep.end
    if low == high:
        return Override(key, f"{key}={low!r}")
    kind: Literal["double", "int"] = "int" if isinstance(low, int) and isinstance(high, int) else "double"
    return interval(key, low, high, kind, "log" in sweep.tags, word)


def interval(key: str, low: float, high: float, kind: Literal["double", "int"], is_log: bool, word: str) -> Interval:
    """Return an interval that was looked at.

    Args:
        key: what the numbers are given to.
        low: the least.
        high: the greatest.
        kind: of the numbers.
        is_log: whether they are drawn by magnitude.
        word: as typed, for messages.

    Raises:
        ConfigurationError: nothing can be drawn from it.
    """
    if low > high:
        raise ConfigurationError(f"{word} goes from {shown(low)} to {shown(high)}; write the smaller number first")
    if is_log and low <= 0:
        raise ConfigurationError(
            f"{word} is drawn by magnitude, and has the end {shown(low)}; both must be greater than 0"
        )
    return Interval(key, low, high, kind, is_log)


def _of_space(key: str, settings: Mapping[str, Any]) -> Override | Sweep:
    """What Optuna's `search_space` says of one key, as `create_optuna_distribution_from_config` reads it."""
    word = f"hydra.sweeper.search_space.{key}"
    kind, low, high, step = (settings.get(name) for name in ("type", "low", "high", "step"))
    if kind == "categorical" and settings.get("choices"):
        return _choices(key, settings["choices"], [_hydra_text(value) for value in settings["choices"]], word)
    if kind not in ("int", "float") or not (isinstance(low, (int, float)) and isinstance(high, (int, float))):
        raise ConfigurationError(
            f"{word} is {shown(dict(settings))}; write {{type: categorical, choices: [...]}} or {{type: float, low: 0.1, high: 1}}"
        )
    if kind == "int":
        low, high, step = int(low), int(high), int(step or 1)
    if low == high:
        return Override(key, f"{key}={low}")
    is_log = bool(settings.get("log"))
    if is_log or step is None or (kind == "int" and step == 1):
        return interval(key, low, high, "int" if kind == "int" else "double", is_log, word)
    numbers = [low + index * step for index in range(int((high - low) / step + 1e-9) + 1)]
    return _choices(key, numbers, [json.dumps(number) for number in numbers], word)


def _plain(word: str) -> Override | Sweep:
    """An override with commas between its values, where nothing of Hydra's is installed to read more."""
    key, equals, text = word.partition("=")
    if not (key and equals):
        raise ConfigurationError(f"{shown(word)} is no override: write key=value, or key=value,value for a sweep")
    if is_sweep_text(text):
        raise ConfigurationError(
            f"{word} is written in Hydra's syntax, and Hydra is not installed. To fix, pip install 'lightning-adapter[hydra]', "
            f"or write the values: {key}=1,2"
        )
    parts = parts_of(text)
    if len(parts) == 1:
        return Override(key, word)
    return Choices(key, tuple(experiment.parse_value(key, part) for part in parts), tuple(parts))


def parts_of(text: str) -> list[str]:
    """What stands between commas that are in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "[{(":
            depth += 1
        elif sign in ")}]":
            depth -= 1
        elif sign == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += sign
    return [part.strip() for part in parts]
