"""How is the best checkpoint of a complete run tested? By Lightning's own Trainer, in the first process."""

from __future__ import annotations

import contextlib
import copy
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from determined import core

from lightning_adapter.checkpoints.restore import batches_trained, load_weights, restore_weights
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.components import Components
from lightning_adapter.loop.hooks import is_overridden
from lightning_adapter.platform.course import tell_test
from lightning_adapter.platform.signals import exit_status
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.versions import hosts, lightning_precision, torch_private
from lightning_adapter.versions.types import LightningDataModule, LightningModule


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
    for old, today in (("test_epoch_end", "on_test_epoch_end"), ("test_step_end", "test_step")):
        if callable(getattr(module, old, None)) and not hasattr(pl.LightningModule, old):
            faults.append(f"{name} has {old}(), which the Trainer of Lightning 2 does not call. Do it in {today}().")
    if faults:
        raise ConfigurationError(
            "A test was asked for at the end of training, and cannot be made:\n"
            + "\n".join(f"- {fault}" for fault in faults)
            + "\nOr train without --test (test=True)."
        )


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
            tested = _test(driver.parts, read())
            tell_test(checkpoint, tested.batches, tested.metrics)
        tested = distributed.broadcast(tested)
    assert tested is not None
    trial.tested(tested.metrics)
    return tested


def _test(parts: Components, saved: dict[str, Any] | None) -> Tested:
    with _module_kept(parts.module, parts.datamodule):
        batches = parts.progress.total_batches
        if saved is not None:
            batches = batches_trained(saved)
            restore_weights(parts, saved, weights_only=True)
        trainer = _trainer(parts)
        found = trainer.test(parts.module, datamodule=parts.datamodule, verbose=False)
    if found is None:  # until Lightning 2.4, an interrupt of the keyboard ends `Trainer.test` without an error
        raise SystemExit(exit_status(signal.SIGINT))
    return Tested(batches, {name: float(value) for of_loader in found for name, value in of_loader.items()})


def _trainer(parts: Components) -> Any:
    """Lightning's Trainer for one device, with what the run has of arguments that decide what a test gives."""
    host, arguments, items = parts.host, parts.arguments, parts.callbacks.items
    cuda = parts.device.type == "cuda"
    return host.pl.Trainer(
        accelerator="gpu" if cuda else "cpu",
        devices=[parts.device.index or 0] if cuda else 1,
        # not what Lightning makes of a launcher's variables, which speak of several processes
        plugins=[host.load("plugins.environments").LightningEnvironment()],
        precision=lightning_precision.precision_name(host, arguments.precision),
        callbacks=list(items),
        logger=False,
        # Lightning refuses callbacks of these kinds where it is told that there are none
        enable_checkpointing=bool(parts.callbacks.of_kind(host.pl.callbacks.Checkpoint)),
        enable_progress_bar=bool(parts.callbacks.of_kind(host.progress_bar_class)),
        enable_model_summary=False,
        limit_test_batches=int(arguments.fast_dev_run) or None,
        inference_mode=arguments.inference_mode,
        deterministic=arguments.deterministic,
        benchmark=arguments.benchmark,
        detect_anomaly=arguments.detect_anomaly,
        default_root_dir=parts.trainer.default_root_dir,
    )


@contextlib.contextmanager
def _module_kept(module: LightningModule, datamodule: LightningDataModule | None) -> Iterator[None]:
    """Give the module back as training has left it: weights, mode, its attributes, `trainer` among them."""
    weights = copy.deepcopy(module.state_dict())
    modes = [(part, part.training) for part in module.modules()]
    kept, trainer = dict(vars(module)), getattr(datamodule, "trainer", None)
    try:
        yield
    finally:
        vars(module).update(kept)
        if datamodule is not None:
            datamodule.trainer = trainer
        load_weights(module, weights)
        for part, training in modes:
            part.training = training
