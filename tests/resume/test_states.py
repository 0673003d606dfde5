"""What user code keeps in states (numbers of NumPy's, functions, objects) is saved, comes back, or is named before training."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, StepLR

from lightning_adapter.errors import CheckpointError
from parity.harness import describe
from parity.models import Data, Net, pl

from .interrupting import case_of, train
from .test_lightning import lightning_run, state_of


class NumpySchedule(Net):
    """Learning rates as people compute them."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=np.logspace(-3, -1, 5)[2], weight_decay=np.float32(0.01))
        scheduler = LambdaLR(optimizer, lambda step: 0.5 * (1 + np.cos(step / 20)))
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class Warmup(LRScheduler):
    """Holds a function, an object, and another scheduler, and saves whatever it has, as many schedulers of people do."""

    def __init__(self, optimizer: Any, after: Any) -> None:
        self.after = after
        self.shape = lambda step: min(1.0, (step + 1) / 4)
        self.clip = functools.partial(max, 0.1)
        super().__init__(optimizer)

    def get_lr(self) -> Any:
        return [self.clip(base * self.shape(self.last_epoch)) for base in self.base_lrs]

    def step(self, *args: Any) -> None:
        super().step(*args)
        if self.last_epoch > 4:
            self.after.step()


class Warming(Net):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.4)
        return [optimizer], [{"scheduler": Warmup(optimizer, StepLR(optimizer, 3, 0.5)), "interval": "step"}]


class Remembers(pl.Callback):
    """Keeps arrays and paths."""

    def __init__(self) -> None:
        self.losses = np.zeros(0)
        self.where: Any = None

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        self.losses = np.append(self.losses, np.float32(trainer.global_step))
        self.where = Path("/a") / str(trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "where": self.where, "best": self.losses.max() if len(self.losses) else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert isinstance(state["losses"], np.ndarray) and isinstance(state["where"], Path)
        self.losses, self.where = state["losses"], state["where"]


class RemembersData(Data):
    """A datamodule with an array and a function in its state."""

    def __init__(self) -> None:
        super().__init__()
        self.order = np.arange(3)

    def state_dict(self) -> dict[str, Any]:
        return {"order": self.order, "nested": {"transform": lambda x: x}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order = state["order"] + 1
        self.transform = state["nested"]["transform"]


@pytest.mark.parametrize("build", [NumpySchedule, Warming])
def test_run_with_odd_schedulers_resumes_exactly_and_equals_lightnings(build: Any, tmp_path: Path) -> None:
    whole, trainer = lightning_run(tmp_path, build, Data, 3)
    uninterrupted = train(case_of(build, Data, trace=False, max_epochs=3), tmp_path / "whole").trial.lightning_module
    half = train(case_of(build, Data, trace=False, max_epochs=1), tmp_path / "half")
    resumed = train(case_of(build, Data, trace=False, max_epochs=3), tmp_path / "rest",
                    resume_from=half.trial.latest_checkpoint).trial.lightning_module  # fmt: skip

    assert describe(dict(uninterrupted.state_dict())) == state_of(whole, trainer)["weights"]
    assert describe(dict(resumed.state_dict())) == state_of(whole, trainer)["weights"]
    rates = [group["lr"] for group in resumed.trainer.optimizers[0].param_groups]
    assert rates == [group["lr"] for group in trainer.optimizers[0].param_groups]


def test_states_of_callback_and_datamodule_come_back_as_what_they_were(tmp_path: Path) -> None:
    def case(epochs: int) -> Any:
        return case_of(Net, RemembersData, trace=False, callbacks=lambda: [Remembers()], max_epochs=epochs)

    half = train(case(1), tmp_path / "half")
    resumed = train(case(2), tmp_path / "rest", resume_from=half.trial.latest_checkpoint).trial

    (callback,) = [item for item in resumed.callbacks if isinstance(item, Remembers)]
    assert callback.losses.tolist() == list(range(1, 13)) and callback.where == Path("/a/12")
    data = resumed.lightning_module.trainer.datamodule
    assert data.order.tolist() == [1, 2, 3] and data.transform(3) == 3


def test_lightning_goes_on_from_a_checkpoint_with_numbers_of_numpys(tmp_path: Path) -> None:
    half = train(case_of(NumpySchedule, Data, trace=False, max_epochs=1), tmp_path / "half")
    path = half.trial.latest_checkpoint / "lightning.ckpt"
    _, trainer = lightning_run(tmp_path, NumpySchedule, Data, 2, ckpt_path=path)

    assert trainer.global_step == 12 and trainer.current_epoch == 2


class Odd:
    """An object that no checkpoint can hold."""


class Untrained(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        raise AssertionError("training has begun")


class OddOptimizer(Untrained):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        optimizer.param_groups[0]["odd"] = Odd()
        return [optimizer], [OddSchedule(optimizer)]


class OddSchedule(StepLR):
    def __init__(self, optimizer: Any) -> None:
        self.odd = [Odd()]
        super().__init__(optimizer, 1)


class OddCallback(pl.Callback):
    def state_dict(self) -> dict[str, Any]:
        return {"odd": Odd()}


class NotYet(pl.Callback):
    """Has a state from its first batch on."""

    def on_train_batch_start(self, *args: Any) -> None:
        self.seen = 1

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}


def test_all_states_that_cannot_be_saved_are_named_before_training(tmp_path: Path) -> None:
    case = case_of(OddOptimizer, Data, trace=False, callbacks=lambda: [OddCallback()], max_epochs=1)
    with pytest.raises(CheckpointError, match="cannot be saved") as caught:
        train(case, tmp_path / "run")

    text = str(caught.value)
    assert "- callbacks['OddCallback']['odd']: " in text
    assert "- optimizer_states[0]['param_groups'][0]['odd']: " in text
    assert "- lr_schedulers[0]['odd'][0]: " in text


def test_callback_whose_state_is_made_in_training_is_no_error_before_it(tmp_path: Path) -> None:
    def case(epochs: int) -> Any:
        return case_of(Net, Data, trace=False, callbacks=lambda: [NotYet()], max_epochs=epochs)

    half = train(case(1), tmp_path / "half")
    resumed = train(case(2), tmp_path / "rest", resume_from=half.trial.latest_checkpoint).trial
    assert resumed.lightning_module.trainer.global_step == 12
