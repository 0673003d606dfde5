"""Checkpoint files: damaged, foreign, poisoned, of another model, too large: each is noticed, and named."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from determined import pytorch
from torch import nn

from lightning_adapter.checkpoints import file as checkpoint
from lightning_adapter.errors import CheckpointError
from parity.models import Data, Net, pl

from .interrupting import FACE, case_of, train

RUN = {"max_epochs": 1}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's directory with three checkpoints."""
    folder = tmp_path_factory.mktemp("written") / "run"
    train(case_of(Net, Data, trace=False, **RUN), folder, checkpoint_period=pytorch.Batch(2))
    return folder


@pytest.fixture
def store(written: Path, tmp_path: Path) -> Path:
    """A copy of its checkpoints."""
    return Path(shutil.copytree(written / "checkpoints", tmp_path / "checkpoints"))


def newest(store: Path) -> Path:
    return max(store.iterdir(), key=lambda path: json.loads((path / "metadata.json").read_text())["steps_completed"])


def resume(path: Path, folder: Path, build: Callable[[], Any] = Net, data: Callable[[], Any] = Data) -> Any:
    return train(case_of(build, data, trace=False, max_epochs=2), folder, resume_from=path)


# --- damaged ----------------------------------------------------------------------------------------------------------


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    place = content.index(next(iter(checkpoint.read(file)["state_dict"].values())).numpy().tobytes()[:8])
    content[place] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut short": (cut, r"lightning\.ckpt is cut short, damaged, or no checkpoint"),
    "one bit": (flip, r"lightning\.ckpt is damaged: the checksum of its entry .*data/\d+ does not hold"),
    "empty": (lambda file: file.write_bytes(b""), r"lightning\.ckpt is empty"),
    "text": (lambda file: file.write_text("hello"), r"lightning\.ckpt is cut short, damaged, or no checkpoint"),
    "missing": (Path.unlink, r"lightning\.ckpt does not exist"),
    "no metadata": (lambda file: (file.parent / "metadata.json").unlink(), "it has no metadata.json"),
    "foreign": (lambda file: torch.save({"weights": torch.ones(2)}, file), "it has no state_dict"),
    "a list": (lambda file: torch.save([1, 2], file), "it has no state_dict"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_named_with_its_fault(damage: str, store: Path, tmp_path: Path) -> None:
    change, message = DAMAGES[damage]
    change(newest(store) / "lightning.ckpt")
    with pytest.raises(CheckpointError, match=message):
        resume(newest_or_last(store), tmp_path / "run")


def newest_or_last(store: Path) -> Path:
    """The directory that was damaged: the one without metadata, or the newest."""
    return next((path for path in store.iterdir() if not (path / "metadata.json").exists()), None) or newest(store)


@pytest.mark.parametrize("damage", ["cut short", "one bit", "empty", "missing", "no metadata"])
def test_newest_whole_checkpoint_of_a_directory_is_taken(damage: str, store: Path, tmp_path: Path) -> None:
    damaged = newest(store)
    DAMAGES[damage][0](damaged / "lightning.ckpt")
    resume(store, tmp_path / "run")
    (line,) = [line for line in (tmp_path / "run" / "train.log").read_text().splitlines() if "resuming from" in line]
    taken = Path(line.partition("resuming from ")[2].split(",")[0])
    assert taken.parent == store and taken != damaged
    assert json.loads((taken / "metadata.json").read_text())["steps_completed"] == 4


def test_directory_without_a_whole_checkpoint_is_refused_with_all_faults(store: Path, tmp_path: Path) -> None:
    for path in store.iterdir():
        cut(path / "lightning.ckpt")
    with pytest.raises(CheckpointError, match=r"(?s)there is no whole one in it.*cut short.*cut short"):
        resume(store, tmp_path / "run")


def test_no_flipped_bit_is_loaded_as_other_content(store: Path) -> None:
    file = newest(store) / "lightning.ckpt"
    content, generator = file.read_bytes(), random.Random(3)
    reference = as_bytes(checkpoint.read(file))
    noticed = 0
    for _ in range(150):
        changed = bytearray(content)
        changed[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        file.write_bytes(changed)
        try:
            found = checkpoint.read(file)
        except CheckpointError:
            noticed += 1
            continue
        assert as_bytes(found) == reference  # a bit that carries nothing: padding, a time
    assert noticed > 50


def as_bytes(content: Any) -> bytes:
    stream = io.BytesIO()
    pickle.dump(_plain(content), stream)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), list(value.shape), value.flatten().tolist()]
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


# --- of another run ---------------------------------------------------------------------------------------------------


class Wider(Net):
    def __init__(self) -> None:
        super().__init__()
        self.net[0] = nn.Linear(5, 8)
        self.extra = nn.Linear(2, 2)
        del self.net[3:]
        self.net.append(nn.Linear(8, 1))


class TwoOptimizers(Net):
    def configure_optimizers(self) -> Any:
        self.automatic_optimization = False
        return [torch.optim.SGD(self.net.parameters(), lr=0.1), torch.optim.SGD(self.net.parameters(), lr=0.1)]


def test_other_model_lists_missing_unexpected_and_misshaped_parameters(store: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="another model than Wider") as caught:
        resume(newest(store), tmp_path / "run", Wider)
    text = str(caught.value)
    assert "extra.weight is in the module, not in the checkpoint" in text
    assert "net.4.weight is in the checkpoint, not in the module" in text
    assert "net.0.weight has shape (8, 4) in the checkpoint, (8, 5) in the module" in text


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (TwoOptimizers, r"it has 1 optimizers, configure_optimizers\(\) made 2"),
        (lambda: Net(scheduler="step"), r"it has 0 schedulers, configure_optimizers\(\) made 1"),
    ],
)
def test_other_optimizers_and_schedulers_are_said(
    build: Callable[[], Any], message: str, store: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        resume(newest(store), tmp_path / "run", build)


def test_other_epoch_length_is_noticed_in_mid_epoch(store: Path, tmp_path: Path) -> None:
    earlier = min(store.iterdir(), key=lambda path: json.loads((path / "metadata.json").read_text())["steps_completed"])
    with pytest.raises(CheckpointError, match=r"after batch 2 of an epoch of 6 batches; now an epoch has 10"):
        resume(earlier, tmp_path / "run", data=lambda: Data(count=40))


# --- poisoned ---------------------------------------------------------------------------------------------------------


class Poison:
    """Unpickled without restriction, it leaves a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


FILES = (
    "lightning.ckpt",
    "state_dict.pth",
    "trial_state.pkl",
    "workload_sequencer.pkl",
    "checkpoint.pt",
    "load_data.json",
    "metadata.json",
)


def poison(path: Path, victim: Path) -> None:
    if path.suffix in (".ckpt", ".pth", ".pt"):
        torch.save({"state_dict": {}, "models_state_dict": [], "x": Poison(victim)}, path)
    else:
        path.write_bytes(pickle.dumps({"trial_id": 0, "x": Poison(victim)}))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", ["resume_from", "warm_start_from"])
def test_poisoned_file_runs_no_code(name: str, way: str, store: Path, tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", newest(store)
    poison(path / name, victim)
    try:
        train(case_of(Net, Data, trace=False, max_epochs=2), tmp_path / "run", **{way: path})
    except CheckpointError as error:
        assert name == "lightning.ckpt", f"only what is read can be refused, not {name}: {error}"
        assert "posix.mkdir" in str(error) or "os.mkdir" in str(error)
    else:
        assert name != "lightning.ckpt"
    assert not victim.exists()


@pytest.fixture
def determined_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where Determined's own Trainer keeps the checkpoints of local runs."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    yield tmp_path / "data"


def by_determined(batches: int, uuid: str | None = None) -> str:
    """Train under Determined's own Trainer; returns the id of the last checkpoint."""
    ids: list[str] = []

    class Note(pytorch.PyTorchCallback):
        def on_checkpoint_upload_end(self, uuid: str) -> None:
            ids.append(uuid)

    class Trial(FACE.LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(
                context, Net(), Data(), enable_progress_bar=False, enable_model_summary=False, logger=False
            )

        def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
            return {"note": Note()}

    with pytorch.init(enable_tensorboard_logging=False) as context:
        trainer = pytorch.Trainer(Trial(context), context)
        trainer.fit(max_length=pytorch.Batch(batches), latest_checkpoint=uuid)
    return ids[-1]


@pytest.mark.parametrize("name", ["state_dict.pth", "trial_state.pkl", "workload_sequencer.pkl"])
def test_poisoned_file_is_refused_before_determineds_own_trainer_reads_it(
    name: str, determined_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    monkeypatch.chdir(tmp_path / "code")
    uuid = by_determined(3)
    (path,) = determined_store.rglob(uuid)
    by_determined(6, uuid)
    poison(path / name, tmp_path / "victim")
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        by_determined(6, uuid)
    assert not (tmp_path / "victim").exists()


# --- what user code puts in -------------------------------------------------------------------------------------------


class Foreign:
    """An object of user code."""


class Puts(Net):
    """Puts something into the checkpoint."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def on_save_checkpoint(self, content: dict[str, Any]) -> None:
        content["mine"] = {"deep": [1, self.value]}


def test_object_of_the_module_that_would_be_refused_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(checkpoint.notices, "warn", lambda message, **_: told.append(str(message)))
    trained = train(case_of(lambda: Puts(Foreign()), Data, trace=False, **RUN), tmp_path / "run")
    assert any(re.search(r"left out of the checkpoints(.|\n)*mine\['deep'\]\[1\]: .*Foreign", t) for t in told)
    assert "mine" not in checkpoint.read(trained.trial.latest_checkpoint)


def test_object_in_the_state_of_a_callback_that_would_be_refused_is_an_error_before_training(tmp_path: Path) -> None:
    class Keeps(pl.Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"where": Foreign()}

    with pytest.raises(CheckpointError, match=r"\['where'\]: .*Foreign.*\n?.*Convert them"):
        train(case_of(Net, Data, trace=False, callbacks=lambda: [Keeps()], **RUN), tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


# --- size, retention --------------------------------------------------------------------------------------------------


class Large(Net):
    """Twenty megabytes of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Linear(2600, 2000)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.001)

    def loss(self, batch: Any) -> Any:
        return super().loss(batch) + self.large.weight.mean() + self.large.bias.mean()


def test_checkpoint_of_a_large_model_is_hardly_larger_than_its_state(tmp_path: Path) -> None:
    trained = train(case_of(Large, Data, trace=False, **RUN), tmp_path / "run", checkpoint_period=pytorch.Batch(4))
    module = trained.trial.lightning_module
    plain = tmp_path / "plain.pt"
    torch.save([module.state_dict(), module.trainer.optimizers[0].state_dict()], plain)
    assert sum(value.nbytes for value in module.state_dict().values()) > 20e6
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        assert size <= 1.1 * plain.stat().st_size


class Worsening(Net):
    """Its validation is best in the first epoch."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("score", float([5, 1, 2, 3, 4][self.current_epoch]))


@pytest.mark.parametrize(
    ("storage", "kept"),
    [
        ({"save_trial_best": 1, "save_trial_latest": 1}, [12, 30]),
        ({"save_trial_best": 2, "save_trial_latest": 1}, [12, 18, 30]),
        ({"save_trial_best": 0, "save_trial_latest": 2}, [24, 30]),
        ({"save_trial_best": 0, "save_trial_latest": 0}, [30]),
        ({"save_experiment_best": 3, "save_trial_best": 0, "save_trial_latest": 1}, [12, 18, 24, 30]),
    ],
)
def test_retention_keeps_the_best_by_the_searchers_metric_and_the_latest(
    storage: dict[str, int], kept: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Trial(FACE.LightningAdapter):
        def __init__(self, context: Any) -> None:
            options = {"enable_progress_bar": False, "enable_model_summary": False}
            super().__init__(context, Worsening(), Data(), **options)

    config = {"checkpoint_storage": storage, "searcher": {"metric": "score", "smaller_is_better": True}}
    trial = FACE.fit(Trial, config=config, max_epochs=5, run_dir=tmp_path / "run")
    stored = {json.loads(file.read_text())["steps_completed"]: file.parent.name
              for file in (tmp_path / "run" / "checkpoints").glob("*/metadata.json")}  # fmt: skip
    assert sorted(stored) == kept
    assert trial.latest_checkpoint.name == stored[30]
    best = 12 if 12 in stored else min(kept)
    assert trial.best_checkpoint.name == stored[best]
    printed = capsys.readouterr().out
    assert stored[30] in printed and stored[best] in printed
