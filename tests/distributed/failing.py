"""One process of a job of which one rank fails, or is slow: `failing.py DIRECTORY WHERE HOW RANK`.

WHERE: training, validation or checkpoint. HOW: raise, kill or sleep.
"""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import time
from typing import Any

import cases
import torch

import lightning_adapter

FOLDER, WHERE, HOW, RANK = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])


class Failing(cases.Net):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.fail_at("training", self.trainer.current_epoch >= 1 and (batch_idx == 1 or HOW == "sleep"))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.fail_at("validation", self.trainer.current_epoch == 1)
        super().validation_step(batch, batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.fail_at("checkpoint", self.trainer.current_epoch == 2)

    def fail_at(self, where: str, at_this_moment: bool) -> None:
        if where != WHERE or not at_this_moment or self.global_rank != RANK:
            return
        (FOLDER / "failing").touch()
        if HOW == "raise":
            raise ValueError("this rank has had enough")
        if HOW == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if HOW == "sleep":
            time.sleep(0.2)


class Trial(lightning_adapter.LightningAdapter):
    def __init__(self, context: Any) -> None:
        super().__init__(
            context,
            Failing(),
            cases.Data(count=24),
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    epochs = 200 if HOW == "sleep" else 4
    lightning_adapter.fit(Trial, max_epochs=epochs, seed=1, run_dir=FOLDER / "run")
