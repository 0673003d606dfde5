"""A module, a datamodule and a callback with every hook: the order is that of Lightning's Trainer over the same checkpoint."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from lightning_adapter import LightningAdapter, load_trial
from parity.models import samples

from .trained import QUIET, Data, Net, by_lightning, trained

CALLED: list[tuple[Any, ...]] = []
#: What would change the course by being overridden.
NOT_OVERRIDDEN = ("configure_sharded_model", "configure_gradient_clipping", "on_save_checkpoint")
HOOKS = ("on_", "setup", "teardown", "prepare_data", "configure_", "transfer_", "load_state_dict")


def noted(base: type) -> type:
    """A subclass whose hooks, steps and loaders say that they are called, and with what."""

    def note(name: str) -> Any:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            trainer = getattr(self, "_trainer", None)
            position = None if trainer is None else (trainer.current_epoch, trainer.global_step)
            plain = [value for value in (*args, *kwargs.values()) if isinstance(value, (int, str))]
            CALLED.append((base.__name__, name, *plain, position))
            return getattr(super(made, self), name)(*args, **kwargs)

        return call

    names = [
        name
        for name in dir(base)
        if inspect.isfunction(inspect.getattr_static(base, name))
        and (name.startswith(HOOKS) or name.endswith(("_step", "_dataloader")))
        and name not in NOT_OVERRIDDEN
        and not (base is WithPredictions and name == "on_load_checkpoint")  # Lightning 1.9 refuses it
    ]
    made: type = type(f"Noted{base.__name__}", (base,), {name: note(name) for name in names})
    return made


class WithPredictions(Data):
    def predict_dataloader(self) -> Any:
        return [DataLoader(samples(10, seed=3), batch_size=4), DataLoader(samples(4), batch_size=2)]


Module, DataModule, Callback = noted(Net), noted(WithPredictions), noted(pl.Callback)


class Trial(LightningAdapter):
    def __init__(self, context: Any) -> None:
        super().__init__(context, Module(), DataModule(), callbacks=[Callback()], max_epochs=1, **QUIET)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> LightningAdapter:
    return trained(tmp_path_factory.mktemp("hooks") / "run", Trial)


def called(run: Any) -> list[tuple[Any, ...]]:
    CALLED.clear()
    run()
    return list(CALLED)


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_order_of_all_hooks_is_lightnings(trial: LightningAdapter, stage: str) -> None:
    checkpoint: Any = trial.best_checkpoint
    quiet: dict[str, Any] = {} if stage == "predict" else {"verbose": False}
    expected = called(lambda: by_lightning(stage, Module(), DataModule(), checkpoint, callbacks=[Callback()]))
    loaded = load_trial(checkpoint, Trial)
    assert called(lambda: getattr(loaded, stage)(**quiet)) == expected and len(expected) > 30
    # at the end the module gets its last weights back, and the callbacks that have been trained with their states
    assert called(lambda: getattr(trial, stage)(**quiet))[: len(expected)] == expected
    assert Path(checkpoint).is_dir()
