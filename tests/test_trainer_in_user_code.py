"""What of the trainer's inside does public code read and write, and does it find what Lightning's Trainer has?

Each test repeats a habit found in published callbacks, modules and data modules.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from packaging.version import Version

from lightning_adapter.versions import hosts
from two_ways import BoringDataModule, BoringModel, Fit, outcomes

# the names and the hooks of today; before, others stood in their places
pytestmark = pytest.mark.skipif(hosts.host("pytorch_lightning").version < Version("2.1"), reason="needs Lightning 2.1")
RUN = {"max_epochs": 3, "limit_train_batches": 4, "limit_val_batches": 2}


class Acts(pl.Callback):
    """Does something in a hook, and keeps what that returns."""

    def __init__(self, **actions: Callable[[Any, Any], Any]) -> None:
        self.seen: list[Any] = []
        for hook, act in actions.items():
            setattr(self, hook, self._acting(act))

    def _acting(self, act: Callable[[Any, Any], Any]) -> Callable[..., None]:
        def hook(trainer: Any, pl_module: Any, *args: Any) -> None:
            self.seen.append(act(trainer, pl_module))

        return hook


def same(tmp_path: Path, model: Callable[[], Any] = BoringModel, data: Any = None, **actions: Any) -> Any:
    """What the actions of a callback see, and the weights at the end, have to be Lightning's."""

    def situation(fit: Fit) -> Any:
        pl.seed_everything(3)
        module, callback = model(), Acts(**actions)
        trained = fit(module, data() if data else BoringDataModule(), callbacks=[callback], **RUN)
        del trained
        return callback.seen, [parameter.tolist() for parameter in module.parameters()]

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs
    assert ours[0]
    return ours[0]


# --- read -------------------------------------------------------------------------------------------------------------

READ = {
    "Optuna's pruning callback": lambda trainer, _: trainer._accelerator_connector.is_distributed,
    "data module with a sampler of its own": lambda trainer, _: trainer._accelerator_connector.use_distributed_sampler,
    "device flag": lambda trainer, _: trainer._accelerator_connector._accelerator_flag,
    "forecasting model": lambda trainer, _: trainer.fit_loop.epoch_loop.val_loop._data_source.is_defined(),
    "who makes the loaders": lambda trainer, module: (
        trainer.fit_loop._data_source.is_module(),
        trainer.fit_loop._data_source.instance is trainer.datamodule,
        len(trainer.fit_loop._data_source.dataloader()),
    ),
    "loaders": lambda trainer, _: [len(loader) for loader in trainer.fit_loop._combined_loader.flattened],
    "accumulation": lambda trainer, _: (
        trainer.fit_loop._should_accumulate(),
        trainer.fit_loop.epoch_loop._accumulated_batches_reached(),
        trainer.fit_loop.epoch_loop._num_ready_batches_reached(),
    ),
    "early stop": lambda trainer, _: trainer.fit_loop._can_stop_early,
    "step of the loggers": lambda trainer, _: trainer.fit_loop.epoch_loop._batches_that_stepped,
    "active loop": lambda trainer, _: trainer._active_loop is trainer.fit_loop,
    "counted steps": lambda trainer, _: (
        trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed,
        trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total.completed,
    ),
    "order of callbacks": lambda trainer, _: [
        type(each).__name__
        for each in trainer._callback_connector._reorder_callbacks([pl.callbacks.ModelCheckpoint(), pl.Callback()])
    ],
    "batch on the device": lambda trainer, _: trainer.strategy.batch_to_device(torch.ones(2)).tolist(),
    "state of an optimizer": lambda trainer, _: sorted(trainer.strategy.optimizer_state(trainer.optimizers[0])),
    "schedulers": lambda trainer, _: [type(each.scheduler).__name__ for each in trainer.strategy.lr_scheduler_configs],
    "content of a checkpoint": lambda trainer, _: sorted(
        key for key in trainer._checkpoint_connector.dump_checkpoint(True) if not key.startswith("lightning_adapter")
    ),
}


@pytest.mark.parametrize("name", READ)
def test_what_public_code_reads_is_lightnings(name: str, tmp_path: Path) -> None:
    same(tmp_path, on_train_batch_end=READ[name])


class AsksForValidation(BoringModel):
    """Chooses what it monitors by whether there is a validation, as GluonTS' modules do."""

    def configure_optimizers(self) -> Any:
        validates = self.trainer.fit_loop.epoch_loop.val_loop._data_source.is_defined()
        return torch.optim.SGD(self.parameters(), lr=0.1 if validates else 0.2)


def test_module_asks_in_configure_optimizers_whether_there_is_a_validation(tmp_path: Path) -> None:
    assert same(
        tmp_path, AsksForValidation, on_train_start=lambda trainer, _: trainer.optimizers[0].param_groups[0]["lr"]
    )


# --- written ----------------------------------------------------------------------------------------------------------


class FromTwoSets(BoringDataModule):
    """Has another length each time that its loaders are asked for."""

    asked = 0

    def train_dataloader(self) -> Any:
        self.asked += 1
        return torch.utils.data.DataLoader(torch.randn(self.asked + 1, 32), shuffle=True)


def anew(trainer: Any, module: Any) -> Any:
    trainer.fit_loop._combined_loader = None
    trainer.fit_loop.setup_data()
    return trainer.num_training_batches, len(trainer.train_dataloader)


@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_train_epoch_end", "on_validation_end"])
def test_loaders_are_asked_for_anew_where_the_combined_loader_is_forgotten(hook: str, tmp_path: Path) -> None:
    at_end = {"on_train_end": lambda trainer, _: (trainer.global_step, trainer.datamodule.asked)}
    act = (
        anew if hook != "on_validation_end" else lambda trainer, _: setattr(trainer.fit_loop, "_combined_loader", None)
    )
    same(tmp_path, data=FromTwoSets, **{hook: act, **at_end})


def test_step_of_the_loggers_goes_on_from_another_run(tmp_path: Path) -> None:
    def offset(trainer: Any, module: Any) -> None:
        trainer.fit_loop.epoch_loop._batches_that_stepped = 100

    seen = same(
        tmp_path,
        on_train_start=offset,
        on_train_end=lambda trainer, _: trainer.fit_loop.epoch_loop._batches_that_stepped,
    )
    assert seen[-1] == 112


def test_optimizer_steps_go_on_from_another_run(tmp_path: Path) -> None:
    def offset(trainer: Any, module: Any) -> Any:
        total = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
        total.ready = total.completed = 50
        return trainer.global_step

    assert same(tmp_path, on_train_start=offset, on_train_end=lambda trainer, _: trainer.global_step) == [50, 62]


class Manual(BoringModel):
    """Steps an optimizer of its own making, and counts for itself where it is no LightningOptimizer."""

    raw = False

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers(use_pl_optimizer=not self.raw)
        optimizer.zero_grad()
        self.manual_backward(self.layer(batch).pow(2).mean())
        optimizer.step()
        if self.raw:
            self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_completed()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Raw(Manual):
    raw = True


def replace(trainer: Any, module: Any) -> int:
    if trainer.current_epoch == 1:
        trainer.strategy.optimizers = [torch.optim.Adam(module.parameters(), lr=0.01)]
    return int(trainer.global_step)


@pytest.mark.parametrize("model", [BoringModel, Manual, Raw])
def test_steps_of_optimizers_that_a_hook_has_put_in_place_are_counted(model: Any, tmp_path: Path) -> None:
    at_end = {"on_train_end": lambda trainer, _: trainer.global_step}
    assert same(tmp_path, model, on_train_epoch_start=replace, **at_end) == [0, 4, 8, 12]


class Unfreezes(BoringModel):
    """Trains its bias alone, then all, with a scheduler of its own each time."""

    def configure_optimizers(self) -> Any:
        trained = [self.layer.bias] if self.trainer.current_epoch == 0 else list(self.parameters())
        optimizer = torch.optim.Adam(trained, lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


class UnfreezesByHand(Unfreezes):
    raw = False
    automatic_optimization = False
    training_step = Manual.training_step


@pytest.mark.parametrize("model", [Unfreezes, UnfreezesByHand])
def test_optimizers_are_made_anew_where_the_strategy_is_asked_to(model: Any, tmp_path: Path) -> None:
    def unfreeze(trainer: Any, module: Any) -> Any:
        if trainer.current_epoch == 1:
            trainer.strategy.setup_optimizers(trainer)
        rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
        return rates, len(trainer.lr_scheduler_configs), len(trainer.optimizers[0].param_groups[0]["params"])

    same(tmp_path, model, on_train_epoch_start=unfreeze, on_train_end=lambda trainer, _: trainer.global_step)


def test_checkpoint_that_a_callback_writes_by_itself_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "own.ckpt"

    def write(trainer: Any, module: Any) -> None:
        trainer.strategy.save_checkpoint(trainer._checkpoint_connector.dump_checkpoint(), path)

    def read(trainer: Any, module: Any) -> Any:
        loaded = BoringModel.load_from_checkpoint(path)
        return torch.equal(loaded.layer.weight, module.layer.weight)

    assert same(tmp_path, on_train_end=write, on_fit_end=read) == [None, True]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("fit_loop.epoch_loop", "_should_check_val_fx"),
        ("fit_loop.epoch_loop", "_should_accumulate"),
        ("fit_loop", "_data_fetcher"),
        ("fit_loop", "run"),
        ("fit_loop.epoch_loop.val_loop", "run"),
        ("fit_loop", "_combined_loader"),
        ("fit_loop", "max_steps"),
    ],
)
def test_what_nobody_would_read_cannot_be_set(path: str, name: str, tmp_path: Path) -> None:
    from lightning_adapter import fit
    from two_ways import trial_of

    def write(trainer: Any, module: Any) -> None:
        owner = trainer
        for part in path.split("."):
            owner = getattr(owner, part)
        with pytest.raises(AttributeError, match=name):
            setattr(owner, name, lambda: None)
        with pytest.raises(AttributeError, match=r"self\.trainer\.predict_loop is part of Lightning's Trainer"):
            trainer.predict_loop = None
        with pytest.raises(AttributeError):
            trainer.fit_loop._combined_loader.flattened = []
        trainer.of_my_own = 3

    fit(trial_of(BoringModel(), callbacks=[Acts(on_train_start=write)], max_epochs=1), run_dir=tmp_path / "run")
