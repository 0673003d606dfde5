"""A checkpoint goes from the adapter to Lightning's Trainer and from there to the adapter, and the run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_adapter import errors
from parity.harness import describe, quiet, seed_everything, since
from parity.models import GAN, Data, Manual, Net

from .interrupting import FACE, case_of, pl, train

EPOCHS = 4


class Hyper(Net):
    """Keeps its hyperparameters, and writes to the checkpoint by hand."""

    def __init__(self, width: int = 3, **options: Any) -> None:
        super().__init__(**options)
        self.save_hyperparameters()
        self.seen: dict[str, Any] = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seen = {"saved": sorted(key for key in checkpoint if key != "lightning_adapter")}
        checkpoint["by_hand"] = torch.ones(2)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seen["loaded"] = checkpoint["by_hand"]


class HyperData(Data):
    """A datamodule with hyperparameters and a state."""

    def __init__(self, flavour: str = "plain", **options: Any) -> None:
        super().__init__(**options)
        self.save_hyperparameters()
        self.handed = 0

    def state_dict(self) -> dict[str, Any]:
        return {"handed": 5}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.handed = state["handed"]


def trainer_of(folder: Path, **arguments: Any) -> Any:
    options = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False,
               "enable_model_summary": False, "num_sanity_val_steps": 0, "enable_checkpointing": False}  # fmt: skip
    return pl.Trainer(**{**options, "default_root_dir": folder, **arguments})


def keeper(folder: Path, **options: Any) -> Any:
    return pl.callbacks.ModelCheckpoint(dirpath=folder, save_top_k=-1, filename="{epoch}-{step}", **options)


def lightning_run(
    folder: Path, build: Any, data: Any, epochs: int, ckpt_path: Any = None, **keep: Any
) -> tuple[Any, Any]:
    """Train with Lightning's Trainer; with `keep`, checkpoints are left in `folder`."""
    with quiet():
        seed_everything(11)
        module, datamodule = build(), data()
        options = {"callbacks": [keeper(folder, **keep)], "enable_checkpointing": True} if keep else {}
        trainer = trainer_of(folder, max_epochs=epochs, **options)
        trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path)
    return module, trainer


def state_of(module: Any, trainer: Any) -> dict[str, Any]:
    """What must be equal after training."""
    return {
        "weights": describe(dict(module.state_dict())),
        "optimizers": [describe(optimizer.state_dict()) for optimizer in trainer.optimizers],
        "schedulers": [describe(config.scheduler.state_dict()) for config in trainer.lr_scheduler_configs],
        "epoch": trainer.current_epoch,
        "step": trainer.global_step,
        "batches": trainer.fit_loop.total_batch_idx,
    }


def still(**options: Any) -> Any:
    """Without anything random, so that Lightning, which restores no random state, can continue exactly."""
    return lambda: Net(dropout=0.0, optimizer="adam", **options)


def plain() -> Any:
    return Data(shuffle=False)


@pytest.mark.parametrize("options", [{}, {"scheduler": "cosine"}, {"scheduler": "cosine", "interval": "step"}])
def test_lightning_continues_a_run_of_the_adapter_from_the_end_of_an_epoch(options: Any, tmp_path: Path) -> None:
    whole, trainer = lightning_run(tmp_path, still(**options), plain, EPOCHS)
    half = train(case_of(still(**options), plain, max_epochs=2), tmp_path / "half")
    path = half.trial.latest_checkpoint / "lightning.ckpt"
    continued, its_trainer = lightning_run(tmp_path, still(**options), plain, EPOCHS, ckpt_path=path)
    assert state_of(continued, its_trainer) == state_of(whole, trainer)


@pytest.mark.parametrize("options", [{}, {"scheduler": "cosine"}, {"scheduler": "cosine", "interval": "step"}])
def test_adapter_continues_a_run_of_lightning_from_the_end_of_an_epoch(options: Any, tmp_path: Path) -> None:
    whole, trainer = lightning_run(tmp_path, still(**options), plain, EPOCHS)
    lightning_run(tmp_path / "half", still(**options), plain, 2, save_on_train_epoch_end=True)
    path = max((tmp_path / "half").glob("epoch=1*.ckpt"))
    continued = train(case_of(still(**options), plain, max_epochs=EPOCHS), tmp_path / "rest", resume_from=path)
    module = continued.trial.lightning_module
    assert state_of(module, module.trainer) == state_of(whole, trainer)


@pytest.mark.parametrize("form", [{"save_on_train_epoch_end": True}, {"save_on_train_epoch_end": False}])
@since("2.1", reason="Lightning 2.0 trains the last epoch's end twice after a checkpoint within its validation")
def test_adapter_resumes_lightning_as_lightning_does_with_its_random_numbers(form: Any, tmp_path: Path) -> None:
    def build() -> Any:
        return Net(scheduler="step")

    lightning_run(tmp_path / "half", build, Data, 2, **form)
    path = max((tmp_path / "half").glob("epoch=1*.ckpt"))
    theirs, trainer = lightning_run(tmp_path, build, Data, EPOCHS, ckpt_path=path)
    ours = train(case_of(build, Data, max_epochs=EPOCHS), tmp_path / "rest", resume_from=path)
    module = ours.trial.lightning_module
    assert state_of(module, module.trainer) == state_of(theirs, trainer)


@since("2.1", reason="Lightning 2.0 repeats the last batch after a checkpoint in mid epoch")
def test_adapter_resumes_lightning_in_mid_epoch_as_lightning_does_and_warns(tmp_path: Path) -> None:
    lightning_run(tmp_path / "half", still(scheduler="step"), plain, 2, every_n_train_steps=1)
    path = max((tmp_path / "half").glob("*step=8.ckpt"))
    theirs, trainer = lightning_run(tmp_path, still(scheduler="step"), plain, EPOCHS, ckpt_path=path)
    with pytest.warns(UserWarning, match="after batch 2 of an epoch.*reads the data from its start"):
        trial = continue_plainly(still(scheduler="step"), plain, tmp_path / "rest", path)
    module = trial.lightning_module
    assert state_of(module, module.trainer) == state_of(theirs, trainer)


def continue_plainly(build: Any, data: Any, folder: Path, path: Path) -> Any:
    """Resume without recording, warnings not silenced."""

    class Trial(FACE.LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(
                context, build(), data(), enable_progress_bar=False, enable_model_summary=False, logger=False
            )

    return FACE.fit(Trial, run_dir=folder, resume_from=path, max_epochs=EPOCHS, seed=11)


@since("2.0", reason="Lightning 1.9 counts in other loops, which no later version reads")
@pytest.mark.parametrize(
    "build", [still(), still(scheduler="cosine"), GAN, Manual], ids=["plain", "cosine", "gan", "manual"]
)
def test_loops_are_those_that_lightning_writes(build: Any, tmp_path: Path) -> None:
    lightning_run(tmp_path / "theirs", build, plain, 2, save_on_train_epoch_end=True)
    theirs = read_theirs(tmp_path / "theirs")
    trained = train(case_of(build, plain, max_epochs=2), tmp_path / "ours")
    ours = torch.load(trained.trial.latest_checkpoint / "lightning.ckpt", weights_only=True)
    assert ours["loops"].keys() == theirs["loops"].keys()
    assert ours["epoch"] == theirs["epoch"] and ours["global_step"] == theirs["global_step"]
    for loop, state in theirs["loops"].items():
        assert ours["loops"][loop].keys() == state.keys()
        for name, value in state.items():
            mine = ours["loops"][loop][name]
            if "optim" in name or "scheduler" in name:  # only the steps are read, see the sum in `global_step`
                assert shape(mine) == shape(value), name
            else:
                assert mine == value, name
    steps = "epoch_loop.manual_optimization.optim_step_progress"
    assert ours["loops"]["fit_loop"][steps]["total"] == theirs["loops"]["fit_loop"][steps]["total"]


def read_theirs(folder: Path) -> Any:
    """Lightning's last checkpoint; that of 2.0 has a path in it, which plain restricted loading would refuse."""
    return torch.load(max(folder.glob("*.ckpt")), weights_only=False)


def shape(value: Any) -> Any:
    return {key: shape(entry) for key, entry in value.items()} if isinstance(value, dict) else type(value)


def test_trainer_and_load_from_checkpoint_take_a_checkpoint_of_the_adapter(tmp_path: Path) -> None:
    trained = train(case_of(lambda: Hyper(width=7), HyperData, trace=False, max_epochs=2), tmp_path / "run")
    path = trained.trial.latest_checkpoint / "lightning.ckpt"
    weights = describe(dict(trained.trial.lightning_module.state_dict()))
    loaded = Hyper.load_from_checkpoint(path)
    assert loaded.hparams["width"] == 7 and describe(dict(loaded.state_dict())) == weights
    assert torch.equal(loaded.seen["loaded"], torch.ones(2))
    assert HyperData.load_from_checkpoint(path).hparams["flavour"] == "plain"
    trainer, module, data = trainer_of(tmp_path), Hyper(), HyperData()
    with quiet():
        found = trainer.validate(module, datamodule=data, ckpt_path=path)
    assert describe(dict(module.state_dict())) == weights
    assert found[0]["val_loss"] == pytest.approx(float(trained.trial.callback_metrics["val_loss"]))
    with quiet():
        trainer_of(tmp_path, max_epochs=3).fit(module, datamodule=data, ckpt_path=path)
    assert data.handed == 5


def test_checkpoint_has_all_keys_of_lightning(tmp_path: Path) -> None:
    lightning_run(tmp_path / "theirs", Hyper, HyperData, 1, save_on_train_epoch_end=True)
    theirs = read_theirs(tmp_path / "theirs")
    trained = train(case_of(Hyper, HyperData, trace=False, max_epochs=1), tmp_path / "ours")
    ours = torch.load(trained.trial.latest_checkpoint / "lightning.ckpt", weights_only=True)
    assert ours.keys() - theirs.keys() == {"lightning_adapter"} and theirs.keys() <= ours.keys()
    assert ours["hyper_parameters"] == theirs["hyper_parameters"]
    assert trained.trial.lightning_module.seen["saved"] == sorted(theirs.keys() - {"by_hand"})


def test_warm_start_takes_the_weights_of_a_lightning_checkpoint(tmp_path: Path) -> None:
    theirs, _ = lightning_run(tmp_path / "theirs", Net, Data, 1, save_on_train_epoch_end=True)
    path = max((tmp_path / "theirs").glob("*.ckpt"))
    seen: list[Any] = []

    class Look(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append((describe(dict(pl_module.state_dict())), trainer.global_step, trainer.current_epoch))

    train(case_of(Net, Data, callbacks=lambda: [Look()], max_epochs=1), tmp_path / "ours", warm_start_from=path)
    assert seen == [(describe(dict(theirs.state_dict())), 0, 0)]


def test_file_with_weights_alone_is_no_run_to_resume(tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    trainer = trainer_of(tmp_path)
    with quiet():
        trainer.validate(module := Net(), datamodule=Data())
        trainer.save_checkpoint(path, weights_only=True)
    assert module is not None
    with pytest.raises(errors.CheckpointError, match=r"holds weights only.*Use warm_start_from"):
        train(case_of(Net, Data, max_epochs=1), tmp_path / "run", resume_from=path)


@since("2.5", reason="older Lightnings begin the epoch anew, or the next one")
@pytest.mark.parametrize("limit", [{"max_steps": 7}, {"max_steps": 14}])
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_lightning_file_of_a_run_that_max_steps_cut_short_goes_on_inside_the_epoch(
    steps: int, limit: dict[str, int], tmp_path: Path
) -> None:
    class Notes(Net):
        def __init__(self) -> None:
            super().__init__(dropout=0.0)
            self.seen: list[Any] = []

        def on_train_epoch_start(self) -> None:
            self.seen.append(("start", self.current_epoch))

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.seen.append((self.current_epoch, batch_idx, self.global_step))

        def on_train_epoch_end(self) -> None:
            self.seen.append(("end", self.current_epoch))

    def keep() -> Any:
        return pl.callbacks.ModelCheckpoint(dirpath=str(tmp_path / "kept"), filename="x")

    until = {"max_epochs": -1, "max_steps": steps + limit["max_steps"]}
    first = trainer_of(tmp_path, max_steps=steps, callbacks=[keep()], enable_checkpointing=True)
    with quiet():
        first.fit(Notes(), datamodule=plain())
        trainer_of(tmp_path, **until).fit(theirs := Notes(), datamodule=plain(), ckpt_path=tmp_path / "kept" / "x.ckpt")
    trained = train(
        case_of(Notes, plain, trace=False, **until), tmp_path / "run", resume_from=tmp_path / "kept" / "x.ckpt"
    )
    ours = trained.trial.lightning_module

    assert ours.seen == theirs.seen
    assert describe(dict(ours.state_dict())) == describe(dict(theirs.state_dict()))
