"""A checkpoint file is written to where it is asked for, into directories that are not there yet and to URLs, and read there."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch

from lightning_adapter.checkpoints import file, location
from lightning_adapter.errors import CheckpointError
from lightning_adapter.platform.start_from import read_checkpoint, starting_point

WEIGHTS = {"state_dict": {"weight": torch.arange(64.0)}}


@pytest.fixture
def memory() -> Iterator[str]:
    """A place in fsspec's filesystem in memory."""
    filesystem = fsspec.filesystem("memory")
    yield "memory://checkpoints"
    if filesystem.exists("/checkpoints"):
        filesystem.rm("/checkpoints", recursive=True)


def test_missing_directories_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.ckpt"
    file.save(path, WEIGHTS)

    assert torch.equal(file.read(path)["state_dict"]["weight"], torch.arange(64.0))
    assert os.listdir(path.parent) == ["x.ckpt"]


def test_local_paths_are_those_of_lightning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert location.local_path("~/x.ckpt") == tmp_path / "x.ckpt"
    assert location.local_path(f"file://{tmp_path}/x.ckpt") == tmp_path / "x.ckpt"
    assert not location.is_remote(f"file://{tmp_path}/x.ckpt")
    assert not location.is_remote(tmp_path / "a::b=1:c.ckpt")
    assert location.is_remote("s3://bucket/x.ckpt")


def test_file_at_a_url_is_read_back_and_removed(memory: str) -> None:
    url = f"{memory}/new/x.ckpt"
    file.save(url, WEIGHTS)

    saved, source = read_checkpoint(url)
    assert torch.equal(saved["state_dict"]["weight"], torch.arange(64.0))
    assert source == url
    assert fsspec.filesystem("memory").ls("/checkpoints/new", detail=False) == ["/checkpoints/new/x.ckpt"]
    location.remove(url)
    location.remove(url)
    with pytest.raises(CheckpointError, match=r"memory://checkpoints/new/x\.ckpt does not exist"):
        read_checkpoint(url)


def test_write_to_a_url_that_fails_leaves_the_old_file(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{memory}/x.ckpt"
    file.save(url, {**WEIGHTS, "epoch": 1})

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", lambda content, stream: stream.write(b"half") and _kill())
        file.save(url, {**WEIGHTS, "epoch": 2})

    assert file.read(url)["epoch"] == 1


def test_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.ckpt"
    file.save(path, {**WEIGHTS, "epoch": 1})

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", lambda content, stream: stream.write(b"half") and _kill())
        file.save(path, {**WEIGHTS, "epoch": 2})

    assert file.read(path)["epoch"] == 1
    assert os.listdir(tmp_path) == ["x.ckpt"]


def test_full_disk_is_named_in_the_systems_words(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"x\.ckpt cannot be written: \[Errno 27\] .*--resume-from"):
            file.save(tmp_path / "x.ckpt", {"state_dict": {"weight": torch.zeros(100_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not os.listdir(tmp_path)


def _kill() -> None:
    raise KeyboardInterrupt


def test_directory_of_a_checkpoint_at_a_url_is_read_when_it_is_whole(memory: str) -> None:
    file.save(f"{memory}/id/{file.FILE}", WEIGHTS)
    with pytest.raises(CheckpointError, match=r"no metadata\.json"):
        read_checkpoint(f"{memory}/id")
    fsspec.filesystem("memory").pipe("/checkpoints/id/metadata.json", b"{}")

    start, source = starting_point(f"{memory}/id", weights_only=True)
    assert start.saved is not None and source == f"{memory}/id"
    assert start.path == f"{memory}/id/{file.FILE}"


def test_flipped_bit_of_a_file_at_a_url_is_found(memory: str) -> None:
    url, filesystem = f"{memory}/x.ckpt", fsspec.filesystem("memory")
    file.save(url, WEIGHTS)
    content = bytearray(filesystem.cat_file("/checkpoints/x.ckpt"))
    content[content.index(torch.arange(64.0).numpy().tobytes()) + 5] ^= 1
    filesystem.pipe("/checkpoints/x.ckpt", bytes(content))

    with pytest.raises(CheckpointError, match=r"memory://checkpoints/x\.ckpt is damaged: the checksum"):
        read_checkpoint(url)


@pytest.mark.parametrize("url", ["nosuch://x/y.ckpt", "http://127.0.0.1:9/y.ckpt", "s3://bucket/y.ckpt"])
def test_place_that_cannot_be_reached_is_named_with_its_reason(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed

    with pytest.raises(CheckpointError, match=rf"{url} (cannot be reached .*or give a local copy|does not exist)"):
        read_checkpoint(url)
