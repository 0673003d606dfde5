"""Do all worker processes of the loaders end with `fit`, as they do with Lightning's?"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from parity.harness import PACKAGE, quiet, since
from parity.models import Net, pl, samples

FACE = importlib.import_module("lightning_adapter" if PACKAGE == "pytorch_lightning" else "lightning_adapter.lightning")


class Stop(Exception):
    """What user code raises."""


class Numbers(Dataset):
    """Samples, some of which cannot be loaded."""

    def __init__(self, bad: int | None = None) -> None:
        self.data, self.bad = samples(12), bad

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        if index == self.bad:
            raise Stop
        return self.data[index]


class Loader(DataLoader):
    """Its iterator is a generator, which holds torch's own."""

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()


class Module(Net):
    """Raises in one place."""

    def __init__(self, fails: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.fails = fails

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        assert multiprocessing.active_children()
        if self.fails == "training_step" and self.current_epoch == 1:
            raise Stop
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if self.fails == "validation_step":
            raise Stop

    def configure_optimizers(self) -> Any:
        if self.fails == "configure_optimizers" and self.trainer.estimated_stepping_batches:
            raise Stop
        return super().configure_optimizers()

    def on_train_epoch_end(self) -> None:
        if self.fails == "on_train_epoch_end":
            raise Stop


class Loaders(pl.LightningDataModule):
    def __init__(self, kind: type = DataLoader, bad: Any = (None, None), wrap: Callable = list, **options: Any) -> None:
        super().__init__()
        self.make = lambda bad: kind(Numbers(bad), 2, num_workers=1, **options)
        self.bad, self.wrap = bad, wrap

    def train_dataloader(self) -> Any:
        return self.make(self.bad[0])

    def val_dataloader(self) -> Any:
        return self.wrap([self.make(self.bad[1])])


@pytest.fixture
def left_over() -> Iterator[Callable[[], int]]:
    """How many processes a run has left, its own garbage not collected."""
    gc.collect()
    others = set(multiprocessing.active_children())
    gc.disable()
    yield lambda: len(set(multiprocessing.active_children()) - others)
    gc.enable()


def train(folder: Path, module: Any, data: Any, **arguments: Any) -> tuple[Any, BaseException | None]:
    """Train, and hold what somebody may hold afterwards: the trial, and the error with its frames."""

    class Trial(FACE.LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, module, data, max_epochs=2, enable_progress_bar=False, logger=False,
                             enable_model_summary=False, **arguments)  # fmt: skip

    with quiet():
        try:
            return FACE.fit(Trial, run_dir=folder, seed=1), None
        except Exception as error:
            return None, error


@pytest.mark.parametrize(("kind", "persistent"), [(DataLoader, False), (DataLoader, True), (Loader, False)])
@pytest.mark.parametrize("options", [{}, {"limit_train_batches": 2, "limit_val_batches": 1},
                                     {"reload_dataloaders_every_n_epochs": 1}], ids=str)  # fmt: skip
def test_no_worker_process_outlives_fit(
    options: Any, kind: type, persistent: bool, tmp_path: Path, left_over: Callable[[], int]
) -> None:
    held, error = train(tmp_path, Module(), Loaders(kind, persistent_workers=persistent), **options)
    assert (held is None, error) == (False, None)
    assert left_over() == 0


@since("2.1")
@pytest.mark.parametrize("persistent", [False, True])
def test_no_worker_process_of_validation_loaders_side_by_side_outlives_fit(
    persistent: bool, tmp_path: Path, left_over: Callable[[], int]
) -> None:
    def wrap(loaders: Any) -> Any:
        return pl.utilities.combined_loader.CombinedLoader(loaders, "min_size")

    _, error = train(tmp_path, Module(), Loaders(wrap=wrap, persistent_workers=persistent), limit_val_batches=1)
    assert error is None
    assert left_over() == 0


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    ("fails", "options"),
    [
        ("training_step", {}),
        ("validation_step", {}),
        ("validation_step", {"num_sanity_val_steps": 1}),
        ("on_train_epoch_end", {}),
        ("configure_optimizers", {}),
    ],
)
def test_no_worker_process_outlives_a_run_that_failed(
    fails: str, options: Any, persistent: bool, tmp_path: Path, left_over: Callable[[], int]
) -> None:
    kind = DataLoader if persistent else Loader
    _, error = train(tmp_path, Module(fails), Loaders(kind, persistent_workers=persistent), **options)
    assert isinstance(error, Stop)
    assert left_over() == 0


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("bad", [(5, None), (None, 5)], ids=["training", "validation"])
def test_no_worker_process_outlives_a_run_whose_data_failed(
    bad: Any, persistent: bool, tmp_path: Path, left_over: Callable[[], int]
) -> None:
    _, error = train(tmp_path, Module(), Loaders(bad=bad, persistent_workers=persistent))
    assert isinstance(error, Stop)
    assert left_over() == 0


def test_worker_that_is_forked_after_a_run_and_collects_its_garbage_has_no_complaint(
    tmp_path: Path, left_over: Callable[[], int], capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        data = Loaders(worker_init_fn=_collect_garbage)
        _, error = train(tmp_path / str(number), Module(), data, limit_train_batches=2)
        assert error is None
    assert "can only test a child process" not in capfd.readouterr().err


def _collect_garbage(worker: int) -> None:
    gc.collect()
    torch.rand(())
