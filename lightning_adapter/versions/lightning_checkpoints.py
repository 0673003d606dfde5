"""Which private names of Lightning does writing and reading its checkpoints touch, why, and in which versions?

Seen in Lightning 1.9.5, 2.0.9 and 2.6.6, unless a name says otherwise.
"""

from __future__ import annotations

from typing import Any

from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import LightningDataModule, LightningModule


def migrate_checkpoint(host: Host, checkpoint: dict[str, Any]) -> None:
    """Bring a checkpoint of an older Lightning to the form of the installed one, in place, as its Trainer does.

    A file that names no version of Lightning, such as one with bare weights, is left as it is.
    """
    if "pytorch-lightning_version" not in checkpoint:
        return
    host.load("utilities.migration").migrate_checkpoint(checkpoint)


def dump_hyperparameters(checkpoint: dict[str, Any], *owners: LightningModule | LightningDataModule | None) -> None:
    """Write `hparams` of module and datamodule into a checkpoint where `load_from_checkpoint` looks for them.

    `_hparams_name` (1.9.5 to 2.6.6) is the name of the constructor's argument that holds all of them.
    """
    for owner in owners:
        if owner is None or not owner.hparams:
            continue
        name = getattr(owner, "_hparams_name", None)
        if name is not None:
            checkpoint[owner.CHECKPOINT_HYPER_PARAMS_NAME] = name
        hparams = owner.hparams
        if isinstance(hparams, dict):
            checkpoint[owner.CHECKPOINT_HYPER_PARAMS_KEY] = dict(hparams)
            continue
        checkpoint[owner.CHECKPOINT_HYPER_PARAMS_KEY] = hparams  # OmegaConf's, as in Lightning's file
        # as text, by which `_convert_loaded_hparams` gives a class of Lightning's own that has attributes too
        checkpoint[owner.CHECKPOINT_HYPER_PARAMS_TYPE] = type(hparams).__name__
