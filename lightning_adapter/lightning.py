"""What do projects import that use the package `lightning`? DETLM and DETDM derive from `lightning.pytorch` here."""

from __future__ import annotations

import lightning.pytorch as pl

from lightning_adapter.adapter import LightningAdapter
from lightning_adapter.checkpoints.hyperparameters import GivesBackHyperparameters
from lightning_adapter.configured_trial import ConfiguredTrial, build, load_config
from lightning_adapter.datamodule import DataModuleMixin
from lightning_adapter.evaluation.loading import load_trial
from lightning_adapter.module import ModuleMixin
from lightning_adapter.pictures.callback import DrawBatchesMixin
from lightning_adapter.platform.fit import fit

__all__ = [
    "DETDM",
    "DETLM",
    "ConfiguredTrial",
    "DrawBatches",
    "LightningAdapter",
    "build",
    "fit",
    "load_config",
    "load_trial",
]


class DETLM(ModuleMixin, GivesBackHyperparameters, pl.LightningModule):  # noqa: D101 - below
    __doc__ = ModuleMixin.__doc__


class DETDM(DataModuleMixin, GivesBackHyperparameters, pl.LightningDataModule):  # noqa: D101 - below
    __doc__ = DataModuleMixin.__doc__


class DrawBatches(DrawBatchesMixin, pl.Callback):  # noqa: D101 - below
    __doc__ = DrawBatchesMixin.__doc__
