"""How is the best checkpoint of a complete run tested? By Lightning's own Trainer, in the first process."""

from __future__ import annotations

import contextlib
import copy
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from determined import core

from lightning_adapter.checkpoints.restore import batches_trained, load_weights
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.hooks import is_overridden
from lightning_adapter.monkey_patch import Replacement, replaced
from lightning_adapter.platform.course import tell_test
from lightning_adapter.platform.drawn_in_setup import drawing_as_training
from lightning_adapter.platform.driver import Driver
from lightning_adapter.platform.evaluation_trainer import Place, Weights, evaluation_trainer, telling_differences
from lightning_adapter.platform.signals import exit_status
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.trainer.late_values import Position, told_at
from lightning_adapter.versions import hosts, torch_private
from lightning_adapter.versions.lightning_chatter import without_chatter
from lightning_adapter.versions.types import Callback, LightningDataModule, LightningModule


class Tested(NamedTuple):
    """What a test has given.

    Attributes:
        batches: trained when the checkpoint was written.
        metrics: from the names that were logged to their values.
    """

    batches: int
    metrics: dict[str, float]


def check_testable(module: LightningModule, datamodule: LightningDataModule | None) -> None:
    """Refuse a test that Lightning could not make.

    Raises:
        ConfigurationError: all that is missing, in one message.
    """
    pl = hosts.host_of(module).pl
    name = type(module).__name__
    faults = []
    if not is_overridden("test_step", module, pl.LightningModule):
        faults.append(f"{name} has no test_step(). Write `def test_step(self, batch, batch_idx):` in it.")
    in_data = datamodule is not None and is_overridden("test_dataloader", datamodule, pl.LightningDataModule)
    if not in_data and not is_overridden("test_dataloader", module, pl.LightningModule):
        owner = name if datamodule is None else type(datamodule).__name__
        faults.append(f"{owner} has no test_dataloader(). Write one that returns the DataLoader of the test data.")
    faults += faults_of_old_hooks(module, "test")
    if faults:
        raise ConfigurationError(
            "A test was asked for at the end of training, and cannot be made:\n"
            + "\n".join(f"- {fault}" for fault in faults)
            + "\nOr train without --test (test=True)."
        )


def faults_of_old_hooks(module: LightningModule, stage: Literal["test", "validation"]) -> list[str]:
    """What Lightning's own Trainer would leave out: hooks of Lightning 1.x of a stage, where that is not installed."""
    name, base = type(module).__name__, hosts.host_of(module).pl.LightningModule
    return [
        f"{name} has {old}(), which the Trainer of Lightning 2 does not call. Do it in {today}()."
        for old, today in ((f"{stage}_epoch_end", f"on_{stage}_epoch_end"), (f"{stage}_step_end", f"{stage}_step"))
        if callable(getattr(module, old, None)) and not hasattr(base, old)
    ]


def test_if_complete(
    trial: LightningTrial,
    distributed: core.DistributedContext,
    read: Callable[[], dict[str, Any] | None],
    checkpoint: str | None,
) -> Tested | None:
    """Test a checkpoint where no further batch is to be trained; all processes call this, and the first one tests.

    The others wait in Determined's own exchange, which has no timeout.

    Args:
        trial: whose run has ended well.
        distributed: the processes of the job.
        read: the checkpoint's content; None where there is none, and the module is tested as it is.
        checkpoint: its id.

    Returns:
        What was measured, in all processes; None where training only pauses.
    """
    driver = trial.driver
    if driver is None or not driver.finished:
        return None
    tested: Tested | None = None
    with torch_private.alone(distributed.rank):
        if distributed.rank == 0:
            with without_chatter():
                tested = _test(driver, read(), checkpoint)
            tell_test(driver.parts, checkpoint, tested.batches, tested.metrics)
        tested = distributed.broadcast(tested)
    assert tested is not None
    trial.tested(tested.metrics)
    return tested


def _test(driver: Driver, saved: dict[str, Any] | None, checkpoint: str | None) -> Tested:
    parts = driver.parts
    module, datamodule = parts.module, parts.datamodule
    weights = None if saved is None else Weights(str(checkpoint), lambda: saved)
    loggers = parts.dispatcher.loggers
    trainer = evaluation_trainer(
        parts.host,
        parts.arguments,
        Place(parts.device),
        callbacks=parts.callbacks.items,
        loggers=loggers,
        progress_bar=False,  # where there is one, it is among the callbacks
        root=parts.trainer.default_root_dir,
        handed_over=None
        if weights is None
        else lambda: weights.handed_over(module, datamodule, trainer.callbacks, with_states=True),
    )
    position = Position(parts.progress.batches_that_stepped, parts.progress.current_epoch)
    owner = module if datamodule is None else datamodule
    # it is set up once more, as under Lightning's Trainer; a random split, though, is the one that was trained on
    setup = Replacement(
        drawing_as_training(owner.setup, type(owner).__name__, driver.data_random.state), owner, "setup"
    )
    with (
        kept_as_trained(module, datamodule, parts.callbacks.items),
        telling_differences(module),
        told_at(loggers, position),
        replaced(owner, setup=setup),
    ):
        found = trainer.test(module, datamodule=datamodule, ckpt_path=weights and weights.name, verbose=False)
    if found is None:  # until Lightning 2.4, an interrupt of the keyboard ends `Trainer.test` without an error
        raise SystemExit(exit_status(signal.SIGINT))
    batches = parts.progress.total_batches if saved is None else batches_trained(saved)
    return Tested(batches, {name: float(value) for of_loader in found for name, value in of_loader.items()})


@contextlib.contextmanager
def kept_as_trained(
    module: LightningModule, datamodule: LightningDataModule | None, callbacks: Sequence[Callback]
) -> Iterator[None]:
    """Give the module back as training has left it: weights, mode, device, its attributes, `trainer` among them.

    Callbacks and datamodule have the states of the checkpoint meanwhile, as Lightning restores them, and their own ones after.
    """
    owners: list[Any] = [*callbacks, *([] if datamodule is None else [datamodule])]
    states = [(owner, copy.deepcopy(state)) for owner in owners if (state := owner.state_dict())]
    device, weights = module.device, copy.deepcopy(module.state_dict())
    modes = [(part, part.training) for part in module.modules()]
    members = torch_private.members(module)  # `setup` may make layers anew
    kept, trainer = dict(vars(module)), getattr(datamodule, "trainer", None)
    try:
        yield
    finally:
        vars(module).update(kept)
        torch_private.set_members(module, members)
        module.to(device)  # `Strategy.teardown` moves it to the CPU
        if datamodule is not None:
            datamodule.trainer = trainer
        for owner, state in states:
            owner.load_state_dict(state)
        load_weights(module, weights)
        for part, training in modes:
            part.training = training
