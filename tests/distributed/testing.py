"""One process of a job that ends with a test: `testing.py DIRECTORY`. The first one alone tests, on all samples."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import cases
import pytorch_lightning as pl
import torch
from torch import distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

import lightning_adapter

FOLDER = pathlib.Path(sys.argv[1])


class Tested(cases.Classes):
    """Its metrics talk to torch's default group whenever they are computed."""

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.validation_step(batch, batch_idx)


class Data(cases.Data):
    """One of the two loaders has a sampler that shards by itself, where there are several processes."""

    def test_dataloader(self) -> list[Any]:
        data = cases.samples(10, seed=3)
        sampler: Any = DistributedSampler(data, shuffle=False) if dist.is_initialized() else None
        return [DataLoader(data, 4), DataLoader(data, 4, sampler=sampler)]


class Trial(lightning_adapter.LightningAdapter):
    def __init__(self, context: Any) -> None:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        super().__init__(context, Tested(), Data(), **quiet)


def by_lightning(checkpoint: pathlib.Path) -> dict[str, float]:
    """What Lightning's Trainer measures with the weights of a checkpoint, in a process of its own."""
    module = Tested()
    module.load_state_dict(torch.load(checkpoint / "lightning.ckpt", weights_only=False)["state_dict"])
    trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    found = trainer.test(module, datamodule=Data(), verbose=False)
    return {name: value for of_loader in found for name, value in of_loader.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    trial = lightning_adapter.fit(Trial, max_epochs=1, seed=1, run_dir=FOLDER / "run", test=True)
    size = torch.ones(1)
    dist.all_reduce(size)  # the group of all is there again
    seen = {"metrics": trial.test_metrics, "size": float(size), "checkpoint": str(trial.latest_checkpoint)}
    (FOLDER / f"{dist.get_rank()}.json").write_text(json.dumps(seen))
