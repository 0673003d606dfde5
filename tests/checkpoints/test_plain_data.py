"""What can be converted to plain data comes back as what it was; code and objects come back from their constructors."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import types
import uuid
from collections import OrderedDict
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from lightning_adapter.checkpoints.file import CONSTRUCTED, FILE, read, save
from lightning_adapter.checkpoints.plain_data import NOTES, with_constructed
from lightning_adapter.errors import CheckpointError

WEIGHTS = {"state_dict": {"weight": torch.arange(4.0)}}


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = ("slow", 2)


class Level(enum.IntEnum):
    LOW = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class Point(NamedTuple):
    x: float
    y: Any


@dataclasses.dataclass(frozen=True)
class Record:
    name: str
    values: Any = None


@dataclasses.dataclass
class Slotted:
    __slots__ = ("a",)
    a: int


CLOTHES: list[Any] = [
    np.float64(0.1), np.float32(0.1), np.float16(2), np.int64(-3), np.uint8(200), np.bool_(True), np.complex64(1 + 2j),
    np.str_("text"), np.bytes_(b"bytes"), np.datetime64("2026-01-02T03:04:05"), np.timedelta64(3, "h"),
    np.arange(6.0).reshape(2, 3), np.array(3), np.array([True, False]), np.array(["a", "bcd"]), np.zeros((0, 3)),
    np.arange(4, dtype=">i4"), np.array([1, 2], dtype=np.uint16), np.array(["2026-01-01"], dtype="M8[D]"),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    Path("/a/b"), Mode.FAST, Mode.SLOW, Level.LOW, Flags.A | Flags.B, Point(1.0, np.float64(2)), Record("r", [Path("x")]),
    Slotted(3), datetime.datetime(2026, 1, 2, 3, 4, 5, 6), datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
    datetime.date(2026, 1, 2), datetime.time(3, 4), datetime.timedelta(days=-1, microseconds=3), decimal.Decimal("0.10"),
    fractions.Fraction(1, 3), uuid.UUID(int=7), frozenset({1, 2.5}), collections.deque([np.int64(1), 2], maxlen=5),
    collections.defaultdict(list, {"a": [np.float32(1)]}), collections.defaultdict(None, a=1), range(1, 9, 2), slice(1, None),
    types.MappingProxyType({"a": Path("b")}), types.SimpleNamespace(a=np.int32(1)), argparse.Namespace(lr=np.float64(1)),
    (1, (Path("x"), [np.int64(2)])), PurePosixPath("a/b"), PureWindowsPath("c:/d"),
]  # fmt: skip


def same(mine: Any, theirs: Any) -> bool:
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, np.ndarray):
        return mine.dtype == theirs.dtype and mine.shape == theirs.shape and bool((mine == theirs).all())
    if dataclasses.is_dataclass(mine):
        return all(same(getattr(mine, f.name), getattr(theirs, f.name)) for f in dataclasses.fields(mine))
    if isinstance(mine, (list, tuple, collections.deque)):
        return len(mine) == len(theirs) and all(map(same, mine, theirs))
    if isinstance(mine, dict):
        return mine.keys() == theirs.keys() and all(same(mine[key], theirs[key]) for key in mine)
    if isinstance(mine, (types.SimpleNamespace, argparse.Namespace)):
        return same(vars(mine), vars(theirs))
    return bool(mine == theirs)


@pytest.mark.parametrize("value", CLOTHES, ids=lambda value: f"{type(value).__name__}-{value!r:.20}")
def test_plain_data_comes_back_as_what_it_was(value: Any, tmp_path: Path) -> None:
    save(tmp_path / FILE, {**WEIGHTS, "callbacks": {"Mine": {"deep": [1, (value,)]}}, "by_hand": value})
    found = read(tmp_path / FILE)

    assert same(found["by_hand"], value)
    assert same(found["callbacks"]["Mine"]["deep"][1][0], value)
    torch.load(tmp_path / FILE, weights_only=True)  # by anybody


def test_content_that_is_plain_is_not_copied_and_has_no_notes(tmp_path: Path) -> None:
    weights = OrderedDict(weight=torch.arange(4.0))
    weights._metadata = {"version": 2}  # type: ignore[attr-defined]  # as `Module.state_dict()` has it
    save(tmp_path / FILE, {"state_dict": weights, "epoch": 1})
    found = read(tmp_path / FILE)

    assert found.keys() == {"state_dict", "epoch"}
    assert found["state_dict"]._metadata == {"version": 2}


def test_weights_keep_their_versions_where_an_entry_is_changed(tmp_path: Path) -> None:
    weights = OrderedDict(weight=torch.arange(4.0), _extra_state=np.float32(1))
    weights._metadata = {"version": 2}  # type: ignore[attr-defined]
    save(tmp_path / FILE, {"state_dict": weights})
    found = read(tmp_path / FILE)["state_dict"]

    assert found._metadata == {"version": 2} and type(found["_extra_state"]) is np.float32
    assert type(weights["_extra_state"]) is np.float32, "the run's own state was changed"


def test_keys_and_entries_of_sets_are_equal_to_what_they_were(tmp_path: Path) -> None:
    save(tmp_path / FILE, {**WEIGHTS, "x": {np.int64(3): {np.float32(0.5), (np.str_("a"), 1)}}})

    assert read(tmp_path / FILE)["x"] == {3: {0.5, ("a", 1)}}


def test_class_of_a_function_and_objects_are_refused(tmp_path: Path) -> None:
    class Local(enum.Enum):
        A = 1

    @dataclasses.dataclass
    class Inner:
        a: int

    content = {**WEIGHTS, "a": Local.A, "b": [Inner(1)], "c": np.array([object()]), "d": {Path("x"): 1},
               "e": collections.defaultdict(lambda: 1)}  # fmt: skip
    with pytest.raises(CheckpointError) as caught:
        save(tmp_path / FILE, content)
    assert all(f"- {place}: " in str(caught.value) for place in ("a", "b[0]", "c", "d", "e"))


def test_collection_that_contains_itself_is_refused(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(CheckpointError, match=r"- x\[0\]: a collection that contains itself"):
        save(tmp_path / FILE, {**WEIGHTS, "x": loop})


@pytest.mark.parametrize(
    "note",
    [
        [["by_hand"], "enum", ["os", "path", "A"]],
        [["by_hand"], "enum", ["subprocess", "Popen", None]],
        [["by_hand"], "enum", ["nowhere", "Mode", "A"]],
        [["by_hand"], "dataclass", ["subprocess", "Popen"]],
        [["by_hand"], "named tuple", ["subprocess", "Popen"]],
        [["by_hand"], "no such kind", None],
        [["by_hand", "deeper"], "path", None],
        [["absent"], "path", None],
        [[], "path", None],
        [["by_hand"], "numpy array", "f8"],
        [["by_hand"], "numpy scalar", "nonsense"],
        ["by_hand"],
        3,
    ],
)
def test_note_that_does_not_fit_is_refused_and_runs_nothing(note: Any, tmp_path: Path) -> None:
    torch.save({**WEIGHTS, "by_hand": 1, NOTES: [note]}, tmp_path / FILE)
    with pytest.raises(CheckpointError):
        read(tmp_path / FILE)


# --- code and objects -------------------------------------------------------------------------------------------------


class Inner:
    """A scheduler within a scheduler."""

    def __init__(self) -> None:
        self.epoch = 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": np.int64(self.epoch)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]


class Outer:
    """A scheduler that holds functions and an object, and saves all that it has."""

    def __init__(self, factor: float) -> None:
        self.function = lambda step: step * factor
        self.partial = functools.partial(max, 3)
        self.kind = Inner
        self.inner = Inner()
        self.several = [Inner(), (self.function,)]
        self.epoch = 0

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def test_code_and_objects_in_the_state_of_a_scheduler_come_from_its_constructor(tmp_path: Path) -> None:
    trained = Outer(2.0)
    trained.epoch = trained.inner.epoch = 5
    trained.several[0].epoch = 6  # type: ignore[union-attr]
    save(tmp_path / FILE, {**WEIGHTS, "lr_schedulers": [trained.state_dict()], CONSTRUCTED: {"lr_schedulers": 2}})
    found = read(tmp_path / FILE)
    assert "function" not in found["lr_schedulers"][0]

    new = Outer(3.0)
    inner = new.inner
    new.load_state_dict(with_constructed(found, ("lr_schedulers", 0), found["lr_schedulers"][0], new))
    assert new.epoch == 5 and new.inner is inner and new.inner.epoch == 5
    assert new.several[0].epoch == 6 and new.several[1][0] is new.function  # type: ignore[union-attr,index]
    assert new.function(2) == 6.0 and new.partial(1) == 3 and new.kind is Inner


def test_object_that_the_new_scheduler_does_not_hold_is_said(tmp_path: Path) -> None:
    save(tmp_path / FILE, {**WEIGHTS, "lr_schedulers": [Outer(2.0).state_dict()], CONSTRUCTED: {"lr_schedulers": 2}})
    found = read(tmp_path / FILE)
    new = Outer(2.0)
    del new.inner

    with pytest.raises(CheckpointError, match=r"lr_schedulers\[0\]\['inner'\] was of an object that Outer held"):
        with_constructed(found, ("lr_schedulers", 0), found["lr_schedulers"][0], new)


def test_code_is_refused_where_nothing_constructs_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"- callbacks\['Mine'\]\['f'\]: .*cannot be pickled"):
        save(tmp_path / FILE, {**WEIGHTS, "callbacks": {"Mine": {"f": lambda: None}}})
