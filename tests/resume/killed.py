"""What does a process do that is killed at a random moment? It trains, and leaves its result when it comes to the end.

`Killer` starts such processes from one that has imported everything already: a life is as short as its training.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import torch
from determined import pytorch

from parity.harness import PACKAGE, describe, quiet
from parity.models import Data, Net

from .interrupting import FACE

EPOCHS = 3
CONFIG = {"checkpoint_storage": {"save_trial_latest": 3}, "searcher": {"metric": "val_loss"}}


class KilledTrial(FACE.LightningAdapter):
    """Shuffles, drops out, schedules, accumulates; every optimizer step is followed by a checkpoint."""

    def __init__(self, context: Any) -> None:
        module = Net(scheduler="cosine", interval="step")
        options = {"enable_progress_bar": False, "enable_model_summary": False, "accumulate_grad_batches": 2}
        super().__init__(context, module, Data(count=60), log_every_n_steps=2, **options)


class DiesWhileWriting(KilledTrial):
    """Its process is killed when its sixth checkpoint is written, but not yet in its place."""

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        class Die(pytorch.PyTorchCallback):
            written = 0

            def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
                self.written += 1
                if self.written == 6:
                    os.kill(os.getpid(), signal.SIGKILL)

        return {"die": Die()}


def live(begun: Any, folder: str, trial: type[KilledTrial] = KilledTrial) -> None:
    """Train to the end, from the newest checkpoint where there is one, and leave the result."""
    begun.set()
    torch.set_num_threads(1)
    run_dir = Path(folder)
    store = run_dir / "checkpoints"
    resumes = store.is_dir() and any(not path.name.startswith(".") for path in store.iterdir())
    with quiet():
        made = FACE.fit(
            trial, config=CONFIG, seed=11, max_epochs=EPOCHS, checkpoint_period=pytorch.Batch(1), run_dir=run_dir,
            resume_from=store if resumes else None,
        )  # fmt: skip
    trainer = made.lightning_module.trainer
    result = {
        "weights": describe(dict(made.lightning_module.state_dict())),
        "optimizer": describe(trainer.optimizers[0].state_dict()),
        "metrics": {name: float(value) for name, value in made.callback_metrics.items()},
        "counters": [trainer.current_epoch, trainer.global_step, trainer.fit_loop.total_batch_idx],
        "table": (run_dir / "metrics.csv").read_text(),
    }
    (run_dir / "result.new").write_text(json.dumps(result))
    os.replace(run_dir / "result.new", run_dir / "result.json")


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


class Killer:
    """Starts processes and kills them."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        # not this module: before Python 3.12 the server does not look where pytest has found it
        self.context.set_forkserver_preload(["lightning_adapter.platform.fit", PACKAGE, "pytest", "torch._dynamo"])
        self.kills = 0
        self.duration = 0.0
        self.half_written = 0

    def run(self, folder: Path, delay: float | None = None, trial: type[KilledTrial] = KilledTrial) -> int:
        """Let a process train in `folder`, and kill it after `delay` seconds if it is still there.

        Returns:
            Its exit code.
        """
        begun = self.context.Event()
        process = self.context.Process(target=live, args=(begun, str(folder), trial))
        process.start()
        begun.wait()
        begin = time.monotonic()
        process.join(delay)
        self.duration = time.monotonic() - begin
        if process.is_alive():
            process.kill()
            self.kills += 1
        process.join()
        self.half_written += len(list((folder / "checkpoints").glob(".writing-*")))
        return int(process.exitcode or 0)

    def lives(self, folder: Path, duration: float, generator: random.Random) -> None:
        """Kill at random moments until a process comes to the end; each may live as long as a whole run takes."""
        while not (folder / "result.json").exists():
            code = self.run(folder, generator.uniform(0.0, duration))
            assert code in (0, -signal.SIGKILL), f"the process that resumed ended with {code}"


def measured(killer: Killer, folder: Path) -> float:
    """Train without being killed, twice; the second time says how long it takes."""
    killer.run(folder)
    killer.run(folder.with_name("measured"))
    return killer.duration
