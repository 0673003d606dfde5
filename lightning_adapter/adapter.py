"""What do people subclass to train a LightningModule on Determined?"""

from __future__ import annotations

from typing import Any

from determined import pytorch

from lightning_adapter import monkey_patch
from lightning_adapter.arguments import Arguments
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.support.trainer_arguments import Job
from lightning_adapter.versions import hosts, lightning_1x
from lightning_adapter.versions.types import LightningDataModule, LightningModule


class LightningAdapter(LightningTrial):
    """A Determined trial that trains a LightningModule.

    The constructor only stores and checks. Training begins with `lightning_adapter.fit`, or under Determined's own
    Trainer.

    Args:
        context: Determined's context.
        lightning_module: a DETLM, or any LightningModule of either Lightning package; also what torch.compile made of one.
        datamodule: a DETDM, or any LightningDataModule of the same package; without it the loaders come from the
            module's own `train_dataloader()` and `val_dataloader()`. A trial that overrides
            `build_training_data_loader()` or `build_validation_data_loader()` wins over both.
        **trainer_arguments: arguments of Lightning's Trainer under their own names, and a few of ours; see
            `lightning_adapter.arguments.Arguments`.

    Raises:
        ConfigurationError: an argument is unknown or cannot be used.
        UnsupportedError: the module overrides something that is rejected; all of it is named.
    """

    def __init__(
        self,
        context: pytorch.PyTorchTrialContext,
        lightning_module: LightningModule,
        datamodule: LightningDataModule | None = None,
        **trainer_arguments: Any,
    ) -> None:
        lightning_module = hosts.uncompiled(lightning_module)
        host = hosts.host_of(lightning_module)
        hosts.warn_of_untested_versions(host)
        processes = context.distributed
        job = Job(context.device.type, processes.local_size, processes.cross_size)
        arguments = Arguments.of(lightning_1x.arguments(host, trainer_arguments), job)
        _check(host, lightning_module, datamodule)
        super().__init__(context, lightning_module, datamodule, arguments)


def _check(host: hosts.Host, module: LightningModule, datamodule: LightningDataModule | None) -> None:
    if datamodule is not None and not isinstance(datamodule, host.pl.LightningDataModule):
        kind = f"{type(datamodule).__module__}.{type(datamodule).__qualname__}"
        other = hosts.host_of_class(type(datamodule))
        why = (
            f"is made for {other.package}, while the module is made for {host.package}; the two do not mix"
            if other is not None
            else "is no LightningDataModule"
        )
        base = "lightning_adapter" if host.package == "pytorch_lightning" else "lightning_adapter.lightning"
        raise ConfigurationError(f"The datamodule, a {kind}, {why}. Derive it from {base}.DETDM.")
    findings = monkey_patch.inspect_instance(module)
    if datamodule is not None:
        findings += monkey_patch.inspect_instance(datamodule)
    monkey_patch.reject_or_warn(findings)
