"""Through which hooks does a batch come to the device?"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_adapter.loop.batch_transfer import batch_transfer
from lightning_adapter.loop.precision import Precision, TruePrecision
from loop.parts import HOST, hook_parts

pl = HOST.pl
CPU = torch.device("cpu")


def precision(name: str = "32-true") -> Precision:
    return Precision(name) if name == "32-true" else TruePrecision(name, late=False)


def test_nothing_is_done_on_the_cpu_without_hooks() -> None:
    assert batch_transfer(hook_parts(pl.LightningModule()).hooks, precision(), CPU) is None


def test_batch_is_converted_on_the_cpu_where_a_true_precision_wants_it() -> None:
    transfer = batch_transfer(hook_parts(pl.LightningModule()).hooks, precision("64-true"), CPU)

    assert transfer is not None
    floats, integers = transfer([torch.ones(1), torch.ones(1, dtype=torch.int32)], 0)
    assert (floats.dtype, integers.dtype) == (torch.float64, torch.int32)


def test_batch_is_converted_and_moved_to_another_device() -> None:
    transfer = batch_transfer(hook_parts(pl.LightningModule()).hooks, precision("64-true"), torch.device("meta"))

    assert transfer is not None
    batch = transfer({"x": torch.ones(1)}, 0)
    assert batch["x"].device.type == "meta"
    assert batch["x"].dtype == torch.float64


class Module(pl.LightningModule):
    """Adds, moves and doubles, telling the hook that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.told.append(("before", dataloader_idx, batch.dtype))
        return batch + 1

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        self.told.append(("move", dataloader_idx, device))
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.told.append(("after", dataloader_idx, batch.dtype))
        return batch * 2


def test_hooks_of_the_module_run_in_order_on_the_converted_batch() -> None:
    module = Module()
    transfer = batch_transfer(hook_parts(module).hooks, precision("64-true"), CPU)

    assert transfer is not None
    batch = transfer(torch.tensor(3.0), 1)
    assert batch.item() == 8.0
    assert module.told == [("before", 1, torch.float64), ("move", 1, CPU), ("after", 1, torch.float64)]


class After(pl.LightningDataModule):
    """Overrides the last hook alone."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch * 100


def test_hook_of_the_datamodule_is_called_in_place_of_the_modules() -> None:
    module = Module()
    transfer = batch_transfer(hook_parts(module, datamodule=After()).hooks, precision(), CPU)

    assert transfer is not None
    assert transfer(torch.tensor(3.0), 0).item() == 400.0
    assert [name for name, *_ in module.told] == ["before", "move"]


def test_one_overridden_hook_leaves_the_others_to_lightning() -> None:
    transfer = batch_transfer(
        hook_parts(pl.LightningModule(), datamodule=After()).hooks, precision(), torch.device("meta")
    )

    assert transfer is not None
    assert transfer(torch.ones(2), 0).device.type == "meta"


@pytest.mark.parametrize("name", ["on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"])
def test_each_hook_runs_under_its_name(name: str) -> None:
    seen: list[str | None] = []

    def looks(batch: Any, *_: Any) -> Any:
        seen.append(parts.running.name)
        return batch

    module = pl.LightningModule()
    vars(module)[name] = looks
    parts = hook_parts(module)

    transfer = batch_transfer(parts.hooks, precision(), CPU)
    assert transfer is not None
    transfer(torch.ones(1), 0)

    assert seen == [name]
