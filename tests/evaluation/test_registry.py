"""Does `lightning-adapter register` put a cluster's checkpoint into the registry, once, and say what it has done?"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from fake_checkpoints import CheckpointsMaster
from fake_commands_master import MOMENT, Answer, refusal
from lightning_adapter import cli
from lightning_adapter.checkpoints.file import FILE

UUIDS = [f"0fae6c4f-1c0e-4a6e-9d1e-1d5a0f7f2b3{digit}" for digit in "ab"]


class RegistryMaster(CheckpointsMaster):
    """A master with a registry, as `bindings` of 0.38.1 asks for it.

    Attributes:
        models: name -> the model.
        versions: name -> its versions.
    """

    def __init__(self, store: pathlib.Path) -> None:
        super().__init__(store)
        self.models: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, list[dict[str, Any]]] = {}

    def known(self, method: str, path: str, query: dict[str, list[str]], sent: Any) -> Answer | None:
        match (method, *path.strip("/").split("/")):
            case ("POST", "api", "v1", "models"):
                self.models[sent["name"]] = {
                    "archived": False, "creationTime": MOMENT, "id": len(self.models) + 1, "lastUpdatedTime": MOMENT,
                    "metadata": {}, "name": sent["name"], "numVersions": 0, "userId": 2, "username": "determined",
                    "workspaceId": 1, "description": sent.get("description"),
                }  # fmt: skip
                self.versions[sent["name"]] = []
                return 200, {"model": self.models[sent["name"]]}
            case ("GET", "api", "v1", "models", name) if name in self.models:
                return 200, {"model": self.models[name]}
            case ("GET", "api", "v1", "models", name, "versions") if name in self.models:
                found = self.versions[name]
                pagination = {"offset": 0, "limit": 100, "startIndex": 0, "endIndex": len(found), "total": len(found)}
                return 200, {"modelVersions": found, "model": self.models[name], "pagination": pagination}
            case ("POST", "api", "v1", "models", name, "versions") if name in self.models:
                (checkpoint,) = (each for each in self.checkpoints if each["uuid"] == sent["checkpointUuid"])
                version = {
                    "checkpoint": checkpoint, "creationTime": MOMENT, "id": 1, "lastUpdatedTime": MOMENT,
                    "model": self.models[name], "version": len(self.versions[name]) + 1,
                }  # fmt: skip
                self.versions[name].append(version)
                return 200, {"modelVersion": version}
            case ("PATCH", "api", "v1", "models", name, "versions", number):
                version = self.versions[name][int(number) - 1]
                version.update(sent)
                return 200, {"modelVersion": version}
        return super().known(method, path, query, sent)

    def add(self, uuid: str, loss: float, steps: int) -> None:
        """Know a checkpoint of trial 23."""
        self._trials[23] = {
            "id": 23, "experimentId": 7, "startTime": MOMENT, "state": "STATE_COMPLETED", "restarts": 0, "hparams": {},
            "totalBatchesProcessed": 2, "summaryMetrics": {},
        }  # fmt: skip
        directory = self._store / uuid
        directory.mkdir(parents=True)
        torch.save({}, directory / FILE)
        self._add_checkpoint(23, uuid, {"steps_completed": steps}, {"val_loss": loss})


@pytest.fixture
def master(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryMaster]:
    """With two checkpoints, of which the first is the best."""
    monkeypatch.chdir(tmp_path)
    with RegistryMaster(tmp_path / "store") as running:
        for steps, (uuid, loss) in enumerate(zip(UUIDS, (0.1, 0.2), strict=True), 1):
            running.add(uuid, loss, steps)
        monkeypatch.setenv("DET_MASTER", running.url)
        monkeypatch.setenv("DET_DEBUG_CONFIG_PATH", str(tmp_path / "logins"))
        for name in ("DET_USER", "DET_PASS", "DET_USER_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        yield running


def register(*words: str) -> int:
    return cli.main(["register", *words])


def test_best_checkpoint_of_an_experiment_is_the_first_version_of_a_new_model(
    master: RegistryMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register("7", "digits", "--description", "of handwriting") == 0
    assert master.models["digits"]["description"] == "of handwriting"
    assert [each["checkpoint"]["uuid"] for each in master.versions["digits"]] == [UUIDS[0]]
    said = capsys.readouterr().out
    assert (
        f"checkpoint {UUIDS[0]} of batch 1 (trial 23, the best by val_loss (0.1)) is version 1 of the new model digits"
        in said
    )
    assert f"{master.url}/det/models/digits" in said


def test_same_checkpoint_stays_one_version_and_another_is_the_next(
    master: RegistryMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register(UUIDS[0], "digits") == register(UUIDS[0], "digits") == 0
    assert "is version 1 of digits already" in capsys.readouterr().out
    assert register("7", "digits", "--last", "--description", "longer") == 0
    assert [each["checkpoint"]["uuid"] for each in master.versions["digits"]] == UUIDS
    assert (master.versions["digits"][1]["notes"], master.models["digits"]["description"]) == ("longer", "")


def test_run_that_was_fetched_knows_its_checkpoint(master: RegistryMaster, tmp_path: pathlib.Path) -> None:
    checkpoint = run_directory(tmp_path, UUIDS[1], {"steps_completed": 2, "experiment_id": 7, "trial_id": 23})
    assert register(str(checkpoint.parent.parent), "digits") == 0
    assert [each["checkpoint"]["uuid"] for each in master.versions["digits"]] == [UUIDS[1]]


def run_directory(here: pathlib.Path, uuid: str, metadata: dict[str, Any]) -> pathlib.Path:
    checkpoint = here / "run" / "checkpoints" / uuid
    checkpoint.mkdir(parents=True)
    (checkpoint / "metadata.json").write_text(json.dumps(metadata))
    torch.save({}, checkpoint / FILE)
    (here / "run" / "experiment.yaml").write_text("name: x\n")
    return checkpoint


def test_checkpoint_that_was_trained_here_is_no_masters(
    master: RegistryMaster, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_directory(tmp_path, UUIDS[1], {"steps_completed": 2})
    assert register("run", "digits") == 2
    said = capsys.readouterr().err
    assert "was trained on this machine" in said and "--to package" in said
    assert master.models == {}


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_damaged_metadata_is_told_in_a_line(
    text: str, master: RegistryMaster, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = run_directory(tmp_path, UUIDS[1], {})
    (checkpoint / "metadata.json").write_bytes(text.encode("latin-1"))
    assert register(str(checkpoint), "digits") == 2
    assert f"{checkpoint / 'metadata.json'} is " in capsys.readouterr().err
    assert master.models == {}


@pytest.mark.parametrize(
    ("name", "word"), [("12", "is a number"), ("a/b", "has / in it"), (" ", "is empty"), ("a  b", "several in a row")]
)
def test_name_that_the_registry_does_not_take_is_refused_without_a_master(
    name: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register("7", name) == 2
    assert word in capsys.readouterr().err


def test_experiment_that_is_not_there_makes_no_model(
    master: RegistryMaster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert register("9", "digits") == 2
    assert "has no experiment 9" in capsys.readouterr().err
    assert master.models == {}


def test_master_that_refuses_the_version_is_told_in_a_line(
    master: RegistryMaster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = master.known

    def refusing(method: str, path: str, query: dict[str, list[str]], sent: Any) -> Answer | None:
        if method == "POST" and path.endswith("/versions"):
            return refusal(403, 7, "PermissionDenied", "the model is archived")
        return known(method, path, query, sent)

    monkeypatch.setattr(master, "known", refusing)
    assert register("7", "digits") == 2
    said = capsys.readouterr().err
    assert "The master does not give you the model digits" in said and "archived" in said
