"""Are Lightning's counters in a checkpoint those of its Trainer, and does a resume at a validation do what Trainer does?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from parity.harness import since
from two_ways import BoringModel, Fit, outcomes

pytestmark = since("2.5", reason="older Lightnings restart their loops otherwise")

SMALL = {"max_epochs": 2, "limit_train_batches": 4, "limit_val_batches": 3}


class Scheduled(BoringModel):
    """Has a scheduler, and notes what happens."""

    def __init__(self, interval: str = "epoch", frequency: int = 1, plateau: bool = False) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.of_scheduler = {"interval": interval, "frequency": frequency}
        self.plateau = plateau

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        if self.plateau:
            scheduler: Any = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        else:
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        given = {"scheduler": scheduler, "monitor": "loss", **self.of_scheduler}
        return {"optimizer": optimizer, "lr_scheduler": given}

    def on_train_start(self) -> None:
        torch.manual_seed(3)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append((f"train {batch_idx}", torch.rand(1).item()))
        self.log("loss", float(self.global_step))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append(f"validate {batch_idx}")
        return super().validation_step(batch, batch_idx)


class Failing(Scheduled):
    """Fails within its second batch of validation."""

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 1:
            raise ZeroDivisionError
        return super().validation_step(batch, batch_idx)


def keeps(directory: Path, **options: Any) -> pl.Callback:
    return pl.callbacks.ModelCheckpoint(directory, save_top_k=-1, filename="{epoch}-{step}", **options)


def counts(directory: Path) -> dict[str, Any]:
    files = sorted(directory.glob("*.ckpt"))
    return {path.name: torch.load(path, weights_only=True)["loops"]["fit_loop"] for path in files}


def folder(tmp_path: Path) -> Path:
    return tmp_path / f"files-{len(list(tmp_path.iterdir()))}"


@pytest.mark.parametrize(
    ("scheduler", "arguments"),
    [
        (("epoch", 1), {}),
        (("step", 2), {"val_check_interval": 0.5}),
        (("step", 1), {"accumulate_grad_batches": 3, "limit_val_batches": 0}),
    ],
)
def test_counters_in_a_checkpoint_are_those_of_lightning(
    scheduler: tuple[str, int], arguments: dict[str, Any], tmp_path: Path
) -> None:
    def situation(train: Fit) -> Any:
        here = folder(tmp_path)
        train(Scheduled(*scheduler), callbacks=[keeps(here, every_n_train_steps=1)], **{**SMALL, **arguments})
        return counts(here)

    theirs, ours = outcomes(tmp_path, situation)
    assert len(theirs) > 2
    assert ours == theirs


def resumed(tmp_path: Path, path: Path, module: type[Scheduled] = Scheduled, **arguments: Any) -> tuple[Any, Any]:
    """What is seen, logged under, scheduled and saved, when a file is resumed by Trainer and by the adapter."""

    def situation(train: Fit) -> Any:
        made, here = module(), folder(tmp_path)
        train(made, ckpt_path=path, callbacks=[keeps(here, every_n_train_steps=1)], **{**SMALL, **arguments})
        trainer: Any = made.trainer
        states = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
        return made.seen, trainer.fit_loop.epoch_loop._batches_that_stepped, states, counts(here)

    return outcomes(tmp_path, situation)


def written(tmp_path: Path, callback: Any, pattern: str, module: Any, **arguments: Any) -> Path:
    """A file of Lightning's Trainer."""
    here = tmp_path / "first"
    trainer = pl.Trainer(
        accelerator="cpu", default_root_dir=tmp_path, logger=False, num_sanity_val_steps=0, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[callback(here)], **{**SMALL, **arguments},
    )  # fmt: skip
    try:
        trainer.fit(module)
    except ZeroDivisionError:
        assert isinstance(module, Failing)
    return next(here.glob(pattern))


@pytest.mark.parametrize("interval", [0.5, 1.0])
def test_validation_that_was_interrupted_goes_on(interval: float, tmp_path: Path) -> None:
    interrupted = written(
        tmp_path, pl.callbacks.OnExceptionCheckpoint, "*.ckpt", Failing(), val_check_interval=interval
    )
    theirs, ours = resumed(tmp_path, interrupted, val_check_interval=interval)
    assert theirs[0][:2] == ["validate 0", "validate 1"]  # as many as were left
    assert ours == theirs


class Plateau(Scheduled):
    """Its scheduler monitors, after each batch."""

    def __init__(self) -> None:
        super().__init__("step", plateau=True)


def kept_at_epoch_end(here: Path) -> Any:
    return keeps(here, save_on_train_epoch_end=True)


def kept_at_each_step(here: Path) -> Any:
    return keeps(here, every_n_train_steps=1)


def kept_in_validation(here: Path) -> Any:
    return keeps(here, every_n_epochs=1, save_on_train_epoch_end=False)


def test_validation_that_was_made_is_not_made_again(tmp_path: Path) -> None:
    made = written(tmp_path, kept_in_validation, "epoch=0-step=2.ckpt", Scheduled(), val_check_interval=0.5)
    theirs, ours = resumed(tmp_path, made, val_check_interval=0.5)
    assert theirs[0][0][0] == "train 2"
    assert ours == theirs


def test_plateau_scheduler_is_due_after_a_validation_that_was_made(tmp_path: Path) -> None:
    def resume(train: Fit) -> str:
        with pytest.raises(Exception, match="conditioned on metric loss which is not available") as caught:
            train(Plateau(), ckpt_path=made, val_check_interval=0.5, **SMALL)
        return type(caught.value).__name__  # what is monitored was not saved

    made = written(tmp_path, kept_in_validation, "epoch=0-step=2.ckpt", Plateau(), val_check_interval=0.5)
    theirs, ours = outcomes(tmp_path, resume)
    assert ours == theirs


def test_validation_that_was_not_begun_is_not_made_up_for_and_counts(tmp_path: Path) -> None:
    before = written(tmp_path, kept_at_each_step, "epoch=0-step=2.ckpt", Scheduled(), val_check_interval=0.5)
    theirs, ours = resumed(tmp_path, before, val_check_interval=0.5)
    assert theirs[0][0][0] == "train 2"
    assert ours == theirs


class AsksWhetherItRestarts(Scheduled):
    def on_train_epoch_start(self) -> None:
        self.seen.append(("epoch", self.trainer.fit_loop.restarting))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append(("batch", self.trainer.fit_loop.restarting))
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    ("callback", "name", "arguments"),
    [
        (kept_at_each_step, "epoch=0-step=3.ckpt", {}),
        (kept_at_each_step, "epoch=0-step=3.ckpt", {"max_steps": 12, "max_epochs": -1}),
        (kept_at_epoch_end, "epoch=0-step=4.ckpt", {}),
    ],
)
def test_loop_says_whether_it_restarts_within_an_epoch(
    callback: Any, name: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    path = written(tmp_path, callback, name, Scheduled(), max_epochs=1)
    theirs, ours = resumed(tmp_path, path, AsksWhetherItRestarts, **arguments)
    assert ours[0] == theirs[0]
