"""Which checkpoint is read for a path that is given?"""

from __future__ import annotations

import json
import logging
import pathlib
from typing import Any

import pytest
import torch

from lightning_adapter.checkpoints import file
from lightning_adapter.errors import CheckpointError
from lightning_adapter.platform.start_from import read_checkpoint


def written(directory: pathlib.Path, steps: int, whole: bool = True) -> pathlib.Path:
    """A checkpoint of a number of steps, which its content tells; one that is not whole has a file cut short."""
    directory.mkdir(parents=True)
    saved: dict[str, Any] = {"state_dict": {}, "global_step": steps}
    torch.save(saved, directory / file.FILE)
    if not whole:
        path = directory / file.FILE
        path.write_bytes(path.read_bytes()[:100])
    (directory / "metadata.json").write_text(json.dumps({"steps_completed": steps}))
    return directory


def found(given: pathlib.Path) -> tuple[int, pathlib.Path]:
    saved, path = read_checkpoint(given)
    return saved["global_step"], path


def test_directory_of_a_checkpoint_is_read(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path / "a", 3)

    assert found(path) == (3, path)


def test_newest_of_a_directory_of_checkpoints_is_read(tmp_path: pathlib.Path) -> None:
    written(tmp_path / "b", 3)
    newest = written(tmp_path / "a", 20)

    assert found(tmp_path) == (20, newest)


def test_newest_of_a_run_is_read(tmp_path: pathlib.Path) -> None:
    written(tmp_path / "other", 50)
    newest = written(tmp_path / "checkpoints" / "a", 3)

    assert found(tmp_path) == (3, newest)


def test_file_of_lightning_is_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {}, "global_step": 4}, path)

    assert found(path) == (4, path)


def test_damaged_checkpoint_is_passed_by_with_a_word(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    older = written(tmp_path / "older", 3)
    written(tmp_path / "newer", 4, whole=False)

    with caplog.at_level(logging.WARNING, "lightning_adapter"):
        assert found(tmp_path) == (3, older)

    assert "passing by a checkpoint" in caplog.text and "newer" in caplog.text


def test_directory_without_a_whole_checkpoint_is_refused_with_the_damaged_ones(tmp_path: pathlib.Path) -> None:
    written(tmp_path / "cut", 4, whole=False)

    with pytest.raises(CheckpointError, match=r"(?s)no whole one in it.*\n- .*cut"):
        read_checkpoint(tmp_path)


def test_checkpoint_that_was_being_written_is_no_directory_of_checkpoints(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path / "a", 3)
    (path / "metadata.json").unlink()

    with pytest.raises(CheckpointError, match=r"no metadata\.json"):
        read_checkpoint(path)


def test_path_that_does_not_exist_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        read_checkpoint(tmp_path / "nowhere")
