"""One process of a job: trains cases with the adapter, with Lightning where that is asked for, and notes what it saw.

python job.py OUT_DIRECTORY BACKEND CASE...        BACKEND: torch, horovod or single
"""

from __future__ import annotations

import faulthandler
import inspect
import os
import pathlib
import sys
from typing import Any

import cases
import pytorch_lightning as pl
import torch
from determined import pytorch

import lightning_adapter
from lightning_adapter.errors import LightningAdapterError
from lightning_adapter.runs import store


class Seen(pl.Callback):
    """Notes parameters after each batch, and metrics when they are read."""

    def __init__(self) -> None:
        self.parameters: list[torch.Tensor] = []
        self.metrics: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.parameters.append(torch.cat([p.detach().reshape(-1).double() for p in pl_module.parameters()]))
        self.note(trainer)

    def note(self, trainer: Any) -> None:
        self.metrics.append({name: float(value) for name, value in sorted(trainer.callback_metrics.items())})

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.note(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.note(trainer)


def arguments_of(case: cases.Case, seen: Seen, **more: Any) -> dict[str, Any]:
    given = {name: value() if inspect.isfunction(value) else value for name, value in case.arguments.items()}
    callbacks = [*given.pop("callbacks", []), seen]
    options = {"max_epochs": 2, "num_sanity_val_steps": 0, "log_every_n_steps": 2, "enable_progress_bar": False}
    return {**options, "enable_model_summary": False, "logger": False, **given, **more, "callbacks": callbacks}


def conclude(case: cases.Case, module: Any, trainer: Any, seen: Seen) -> dict[str, Any]:
    return {
        "parameters": seen.parameters,
        "metrics": seen.metrics,
        "buffers": [buffer.clone() for buffer in module.buffers()],
        "last": {name: float(value) for name, value in sorted(trainer.callback_metrics.items())},
        "step": trainer.global_step,
        "epoch": trainer.current_epoch,
        "seen": None if case.see is None else case.see(module),
    }


def with_lightning(case: cases.Case, folder: pathlib.Path) -> dict[str, Any]:
    seen = Seen()
    pl.seed_everything(cases.SEED)
    module, data = case.build(), case.data()
    different = case.lightning if isinstance(case.lightning, dict) else {}
    options = arguments_of(case, seen, default_root_dir=str(folder), enable_checkpointing=False, **different)
    strategy = options.pop("strategy", "ddp")
    trainer = pl.Trainer(accelerator="cpu", devices=2, strategy=strategy, **options)
    trainer.fit(module, datamodule=data)
    return conclude(case, module, trainer, seen)


KEEP_ALL = {"checkpoint_storage": {"save_trial_latest": 100}}


def with_adapter(case: cases.Case, folder: pathlib.Path) -> dict[str, Any]:
    hparams = {"global_batch_size": 8} if case.data().batch == 3 else {}
    options = {"config": KEEP_ALL, "checkpoint_period": pytorch.Batch(case.resume or 10**9), "hparams": hparams}
    if case.refused:
        return {"refused": refusal(case, folder, {**options, "checkpoint_period": pytorch.Batch(3)})}
    result = fit(case, folder, **options)
    if case.resume is not None:
        stored = store.stored_checkpoints(folder / "checkpoints")
        (middle,) = [each.path for each in stored if each.steps_completed == case.resume]
        result["resumed"] = fit(case, folder / "again", resume_from=middle)
    return result


def refusal(case: cases.Case, folder: pathlib.Path, options: dict[str, Any]) -> str:
    try:
        fit(case, folder, **options)
    except LightningAdapterError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"


def fit(case: cases.Case, folder: pathlib.Path, **options: Any) -> dict[str, Any]:
    seen = Seen()

    class Trial(lightning_adapter.LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, case.build(), case.data(), **arguments_of(case, seen))

        def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
            chief = self.context.distributed.rank == 0
            return {"own": pytorch.PyTorchCallback()} if case.chief_callbacks and chief else {}

    trial = lightning_adapter.fit(Trial, seed=cases.SEED, run_dir=folder, **options)
    return conclude(case, trial.lightning_module, trial.lightning_module.trainer, seen)


def main() -> None:
    out, backend, names = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    torch.set_num_threads(1)
    # a job that hangs says where
    faulthandler.dump_traceback_later(float(os.environ.get("JOB_LIMIT_S", "150")), exit=True)
    results: dict[str, Any] = {}
    with cases.quiet():
        for name in names:
            case = cases.CASES[name]
            results[name] = {"adapter": with_adapter(case, out / backend / name)}
            if backend == "torch" and case.lightning is not False:
                results[name]["lightning"] = with_lightning(case, out / backend / name)
    rank = 0
    if backend == "torch":
        rank = torch.distributed.get_rank()
    elif backend == "horovod":
        import horovod.torch as hvd

        rank = hvd.rank()
    torch.save(results, out / f"{backend}-{rank}.pt")


if __name__ == "__main__":
    main()
