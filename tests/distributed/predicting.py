"""One process of a job that predicts: `predicting.py DIRECTORY [RANK LOADER BATCH]`, where that process is gone at that batch.

Each batch is a shard, and in each batch the processes exchange its number: they have to be in step, after a resume too.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import distributed as dist
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset

from lightning_adapter.evaluation.predict import predict
from lightning_adapter.evaluation.prediction_writer import PredictionWriting
from lightning_adapter.evaluation.predictions_directory import Request
from lightning_adapter.versions import hosts


class Points(Dataset[Any]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        return {"x": torch.tensor([index / 7, 1.0]), "y": torch.tensor(index), "id": f"n{index}"}


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        rank, size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for index in range(rank, 8, size):
            yield {"x": torch.tensor([index / 7, 1.0]), "y": torch.tensor(index), "id": f"n{index}"}


class Model(pl.LightningModule):
    def __init__(self, gone_at: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.gone_at = gone_at
        self.seen: list[tuple[int, int]] = []
        torch.manual_seed(0)
        self.net = torch.nn.Linear(2, 3)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        if (self.global_rank, dataloader_idx, batch_idx) == self.gone_at:
            os._exit(9)
        if dist.is_initialized():
            numbers = [None] * dist.get_world_size()
            dist.all_gather_object(numbers, (dataloader_idx, batch_idx))
            assert len(set(numbers)) == 1, numbers
        self.seen.append((dataloader_idx, batch_idx))
        return {"out": self.net(batch["x"]), "text": [f"t{n}" for n in batch["y"].tolist()]}


def loaders() -> list[Any]:
    padded = Points(7)
    sampler = DistributedSampler(padded, shuffle=False) if dist.is_initialized() else None
    return [
        DataLoader(Points(12), batch_size=2),
        DataLoader(Points(12), batch_size=2, shuffle=True),
        DataLoader(padded, batch_size=2, sampler=sampler),
        DataLoader(Stream(), batch_size=2),
    ]


class Data(pl.LightningDataModule):
    def predict_dataloader(self) -> list[Any]:
        return loaders()


def main(folder: pathlib.Path, gone_at: tuple[int, ...] | None, processes: int) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", 0))
    request = Request(folder / "predictions", "pt")
    model = Model(gone_at)

    def run(callbacks: list[Any]) -> None:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        strategy = {"strategy": "ddp"} if processes > 1 else {}
        trainer = pl.Trainer(accelerator="cpu", devices=processes, callbacks=callbacks, **quiet, **strategy)
        trainer.predict(model, datamodule=Data(), return_predictions=False)

    writing = PredictionWriting(request, shard_bytes=1)
    predict(request, hosts.host("pytorch_lightning"), run, rank=rank, processes=processes, writing=writing)
    (folder / f"{rank}.json").write_text(json.dumps(model.seen))


if __name__ == "__main__":
    where = tuple(map(int, sys.argv[2:])) or None
    main(pathlib.Path(sys.argv[1]), where, int(os.environ.get("WORLD_SIZE", 1)))
