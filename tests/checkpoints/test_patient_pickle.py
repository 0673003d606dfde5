"""Does the pickler that works beside training write the same bytes, and let training have its turns?"""

from __future__ import annotations

import io
import pickle
from typing import Any

import pytest
import torch

from lightning_adapter.checkpoints import patient_pickle

CONTENT = {str(index): [torch.full((3,), index), index, (1.5, "text", None)] for index in range(20)}


def saved(**given: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(CONTENT, stream, **given)
    return stream.getvalue()


def test_bytes_are_those_of_pythons_own_pickler() -> None:
    assert saved(pickle_module=patient_pickle) == saved() == saved(pickle_module=pickle)


@pytest.mark.parametrize(("turn", "pauses"), [(-1.0, True), (1e6, False)])
def test_pause_follows_each_turn(turn: float, pauses: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(patient_pickle, "_TURN", turn)
    monkeypatch.setattr("time.sleep", slept.append)
    saved(pickle_module=patient_pickle)
    assert (len(slept) >= len(CONTENT)) == pauses
    assert pauses or not slept


def test_what_is_no_storage_is_not_looked_at_and_all_else_is() -> None:
    seen: list[object] = []

    class Looking(patient_pickle.Pickler):
        def persistent_id(self, value: object) -> Any:
            seen.append(value)
            return "known" if isinstance(value, bytearray) else None

    stream = io.BytesIO()
    Looking(stream, protocol=2).dump([1, "a", None, {"b": (2.5, True)}, bytearray(b"x"), 1j])
    assert [type(value) for value in seen[:1]] == [bytearray]
    assert not any(isinstance(value, (int, str, dict, list)) for value in seen)
    assert b"known" in stream.getvalue()
