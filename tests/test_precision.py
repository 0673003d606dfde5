"""Number formats: the same numbers as Lightning's in each precision that torch has on CPU, loss scaling, and apex."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from determined import pytorch
from torch import nn
from torch.utils.data import DataLoader

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import store
from parity.harness import assert_parity, quiet, since
from parity.models import Data, Net, pl, samples

MIXED = ["16-mixed", "bf16-mixed"]
TYPES = {"16-true": torch.half, "64-true": torch.double, "32-true": torch.float}


def face() -> Any:
    name = "lightning_adapter.lightning" if pl.__name__ == "lightning.pytorch" else "lightning_adapter"
    return importlib.import_module(name)


class Types(Net):
    """Notes in which types its matrix products are computed."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.seen: dict[str, set[torch.dtype]] = {"training": set(), "validation": set()}
        # no batch norm: torch has none in half precision on CPU in every version
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def loss(self, batch: Any) -> torch.Tensor:
        x, y = batch
        stage = "training" if self.trainer.training else "validation"
        self.seen[stage].add(torch.mm(x, x.T).dtype)
        return nn.functional.mse_loss(self.net(x), y)


def facts(module: Any, callbacks: Any) -> dict[str, Any]:
    return {
        "precision": module.trainer.precision,
        "training": sorted(map(str, module.seen["training"])),
        "validation": sorted(map(str, module.seen["validation"])),
        "parameters": str(next(module.parameters()).dtype),
    }


@pytest.mark.parametrize("precision", ["32-true", "64-true", *MIXED, pytest.param("bf16-true", marks=since("2.1")),
                                       pytest.param("16-true", marks=since("2.1"))])  # fmt: skip
def test_numbers_and_types_are_lightnings(precision: str) -> None:
    given: Any = precision
    if pl.__version__.startswith("1."):
        given = {"32-true": 32, "64-true": 64, "16-mixed": 16, "bf16-mixed": "bf16"}[precision]
    run = assert_parity(Types, Data, also=facts, max_epochs=2, precision=given, gradient_clip_val=0.5)
    seen = {name: value for entry in run.final if entry.label == "also" for name, value in entry.facts.items()}
    wanted = TYPES.get(precision, torch.bfloat16)  # "16-mixed" is bfloat16 on CPU
    assert seen["training"] == seen["validation"] == [str(wanted)]


class Steps(pl.Callback):
    """Gives the plugin a scaler that works on CPU, and notes scale and parameters after each batch."""

    def __init__(self, ours: bool) -> None:
        self.ours = ours
        self.scales: list[float] = []
        self.parameters: list[torch.Tensor] = []
        self.unscaled: list[float] = []

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if self.ours:
            plugin = trainer.strategy.precision_plugin
            plugin.precision, plugin.scaler = (
                "16-mixed",
                torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=4),
            )

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.unscaled.append(float(next(pl_module.parameters()).grad.abs().sum()))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.scales.append(trainer.strategy.precision_plugin.scaler.get_scale())
        self.parameters.append(torch.cat([p.detach().reshape(-1).clone() for p in pl_module.parameters()]))


class Overflowing(Types):
    """Its gradients overflow in the third batch of an epoch."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        return loss * float("inf") if batch_idx == 2 else loss


def trial_of(steps: Steps, **arguments: Any) -> Any:
    base = face().LightningAdapter

    class Trial(base):  # type: ignore[misc, valid-type]
        def __init__(self, context: Any) -> None:
            options = {
                "precision": "bf16-mixed",
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "logger": False,
            }
            super().__init__(context, Overflowing(), Data(), callbacks=[steps], **{**options, **arguments})

    return Trial


@since("2.1", "its plugin has another name before")
def test_loss_scaling_skips_and_counts_steps_as_lightning_does(tmp_path: Path) -> None:
    plugin = pl.plugins.MixedPrecision(
        "16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=4)
    )
    theirs, ours = Steps(ours=False), Steps(ours=True)
    with quiet():
        pl.seed_everything(3)
        trainer = pl.Trainer(accelerator="cpu", devices=1, plugins=[plugin], max_epochs=2, callbacks=[theirs],
                             logger=False, enable_checkpointing=False, enable_progress_bar=False,
                             enable_model_summary=False, gradient_clip_val=0.5, default_root_dir=tmp_path)  # fmt: skip
        trainer.fit(Overflowing(), datamodule=Data())
        trial = face().fit(trial_of(ours, gradient_clip_val=0.5), max_epochs=2, seed=3, run_dir=tmp_path / "run")
    assert ours.scales == theirs.scales
    assert ours.scales[2] == ours.scales[1] / 2  # the overflow
    assert all(torch.equal(one, other) for one, other in zip(ours.parameters, theirs.parameters, strict=True))
    assert torch.equal(ours.parameters[2], ours.parameters[1])  # no step
    assert ours.unscaled == pytest.approx(theirs.unscaled, nan_ok=True)
    assert trial.lightning_module.trainer.global_step == trainer.global_step


def test_scaler_is_saved_and_restored(tmp_path: Path) -> None:
    keep = {"checkpoint_storage": {"save_trial_latest": 100}}
    whole, resumed = Steps(ours=True), Steps(ours=True)
    with quiet():
        face().fit(trial_of(whole), max_epochs=2, seed=3, run_dir=tmp_path / "a", config=keep,
                   checkpoint_period=pytorch.Batch(4))  # fmt: skip
        stored = store.stored_checkpoints(tmp_path / "a" / "checkpoints")
        middle = next(each.path for each in stored if each.steps_completed == 4)
        face().fit(trial_of(resumed), max_epochs=2, seed=3, run_dir=tmp_path / "b", resume_from=middle)
    assert resumed.scales == whole.scales[4:]
    assert whole.scales[3] != whole.scales[0]  # there was something to restore


# --- apex -------------------------------------------------------------------------------------------------------------


class Plain(Net):
    def train_dataloader(self) -> Any:
        return DataLoader(samples(8), 4)


def apex_trial(**arguments: Any) -> Any:
    base = face().LightningAdapter

    class Trial(base):  # type: ignore[misc, valid-type]
        def __init__(self, context: Any) -> None:
            quietly = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
            module = Plain(scheduler="step")
            super().__init__(context, module, amp_backend="apex", **{**quietly, **arguments})

    return Trial


def module_named(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = types.ModuleType(name)
    vars(module).update(content, __path__=[])
    monkeypatch.setitem(sys.modules, name, module)


def test_apex_that_is_missing_is_refused_with_the_native_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apex", None)
    with pytest.raises(ConfigurationError, match=r"apex cannot be imported .*use precision='16-true'"):
        face().fit(apex_trial(amp_level="O3"), max_epochs=1, run_dir=tmp_path)


def test_apex_without_amp_is_refused_with_the_native_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module_named(monkeypatch, "apex")
    with pytest.raises(
        ConfigurationError, match=r"no `amp`, which its releases after 25\.04.*use precision='16-mixed'"
    ):
        face().fit(apex_trial(), max_epochs=1, run_dir=tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_apex_without_a_device_is_refused_with_the_native_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module_named(monkeypatch, "apex")
    module_named(monkeypatch, "apex.amp")
    with pytest.raises(ConfigurationError, match=r"no CUDA device.*use precision='32-true'"):
        face().fit(apex_trial(amp_level="O0"), max_epochs=1, run_dir=tmp_path)


def test_apex_is_configured_after_models_and_optimizers_and_before_schedulers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    losses: list[torch.Tensor] = []

    @contextlib.contextmanager
    def scale_loss(loss: torch.Tensor, optimizers: Any) -> Iterator[torch.Tensor]:
        losses.append(loss)
        yield loss * 1.0

    module_named(monkeypatch, "apex")
    module_named(
        monkeypatch, "apex.amp", scale_loss=scale_loss, state_dict=lambda: {"loss_scaler0": {"loss_scale": 2.0}}
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    context = pytorch.PyTorchTrialContext
    for name in ("wrap_model", "wrap_optimizer"):
        original = getattr(context, name)
        monkeypatch.setattr(
            context, name, lambda self, item, name=name, original=original: calls.append(name) or original(self, item)
        )

    def configure(self: Any, models: Any, optimizers: Any, opt_level: str) -> tuple[Any, Any]:
        calls.append(f"configure_apex_amp {opt_level}")
        assert models in self.models and all(optimizer in self.optimizers for optimizer in optimizers)
        # as apex might: other objects than were given
        return models, [type(each)(each.param_groups, lr=each.defaults["lr"]) for each in optimizers]

    monkeypatch.setattr(context, "configure_apex_amp", configure)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.zeros(1))
    with quiet():
        trial = face().fit(apex_trial(amp_level="O1"), max_epochs=2, run_dir=tmp_path)
    trainer = trial.lightning_module.trainer
    assert calls == ["wrap_model", "wrap_optimizer", "configure_apex_amp O1"]
    assert trainer.lr_scheduler_configs[0].scheduler.optimizer is trainer.optimizers[0]
    assert len(losses) == trainer.global_step == 4
    saved = torch.load(trial.latest_checkpoint / "lightning.ckpt")
    assert {"loss_scaler0": {"loss_scale": 2.0}} in saved.values()  # its key is the plugin's name of this Lightning


_REAL = importlib.util.find_spec("apex") is not None and importlib.util.find_spec("apex.amp") is not None


@pytest.mark.gpu
@pytest.mark.skipif(not (_REAL and torch.cuda.is_available()), reason="needs a CUDA device and an apex that has amp")
def test_real_apex_trains(tmp_path: Path) -> None:
    with quiet():
        trial = face().fit(apex_trial(amp_level="O1"), max_epochs=3, seed=1, run_dir=tmp_path)
    assert trial.lightning_module.trainer.global_step == 6
    assert all(torch.isfinite(parameter).all() for parameter in trial.lightning_module.parameters())
