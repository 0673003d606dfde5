"""A checkpoint that is written beside training: whole or absent, of the moment at which it was due, and its failure heard."""

from __future__ import annotations

import io
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from determined import core, pytorch
from torch.utils.data import DataLoader, TensorDataset

from lightning_adapter.checkpoints import file
from lightning_adapter.checkpoints.snapshot import Snapshot
from lightning_adapter.errors import CheckpointError
from lightning_adapter.platform import boundaries
from lightning_adapter.platform.beside import VARIABLE
from lightning_adapter.platform.checkpoint_writer import CheckpointWriter
from lightning_adapter.runs import store
from lightning_adapter.runs.directory import RunDirectory
from lightning_adapter.runs.recorder import Recorder

from .interrupting import FACE
from .killed import KilledTrial, Killer, result_of

KEEP_ALL = {"checkpoint_storage": {"save_trial_latest": 1000}}
OPTIONS = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}


class Net(FACE.DETLM):
    """Right after each step its weights are changed in place once more."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        with torch.no_grad():
            self.layer.weight.mul_(0.9)
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)

    def train_dataloader(self) -> Any:
        return loader()


def loader(workers: int = 0) -> Any:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x), batch_size=4, shuffle=True, num_workers=workers)


class Trial(FACE.LightningAdapter):
    def __init__(self, context: Any) -> None:
        super().__init__(context, self.module(), **OPTIONS)

    def module(self) -> Net:
        return Net()


def train(folder: Path, trial: type[Trial] = Trial, **options: Any) -> Any:
    given = {"checkpoint_period": pytorch.Batch(1), "max_epochs": 2, **options}
    return FACE.fit(trial, config=KEEP_ALL, seed=3, run_dir=folder, **given)


def stored(folder: Path) -> list[int]:
    return [each.steps_completed for each in store.stored_checkpoints(folder / "checkpoints")]


def weights(trial: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trial.lightning_module.state_dict().items()}


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each file takes a while; those that are written beside training are counted."""
    usual, begun = Snapshot.write, []

    def write(self: Snapshot, stream: Any) -> None:
        begun.append(stream)
        time.sleep(0.05)
        usual(self, stream)

    monkeypatch.setattr(Snapshot, "write", write)
    return begun


def test_file_holds_what_was_there_at_its_moment(
    tmp_path: Path, slow: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, at_once = Snapshot.of, []

    def of(content: Any) -> Snapshot | None:
        stream = io.BytesIO()
        torch.save(content, stream)
        at_once.append(stream.getvalue())
        return usual(content)

    monkeypatch.setattr(Snapshot, "of", of)
    train(tmp_path / "run", max_epochs=1)
    assert stored(tmp_path / "run") == list(range(1, 11))
    found = [each.path / file.FILE for each in store.stored_checkpoints(tmp_path / "run" / "checkpoints")]
    assert [path.read_bytes() for path in found] == at_once


def test_checkpoint_asks_no_driver_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = CheckpointWriter.write

    def write(self: CheckpointWriter, *given: Any) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked"))
            return usual(self, *given)

    monkeypatch.setattr(CheckpointWriter, "write", write)
    train(tmp_path / "run", max_epochs=1)
    assert stored(tmp_path / "run") == list(range(1, 11))


def test_training_goes_on_while_a_file_is_written_and_its_numbers_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, trained, begun, went_on = Snapshot.write, threading.Condition(), [], []

    class Watched(Trial):
        def module(self) -> Net:
            class Noting(Net):
                def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
                    with trained:
                        begun.append(batch_idx)
                        trained.notify_all()

            return Noting()

    def write(self: Snapshot, stream: Any) -> None:
        written = 5 * (len(went_on) + 1)
        with trained:
            went_on.append(trained.wait_for(lambda: len(begun) > written, 30 if written < 20 else 0))
        usual(self, stream)

    monkeypatch.setattr(Snapshot, "write", write)
    beside = train(tmp_path / "beside", Watched, checkpoint_period=pytorch.Batch(5))
    assert went_on == [True, True, True, False]  # no batch follows the last one
    monkeypatch.setenv(VARIABLE, "wait")
    waited = train(tmp_path / "waited", checkpoint_period=pytorch.Batch(5))
    assert len(went_on) == 4  # nothing was copied
    assert stored(tmp_path / "beside") == stored(tmp_path / "waited") == [5, 10, 15, 20]
    assert all(torch.equal(value, weights(waited)[name]) for name, value in weights(beside).items())


def test_workers_that_are_forked_while_a_file_is_written_come_to_their_end(tmp_path: Path, slow: list[Any]) -> None:
    class Forks(Trial):
        def module(self) -> Net:
            class WithWorkers(Net):
                def train_dataloader(self) -> Any:
                    return loader(workers=2)

            return WithWorkers()

    # a checkpoint at the end of each epoch, and the workers of the next one right behind it
    with_workers = train(tmp_path / "workers", Forks, checkpoint_period=pytorch.Batch(10), max_epochs=4)
    assert stored(tmp_path / "workers") == [10, 20, 30, 40]
    for each in store.stored_checkpoints(tmp_path / "workers" / "checkpoints"):
        assert file.read(each.path)["global_step"] == each.steps_completed
    alone = train(tmp_path / "alone", max_epochs=4)
    assert all(torch.equal(value, weights(alone)[name]) for name, value in weights(with_workers).items())


def test_disk_that_takes_no_file_ends_the_run_with_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, steps = Snapshot.write, []

    def write(self: Snapshot, stream: Any) -> None:
        steps.append(0)
        if len(steps) == 3:
            raise OSError(28, "No space left on device")
        usual(self, stream)

    monkeypatch.setattr(Snapshot, "write", write)
    with pytest.raises(CheckpointError, match=r"cannot be written: .*No space left on device"):
        train(tmp_path / "run")
    assert stored(tmp_path / "run") == [1, 2]
    assert not list((tmp_path / "run" / "checkpoints").glob(".writing-*"))
    monkeypatch.undo()
    resumed = train(tmp_path / "run", resume_from=tmp_path / "run")
    whole = train(tmp_path / "whole")
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


def test_failure_ends_the_run_where_it_looks_whether_it_has_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []

    class Counts(Trial):
        def module(self) -> Net:
            class Counting(Net):
                def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
                    trained.append(batch_idx)
                    time.sleep(0.02)

                def train_dataloader(self) -> Any:
                    return DataLoader(TensorDataset(torch.ones(400, 3)), batch_size=4)

            return Counting()

    def write(self: Snapshot, stream: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Snapshot, "write", write)
    monkeypatch.setattr(boundaries, "PREEMPTION_CHECK_BATCHES", 1)
    with pytest.raises(CheckpointError, match="No space left on device"):
        train(tmp_path / "run", Counts, checkpoint_period=pytorch.Batch(70), max_epochs=1)
    assert 70 <= len(trained) < 100  # and not at the end, where it waits


def test_record_of_the_run_and_rows_of_validations_wait_for_the_file(
    tmp_path: Path, slow: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, trains, beside = threading.Event(), threading.get_ident(), []
    began, ended = Snapshot.write, RunDirectory.apply_retention

    class Validates(Trial):
        def module(self) -> Net:
            class Validating(Net):
                def validation_step(self, batch: Any, batch_idx: int) -> None:
                    self.log("val_loss", self.layer(batch[0]).pow(2).mean())

                def val_dataloader(self) -> Any:
                    return loader()

            return Validating()

    def write(self: Snapshot, stream: Any) -> None:
        writing.set()
        began(self, stream)

    def tidy(self: RunDirectory, *args: Any) -> Any:
        try:
            return ended(self, *args)
        finally:
            writing.clear()

    def watched(place: Any, name: str) -> None:
        usual = getattr(place, name)

        def called(*args: Any, **options: Any) -> Any:
            if writing.is_set() and threading.get_ident() == trains:
                beside.append((name, *map(str, args[1:2])))
            return usual(*args, **options)

        monkeypatch.setattr(place, name, called)

    monkeypatch.setattr(Snapshot, "write", write)
    monkeypatch.setattr(RunDirectory, "apply_retention", tidy)
    for name in ("took", "logged", "show", "change"):
        watched(Recorder, name)
    for name in ("validated", "write", "checkpoints"):
        watched(store.CheckpointStore, name)
    train(tmp_path / "run", Validates, checkpoint_period=pytorch.Batch(3))
    assert len(slow) == len(stored(tmp_path / "run")) == 7  # at batch 20 too, where it ends
    assert beside == []


def test_all_ranks_wait_for_a_file_that_a_callback_of_one_reads(
    tmp_path: Path, slow: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = core.DistributedContext.gather

    def with_another_rank(self: core.DistributedContext, stuff: Any) -> Any:
        mine = usual(self, stuff)
        return [*mine, (stuff[0], True)]

    monkeypatch.setattr(core.DistributedContext, "gather", with_another_rank)
    train(tmp_path / "run", max_epochs=1, checkpoint_period=pytorch.Batch(5))
    assert stored(tmp_path / "run") == [5, 10]
    assert not slow  # nothing was copied


def test_failure_of_the_last_file_is_that_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: Snapshot, stream: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Snapshot, "write", write)
    with pytest.raises(CheckpointError, match="No space left on device"):
        train(tmp_path / "run", max_epochs=1, checkpoint_period=pytorch.Batch(10))


def test_exception_of_user_code_finds_the_file_written(tmp_path: Path, slow: list[Any]) -> None:
    class Fails(Trial):
        def module(self) -> Net:
            class Failing(Net):
                def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
                    if batch_idx == 5:
                        raise ValueError("of the user")

                def on_exception(self, exception: BaseException) -> None:
                    assert stored(tmp_path / "run") == [5]

            return Failing()

    with pytest.raises(ValueError, match="of the user"):
        train(tmp_path / "run", Fails, checkpoint_period=pytorch.Batch(5))
    assert stored(tmp_path / "run") == [5]


@pytest.mark.parametrize("hook", ["on_checkpoint_write_end", "on_checkpoint_upload_end"])
def test_callback_of_determined_that_is_told_of_files_finds_them(hook: str, tmp_path: Path, slow: list[Any]) -> None:
    found: list[str] = []

    class Reads(pytorch.PyTorchCallback):
        pass

    def told(self: Any, **what: str) -> None:
        place = what.get("checkpoint_dir") or tmp_path / "run" / "checkpoints" / what["uuid"]
        found.append(str(torch.load(Path(place) / file.FILE, weights_only=False)["global_step"]))

    def told_of_directory(self: Any, checkpoint_dir: str) -> None:
        told(self, checkpoint_dir=checkpoint_dir)

    setattr(Reads, hook, told_of_directory if hook == "on_checkpoint_write_end" else told)

    class WithCallback(Trial):
        def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
            return {"reads": Reads()}

    train(tmp_path / "run", WithCallback, checkpoint_period=pytorch.Batch(4), max_epochs=1)
    assert found == ["4", "8", "10"]
    assert not slow  # nothing was copied


# --- killed -----------------------------------------------------------------------------------------------------------

SIXTH = 6


def _die_at(number: int, place: Any, name: str, chosen: Callable[..., bool], after: bool = False) -> None:
    """Kill this process where a function is called for the so-manyth time with such arguments, or right after it."""
    usual, calls = getattr(place, name), []

    def dies(*args: Any, **options: Any) -> Any:
        if chosen(*args):
            calls.append(0)
        dying = chosen(*args) and len(calls) == number
        if dying and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        found = usual(*args, **options)
        if dying:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(place, name, dies)


def _of_writing(*args: Any) -> bool:
    return ".writing-" in str(args[0])


class DiesBeforeTheCopy(KilledTrial):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        _die_at(SIXTH, Snapshot, "of", lambda *args: True)


class DiesWhileTheFileIsWritten(KilledTrial):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        _die_at(SIXTH, Snapshot, "write", lambda *args: True, after=True)


class DiesBeforeItsMetadata(KilledTrial):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        _die_at(SIXTH, store, "_write_metadata", _of_writing)


class DiesBeforeItHasItsPlace(KilledTrial):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        _die_at(SIXTH, store, "_write_metadata", _of_writing, after=True)


class DiesBeforeTheOthersAreDeleted(KilledTrial):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        _die_at(SIXTH, RunDirectory, "apply_retention", lambda *args: True)


class DiesWhileAnotherIsDeleted(KilledTrial):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        _die_at(1, shutil, "rmtree", lambda *args: ".removing-" in str(args[0]))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Killer, dict[str, Any]]:
    killer, folder = Killer(), tmp_path_factory.mktemp("killed") / "undisturbed"
    assert killer.run(folder) == 0
    return killer, result_of(folder)


@pytest.mark.multiprocess
@pytest.mark.parametrize(
    ("trial", "left", "half_written"),
    [
        (DiesBeforeTheCopy, [6, 8, 10], True),
        (DiesWhileTheFileIsWritten, [6, 8, 10], True),
        (DiesBeforeItsMetadata, [6, 8, 10], True),
        (DiesBeforeItHasItsPlace, [6, 8, 10], True),
        (DiesBeforeTheOthersAreDeleted, [6, 8, 10, 12], False),
        (DiesWhileAnotherIsDeleted, None, False),
    ],
)
def test_killed_in_each_phase_of_a_checkpoint_a_run_goes_on_exactly(
    trial: type[KilledTrial],
    left: list[int] | None,
    half_written: bool,
    tmp_path: Path,
    undisturbed: tuple[Killer, dict[str, Any]],
) -> None:
    killer, expected = undisturbed
    folder = tmp_path / "run"
    assert killer.run(folder, trial=trial) == -signal.SIGKILL
    assert bool(list((folder / "checkpoints").glob(".writing-*"))) == half_written
    if left is not None:
        assert stored(folder) == left
    for each in store.stored_checkpoints(folder / "checkpoints"):
        file.read(each.path)  # all checksums hold
    assert killer.run(folder) == 0
    assert result_of(folder) == expected
    assert not list((folder / "checkpoints").glob(".*"))
