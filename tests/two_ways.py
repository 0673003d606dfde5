"""How is one small module trained twice, by Lightning's own Trainer and by the adapter, to be compared by hand?

The parity harness compares whole runs; here a test says itself what it looks at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.demos.boring_classes import BoringDataModule, BoringModel

from lightning_adapter import LightningAdapter, fit

#: Trains a module, with a datamodule or without, under arguments of a Trainer; returns what has trained it.
Fit = Callable[..., Any]

__all__ = ["BoringDataModule", "BoringModel", "Fit", "by_adapter", "by_lightning", "outcomes", "trial_of", "weights"]

QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}


def trial_of(module: Any, data: Any = None, **arguments: Any) -> type[LightningAdapter]:
    """A trial of objects that are made already."""

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, module, data, **{**QUIET, **arguments})

    return Trial


def by_adapter(directory: Path) -> Fit:
    """Trains by the adapter, each time in a directory of its own."""

    def train(module: Any, data: Any = None, ckpt_path: Any = None, **arguments: Any) -> Any:
        run_dir = directory / f"run-{len(list(directory.iterdir()))}"
        return fit(trial_of(module, data, **arguments), run_dir=run_dir, resume_from=ckpt_path)

    return train


def by_lightning(directory: Path) -> Fit:
    """Trains by Lightning's Trainer, with the defaults of the adapter where those differ."""

    def train(module: Any, data: Any = None, ckpt_path: Any = None, **arguments: Any) -> Any:
        saves = any(isinstance(callback, pl.callbacks.Checkpoint) for callback in arguments.get("callbacks", []))
        given = {"accelerator": "cpu", "enable_checkpointing": saves, "num_sanity_val_steps": 0, **QUIET, **arguments}
        trainer = pl.Trainer(default_root_dir=directory, **given)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
        return trainer

    return train


def weights(module: Any) -> torch.Tensor:
    """All parameters and buffers of a module, to be compared with another one's."""
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


def outcomes(tmp_path: Path, situation: Callable[[Fit], Any]) -> tuple[Any, Any]:
    """What a situation returns under Lightning's Trainer, and under the adapter."""
    found = []
    for name, way in (("theirs", by_lightning), ("ours", by_adapter)):
        directory = tmp_path / name
        directory.mkdir()
        found.append(situation(way(directory)))
    return found[0], found[1]
