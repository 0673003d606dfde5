"""Do modules as published libraries write them train as under Lightning's Trainer?

Each module here repeats, in a few lines, one habit that was found in a library's LightningModule.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_adapter.checkpoints.file import read
from lightning_adapter.errors import CheckpointError

from .harness import PACKAGE, assert_parity, since
from .models import Data, Net, pl

FACE = {"pytorch_lightning": "lightning_adapter", "lightning.pytorch": "lightning_adapter.lightning"}[PACKAGE]


class Transform:
    """An object that a library keeps among its hyperparameters."""


class CollectsOutputs(Net):
    """Has a method of its own under the name of a removed hook, with other arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[int] = []
        self.outputs: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        output = super().training_step(batch, batch_idx)
        self.outputs.append(output)
        return output

    def on_train_epoch_end(self) -> None:
        self.on_epoch_end(self.outputs)
        self.outputs.clear()

    def on_epoch_end(self, outputs: list[Any]) -> None:
        self.ends.append(len(outputs))


class CallsItsOwnHelpers(Net):
    """Has methods under names of removed hooks, which it calls itself, once per epoch or batch."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.training_step_end(super().training_step(batch, batch_idx))

    def training_step_end(self, output: Any) -> Any:
        self.calls.append("training_step_end")
        return output

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.on_batch_end()

    def on_batch_end(self) -> None:
        self.calls.append("on_batch_end")

    def on_train_epoch_start(self) -> None:
        self.on_epoch_start()

    def on_epoch_start(self) -> None:
        self.calls.append("on_epoch_start")


@since("2.0", "Lightning 1.8 and 1.9 refuse the names")
@pytest.mark.parametrize("trace", [False, True])
def test_method_with_the_name_of_a_removed_hook_and_other_arguments_is_left_alone(trace: bool) -> None:
    run = assert_parity(CollectsOutputs, Data, trace=trace, max_epochs=2, also=lambda module, _: module.ends)
    assert len(run.final[-1].facts["value"]) == 2


@since("2.0", "Lightning 1.8 and 1.9 refuse the names")
def test_methods_with_the_names_of_removed_hooks_that_the_class_calls_itself_run_once() -> None:
    assert_parity(CallsItsOwnHelpers, Data, trace=False, max_epochs=2, also=lambda module, _: module.calls)


def test_removed_hook_that_nobody_else_calls_is_still_called() -> None:
    class Old(Net):
        def on_epoch_start(self) -> None:
            calls.append("start")

    class Today(Net):
        def on_train_epoch_start(self) -> None:
            calls.append("start")

        def on_validation_epoch_start(self) -> None:
            calls.append("start")

    calls: list[str] = []

    def counted() -> list[str]:
        seen = list(calls)
        calls.clear()
        return seen

    assert_parity(
        Old, Data, reference=Today, trace=False, compare=("final",), max_epochs=2, also=lambda module, _: counted()
    )


class KeepsObjects(Net):
    """Saves an object among its hyperparameters, as modules of libraries do."""

    def __init__(self, transform: Any = None, width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()


def test_hyperparameters_that_are_objects_are_left_out_of_checkpoints_with_a_warning(tmp_path: Path) -> None:
    assert_parity(lambda: KeepsObjects(Transform(), 4), Data, max_epochs=2)
    with pytest.warns(UserWarning, match=r"hyper_parameters\['transform'\].*Transform"):
        trial = trained(lambda: KeepsObjects(Transform(), 4), tmp_path)
    assert dict(read(trial.latest_checkpoint)["hyper_parameters"]) == {"width": 4}


def test_hyperparameters_whose_class_is_allowed_are_kept(tmp_path: Path) -> None:
    with torch.serialization.safe_globals([Transform]), warnings.catch_warnings():
        warnings.filterwarnings("error", message="These hyperparameters are left out")
        trial = trained(lambda: KeepsObjects(Transform(), 4), tmp_path)
        assert isinstance(read(trial.latest_checkpoint)["hyper_parameters"]["transform"], Transform)


class SavesObjects(Net):
    """Puts its loss into the checkpoint and takes it from there, as modules of forecasting libraries do."""

    def __init__(self) -> None:
        super().__init__()
        self.criterion = Transform()
        self.save_hyperparameters()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["criterion"] = self.criterion
        checkpoint["plain"] = 3

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.criterion, self.plain = checkpoint["criterion"], checkpoint["plain"]


def test_objects_of_on_save_checkpoint_come_from_the_constructor_when_a_run_resumes(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"(?s)criterion: .*Transform.*A resume takes them from the module"):
        first = trained(SavesObjects, tmp_path / "first")
    saved = read(first.latest_checkpoint)
    assert "criterion" not in saved and saved["plain"] == 3
    second = trained(SavesObjects, tmp_path / "second", resume_from=first.latest_checkpoint)
    assert isinstance(second.lightning_module.criterion, Transform) and second.lightning_module.plain == 3


def test_object_in_the_state_of_a_callback_is_an_error_that_names_it_and_how_to_allow_it(tmp_path: Path) -> None:
    class Keeps(pl.Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"mine": Transform()}

    with pytest.raises(CheckpointError, match=r"(?s)'mine'\].*Transform.*add_safe_globals"):
        trained(Net, tmp_path, callbacks=Keeps())


def trained(build: Any, folder: Path, resume_from: Path | None = None, callbacks: Any = None) -> Any:
    """Train one epoch with the adapter alone."""
    face = importlib.import_module(FACE)

    class Trial(face.LightningAdapter):  # type: ignore[misc, name-defined]
        def __init__(self, context: Any) -> None:
            quiet = {"enable_progress_bar": False, "enable_model_summary": False}
            super().__init__(context, build(), Data(), callbacks=callbacks, **quiet)

    epochs = 1 if resume_from is None else 2
    return face.fit(Trial, seed=7, max_epochs=epochs, run_dir=folder / "run", resume_from=resume_from)


class WithExample(Net):
    """Has an example input, on which Lightning runs the module for a summary, a graph or an export."""

    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = torch.zeros(2, 4)
        self.moved = 0
        self.traced: list[Any] = []

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.moved += 1
        return batch

    def on_train_end(self) -> None:
        script = self.to_torchscript(method="trace")
        self.traced = [script(torch.ones(2, 4))]


def test_model_summary_runs_the_example_input() -> None:
    assert_parity(
        WithExample,
        Data,
        callbacks=lambda: [pl.callbacks.ModelSummary(max_depth=2)],
        max_epochs=1,
        also=lambda module, _: [module.moved, *module.traced],
    )


class ActsByItself(Net):
    """Makes its data while it trains, with the weights of the moment, as reinforcement learning does."""

    class Experience(torch.utils.data.IterableDataset):
        def __init__(self, module: Any) -> None:
            self.module = module

        def __iter__(self) -> Any:
            state = torch.ones(4)
            while True:
                state = torch.cos(state + self.module.net[0].weight.detach().sum(0))
                yield state, state.sum()[None]

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(self.Experience(self), batch_size=4)


@pytest.mark.parametrize("limits", [{"limit_train_batches": 5, "max_epochs": 2}, {"max_epochs": -1, "max_steps": 8}])
def test_data_made_with_the_weights_of_the_moment(limits: dict[str, int]) -> None:
    assert_parity(ActsByItself, **limits)
