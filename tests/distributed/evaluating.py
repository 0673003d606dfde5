"""One process of a job that measures what a run has left: `evaluating.py RUN DIRECTORY`; by Lightning alone with a third word."""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import cases
import pytorch_lightning as pl
import torch
from torch import distributed as dist
from torch.utils.data import DataLoader

import lightning_adapter

RUN, FOLDER = (pathlib.Path(word) for word in sys.argv[1:3])
QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Net(cases.Classes):
    """Its metrics talk to the other process."""

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.net(batch[0])


class Data(cases.Data):
    """Loaders that Lightning shards, one of them made by position."""

    def test_dataloader(self) -> list[Any]:
        return [DataLoader(cases.samples(10, seed=3), batch_size=4), DataLoader(cases.samples(7, seed=4), 2)]

    def predict_dataloader(self) -> Any:
        return DataLoader(cases.samples(10, seed=3), batch_size=2)


class Trial(lightning_adapter.LightningAdapter):
    def __init__(self, context: Any) -> None:
        super().__init__(context, Net(), Data(), max_epochs=1, **QUIET)


def by_lightning() -> tuple[Any, Any, Any]:
    """What Lightning's own Trainer gives under the same launcher."""
    found = []
    for stage in ("validate", "test", "predict"):
        trainer = pl.Trainer(accelerator="cpu", strategy="ddp", devices=2, **QUIET)
        checkpoint = str(next((RUN / "checkpoints").iterdir()) / "lightning.ckpt")
        quiet = {} if stage == "predict" else {"verbose": False}
        data = Data()
        if stage == "test":  # Lightning itself cannot shard a loader whose arguments were given by position
            data.test_dataloader = lambda: [  # type: ignore[method-assign]
                DataLoader(cases.samples(10, seed=3), batch_size=4),
                DataLoader(cases.samples(7, seed=4), batch_size=2),
            ]
        found.append(getattr(trainer, stage)(Net(), datamodule=data, ckpt_path=checkpoint, **quiet))
    return tuple(found)  # type: ignore[return-value]


def by_us() -> tuple[Any, Any, Any]:
    loaded = lightning_adapter.load_trial(RUN, Trial)
    return loaded.validate(verbose=False), loaded.test(verbose=False), loaded.predict()


if __name__ == "__main__":
    torch.set_num_threads(1)
    validated, tested, predicted = by_lightning() if len(sys.argv) > 3 else by_us()
    seen = {"validate": validated, "test": tested, "predict": [one.tolist() for one in predicted]}
    (FOLDER / f"{dist.get_rank()}.json").write_text(json.dumps(seen))
    dist.barrier()
