"""Which losses are looked at, when, and which of them is named?"""

from __future__ import annotations

import logging
import pathlib
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_adapter import DETLM, LightningAdapter, fit
from lightning_adapter.errors import NonFiniteError
from lightning_adapter.platform import decisions
from lightning_adapter.trainer.nonfinite import NonFiniteCheck

NAN, INF = float("nan"), float("inf")


def check_of(*losses: float, on_nan: str = "raise") -> NonFiniteCheck:
    check = NonFiniteCheck(on_nan)
    for batch, loss in enumerate(losses, start=1):
        check.add(torch.tensor(loss), batch)
    return check


def test_losses_wait_until_they_are_looked_at() -> None:
    check = check_of(1.0, 2.0)
    before = len(check.pending)

    check.check()

    assert (before, len(check.pending)) == (2, 0)


def test_first_of_several_is_named_with_its_value() -> None:
    with pytest.raises(NonFiniteError, match="training_step returned became -inf at batch 2"):
        check_of(1.0, -INF, NAN).check()


def test_losses_whose_sum_overflows_are_finite() -> None:
    largest = float(torch.finfo(torch.float32).max)

    check_of(largest, largest).check()


def test_opposite_infinities_are_found() -> None:
    with pytest.raises(NonFiniteError, match="became inf at batch 1"):
        check_of(INF, -INF).check()


def test_losses_before_the_last_look_are_not_named_again() -> None:
    check = check_of(1.0)
    check.check()
    check.add(torch.tensor(NAN), 8)

    with pytest.raises(NonFiniteError, match="at batch 8"):
        check.check()


def test_warning_is_given_once_per_name(caplog: pytest.LogCaptureFixture) -> None:
    check = check_of(NAN, on_nan="warn")
    with caplog.at_level(logging.WARNING, "lightning_adapter"):
        check.check()
        check.add(torch.tensor(INF), 2)
        check.check()
        check.logged({"a": NAN, "b": 1.0}, 3)
        check.logged({"a": INF, "b": INF}, 4)

    told = [record.getMessage().split(".")[0] for record in caplog.records]
    assert told == [
        "what training_step returned became nan at batch 1",
        "the logged value 'a' became nan at batch 3",
        "the logged value 'b' became inf at batch 4",
    ]
    assert "on_nan='raise' would end it" in caplog.text


def test_logged_value_ends_the_run_where_that_was_asked_for() -> None:
    with pytest.raises(NonFiniteError, match=r"logged value 'a' became inf at batch 3.*ends the run here"):
        check_of().logged({"a": INF}, 3)


class Breaks(DETLM):
    """Its loss is not a number from the second batch on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.trained = 0

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.trained += 1
        loss: torch.Tensor = self.layer(batch[0]).sum()
        return loss * (NAN if self.trained > 1 else 1.0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(TensorDataset(torch.ones(12, 1)))


@pytest.mark.parametrize(("most", "trained"), [(4, 4), (12, 12)])
def test_run_looks_between_reports_once_enough_losses_wait(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, most: int, trained: int
) -> None:
    monkeypatch.setattr(decisions, "MAX_PENDING", most)
    module = Breaks()

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, module, enable_model_summary=False, logger=False, on_nan="raise")

    with pytest.raises(NonFiniteError, match="became nan at batch 2"):
        fit(Trial, max_epochs=1, run_dir=tmp_path)

    assert module.trained == trained
