"""Does the callback draw what the model gets, and leave training as it is without it, under either Trainer?"""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_adapter import DrawBatches, LightningAdapter, fit
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.pictures import batch_page, callback

pl = importlib.import_module("pytorch_lightning")


class Net(pl.LightningModule):
    """Draws random numbers wherever it can, and keeps running means."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 36, 5)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        noise = torch.rand(1) * random.random() * np.random.rand() if self.trainer.training else 0.0
        return x * 3 + noise, y

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())

    def _loader(self, shuffle: bool) -> DataLoader:
        made = torch.Generator().manual_seed(0)
        data = TensorDataset(torch.rand(24, 3, 8, 8, generator=made), torch.randint(0, 5, (24,), generator=made))
        return DataLoader(data, 6, shuffle=shuffle)

    def train_dataloader(self) -> DataLoader:
        return self._loader(True)

    def val_dataloader(self) -> list[DataLoader]:
        return [self._loader(False), self._loader(False)]


def by_adapter(root: Path, callbacks: list[Any], module: Any = Net, **arguments: Any) -> tuple[Any, Path]:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            given = {"enable_progress_bar": False, "enable_model_summary": False, **arguments}
            super().__init__(context, module(), max_epochs=3, callbacks=callbacks, **given)

    trial = fit(Trial, seed=1, run_dir=root)
    return trial.lightning_module, root


def by_lightning(root: Path, callbacks: list[Any], module: Any = Net, **arguments: Any) -> tuple[Any, Path]:
    pl.seed_everything(1)
    made = module()
    trainer = pl.Trainer(
        max_epochs=3, callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        default_root_dir=root, num_sanity_val_steps=2, logger=pl.loggers.TensorBoardLogger(root, "", ""), **arguments,
    )  # fmt: skip
    trainer.fit(made)
    return made, Path(trainer.log_dir)


def state_after(module: Any) -> list[torch.Tensor]:
    return [*module.state_dict().values(), torch.rand(2), torch.tensor([random.random(), np.random.rand()])]


NAMES = [
    "train-epoch-0000-step-000000-batch-0.png", "train-epoch-0000-step-000001-batch-1.png",
    "train-epoch-0002-step-000008-batch-0.png", "train-epoch-0002-step-000009-batch-1.png",
    "val-epoch-0000-step-000004-batch-0.png", "val-epoch-0000-step-000004-loader-1-batch-0.png",
    "val-epoch-0001-step-000008-batch-0.png", "val-epoch-0001-step-000008-loader-1-batch-0.png",
    "val-epoch-0002-step-000012-batch-0.png", "val-epoch-0002-step-000012-loader-1-batch-0.png",
]  # fmt: skip


@pytest.mark.parametrize("train", [by_adapter, by_lightning])
def test_batches_are_drawn_and_training_is_the_same_bit_for_bit(train: Any, tmp_path: Path) -> None:
    plain = state_after(train(tmp_path / "plain", [])[0])
    drawing = [DrawBatches(2, every_n_epochs=2, predictions=True), DrawBatches(split="val", predictions=True)]
    module, root = train(tmp_path / "drawn", drawing)
    assert all(map(torch.equal, plain, state_after(module)))
    assert sorted(path.name for path in (root / "pictures" / "batches").iterdir()) == NAMES
    (events,) = root.glob("**/events*")
    images = EventAccumulator(str(events), size_guidance={"images": 0})
    images.Reload()
    shown = {name: len(images.Images(name)) for name in images.Tags()["images"]}
    assert shown == {"batches/train/0": 2, "batches/train/1": 2, "batches/val/0": 3, "batches/val/1/0": 3}


def test_the_batch_is_drawn_as_the_model_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[torch.Tensor] = []
    real = batch_page.draw
    monkeypatch.setattr(batch_page, "draw", lambda batch, *rest: (drawn.append(batch[0]), real(batch, *rest))[1])
    seen: list[torch.Tensor] = []

    class Keeps(Net):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            seen.append(batch[0].clone())
            return super().training_step(batch, batch_idx)

    by_adapter(tmp_path, [DrawBatches(every_n_epochs=3)], Keeps)
    assert len(drawn) == 1
    assert torch.equal(drawn[0], seen[0])


def test_other_processes_than_the_chief_draw_nothing(tmp_path: Path) -> None:
    drawing = DrawBatches(dirpath=tmp_path)
    trainer = SimpleNamespace(
        default_root_dir=str(tmp_path), strategy=None, current_epoch=0, global_step=0, is_global_zero=False, loggers=[]
    )
    drawing.setup(trainer, Net(), "fit")
    drawing.on_train_batch_start(trainer, Net(), torch.rand(2, 20), 0)
    assert list(tmp_path.iterdir()) == []
    trainer.is_global_zero = True
    drawing.on_train_batch_start(trainer, Net(), torch.rand(2, 20), 0)
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[0]]


def test_a_logger_with_log_image_is_given_the_pixels(tmp_path: Path) -> None:
    given: list[dict[str, Any]] = []

    def log_image(**arguments: Any) -> None:
        given.append({**arguments, "drawn": [torch.rand(1), random.random(), np.random.rand()]})  # names of files

    wandb = SimpleNamespace(log_image=log_image)
    csv = SimpleNamespace(experiment=SimpleNamespace())
    trainer = SimpleNamespace(
        default_root_dir=str(tmp_path), strategy=None, current_epoch=0, global_step=7, is_global_zero=True,
        loggers=[csv, wandb], sanity_checking=False,
    )  # fmt: skip
    drawing = DrawBatches(split="val")
    drawing.setup(trainer, Net(), "fit")
    module, batch = Net(), torch.rand(2, 20)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    drawing.on_validation_batch_start(trainer, module, batch, 0, 0)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    ((pixels,), key, step) = [given[0][name] for name in ("images", "key", "step")]
    assert (key, step, pixels.dtype, pixels.shape[2]) == ("batches/val/0", 7, np.uint8, 3)


def test_what_cannot_be_drawn_is_told_once_and_ends_no_training(tmp_path: Path) -> None:
    def broken(ids: list[int]) -> str:
        raise KeyError("no such word")

    class OfIds(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Embedding(9, 1)

        def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
            return self.layer(batch).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

        def train_dataloader(self) -> DataLoader:
            return DataLoader(torch.arange(24).reshape(4, 6) % 9, 2)

    with pytest.warns(UserWarning, match="could not draw train batch 0, epoch 0, step 0.*no such word") as told:
        by_adapter(tmp_path, [DrawBatches(decode=broken)], OfIds)
    assert len([one for one in told if "could not draw" in str(one.message)]) == 1
    assert not (tmp_path / "pictures").exists()


def test_wrong_arguments_are_all_named() -> None:
    with pytest.raises(ConfigurationError, match=r"batches=0 is no.*every_n_epochs=True is no.*split='all' is none"):
        DrawBatches(0, "all", True)
    with pytest.raises(ConfigurationError, match="decode=3 cannot be called"):
        DrawBatches(decode=3)  # type: ignore[arg-type]


def test_predictions_of_sharded_weights_are_refused(tmp_path: Path) -> None:
    strategy = object.__new__(pl.strategies.DeepSpeedStrategy)
    trainer = SimpleNamespace(default_root_dir=str(tmp_path), strategy=strategy)
    with pytest.raises(ConfigurationError, match="under DeepSpeedStrategy it has a part of the weights only"):
        DrawBatches(predictions=True).setup(trainer, Net(), "fit")
    DrawBatches().setup(trainer, Net(), "fit")


def test_a_batch_that_is_not_drawn_costs_a_comparison() -> None:
    """Nothing is asked of trainer, module or batch, so no device is waited for."""
    for split in callback.SPLITS:
        drawing = DrawBatches(split=split)
        drawing.on_train_batch_start(None, None, None, 1)
        drawing.on_validation_batch_start(None, None, None, 1)
        drawing.on_test_batch_start(None, None, None, 1)


@pytest.mark.parametrize("face", ["pytorch_lightning", "lightning"])
def test_callback_is_one_of_its_package(face: str) -> None:
    host = pytest.importorskip("lightning.pytorch" if face == "lightning" else face)
    found = importlib.import_module(f"lightning_adapter.{face}").DrawBatches
    assert issubclass(found, host.Callback)
    assert found.__doc__ == callback.DrawBatchesMixin.__doc__
