"""Does a file get its place whole or not at all, and is nothing written over unasked?"""

from __future__ import annotations

import os
import pathlib

import pytest

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.placing import aside, check_place, place


def test_nothing_is_left_of_what_fails(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "new" / "deep" / "model.pt2"
    with pytest.raises(RuntimeError), aside(file) as folder:
        (folder / "0").mkdir()
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_file_that_is_there_goes_where_that_was_asked_for_alone(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "new" / "model.pt2"
    with aside(file) as folder:
        (folder / file.name).write_text("made")
        file.write_text("mine")
        with pytest.raises(ConfigurationError, match=r"nothing is written over\. Name another"):
            place(folder / file.name, file, "Name another.")
        assert file.read_text() == "mine"
        place(folder / file.name, file, "", overwrite=True)
    assert (os.listdir(file.parent), file.read_text()) == (["model.pt2"], "made")


def test_what_belongs_to_a_file_is_not_written_over_another_one(tmp_path: pathlib.Path) -> None:
    (tmp_path / "model.data").write_text("mine")
    with aside(tmp_path / "model") as folder:
        for name in ("model", "model.data"):
            (folder / name).write_text("made")
        with pytest.raises(ConfigurationError, match=r"model\.data is there already"):
            place(folder / "model", tmp_path / "model", "")
    assert (os.listdir(tmp_path), (tmp_path / "model.data").read_text()) == (["model.data"], "mine")


def test_place_that_is_taken_or_cannot_be_one_is_refused(tmp_path: pathlib.Path) -> None:
    taken = tmp_path / "taken"
    taken.symlink_to("nowhere")
    with pytest.raises(ConfigurationError, match=r"--out taken is there already, and .*\. Do this"):
        check_place(taken, "--out taken", "Do this.")
    check_place(taken, "--out taken", "", overwrite=True)
    check_place(tmp_path / "new" / "deep" / "file", "", "")
    with pytest.raises(ConfigurationError, match="is a directory"):
        check_place(tmp_path, "x", "", overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file is no directory"):
        check_place(tmp_path / "file" / "model", "x", "")
