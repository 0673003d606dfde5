"""A checkpoint file is whole, safe, or refused; what may not stand in one is refused or left out when it is written."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_adapter.checkpoints.file import FILE, LEFT_OUT, check_host_files, read, save
from lightning_adapter.errors import CheckpointError

WEIGHTS = {"state_dict": {"weight": torch.arange(64.0)}}


class Foreign:
    """An object of user code: its class is not allowed by anybody."""


class Names(dict):  # type: ignore[type-arg]
    """A collection of user code, which is pickled by the name of its class."""


class NamesAndMore(Names):
    """One that holds more than its entries."""

    def __init__(self, **entries: Any) -> None:
        super().__init__(**entries)
        self.more = 1


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / FILE


def test_saved_content_is_read_back_equal(file: Path) -> None:
    content = {**WEIGHTS, "epoch": 3, "nested": [1, ("a", 2.5), {"b": None}], "device": torch.device("cpu")}
    save(file, content)
    found = read(file)
    assert torch.equal(found["state_dict"].pop("weight"), torch.arange(64.0))
    assert found == {**content, "state_dict": {}}
    assert list(file.parent.iterdir()) == [file]


def test_collection_of_user_code_is_given_back_as_what_it_was(file: Path) -> None:
    save(file, {**WEIGHTS, "callbacks": {"Mine": Names(lr=1)}})
    assert torch.load(file, weights_only=True)["callbacks"] == {"Mine": {"lr": 1}}
    found = read(file)["callbacks"]["Mine"]
    assert (type(found), found) == (Names, {"lr": 1})


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"callbacks": {"Mine": {"path": Foreign()}}}, "callbacks['Mine']['path']"),
        ({"loops": [1, (2, Foreign())]}, "loops[1][1]"),
        ({"optimizer_states": NamesAndMore(lr=1)}, "optimizer_states"),
        ({"epoch": iter([1])}, "epoch"),
        ({"callbacks": {"Mine": lambda: None}}, "callbacks['Mine']"),
    ],
)
def test_what_is_refused_is_named_by_its_place_and_nothing_is_written(
    content: dict[str, Any], place: str, file: Path
) -> None:
    with pytest.raises(CheckpointError, match=rf"cannot be saved(.|\n)*\n- {re.escape(place)}: "):
        save(file, {**WEIGHTS, **content})
    assert not file.exists()


def test_all_refused_objects_are_named_together(file: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        save(file, {**WEIGHTS, "a": Foreign(), "b": [Foreign()]})
    assert "- a: " in str(caught.value) and "- b[0]: " in str(caught.value)


def test_hyperparameters_that_cannot_be_held_are_left_out_with_one_warning(file: Path) -> None:
    hyperparameters = {"lr": 0.1, "loss": Foreign(), "widths": [8, 8]}
    with pytest.warns(UserWarning, match="left out of the checkpoints") as told:
        save(file, {**WEIGHTS, "hyper_parameters": hyperparameters, "datamodule_hyper_parameters": {"x": Foreign()}})
    assert len(told) == 1
    text = str(told[0].message)
    assert "- hyper_parameters['loss']: " in text and "- datamodule_hyper_parameters['x']: " in text
    assert "lr" not in text
    found = read(file)
    assert found["hyper_parameters"] == {"lr": 0.1, "widths": [8, 8]}
    assert found["datamodule_hyper_parameters"] == {}
    assert set(hyperparameters) == {"lr", "loss", "widths"}, "the run's own hyperparameters were changed"


def test_keys_of_the_module_that_cannot_be_held_are_left_out_and_the_file_lists_them(file: Path) -> None:
    with pytest.warns(UserWarning, match=r"- metric\['best'\]: "):
        save(file, {**WEIGHTS, "metric": {"best": Foreign()}, "kept": 1, LEFT_OUT: ["metric", "kept"]})
    found = read(file)
    assert "metric" not in found and found["kept"] == 1
    assert found[LEFT_OUT] == ["metric"]


def test_content_that_is_held_whole_is_saved_without_warning_or_list(file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(file, {**WEIGHTS, "hyper_parameters": {"lr": 0.1}, "kept": 1, LEFT_OUT: ["kept"]})
    assert LEFT_OUT not in read(file)


@pytest.mark.parametrize("moment", ["replace", "fsync"])
def test_kill_before_the_file_is_in_its_place_leaves_the_old_one(
    moment: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(file, {**WEIGHTS, "epoch": 1})

    def kill(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, moment, kill)
        with pytest.raises(KeyboardInterrupt):
            save(file, {**WEIGHTS, "epoch": 2})
    assert read(file)["epoch"] == 1
    save(file, {**WEIGHTS, "epoch": 3})
    assert read(file)["epoch"] == 3
    assert list(file.parent.iterdir()) == [file]


def test_flipped_bit_of_a_weight_is_found(file: Path) -> None:
    save(file, WEIGHTS)
    content = bytearray(file.read_bytes())
    content[content.index(torch.arange(64.0).numpy().tobytes()) + 5] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"is damaged: the checksum of its entry .*data/\d+ does not hold"):
        read(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"hello", "is cut short, damaged, or no checkpoint"), (None, "does not exist")],
)
def test_file_that_holds_no_checkpoint_is_refused(content: bytes | None, message: str, file: Path) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read(file)


def test_directory_without_metadata_is_refused_although_its_file_is_whole(file: Path) -> None:
    save(file, WEIGHTS)
    with pytest.raises(CheckpointError, match=r"no metadata\.json, which is written last"):
        read(file.parent)
    (file.parent / "metadata.json").write_text("{}")
    assert set(read(file.parent)) == {"state_dict"}


class Runs:
    """Unpickled without restriction, it makes a directory."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


def test_file_that_names_a_function_is_refused_by_its_name_and_runs_nothing(file: Path) -> None:
    victim = file.parent / "victim"
    torch.save({**WEIGHTS, "x": Runs(victim)}, file)
    with pytest.raises(CheckpointError, match=r"it names (posix|nt|os)\.mkdir"):
        read(file)
    assert not victim.exists()


@pytest.mark.parametrize("name", ["trial_state.pkl", "workload_sequencer.pkl"])
def test_pickle_of_determined_that_names_a_class_is_refused_and_a_plain_one_is_not(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"trial_id": 1, "steps": [1, 2], "last": None}))
    check_host_files(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps({"trial_id": 1, "x": Runs(tmp_path / "victim")}))
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)} is damaged, or holds more .*it names \w+\.mkdir"):
        check_host_files(tmp_path)
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("name", ["state_dict.pth", "checkpoint.pt"])
def test_torch_file_of_determined_that_names_a_function_is_refused(name: str, tmp_path: Path) -> None:
    torch.save({"models_state_dict": [], "x": Runs(tmp_path / "victim")}, tmp_path / name)
    with pytest.raises(CheckpointError, match=rf"{re.escape(name)} holds more than tensors"):
        check_host_files(tmp_path)
    assert not (tmp_path / "victim").exists()
