"""Values that are not finite are noticed once, with their first batch, without waiting for the device at each step."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_adapter import DETLM, LightningAdapter, fit
from lightning_adapter.errors import NonFiniteError
from lightning_adapter.trainer.nonfinite import NonFiniteCheck


class Breaks(DETLM):
    """Its loss becomes NaN, or infinite, at one batch."""

    def __init__(self, at: int, value: float, manual: bool) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.at, self.value = at, value
        self.automatic_optimization = not manual

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch[0]).pow(2).mean()
        if self.trainer.fit_loop.total_batch_idx + 1 == self.at:
            loss = loss * self.value
        if not self.automatic_optimization:
            self.optimizers().step()
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.ones(24, 2)), batch_size=2)


def run(tmp_path: Path, at: int, value: float, manual: bool = False, log: Any = None, **arguments: Any) -> Any:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            module = Breaks(at, value, manual)
            if log is not None:
                module.on_train_batch_end = lambda *_: module.log("noise", log)
            super().__init__(context, module, enable_model_summary=False, log_every_n_steps=5, **arguments)

    return fit(Trial, max_epochs=2, seed=1, run_dir=tmp_path)


def test_losses_of_any_type_and_size_are_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    watch = NonFiniteCheck("raise")
    largest = torch.tensor(torch.finfo(torch.float16).max, dtype=torch.float16)  # whose sum is infinite
    for losses in ([largest, largest], [torch.tensor(1j)], [torch.tensor([[2.0]])], [torch.tensor(3)]):
        for index, loss in enumerate(losses):
            watch.add(loss, index)
        watch.check()
    watch.add(torch.tensor(complex(float("nan"), 0)), 7)
    with pytest.raises(NonFiniteError, match="batch 7"):
        watch.check()


@pytest.mark.parametrize("manual", [False, True])
@pytest.mark.parametrize(("value", "text"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_bad_loss_is_reported_once_with_its_batch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, manual: bool, value: float, text: str
) -> None:
    with caplog.at_level(logging.WARNING, "lightning_adapter"):
        run(tmp_path, 7, value, manual)

    told = [record.getMessage() for record in caplog.records if "training_step returned" in record.getMessage()]
    assert len(told) == 1
    assert f"became {text} at batch 7." in told[0]


def test_bad_loss_between_reports_is_found_at_the_next_one(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="became nan at batch 8"):
        run(tmp_path, 8, float("nan"), on_nan="raise")


def test_bad_logged_value_is_reported_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match="logged value 'noise' became inf at batch 5"):
        run(tmp_path, 0, 1.0, log=float("inf"), on_nan="raise")


def test_finite_run_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "lightning_adapter"):
        run(tmp_path, 0, 1.0, on_nan="raise")

    assert not [record for record in caplog.records if "became" in record.getMessage()]


def test_exception_in_a_hook_names_the_hook(tmp_path: Path) -> None:
    class Fails(Breaks):
        def on_train_batch_end(self, *_: Any) -> None:
            raise KeyError("mine")

    told: list[BaseException] = []

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            import pytorch_lightning as pl

            class Listens(pl.Callback):
                def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
                    told.append(exception)

            super().__init__(context, Fails(0, 1.0, False), enable_model_summary=False, callbacks=[Listens()])

    with pytest.raises(KeyError, match="mine") as caught:
        fit(Trial, max_epochs=1, run_dir=tmp_path)

    assert told == [caught.value]
    assert caught.value.__notes__ == ["raised in on_train_batch_end of Fails, epoch 1/1, batch 1/12"]
