"""What does a checkpoint hold under Lightning's own keys? As `_CheckpointConnector.dump_checkpoint`.

Beside these keys, under `lightning_adapter`, a checkpoint of this package holds what Lightning does not save; see
`loop/run_state`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch.optim import Optimizer

from lightning_adapter.checkpoints.file import CONSTRUCTED, LEFT_OUT, plain
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import Callback, LightningDataModule, LightningModule, LRSchedulerConfig

#: Key of what this package saves beside Lightning's keys.
OURS = "lightning_adapter"


class Stateful(Protocol):
    """Has a state that can be saved and restored."""

    def state_dict(self) -> Any:
        """The state."""

    def load_state_dict(self, state: Any) -> Any:
        """Restore it."""


class Position(Protocol):
    """The counters of a run, as Lightning's loops save theirs."""

    optimizer_steps: int
    batches_that_stepped: int

    @property
    def in_epoch(self) -> bool:
        """Whether an epoch has begun and not ended."""

    @property
    def accumulates(self) -> bool:
        """Whether gradients are only accumulated with the batch in work."""

    def state_dict(self) -> Any:
        """The counters, as `loop.progress.ProgressState`."""

    def load_lightning(
        self, global_step: int, epochs: Mapping[str, int], batches: Any, stepped: int, by_steps: bool
    ) -> None:
        """Stand where Lightning's Trainer resumes."""

    def load_lightning_counts(self, validation: Any, schedulers: Mapping[str, Mapping[str, int]]) -> None:
        """Count validation batches and steps of schedulers on."""


class Hooks(Protocol):
    """Calls the user's hooks."""

    def call_module(self, name: str, *args: Any) -> Any:
        """A hook of the module."""

    def call_data(self, name: str, *args: Any) -> Any:
        """A hook of the datamodule."""

    def call_callbacks(self, name: str, *args: Any) -> None:
        """A hook of the callbacks."""


class Callbacks(Protocol):
    """The run's callbacks."""

    items: list[Callback]


class Strategy(Protocol):
    """Has the optimizers."""

    optimizers: list[Optimizer]


class Data(Protocol):
    """Has the training loaders, some of which say themselves where they stand."""

    def loader_states(self) -> list[Any]:
        """What they say."""

    def expect_loader_states(self, states: Sequence[Any]) -> None:
        """What they are to be told before they are iterated."""


class Settings(Protocol):
    """Has the trainer's settings."""

    accumulate_grad_batches: int
    max_steps: int


class Saveable(Protocol):
    """The parts of a run that a checkpoint is made of, and put back into."""

    @property
    def host(self) -> Host: ...  # noqa: D102 - as in `loop.components.Components`
    @property
    def module(self) -> LightningModule: ...  # noqa: D102
    @property
    def datamodule(self) -> LightningDataModule | None: ...  # noqa: D102
    @property
    def hooks(self) -> Hooks: ...  # noqa: D102
    @property
    def callbacks(self) -> Callbacks: ...  # noqa: D102
    @property
    def precision(self) -> Stateful: ...  # noqa: D102
    @property
    def strategy(self) -> Strategy: ...  # noqa: D102
    @property
    def settings(self) -> Settings: ...  # noqa: D102
    @property
    def progress(self) -> Position: ...  # noqa: D102
    @property
    def data(self) -> Data: ...  # noqa: D102
    @property
    def lr_schedulers(self) -> list[LRSchedulerConfig]: ...  # noqa: D102


def callback_states(parts: Saveable) -> dict[str, Any]:
    """States of callbacks and schedulers, for checkpoints of Determined's own Trainer, which does not know them."""
    return {
        "states": _states(parts.callbacks.items),
        "schedulers": [config.scheduler.state_dict() for config in parts.lr_schedulers],
    }


def _states(callbacks: Sequence[Callback]) -> dict[str, Any]:
    return {callback.state_key: state for callback in callbacks if (state := callback.state_dict())}


def lightning_checkpoint(parts: Saveable, weights_only: bool = False) -> dict[str, Any]:
    """Lightning's dictionary of the present state, the `on_save_checkpoint` hooks included.

    Args:
        parts: the run.
        weights_only: leave out what a resume needs.
    """
    module, datamodule, hooks = parts.module, parts.datamodule, parts.hooks
    loops = _loops(parts)
    checkpoint: dict[str, Any] = {
        "epoch": loops["fit_loop"]["epoch_progress"]["current"]["completed"],
        "global_step": parts.progress.optimizer_steps,
        "pytorch-lightning_version": str(parts.host.version),
        "state_dict": module.state_dict(),
        "loops": loops,
    }
    if not weights_only:
        checkpoint["callbacks"] = _states(parts.callbacks.items)
        checkpoint["optimizer_states"] = [optimizer.state_dict() for optimizer in parts.strategy.optimizers]
        checkpoint["lr_schedulers"] = [config.scheduler.state_dict() for config in parts.lr_schedulers]
        scaler = parts.precision.state_dict()
        if scaler:
            checkpoint[parts.host.scaler_key] = scaler
    lightning_private.dump_hyperparameters(checkpoint, module, datamodule)
    if datamodule is not None:
        state = hooks.call_data("state_dict")
        if state:
            checkpoint[type(datamodule).__qualname__] = state
    if not weights_only:
        hooks.call_callbacks("on_save_checkpoint", checkpoint)
    known = set(checkpoint)
    hooks.call_module("on_save_checkpoint", checkpoint)
    checkpoint[LEFT_OUT] = [key for key in checkpoint if key not in known]  # what a file may leave out
    checkpoint[CONSTRUCTED] = _constructed(datamodule)
    return checkpoint


def with_what_was_left_out(
    module: LightningModule,
    datamodule: LightningDataModule | None,
    checkpoint: dict[str, Any],
    on_save_checkpoint: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Return a checkpoint with the keys of the module's own that the file could not hold, as the module makes them now.

    Args:
        module: ready to be saved.
        datamodule: or None.
        checkpoint: content of the file.
        on_save_checkpoint: how the module's hook is called; by default without further ado.
    """
    if not checkpoint.get(LEFT_OUT):
        return checkpoint
    made = dict(checkpoint)
    lightning_private.dump_hyperparameters(made, module, datamodule)
    (on_save_checkpoint or module.on_save_checkpoint)(made)
    return {**checkpoint, **{key: made[key] for key in checkpoint[LEFT_OUT] if key in made}}


def _constructed(datamodule: LightningDataModule | None) -> dict[str, int]:
    """Keys below which states of objects stand that a resume constructs, and at which depth."""
    keys = {"callbacks": 2, "optimizer_states": 2, "lr_schedulers": 2}
    return keys if datamodule is None else {**keys, type(datamodule).__qualname__: 1}


def check_states(parts: Saveable) -> None:
    """Before training, look whether the states that checkpoints will hold can be saved.

    Raises:
        CheckpointError: names all that cannot.
    """
    datamodule = parts.datamodule
    states: dict[str, Any] = {
        "callbacks": {callback.state_key: _state_so_far(callback) for callback in parts.callbacks.items},
        "optimizer_states": [_state_so_far(optimizer) for optimizer in parts.strategy.optimizers],
        "lr_schedulers": [_state_so_far(config.scheduler) for config in parts.lr_schedulers],
        CONSTRUCTED: _constructed(datamodule),
    }
    if datamodule is not None:
        states[type(datamodule).__qualname__] = _state_so_far(datamodule)
    plain(states)


def _state_so_far(owner: Any) -> Any:
    try:
        return owner.state_dict()
    except Exception:  # it may need what training makes; where it does not, the first checkpoint raises this again
        return None


def _loops(parts: Saveable) -> dict[str, Any]:
    """Lightning's counters of its loops.

    Between two epochs they are those of its own checkpoints of that moment, which it writes within `on_train_epoch_end`.
    """
    progress = parts.progress
    state = progress.state_dict()
    epochs = dict(state["epochs"]["current"])
    if not progress.in_epoch and epochs["processed"]:
        epochs["completed"] = epochs["processed"] - 1
    batches = state["batches"]["current"]["ready"]
    automatic, steps = parts.module.automatic_optimization, progress.optimizer_steps
    # gradients in the making are of no step yet; the epoch's last batch steps, however many its group has
    groups = batches / parts.settings.accumulate_grad_batches
    in_epoch = min(steps, math.floor(groups) if progress.accumulates else math.ceil(groups)) if automatic else steps
    return lightning_private.loop_states(
        parts.host,
        epochs=epochs,
        batches=state["batches"],
        batches_that_stepped=progress.batches_that_stepped,
        steps=(steps, in_epoch),
        automatic=automatic,
        validation=state["validation"],
        schedulers=state["schedulers"],
        loader_states=parts.data.loader_states(),
    )
