"""Loaders that say themselves where they stand: do Lightning's Trainer and the adapter go on from each other's files?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from lightning_adapter.errors import CheckpointError
from parity.harness import quiet, seed_everything, since
from parity.models import Net, SizedStatefulStream, StatefulStream, samples

from .interrupting import FACE, assert_resumes, case_of, follow, pl
from .test_lightning import keeper, trainer_of

BATCHES = StatefulStream.batches


class Stream:
    """No DataLoader, of unknown length and without a state: its batches are numbered."""

    def __iter__(self) -> Iterator[Any]:
        return map(self.batch, range(BATCHES))

    def batch(self, index: int) -> Any:
        x, y = samples(4, index)[:]
        return x, y, index


class Remembers(StatefulStream):
    """Numbered likewise, with a state."""

    batch = Stream.batch


class SizedRemembers(SizedStatefulStream):
    batch = Stream.batch


class Beside:
    """Batches of another loader, as those of `Stream`; no state."""

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[Any]:
        return iter([Stream().batch(10 + index) for index in range(BATCHES)])


class Seen(Net):
    """Notes the numbers of its batches."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.seen: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        parts = batch if isinstance(batch, list) and isinstance(batch[0], tuple) else [batch]
        self.seen.append((self.current_epoch, batch_idx, [index for _, _, index in parts]))
        return sum(self.loss((x, y)) for x, y, _ in parts)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass


LOADERS: dict[str, Callable[[], Any]] = {
    "sized": SizedRemembers,
    "unsized": Remembers,
    "two": lambda: [Beside(), SizedRemembers(), SizedRemembers()],
}


def by_trainer(make: Callable[[], Any], folder: Path, **arguments: Any) -> Any:
    path = arguments.pop("ckpt_path", None)
    with quiet():
        seed_everything(11)
        module = Seen()
        trainer_of(folder, limit_val_batches=0, **arguments).fit(module, make(), ckpt_path=path)
    return module


def by_adapter(make: Callable[[], Any], folder: Path, path: Any, callbacks: Any = (), **arguments: Any) -> Any:
    class Trial(FACE.LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, Seen(), limit_val_batches=0, enable_progress_bar=False, logger=False,
                             enable_model_summary=False, callbacks=list(callbacks), **arguments)  # fmt: skip

        def build_training_data_loader(self) -> Any:
            return make()

    with quiet():
        return FACE.fit(Trial, run_dir=folder, resume_from=path, seed=11).lightning_module


def outcome(module: Any) -> Any:
    return module.seen, [value.tolist() for value in module.parameters()]


@since("2.2")
@pytest.mark.parametrize(("name", "step"), [("sized", 4), ("sized", 6), ("unsized", 8), ("two", 4), ("two", 6)])
@pytest.mark.parametrize("end", [{"max_epochs": 3}, {"max_steps": 16}], ids=str)
def test_adapter_goes_on_in_the_data_as_lightning_does(name: str, step: int, end: Any, tmp_path: Path) -> None:
    make = LOADERS[name]
    keep = keeper(tmp_path, every_n_train_steps=1)
    by_trainer(make, tmp_path, callbacks=[keep], enable_checkpointing=True, **end)
    path = next(tmp_path.glob(f"*step={step}.ckpt"))
    theirs = by_trainer(make, tmp_path, ckpt_path=path, **end)
    ours = by_adapter(make, tmp_path / "run", path, **end)
    assert outcome(ours) == outcome(theirs)


@since("2.2")
@pytest.mark.parametrize("name", ["sized", "unsized"])
def test_lightning_goes_on_in_the_data_from_a_file_of_the_adapter(name: str, tmp_path: Path) -> None:
    make = LOADERS[name]
    keep = keeper(tmp_path, every_n_train_steps=4)
    whole = by_adapter(make, tmp_path / "run", None, [keep], max_epochs=2)
    path = next(tmp_path.glob("*step=4.ckpt"))
    module = by_trainer(make, tmp_path, ckpt_path=path, max_epochs=1)
    assert [batch for _, _, batch in module.seen] == [batch for _, _, batch in whole.seen[4:6]]


@since("2.1", reason="Lightning 2.0 repeats the last batch after a checkpoint in mid epoch")
def test_stream_without_a_state_is_read_from_its_first_batch_as_lightning_does(tmp_path: Path) -> None:
    by_trainer(Stream, tmp_path, callbacks=[keeper(tmp_path, every_n_train_steps=1)], enable_checkpointing=True,
               max_epochs=1)  # fmt: skip
    path = next(tmp_path.glob("*step=3.ckpt"))
    theirs = by_trainer(Stream, tmp_path, ckpt_path=path, max_epochs=2)
    ours = by_adapter(Stream, tmp_path / "run", path, max_epochs=2)
    assert theirs.seen[0][2] == [0]
    assert outcome(ours) == outcome(theirs)


@since("2.2")
def test_states_of_loaders_that_are_not_there_are_refused(tmp_path: Path) -> None:
    by_trainer(SizedRemembers, tmp_path, callbacks=[keeper(tmp_path, every_n_train_steps=4)], enable_checkpointing=True,
               max_epochs=1)  # fmt: skip
    path = next(tmp_path.glob("*step=4.ckpt"))
    with pytest.raises(CheckpointError, match="the states of 1 training loaders, and 0 of those"):
        by_adapter(Beside, tmp_path / "run", path, max_epochs=1)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("limit", [None, 3])
def test_loader_of_torchdata_goes_on_as_if_nothing_had_been(limit: int | None, workers: int, tmp_path: Path) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def data() -> Any:
        class Loaders(pl.LightningDataModule):
            def train_dataloader(self) -> DataLoader:
                return stateful(samples(22), 4, shuffle=True, num_workers=workers)

        return Loaders()

    def case() -> Any:
        return case_of(Net, data, max_epochs=3, limit_train_batches=limit)

    reference = follow(case(), tmp_path)
    for batches in (2, 3, 6):
        assert_resumes(case(), reference, batches)
