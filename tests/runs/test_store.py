"""A checkpoint is there whole or not at all, whatever happens while it is written or removed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from pathlib import Path

import pytest

from lightning_adapter.errors import CheckpointError
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
    killed = store.directory / f".writing-{uuid.uuid4()}"
    killed.mkdir(parents=True)
    (killed / "metadata.json").write_text(json.dumps({"steps_completed": 9}))
    assert store.checkpoints() == []
    assert list(store.directory.iterdir()) == [killed]
    kept = write(store, 1)
    assert list(store.directory.iterdir()) == [kept]


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
@pytest.mark.parametrize("name", [".writing-x", ".removing-x"])
def test_what_somebody_else_has_given_such_a_name_is_left_alone(store: CheckpointStore, name: str, kind: str) -> None:
    store.directory.mkdir()
    foreign = store.directory / name
    if kind == "file":
        foreign.write_text("mine")
    elif kind == "directory":
        foreign.mkdir()
    else:
        foreign.symlink_to("nowhere")
    kept = write(store, 1)
    store.remove([write(store, 2)])
    assert set(store.directory.iterdir()) == {foreign, kept}


def odd_metadata(path: Path, kind: str) -> None:
    if kind == "loop":
        path.symlink_to(path.name)
    elif kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(
            {"deep": b"[" * 100_000, "binary": b"\xff\xfe", "huge": b'{"steps_completed": 1, "validation": {"a": 1'}[
                kind
            ]
        )
        if kind == "huge":
            path.write_bytes(path.read_bytes() + b"0" * 400 + b"}}")


@pytest.mark.parametrize("kind", ["loop", "directory", "pipe", "deep", "binary", "huge"])
def test_odd_metadata_is_no_checkpoint_and_hides_no_other(store: CheckpointStore, kind: str) -> None:
    kept = write(store, 1)
    (store.directory / "odd").mkdir()
    odd_metadata(store.directory / "odd" / "metadata.json", kind)
    assert [checkpoint.path for checkpoint in store.checkpoints()] == [kept]


def test_checkpoints_on_another_disk_are_superseded_whole(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, later = write(store, 1), write(store, 2)
    rename = os.rename

    def across_disks(source: Path, target: Path) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", across_disks)
    stays: list[list[Path]] = []
    store.supersede_after(1, lambda those: stays.append([one.path for one in those]))
    assert list(store.directory.iterdir()) == [kept] and stays == [[kept]]
    moved = store.superseded / later.name
    assert list(store.superseded.iterdir()) == [moved]
    assert {path.name for path in moved.iterdir()} == {"weights", "metadata.json"}


def test_checkpoint_that_the_disk_does_not_take_is_named(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, 1)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse)
        with pytest.raises(
            CheckpointError, match=r"checkpoint of batch 2 cannot be written: .*Read-only.*--resume-from"
        ):
            write(store, 2)


def test_error_of_the_block_is_not_hidden_by_what_cannot_be_cleared_away(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.raises(RuntimeError, match="the user's"), store.write({"steps_completed": 2}):
        monkeypatch.setattr(os, "unlink", refuse)
        monkeypatch.setattr(os, "rmdir", refuse)
        raise RuntimeError("the user's")


def test_validation_of_a_checkpoint_that_somebody_has_taken_away_is_no_fault(store: CheckpointStore) -> None:
    write(store, 1).rename(store.directory.parent / "taken")
    store.validated(1, {"loss": 0.5}, 0)
    assert store.checkpoints() == []


# Checkpoints of an earlier run


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A checkpoint of another directory, validated."""
    other = CheckpointStore(tmp_path / "other" / "checkpoints", tmp_path / "other" / "superseded")
    other.validated(4, {"loss": 0.5}, 1)
    path = write(other, 4)
    (path / "code").mkdir()
    (path / "code" / "model.py").write_text("x = 1")
    return path


def test_carried_checkpoint_is_the_same_files_and_outlives_the_earlier_run(
    store: CheckpointStore, earlier: Path
) -> None:
    before = sorted(path.name for path in earlier.iterdir())
    store.carry(earlier, earlier.name, {"loss": 0.9, "other": 0.1})
    here = store.directory / earlier.name
    assert os.stat(here / "weights").st_ino == os.stat(earlier / "weights").st_ino
    assert sorted(path.name for path in here.iterdir()) == sorted(path.name for path in earlier.iterdir()) == before
    assert store.checkpoints() == [StoredCheckpoint(here, 4, {"loss": 0.5, "other": 0.1}, 1)]  # what is there wins
    assert json.loads((earlier / "metadata.json").read_text())["validation"] == {"loss": 0.5}
    shutil.rmtree(earlier)
    assert (here / "code" / "model.py").read_text() == "x = 1"


def test_checkpoint_of_another_disk_is_carried_as_a_copy(
    store: CheckpointStore, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    store.carry(earlier, earlier.name, {})
    here = store.directory / earlier.name
    assert os.stat(here / "weights").st_ino != os.stat(earlier / "weights").st_ino
    assert (here / "weights").read_bytes() == b"1" and store.checkpoints()[0].validation == {"loss": 0.5}


def test_carried_checkpoint_that_the_disk_does_not_take_is_absent(
    store: CheckpointStore, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.directory.mkdir()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copy2", refuse)
    with pytest.raises(OSError, match="No space left"):
        store.carry(earlier, earlier.name, {})
    assert list(store.directory.iterdir()) == []


def test_checkpoint_that_is_here_is_told_its_value_and_keeps_its_place_among_equals(store: CheckpointStore) -> None:
    first, second = write(store, 4), write(store, 4)
    store.carry(first, first.name, {"loss": 0.5})
    found = store.checkpoints()
    assert [one.path for one in found] == [first, second] and found[0].validation == {"loss": 0.5}
