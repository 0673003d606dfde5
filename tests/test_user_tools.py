"""Do the tools that people put around a module, and copies of what holds the trainer, do what they do under Lightning?"""

from __future__ import annotations

import copy
import functools
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch
from packaging.version import Version

from lightning_adapter import DETLM
from lightning_adapter.loop import start
from lightning_adapter.monkey_patch import NoEffectWarning
from lightning_adapter.trainer.display.display import Display
from lightning_adapter.versions import hosts
from two_ways import BoringDataModule, BoringModel, Fit, outcomes, trial_of

# the names and the hooks of today; before, others stood in their places
pytestmark = pytest.mark.skipif(hosts.host("pytorch_lightning").version < Version("2.1"), reason="needs Lightning 2.1")
FEW = {"max_epochs": 2, "limit_train_batches": 2, "limit_val_batches": 1}

# --- copies -----------------------------------------------------------------------------------------------------------


class KeepsTrainer(pl.Callback):
    """Keeps the trainer, as callbacks of libraries do, and is copied while it trains."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.trainer = trainer
        for copied in (pickle.loads(pickle.dumps(self)).trainer, copy.deepcopy(self).trainer):
            facts = (copied.current_epoch, copied.global_step, copied.training, copied.max_epochs, copied.world_size)
            same = torch.equal(copied.lightning_module.layer.weight, pl_module.layer.weight)
            self.seen.append((*facts, same, copied.datamodule.collate([torch.ones(2)]).tolist()))


class Collates(BoringDataModule):
    """Has a method that a loader's worker processes get, and with it the trainer."""

    def collate(self, samples: Any) -> Any:
        return torch.stack(samples) * self.trainer.max_epochs


def test_what_holds_the_trainer_is_pickled_and_copied_in_training(tmp_path: Path) -> None:
    def situation(fit: Fit) -> Any:
        callback = KeepsTrainer()
        fit(BoringModel(), Collates(), callbacks=[callback], **FEW)
        return callback.seen

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs and len(ours) == 8


class LogsIndex(BoringModel):
    """Logs the index of the batch, or what a copy has been given in its place."""

    offset = 0.0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("index", batch_idx + self.offset)


class Teacher(pl.Callback):
    """Copies the module once it is attached, and runs the copy's steps beside its own."""

    def __init__(self, copied: Callable[[Any], Any]) -> None:
        self.copied = copied

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.teacher = self.copied(pl_module)
        self.teacher.offset = 100.0

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.teacher.validation_step(batch, batch_idx)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))], ids=["deep", "pickled"]
)
def test_copy_of_the_module_logs_nothing_in_the_run_and_logs_in_its_own(
    copied: Callable[[Any], Any], tmp_path: Path
) -> None:
    def situation(train: Fit) -> list[float]:
        teacher = Teacher(copied)
        logged = train(LogsIndex(), callbacks=[teacher], **{**FEW, "limit_val_batches": 2}).callback_metrics["index"]
        (own,) = pl.Trainer(limit_val_batches=2, logger=False, enable_progress_bar=False).validate(teacher.teacher)
        return [float(logged), own["index"]]

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs == [0.5, 100.5]


def test_copy_of_the_trainer_says_what_it_has_not() -> None:
    from lightning_adapter.trainer.copies import TrainerCopy

    copied = TrainerCopy()
    copied.current_epoch = 3

    with pytest.raises(
        AttributeError, match=r"copy of the trainer, .* and holds no fit_loop\. .* copied: current_epoch\."
    ):
        copied.fit_loop  # noqa: B018


class OfLossFn(DETLM):
    loss_fn = "mse_loss"

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(32, 2)

    def forward(self, x: Any) -> Any:
        return self.layer(x)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 32), torch.zeros(4, 2)), 2)


def test_module_with_supplied_steps_is_pickled_and_copied_with_them(tmp_path: Path) -> None:
    from lightning_adapter import fit

    module = OfLossFn()
    fit(trial_of(module), max_epochs=1, run_dir=tmp_path / "run")
    module.trainer = None
    batch = (torch.ones(1, 32), torch.zeros(1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing is logged outside of a run
        losses = [
            each.training_step(batch, 0) for each in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module)))
        ]
    assert losses[0] == losses[1] == losses[2]


def test_supplied_steps_of_an_earlier_run_are_not_taken_for_the_users(tmp_path: Path) -> None:
    from lightning_adapter import fit

    module = OfLossFn()
    fit(trial_of(module), max_epochs=1, run_dir=tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error", NoEffectWarning)
        fit(trial_of(module), max_epochs=1, run_dir=tmp_path / "another")


# --- compiled, scripted -----------------------------------------------------------------------------------------------


def test_compiled_module_trains_as_under_lightning(tmp_path: Path) -> None:
    compiled: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    def situation(fit: Fit) -> Any:
        torch.manual_seed(1)
        torch._dynamo.reset()
        compiled.clear()
        module = BoringModel()
        fit(torch.compile(module, backend=backend), BoringDataModule(), **FEW)
        return module.layer.weight.tolist(), list(module.state_dict()), bool(compiled)

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs and ours[2]


class Scripted(DETLM):
    """Has a list of its own besides, as Lightning's modules have."""

    __jit_unused_properties__ = ["needs_a_trainer"]

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 2)

    @property
    def needs_a_trainer(self) -> Any:
        try:
            return self.trainer
        except RuntimeError:
            return None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_detlm_becomes_torchscript_as_a_lightning_module_does() -> None:
    module = Scripted()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        script = module.to_torchscript()

    assert torch.equal(script(torch.ones(1, 8)), module(torch.ones(1, 8)))
    assert set(pl.LightningModule.__jit_unused_properties__) < set(DETLM.__jit_unused_properties__)


# --- wrapped hooks ----------------------------------------------------------------------------------------------------


class Plain(pl.LightningModule):
    """Overrides what it must, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(32, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("wrap", ["wraps", "mock"])
def test_wrapped_hooks_are_called_and_those_of_lightning_are_no_overrides(wrap: str, tmp_path: Path) -> None:
    called = [
        *("training_step", "configure_optimizers", "backward", "optimizer_zero_grad", "configure_gradient_clipping"),
        *("on_train_epoch_end", "lr_scheduler_step", "transfer_batch_to_device", "optimizer_step"),
    ]
    # Lightning asks whether they are overridden, and calls or warns by that
    asked = ["prepare_data", "configure_model", "validation_step", "val_dataloader", "test_step"]

    def around(function: Callable[..., Any], seen: list[str]) -> Any:
        @functools.wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Any:
            seen.append(function.__name__)
            return function(*args, **kwargs)

        return traced if wrap == "wraps" else mock.Mock(wraps=function)

    def situation(fit: Fit) -> Any:
        module, seen = Plain(), []
        for name in (*called, *asked):
            setattr(module, name, around(getattr(module, name), seen))
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*test_step.*")
            fit(module, BoringDataModule(), gradient_clip_val=0.1, **FEW)
        calls = {name: getattr(module, name).call_count for name in called} if wrap == "mock" else seen
        return calls, module.layer.weight.shape

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs


# --- what shows itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("callbacks", "own"), [([pl.callbacks.TQDMProgressBar()], False), ([], True)])
def test_bar_of_the_adapter_is_drawn_where_there_is_no_other(
    callbacks: list[Any], own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_adapter import fit

    asked: list[bool] = []

    def display_of(facts: Any, wanted: bool) -> Display:
        asked.append(wanted)
        return Display()

    monkeypatch.setattr(start, "display_of", display_of)
    trial = trial_of(BoringModel(), callbacks=callbacks, enable_progress_bar=True, **FEW)
    fit(trial, run_dir=tmp_path / "run")
    assert asked == [own]


def test_weights_and_biases_is_made_ready_before_other_loggers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tells(pl.loggers.CSVLogger):
        @property
        def experiment(self) -> Any:
            made.append(type(self).__name__)
            return super().experiment

    class WandbLogger(Tells):
        pass

    # by the name that each of the two asks for it
    monkeypatch.setattr(pl.loggers, "WandbLogger", WandbLogger)
    monkeypatch.setattr("pytorch_lightning.trainer.call.WandbLogger", WandbLogger)
    made: list[str] = []

    def situation(fit: Fit) -> Any:
        made.clear()
        fit(BoringModel(), logger=[Tells(tmp_path / "a"), WandbLogger(tmp_path / "b")], **FEW)
        return list(dict.fromkeys(made))

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs == ["WandbLogger", "Tells"]
