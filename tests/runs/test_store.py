"""A checkpoint is there whole or not at all, whatever happens while it is written or removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_adapter.runs.store import CheckpointStore, StoredCheckpoint


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", tmp_path / "superseded")


def write(store: CheckpointStore, steps: int) -> Path:
    with store.write({"steps_completed": steps}) as (path, name):
        (path / "weights").write_bytes(b"1")
    return store.directory / name


def test_checkpoint_being_written_does_not_count_until_its_block_ends(store: CheckpointStore) -> None:
    with store.write({"steps_completed": 3}) as (path, name):
        (path / "weights").write_bytes(b"1")
        (path / "metadata.json").write_text('{"steps_completed": 3}')  # even if user code writes one
        assert store.checkpoints() == []
    assert store.checkpoints() == [StoredCheckpoint(store.directory / name, 3)]
    assert {file.name for file in (store.directory / name).iterdir()} == {"weights", "metadata.json"}


def test_block_that_fails_leaves_nothing(store: CheckpointStore) -> None:
    earlier = write(store, 1)
    with pytest.raises(KeyboardInterrupt), store.write({"steps_completed": 2}) as (path, _):
        (path / "weights").write_bytes(b"1")
        raise KeyboardInterrupt
    assert list(store.directory.iterdir()) == [earlier]


def test_leftover_of_a_killed_process_is_cleared_by_the_next_checkpoint(store: CheckpointStore) -> None:
    killed = store.directory / ".writing-killed"
    killed.mkdir(parents=True)
    (killed / "metadata.json").write_text(json.dumps({"steps_completed": 9}))
    assert store.checkpoints() == []
    assert list(store.directory.iterdir()) == [killed]
    kept = write(store, 1)
    assert list(store.directory.iterdir()) == [kept]
